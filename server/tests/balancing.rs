//! Clients of several services of one store: requests are distributed, a failed service is avoided until it is back,
//! and nothing is sent twice that might have been done.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::storage::{MemoryStorage, SqliteStorage};
use strongroom::{Durability, Endpoint, Error, IndexKey, Strongroom};

use crate::support::proxy::{Fault, Plan, Proxy};
use crate::support::wait::{DEADLINE, Join, StopOnDrop, wait_for};
use crate::support::{Running, config, encryption, encryption_over, storage_with};

/// Services of one database.
struct Cluster {
    _folder: tempfile::TempDir,
    path: PathBuf,
    services: Vec<Running>,
}

impl Cluster {
    fn start(count: usize, start: impl Fn(&Path) -> Running) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.db");
        let services = (0..count).map(|_| start(&path)).collect();
        Self { _folder: folder, path, services }
    }

    fn endpoint(&self) -> Endpoint {
        endpoint(self.services.iter().map(|service| service.address))
    }
}

fn endpoint(addresses: impl IntoIterator<Item = SocketAddr>) -> Endpoint {
    let urls: Vec<_> = addresses.into_iter().map(|address| format!("http://{address}")).collect();
    Endpoint::new(&urls.join(",")).unwrap().timeout(DEADLINE)
}

fn database(path: &Path) -> Arc<SqliteStorage> {
    Arc::new(SqliteStorage::open(path, Durability::Relaxed).unwrap())
}

fn storage_on(path: &Path, port: u16) -> Running {
    let mut config = config();
    config.listen = vec![format!("127.0.0.1:{port}").parse().unwrap()];
    storage_with(database(path), &config)
}

fn index_key() -> IndexKey {
    IndexKey::from_bytes(&[7; 32]).unwrap()
}

/// An address that refuses connections.
fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Eight threads use three services, one of which stops and comes back: no call fails, and all services get requests.
#[test]
fn a_service_that_stops_is_avoided_until_it_is_back() {
    let mut cluster = Cluster::start(3, |path| storage_on(path, 0));
    let store = Strongroom::builder().endpoint(cluster.endpoint()).index_key(index_key()).open().unwrap();
    let (done, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let (store, done, stop) = (&store, &done, &stop);
        let _stop = StopOnDrop(stop);
        let worker = move |worker: u64| {
            for n in 0.. {
                let id = format!("{worker}-{n}");
                let key = store.store(&id, &id).unwrap();
                assert_eq!(store.retrieve(&id, &key).unwrap(), id.as_bytes());
                done.fetch_add(1, Ordering::Relaxed);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        };
        let workers: Vec<_> = (0..8).map(|number| scope.spawn(move || worker(number))).collect();
        let is_used = |service: &Running| service.wait_for_metric("strongroom_received_bytes_total", |bytes| bytes > 0);
        let wait_for_more = || {
            let before = done.load(Ordering::Relaxed);
            wait_for(|| (done.load(Ordering::Relaxed) > before + 100).then_some(()));
        };
        cluster.services.iter().for_each(is_used);
        let address = cluster.services.remove(0).address;
        wait_for_more();
        let back = storage_on(&cluster.path, address.port());
        is_used(&back);
        wait_for_more();
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join_within(DEADLINE));
        cluster.services.push(back);
    });
    assert_eq!(store.stats().unwrap().records, done.load(Ordering::Relaxed));
}

/// A body of unknown length can be sent only once: a service that accepts no connection is found out before.
#[test]
fn an_upload_goes_to_a_service_that_is_there() {
    let service = encryption(&config());
    let data = vec![7; 1_000_000];
    // Each client tries one of the two first, at random.
    for n in 0..20 {
        let client = Strongroom::connect(&endpoint([dead(), service.address])).unwrap();
        let key = client.store_reader(format!("{n}"), &*data).unwrap();
        assert!(client.retrieve(format!("{n}"), &key).unwrap() == data);
    }
    let client = Strongroom::connect(&endpoint([dead(), dead()]).timeout(Duration::from_secs(2))).unwrap();
    assert!(matches!(client.store_reader("id", &*data), Err(Error::Storage(_))));
}

