//! Clients of services that change: names with several addresses, lists, clusters, and services of another store.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use strongroom::storage::{Error, MemoryStorage, RemoteStorage, SqliteStorage, Storage};
use strongroom::{Durability, Endpoint, IndexKey, ServiceAddress, ServiceList, Strongroom, Upstreams};
use strongroom_server::Config;

use crate::support::wait::{DEADLINE, StopOnDrop, wait_for};
use crate::support::{Running, config, encryption_over, start, storage_with};

/// The name in the services' certificate.
const NAME: &str = "storage.example";

fn database(path: &Path) -> Arc<SqliteStorage> {
    Arc::new(SqliteStorage::open(path, Durability::Relaxed).unwrap())
}

fn index_key() -> IndexKey {
    IndexKey::from_bytes(&[7; 32]).unwrap()
}

fn open(endpoint: &Endpoint) -> Strongroom {
    Strongroom::builder().endpoint(endpoint.clone()).index_key(index_key()).open().unwrap()
}

fn url(service: &Running) -> String {
    format!("http://{}", service.address)
}

/// The names and the numbers of answered attempts.
fn answered(upstreams: &Upstreams) -> Vec<(String, u64)> {
    let answered = |attempts: &[(&str, u64)]| attempts.iter().find(|(outcome, _)| *outcome == "answered").unwrap().1;
    upstreams.services().into_iter().map(|service| (service.name, answered(&service.attempts))).collect()
}

/// A folder with a database, and the certificate of services on it.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        for (name, text) in
            [("server.pem", certificate.pem()), ("server.key", key.serialize_pem()), ("authority.pem", authority.pem())]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder }
    }

    /// A configuration with a certificate for the name.
    fn config(&self, address: SocketAddr) -> Config {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let document = format!(
            "listen = ['{address}']\ninsecure_loopback = true\n[tls]\ncertificate = '{}'\nkey = '{}'",
            file("server.pem"),
            file("server.key")
        );
        Config::from_toml(&document).unwrap()
    }

    fn storage(&self) -> Arc<SqliteStorage> {
        database(&self.folder.path().join("records.db"))
    }

    /// A storage service at an address.
    fn start(&self, address: SocketAddr) -> Running {
        storage_with(self.storage(), &self.config(address))
    }

    /// An encryption server at an address.
    fn start_encryption(&self, address: SocketAddr) -> Running {
        encryption_over(self.storage(), &self.config(address))
    }

    fn endpoint(&self, port: u16, addresses: &Arc<Mutex<Vec<IpAddr>>>) -> Endpoint {
        let addresses = Arc::clone(addresses);
        let endpoint = Endpoint::new(&format!("https://{NAME}:{port}")).unwrap().timeout(DEADLINE);
        endpoint.authorities(self.folder.path().join("authority.pem")).resolver(move |name| {
            assert_eq!(name, NAME);
            let found = addresses.lock().unwrap().clone();
            if found.is_empty() { Err(std::io::ErrorKind::NotFound.into()) } else { Ok(found) }
        })
    }
}

fn loopback(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// Each address of a name is a service. The name is looked up again, and a failed lookup changes nothing.
#[test]
fn a_name_with_several_addresses_names_several_services() {
    let site = Site::new();
    let mut first = site.start("127.0.0.2:0".parse().unwrap());
    let port = first.address.port();
    let at = |last: u8| SocketAddr::new(loopback(last), port);
    let _second = site.start(at(3));
    let addresses = Arc::new(Mutex::new(vec![loopback(2), loopback(3)]));
    let endpoint = site.endpoint(port, &addresses);
    let (store, upstreams) = (open(&endpoint), endpoint.upstreams());
    let mut number = 0;
    let mut work = || {
        number += 1;
        let key = store.store(format!("{number}"), b"data").unwrap();
        assert_eq!(store.retrieve(format!("{number}"), &key).unwrap(), b"data");
        answered(&upstreams)
    };
    let are_used = |services: &[(String, u64)], lasts: &[u8]| {
        let names: Vec<_> = lasts.iter().map(|last| format!("https://{NAME}:{port} ({})", loopback(*last))).collect();
        services.iter().map(|(name, _)| name).eq(&names) && services.iter().all(|(_, answered)| *answered > 0)
    };
    wait_for(|| are_used(&work(), &[2, 3]).then_some(()));
    first.begin_to_stop();
    first.wait();
    (0..20).for_each(|_| drop(work()));
    addresses.lock().unwrap().clear();
    let _third = site.start(at(4));
    let used = work();
    assert!(are_used(&used, &[2, 3]), "{used:?}");
    *addresses.lock().unwrap() = vec![loopback(4), loopback(3)];
    wait_for(|| {
        thread::sleep(Duration::from_millis(20));
        are_used(&work(), &[3, 4]).then_some(())
    });
}

/// Makes the first call of some clients of a name whose first address has a service that cannot be used: it goes to the
/// other one in its time.
fn call_first(port: u16, time: Duration) {
    let site = Site::new();
    let _service = site.start_encryption(SocketAddr::new(loopback(3), port));
    let endpoint = site.endpoint(port, &Arc::new(Mutex::new(vec![loopback(2), loopback(3)]))).timeout(time);
    let long = vec![7; 1_000_000];
    let calls: [&(dyn Fn(&Strongroom) + Sync); 4] = [
        &|client| assert!(!client.contains("other").unwrap()),
        &|client| drop(client.store("id", b"data").unwrap()),
        &|client| assert!(!client.erase("other").unwrap()),
        &|client| drop(client.store_reader("long", &*long).unwrap()),
    ];
    thread::scope(|scope| {
        for call in calls {
            let client = Strongroom::connect(&endpoint).unwrap();
            scope.spawn(move || call(&client));
        }
    });
}

/// The service accepts connections and stays silent, for a third of the call's time.
#[test]
fn a_silent_address_of_a_name_does_not_stop_the_first_call() {
    let silent = TcpListener::bind("127.0.0.2:0").unwrap();
    call_first(silent.local_addr().unwrap().port(), Duration::from_secs(6));
}

#[test]
fn an_untrusted_address_of_a_name_does_not_stop_the_first_call() {
    let other_authority = Site::new().start_encryption("127.0.0.2:0".parse().unwrap());
    call_first(other_authority.address.port(), DEADLINE);
}

#[test]
fn an_address_without_tls_of_a_name_does_not_stop_the_first_call() {
    let other = TcpListener::bind("127.0.0.2:0").unwrap();
    let port = other.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in other.incoming() {
            let _ = connection.unwrap().write_all(b"220 mail.example ESMTP\r\n");
        }
    });
    call_first(port, DEADLINE);
}

/// At most 64 of a hundred addresses are used; most of them refuse connections.
#[test]
fn a_name_may_have_a_hundred_addresses() {
    let site = Site::new();
    let service = site.start("127.0.0.1:0".parse().unwrap());
    let addresses = Arc::new(Mutex::new((1..101).map(loopback).collect::<Vec<_>>()));
    let endpoint = site.endpoint(service.address.port(), &addresses);
    let (store, upstreams) = (open(&endpoint), endpoint.upstreams());
    for number in 0..20 {
        let _ = store.store(format!("{number}"), b"data").unwrap();
    }
    assert_eq!(upstreams.services().len(), 64);
}

/// Both addresses of `localhost` are one service, whichever it listens on.
#[test]
fn localhost_is_one_service() {
    let folder = tempfile::tempdir().unwrap();
    let service = storage_with(database(&folder.path().join("records.db")), &config());
    let both = [IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]), loopback(1)];
    let endpoint = Endpoint::new(&format!("http://localhost:{}", service.address.port())).unwrap();
    let endpoint = endpoint.timeout(DEADLINE).resolver(move |_| Ok(both.to_vec()));
    let (store, upstreams) = (open(&endpoint), endpoint.upstreams());
    for number in 0..10 {
        let _ = store.store(format!("{number}"), b"data").unwrap();
    }
    let services = answered(&upstreams);
    assert!(services.len() == 1 && services[0].1 > 10, "{services:?}");
    assert_eq!(upstreams.retries().iter().map(|(_, count)| count).sum::<u64>(), 0);
}