/// A call, with an id of its own.
type Call<'c> = dyn Fn(&Strongroom, &str) + Sync + 'c;

/// A paused service accepts connections, and answers nothing: each call goes to the other one in its time.
#[test]
fn a_silent_service_sends_its_calls_elsewhere() {
    let cluster = Cluster::start(1, |path| encryption_over(database(path), &config()));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let both = endpoint([silent.local_addr().unwrap(), cluster.services[0].address]).timeout(Duration::from_secs(6));
    let direct = Strongroom::builder().path(&cluster.path).index_key(index_key()).open().unwrap();
    let key = direct.store("id", b"data").unwrap();
    let long = vec![7; 1_000_000];
    let retrieve = |client: &Strongroom, _: &str| assert_eq!(client.retrieve("id", &key).unwrap(), b"data");
    let store = |client: &Strongroom, own: &str| drop(client.store(own, b"data").unwrap());
    let erase = |client: &Strongroom, own: &str| assert!(!client.erase(own).unwrap());
    let stream = |client: &Strongroom, own: &str| drop(client.store_reader(own, &*long).unwrap());
    let calls: [&Call<'_>; 4] = [&retrieve, &store, &erase, &stream];
    thread::scope(|scope| {
        // Each client tries one of the two first, at random.
        for n in 0..32 {
            let client = Strongroom::connect(&both).unwrap();
            scope.spawn(move || calls[n % calls.len()](&client, &format!("{n}")));
        }
    });
    let retries: u64 = both.upstreams().retries().iter().map(|(_, count)| count).sum();
    assert!(retries > 0, "some have tried the silent one");
}

#[test]
fn an_upload_to_many_silent_services_ends_in_time() {
    const TIME: Duration = Duration::from_millis(2400);
    let silent: Vec<_> = (0..40).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let all = endpoint(silent.iter().map(|listener| listener.local_addr().unwrap())).timeout(TIME);
    let client = Strongroom::connect(&all).unwrap();
    let begin = Instant::now();
    assert!(matches!(client.store_reader("id", &*vec![7; 1_000_000]), Err(Error::Storage(_))));
    // An attempt at each of them takes 13 times as long.
    assert!(begin.elapsed() < 8 * TIME, "{:?}", begin.elapsed());
}

/// After a lost answer, only a call that may be repeated goes to another service.
#[test]
fn a_call_that_may_be_done_goes_nowhere_else() {
    let cluster = Cluster::start(2, |path| encryption_over(database(path), &config()));
    let proxies: Vec<_> = cluster.services.iter().map(|service| Proxy::new(service.address)).collect();
    let urls: Vec<_> = proxies.iter().map(Proxy::url).collect();
    let direct = Strongroom::builder().path(&cluster.path).index_key(index_key()).open().unwrap();
    for n in 0..10 {
        let id = format!("{n}");
        let key = direct.store(&id, b"data").unwrap();
        proxies.iter().for_each(|proxy| proxy.plan(Plan::next([])));
        let client = Strongroom::connect(&Endpoint::new(&urls.join(",")).unwrap().timeout(DEADLINE)).unwrap();
        // The client has asked both services for their store before.
        let mut questions = 2;
        wait_for(|| {
            assert!(client.contains(&id).unwrap());
            questions += 1;
            proxies.iter().all(|proxy| proxy.passed().len() > 1).then_some(())
        });
        let plan = || proxies.iter().for_each(|proxy| proxy.plan(Plan::next([]).always(Fault::CutAnswer(0))));
        let requests = || proxies.iter().map(|proxy| proxy.passed().len()).sum::<usize>();
        wait_for(|| (requests() == questions).then_some(()));
        plan();
        assert!(matches!(client.erase(&id), Err(Error::Indeterminate(_))));
        assert_eq!(requests(), 1);
        assert!(matches!(direct.retrieve(&id, &key), Err(Error::NotFound)), "it was done");

        // Whichever it tries first, a store whose answer is lost is repeated at the other one.
        proxies.iter().for_each(|proxy| proxy.plan(Plan::from_write([Fault::CutAnswer(0)], Fault::None)));
        let client = Strongroom::connect(&Endpoint::new(&urls.join(",")).unwrap().timeout(DEADLINE)).unwrap();
        let key = client.store(&id, b"new").unwrap();
        assert_eq!(direct.retrieve(&id, &key).unwrap(), b"new");
        assert!(proxies.iter().all(|proxy| !proxy.passed().is_empty()), "both had a part");
    }
}

/// The answers of a service that is busy or about to stop, and of one that does not reach its storage.
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nstrongroom-code: 12\r\ncontent-length: 0\r\n\r\n";
const FAILING: &str = "HTTP/1.1 503 Service Unavailable\r\nstrongroom-code: 14\r\ncontent-length: 0\r\n\r\n";

/// A service that is not ready gets no body: each upload goes to the other one.
#[test]
fn an_upload_goes_to_a_service_that_is_ready() {
    let long = vec![7; 3_000_000];
    let check = |service: &Running, way: (&str, &str), answer, open: fn(&Endpoint) -> Strongroom| {
        let unready = Proxy::new(service.address);
        unready.plan(Plan::next([]).always(Fault::Answer(answer)));
        let text = format!("{}{},http://{}{}", way.0, unready.url(), service.address, way.1);
        let client = open(&Endpoint::new(&text).unwrap().timeout(DEADLINE));
        // This one keeps a request in flight at the other service, so that each call tries the unready one first.
        let mut open = client.create_record("open").unwrap();
        open.write_all(&long).unwrap();
        service.wait_for_metric("strongroom_requests_in_flight", |requests| requests > 1); // that of the metrics, too
        for n in 0..4 {
            let before = unready.passed().len();
            let key = client.store_reader(format!("{n}"), &*long).unwrap();
            assert!(answer != BUSY || unready.passed().len() > before, "it is not tried");
            client.delete(format!("{n}"), &key).unwrap();
        }
        client.delete("open", &open.finish().unwrap()).unwrap();
    };
    let (server, storage) = (encryption(&config()), storage_with(Arc::new(MemoryStorage::new()), &config()));
    for way in [("", ""), ("cluster:", "?names=127.0.0.1")] {
        for answer in [BUSY, FAILING] {
            check(&server, way, answer, |endpoint| Strongroom::connect(endpoint).unwrap());
            check(&storage, way, answer, |endpoint| {
                Strongroom::builder().endpoint(endpoint.clone()).index_key(index_key()).open().unwrap()
            });
        }
    }
}

/// A service restarts at the beginning of calls. It is the only one, or the others are of no use: they are down, or
/// another program uses the address. The calls wait.
#[test]
fn calls_wait_for_a_service_that_restarts() {
    let cluster = Cluster::start(1, |path| encryption_over(database(path), &config()));
    let mail = Proxy::new(cluster.services[0].address);
    mail.plan(Plan::next([]).always(Fault::Answer("220 mail.example ESMTP\r\n")));
    let (address, long) = (dead(), vec![7; 1_000_000]);
    let urls = [String::new(), format!(",http://{}", dead()), format!(",{}", mail.url())];
    let client = |others: &String| {
        let all = Endpoint::new(&format!("http://{address}{others}")).unwrap();
        Strongroom::connect(&all.timeout(DEADLINE)).unwrap()
    };
    // Each client tries one of its services first, at random.
    let clients: Vec<_> = urls.iter().flat_map(|others| [(); 8].map(|()| client(others))).collect();
    let _later = thread::scope(|scope| {
        let (long, clients) = (&long, &clients);
        let calls = clients.iter().enumerate().map(move |(n, client)| {
            scope.spawn(move || match n % 2 {
                0 => drop(client.store(format!("{n}"), b"data").unwrap()),
                _ => drop(client.store_reader(format!("{n}"), &**long).unwrap()),
            })
        });
        let calls: Vec<_> = calls.collect();
        thread::sleep(Duration::from_millis(100)); // usually after the first attempts
        let mut config = config();
        config.listen = vec![format!("{address}").parse().unwrap()];
        let service = encryption_over(database(&cluster.path), &config);
        calls.into_iter().for_each(|call| call.join_within(DEADLINE));
        service
    });
}

/// A service that is too busy did nothing: another one is asked at once.
#[test]
fn a_busy_service_sends_its_calls_elsewhere() {
    let cluster = Cluster::start(2, |path| encryption_over(database(path), &config()));
    let busy = Proxy::new(cluster.services[0].address);
    busy.plan(Plan::next([]).always(Fault::Answer(BUSY)));
    let urls = format!("{},http://{}", busy.url(), cluster.services[1].address);
    let client = Strongroom::connect(&Endpoint::new(&urls).unwrap().timeout(DEADLINE)).unwrap();
    let mut calls = 0;
    wait_for(|| {
        let _ = client.store("id", b"data").unwrap();
        assert!(client.erase("id").unwrap());
        calls += 2;
        (calls >= 100 && !busy.passed().is_empty()).then_some(())
    });
    let refused = busy.passed().len();
    assert!(refused <= calls, "{refused} refusals of {calls} calls");
}

/// For example a service that has not yet read the new tokens. Any other service may accept the client.
#[test]
fn a_service_that_rejects_its_clients_is_avoided() {
    for rejection in [
        "HTTP/1.1 401 -\r\nstrongroom-code: 21\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 421 -\r\nstrongroom-code: 19\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 429 -\r\nstrongroom-code: 12\r\ncontent-length: 0\r\n\r\n",
        WITHOUT_STORAGE,
    ] {
        let cluster = Cluster::start(2, |path| encryption_over(database(path), &config()));
        let rejecting = Proxy::new(cluster.services[0].address);
        rejecting.plan(Plan::next([]).always(Fault::Answer(rejection)));
        let urls = format!("{},http://{}", rejecting.url(), cluster.services[1].address);
        let client = Strongroom::connect(&Endpoint::new(&urls).unwrap().timeout(DEADLINE)).unwrap();
        wait_for(|| {
            let _ = client.store("id", b"data").unwrap();
            assert!(client.erase("id").unwrap());
            (!rejecting.passed().is_empty()).then_some(())
        });
        // It gets probes, and at most one call after each.
        let (start, before) = (Instant::now(), rejecting.passed().len());
        (0..200).for_each(|_| assert!(!client.contains("id").unwrap()));
        let most = 2 * (1 + start.elapsed().as_millis() / 250) as usize;
        assert!(rejecting.passed().len() - before <= most, "{rejection}");
        // Without another one, the rejection is the outcome of the call.
        rejecting.plan(Plan::next([]).always(Fault::Answer(rejection)));
        let alone = Strongroom::connect(&Endpoint::new(&rejecting.url()).unwrap().timeout(Duration::from_secs(3)));
        let outcome = alone.unwrap().contains("id");
        assert!(matches!(outcome, Err(Error::AccessDenied(_) | Error::Storage(_))), "{outcome:?}");
    }
}

/// One service executes a write, and its answer is lost. The other one refuses the repetition, which tells nothing of the
/// first attempt.
#[test]
fn a_refusal_by_another_service_leaves_a_lost_write_indeterminate() {
    for refusal in ["421 -\r\nstrongroom-code: 19", "413 -\r\nstrongroom-code: 8", "422 -\r\nstrongroom-code: 7"] {
        let refusal = format!("HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n");
        let cluster = Cluster::start(2, |path| encryption_over(database(path), &config()));
        let [losing, refusing] = [0, 1].map(|n| Proxy::new(cluster.services[n].address));
        losing.plan(Plan::from_write([], Fault::CutAnswer(0)));
        refusing.plan(Plan::from_write([], Fault::Answer(refusal.leak())));
        let urls = format!("{},{}", losing.url(), refusing.url());
        let direct = Strongroom::connect(&cluster.endpoint()).unwrap();
        let mut lost = 0;
        for n in 0..20 {
            let id = format!("id {n}");
            let client = Strongroom::connect(&Endpoint::new(&urls).unwrap().timeout(Duration::from_secs(6))).unwrap();
            let outcome = client.store(&id, b"data");
            if direct.contains(&id).unwrap() {
                lost += 1;
                assert!(matches!(outcome, Err(Error::Indeterminate(_))), "{outcome:?}");
            }
        }
        assert!(lost > 0);
    }
}

/// The answer of a service that does not reach its storage.
const WITHOUT_STORAGE: &str = "HTTP/1.1 503 -\r\nstrongroom-code: 14\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";