/// Services join and leave while eight threads use them.
#[test]
fn a_list_may_change_while_calls_are_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let start = || storage_with(database(&path), &config());
    let address = |service: &Running| ServiceAddress { url: url(service), zone: None };
    let list = ServiceList::default();
    let mut services = vec![start(), start()];
    list.set(services.iter().map(address));
    let endpoint = Endpoint::services(&list).names(["127.0.0.1"]).timeout(DEADLINE);
    let (store, is_done) = (open(&endpoint), AtomicBool::new(false));
    thread::scope(|scope| {
        let _done = StopOnDrop(&is_done);
        for worker in 0..8 {
            let (store, is_done) = (&store, &is_done);
            scope.spawn(move || {
                for number in 0.. {
                    let id = format!("{worker}-{number}");
                    let key = store.store(&id, &id).unwrap();
                    assert_eq!(store.retrieve(&id, &key).unwrap(), id.as_bytes());
                    if is_done.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        for _ in 0..5 {
            services.push(start());
            let mut oldest = services.remove(0);
            list.set(services.iter().map(address));
            // No call begins at the service that has left; it finishes its calls.
            services.iter().for_each(|service| {
                service.wait_for_metric("strongroom_received_bytes_total", |bytes| bytes > 0);
            });
            oldest.begin_to_stop();
            oldest.wait();
        }
        // An empty list leaves the last services in use.
        list.set([]);
        thread::sleep(Duration::from_millis(100));
        is_done.store(true, Ordering::Relaxed);
    });
    let upstreams = endpoint.upstreams();
    let failed =
        |service: &strongroom::Upstream| service.attempts.iter().any(|(name, count)| *name != "answered" && *count > 0);
    assert!(!upstreams.services().iter().any(failed), "{upstreams:?}");
}

/// A host that is not trusted is never contacted, and a service whose URL is invalid is ignored.
#[test]
fn a_list_needs_trusted_hosts() {
    let service = storage_with(Arc::new(MemoryStorage::new()), &config());
    let foreign = TcpListener::bind("127.0.0.9:0").unwrap();
    foreign.set_nonblocking(true).unwrap();
    let list = ServiceList::default();
    let foreign_url = format!("http://{}", foreign.local_addr().unwrap());
    list.set([url(&service), foreign_url, "https://".into()].map(|url| ServiceAddress { url, zone: None }));
    let endpoint = Endpoint::services(&list).names(["127.0.0.1"]).timeout(DEADLINE);
    let store = open(&endpoint);
    for number in 0..20 {
        let _ = store.store(format!("{number}"), b"data").unwrap();
    }
    assert!(foreign.accept().is_err(), "the foreign host was contacted");
    let without_names = RemoteStorage::open(&Endpoint::services(&list)).unwrap_err().to_string();
    assert!(without_names.contains("needs the names"), "{without_names}");
    // Nobody can be used.
    list.set([ServiceAddress { url: "https://other.example".into(), zone: None }]);
    let none = Endpoint::services(&list).names(["127.0.0.1"]).timeout(Duration::from_secs(1));
    let error = RemoteStorage::open(&none).unwrap().settings().unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(source.contains("no service is known"), "{error} {source}");
}

/// Another zone is used only while the own one cannot be reached.
#[test]
fn the_own_zone_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let mut services = [(); 2].map(|()| storage_with(database(&path), &config()));
    let list = ServiceList::default();
    let zones = services.iter().zip(["a", "b"]);
    list.set(zones.map(|(service, zone)| ServiceAddress { url: url(service), zone: Some(zone.to_owned()) }));
    let endpoint = Endpoint::services(&list).names(["127.0.0.1"]).zone("b").timeout(DEADLINE);
    let (store, upstreams) = (open(&endpoint), endpoint.upstreams());
    let counts = || {
        let answered = answered(&upstreams);
        services.each_ref().map(|service| answered.iter().find(|(name, _)| *name == url(service)).unwrap().1)
    };
    (0..20).for_each(|number| drop(store.store(format!("{number}"), b"data").unwrap()));
    let before = counts();
    assert!(before[0] == 0 && before[1] > 20, "{before:?}");
    services[1].begin_to_stop();
    services[1].wait();
    (20..40).for_each(|number| drop(store.store(format!("{number}"), b"data").unwrap()));
}

/// A service with another store gets no write, and one error tells why.
#[test]
fn a_service_of_another_store_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["one.db", "two.db"].map(|name| folder.path().join(name));
    for (path, own) in paths.iter().zip([true, false]) {
        let store = Strongroom::builder().path(path).index_key(index_key()).open().unwrap();
        if own {
            let _ = store.store("first", b"data").unwrap();
        }
    }
    let services = paths.each_ref().map(|path| encryption_over(database(path), &config()));
    let endpoint = Endpoint::new(&services.each_ref().map(url).join(",")).unwrap().timeout(DEADLINE);
    let (client, upstreams) = (Strongroom::connect(&endpoint).unwrap(), endpoint.upstreams());
    let mut stores = (0..).map(|number| client.store(format!("{number}"), b"data"));
    let (before, error) =
        stores.by_ref().take(5000).enumerate().find_map(|(n, outcome)| Some((n, outcome.err()?))).unwrap();
    assert!(error.full_message().contains("has another store than"), "{error:?}");
    stores.take(40).for_each(|outcome| drop(outcome.unwrap()));
    assert_eq!(upstreams.services().iter().filter(|service| service.is_ejected).count(), 1);
    let counts = paths
        .each_ref()
        .map(|path| Strongroom::builder().path(path).index_key(index_key()).open().unwrap().stats().unwrap().records);
    let stored = u64::try_from(before).unwrap() + 40;
    assert!(counts == [stored + 1, 0] || counts == [1, stored], "{counts:?}");
}

/// A service that only answers which nodes its cluster has.
struct Directory {
    address: SocketAddr,
    nodes: Arc<Mutex<Value>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Directory {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, nodes) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Value::Null)));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answers, seen) = (Arc::clone(&nodes), Arc::clone(&requests));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    match connection.read(&mut piece) {
                        Ok(len) if len > 0 => request.extend(&piece[..len]),
                        _ => break,
                    }
                }
                seen.lock().unwrap().push(String::from_utf8(request).unwrap());
                let body = answers.lock().unwrap().to_string();
                let status = if body == "null" { "503 Service Unavailable" } else { "200 OK" };
                let head = format!("HTTP/1.1 {status}\r\nstrongroom-request-id: 1\r\nconnection: close");
                let head = format!("{head}\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = connection.write_all((head + &body).as_bytes());
            }
        });
        Self { address, nodes, requests }
    }

    fn set<'n>(&self, nodes: impl IntoIterator<Item = (&'n str, &'n str, String)>) {
        let node = |(role, state, url)| json!({"name": "n", "role": role, "state": state, "url": url, "zone": null});
        *self.nodes.lock().unwrap() = json!({"nodes": nodes.into_iter().map(node).collect::<Vec<_>>()});
    }
}

/// A cluster's ready services of the right kind are used, at trusted hosts alone; no other host gets the token.
#[test]
fn a_cluster_names_its_services() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let services = [(); 3].map(|()| storage_with(database(&path), &config()));
    let foreign = TcpListener::bind("127.0.0.9:0").unwrap();
    foreign.set_nonblocking(true).unwrap();
    let directory = Directory::start();
    let ready = |service: &Running| ("storage", "ready", url(service));
    directory.set([
        ready(&services[0]),
        ready(&services[1]),
        ("storage", "draining", "http://127.0.0.1:1".into()),
        ("encryption", "ready", "http://127.0.0.1:2".into()),
        ("storage", "of the future", "http://127.0.0.1:3".into()),
        ("storage", "ready", format!("http://{}", foreign.local_addr().unwrap())),
    ]);
    let text = format!("cluster:http://{}?names=127.0.0.1", directory.address);
    let token = strongroom_server::NewToken::generate(vec![strongroom_server::Scope::Storage]).unwrap();
    let endpoint = Endpoint::new(&text).unwrap().token(token.text().to_owned()).timeout(DEADLINE);
    let (store, upstreams) = (open(&endpoint), endpoint.upstreams());
    let mut number = 0;
    let mut work = || {
        number += 1;
        let _ = store.store(format!("{number}"), b"data").unwrap();
    };
    let used = || answered(&upstreams).into_iter().filter(|(_, count)| *count > 0).map(|used| used.0);
    wait_for(|| {
        work();
        (used().count() >= 2).then_some(())
    });
    (0..50).for_each(|_| work());
    let mut names: Vec<_> = used().collect();
    let mut expected = [url(&services[0]), url(&services[1])];
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    assert!(foreign.accept().is_err(), "the foreign host was contacted");
    {
        let requests = directory.requests.lock().unwrap();
        let asks = |request: &String| {
            let request = request.to_ascii_lowercase();
            request.starts_with("get /v1/nodes ")
                && request.contains(&format!("authorization: bearer {}", token.text()))
        };
        assert!(!requests.is_empty() && requests.iter().all(asks), "{requests:?}");
    }
    // Ten seconds later, the services themselves are asked; they are no cluster, so the directory is.
    directory.set([ready(&services[2])]);
    wait_for(|| {
        thread::sleep(Duration::from_millis(20));
        work();
        answered(&upstreams).iter().any(|(name, count)| *name == url(&services[2]) && *count > 0).then_some(())
    });
    // If nobody answers, the last services stay in use.
    *directory.nodes.lock().unwrap() = Value::Null;
    work();
}

/// In a rolling restart, the only known service may end just after another one has returned: its failure makes the
/// client ask again at once, and not when the next question is due.
#[test]
fn a_failed_service_makes_a_client_ask_again() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
    let [first, second] = [(); 2].map(|()| storage_with(Arc::clone(&storage), &config()));
    let directory = Directory::start();
    let ready = |service: &Running| ("storage", "ready", url(service));
    directory.set([ready(&first)]);
    let text = format!("cluster:http://{}?names=127.0.0.1", directory.address);
    let time = Duration::from_secs(15); // a third is less than the time until the next question
    let store = open(&Endpoint::new(&text).unwrap().timeout(time));
    let key = store.store("id", b"data").unwrap();
    directory.set([ready(&second)]);
    drop(first);
    assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
}

/// If nobody tells the nodes, the given services are used.
#[test]
fn a_cluster_without_an_answer_is_the_given_services() {
    let service = storage_with(Arc::new(MemoryStorage::new()), &config());
    let text = format!("cluster:{}?names=127.0.0.1", url(&service));
    let store = open(&Endpoint::new(&text).unwrap().timeout(DEADLINE));
    let key = store.store("id", b"data").unwrap();
    assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
    let storage = RemoteStorage::open(&Endpoint::new("cluster:unix:/nowhere").unwrap().names(["a"])).unwrap();
    assert!(matches!(storage.settings(), Err(Error::Backend(_))));
}

/// An encryption server's metrics show its storage services, and those that fail.
#[test]
fn the_metrics_show_the_storage_services() {
    let storage = storage_with(Arc::new(MemoryStorage::new()), &config());
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = Endpoint::new(&format!("{},http://{dead}", url(&storage))).unwrap().timeout(DEADLINE);
    let service = strongroom_server::Service::encryption(Arc::new(open(&endpoint)), &config()).unwrap();
    let server = start(service.with_upstreams(endpoint.upstreams()), &config());
    let client = Strongroom::connect(&Endpoint::new(&url(&server)).unwrap().timeout(DEADLINE)).unwrap();
    wait_for(|| {
        let _ = client.store(format!("{:?}", std::time::Instant::now()), b"data").unwrap();
        endpoint.upstreams().services().iter().any(|service| service.is_ejected).then_some(())
    });
    let name = format!("strongroom_upstream_requests_total{{node=\"{}\",outcome=\"answered\"}}", url(&storage));
    server.wait_for_metric(&name, |answered| answered > 0);
    let name = format!("strongroom_upstream_requests_total{{node=\"http://{dead}\",outcome=\"unreachable\"}}");
    server.wait_for_metric(&name, |unreachable| unreachable > 0);
    server.wait_for_metric("strongroom_upstream_retries_total{reason=\"unreachable\"}", |retries| retries > 0);
    server.wait_for_metric("strongroom_upstream_ejected", |ejected| ejected == 1);
}
