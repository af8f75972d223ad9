//! Services that find each other by gossip, and what clients see of it.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use strongroom::storage::{MemoryStorage, SqliteStorage, Storage};
use strongroom::{Durability, Endpoint, IndexKey, Strongroom};
use strongroom_server::{Config, Scope, Service, StartError};

use crate::support::wait::{DEADLINE, Join, StopOnDrop, wait_for};
use crate::support::{Running, config, start, storage_with, token};

/// UDP addresses that are free.
fn free<const N: usize>() -> [SocketAddr; N] {
    let sockets = [(); N].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.each_ref().map(|socket| socket.local_addr().unwrap())
}

/// The configuration of a service at this address, which joins the others.
fn in_cluster(own: SocketAddr, others: &[SocketAddr]) -> Config {
    let mut config = config();
    config.cluster.listen = Some(own);
    config.cluster.join = others.iter().map(SocketAddr::to_string).collect();
    config
}

/// An encryption server of the storage services that it finds.
fn encryption(config: &Config) -> Running {
    let open = |services| {
        let endpoint = Endpoint::services(&services).names(["127.0.0.1"]).timeout(DEADLINE / 2);
        Strongroom::builder().endpoint(endpoint).index_key(IndexKey::from_bytes(&[7; 32]).unwrap()).open()
    };
    start(Service::encryption_in_cluster(open, config).unwrap(), config)
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(MemoryStorage::new())
}

fn database(path: &Path) -> Arc<dyn Storage> {
    Arc::new(SqliteStorage::open(path, Durability::Relaxed).unwrap())
}

fn is_ready(service: &Running) -> bool {
    service.send("GET /readyz", &[], b"").status == 200
}

fn wait_until_ready(service: &Running) {
    wait_for(|| {
        thread::sleep(Duration::from_millis(20));
        is_ready(service).then_some(())
    });
}

fn nodes(service: &Running) -> Value {
    let answer = service.send("GET /v1/nodes", &[], b"");
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("private, max-age=10")));
    answer.json()
}

/// Waits until the list of nodes has what `look` finds.
fn wait_for_nodes<T>(service: &Running, mut look: impl FnMut(&[Value], &[Value]) -> Option<T>) -> T {
    wait_for(|| {
        thread::sleep(Duration::from_millis(20));
        let nodes = nodes(service);
        look(nodes["nodes"].as_array().unwrap(), nodes["problems"].as_array().unwrap())
    })
}

fn wait_for_problem(service: &Running, kind: &str) {
    wait_for_nodes(service, |_, problems| problems.iter().any(|problem| problem["kind"] == kind).then_some(()));
}

fn client(service: &Running) -> Strongroom {
    Strongroom::connect(&Endpoint::new(&format!("http://{}", service.address)).unwrap().timeout(DEADLINE)).unwrap()
}

#[test]
fn an_encryption_server_waits_for_its_storage_service() {
    let [one, other] = free();
    let server = encryption(&in_cluster(one, &[one, other]));
    assert!(!is_ready(&server));
    let body = serde_json::json!({"id": "a"});
    server.json("/v1/contains", &body).is_problem(503, 14, "Storage");
    wait_for_problem(&server, "no_storage");
    let _storage = storage_with(memory(), &in_cluster(other, &[one]));
    wait_until_ready(&server);
    let key = client(&server).store("id", b"data").unwrap();
    assert_eq!(client(&server).retrieve("id", &key).unwrap(), b"data");
    wait_for_nodes(&server, |nodes, problems| {
        let of = |role: &str| nodes.iter().find(|node| node["role"] == role);
        let (server, storage) = (of("encryption")?, of("storage")?);
        let are_ready = server["state"] == "ready" && storage["state"] == "ready" && problems.is_empty();
        (are_ready && server["store"].is_string() && server["store"] == storage["store"]).then_some(())
    });
    let own = nodes(&server)["nodes"].as_array().unwrap().iter().filter(|node| node["is_this_node"] == true).count();
    assert_eq!(own, 1);
    let metrics = String::from_utf8(server.send("GET /metrics", &[], b"").body).unwrap();
    assert!(metrics.contains("strongroom_cluster_members{role=\"storage\",state=\"ready\"} 1\n"), "{metrics}");
}

/// Nobody knows which one is meant until one of them is gone, or the configuration says it.
#[test]
fn two_stores_are_not_mixed() {
    let [one, other, third, fourth] = free();
    let storage = storage_with(memory(), &in_cluster(one, &[one, other]));
    let second = storage_with(memory(), &in_cluster(other, &[one]));
    let store = wait_for_nodes(&storage, |nodes, _| {
        let is_second = |node: &&Value| node["name"] == other.to_string();
        nodes.iter().find(is_second)?["store"].as_str().map(str::to_owned)
    });
    let undecided = encryption(&in_cluster(third, &[one]));
    let mut choosing = in_cluster(fourth, &[one]);
    choosing.cluster.store_id = Some(store.clone());
    let choosing = encryption(&choosing);
    wait_until_ready(&choosing);
    wait_for_nodes(&choosing, |nodes, _| {
        let own = nodes.iter().find(|node| node["is_this_node"] == true)?;
        (own["store"] == *store).then_some(())
    });
    wait_for_problem(&undecided, "two_stores");
    assert!(!is_ready(&undecided));
    drop(second);
    wait_until_ready(&undecided);
    drop(storage);
}

/// One of two storage services stops, and is started again, while clients work: no call fails.
#[test]
fn a_rolling_restart_fails_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let [one, other, third] = free();
    let start_storage = |own| storage_with(database(&path), &in_cluster(own, &[one, other, third]));
    let mut storages = [one, other].map(|own| (own, Some(start_storage(own))));
    let server = encryption(&in_cluster(third, &[one, other]));
    wait_until_ready(&server);
    let ready = |count: usize| {
        wait_for_nodes(&server, |nodes, _| {
            let ready = nodes.iter().filter(|node| node["role"] == "storage" && node["state"] == "ready");
            (ready.count() == count).then_some(())
        });
    };
    ready(2);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let worker = |worker: u64| {
            let client = client(&server);
            for n in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                let id = format!("{worker}-{n}");
                let key = client.store(&id, &id).unwrap();
                assert_eq!(client.retrieve(&id, &key).unwrap(), id.as_bytes());
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let workers: Vec<_> = (0..4).map(|number| scope.spawn(move || worker(number))).collect();
        for (own, storage) in &mut storages {
            let before = done.load(Ordering::Relaxed);
            *storage = None;
            *storage = Some(start_storage(*own));
            ready(2);
            wait_for(|| (done.load(Ordering::Relaxed) > before + 20).then_some(()));
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join_within(DEADLINE));
    });
    assert!(done.load(Ordering::Relaxed) > 40);
}

#[test]
fn any_token_shows_the_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let [own] = free();
    let mut config = in_cluster(own, &[own]);
    let tokens = folder.path().join("tokens");
    let token = format!("Bearer {}", token(&tokens, &[Scope::Take]));
    config.tokens = Some(tokens);
    let service = storage_with(memory(), &config);
    service.send("GET /v1/nodes", &[], b"").is_problem(401, 21, "AccessDenied");
    let answer = service.send("GET /v1/nodes", &[("authorization", &token)], b"");
    assert_eq!((answer.status, answer.json()["nodes"].as_array().unwrap().len()), (200, 1));
    service.send("GET /v1/settings", &[("authorization", &token)], b"").is_problem(403, 21, "AccessDenied");
}

#[test]
fn without_a_cluster_there_is_no_such_path() {
    let service = storage_with(memory(), &config());
    service.send("GET /v1/nodes", &[], b"").is_problem(404, 19, "InvalidArgument");
    assert!(!String::from_utf8(service.send("GET /metrics", &[], b"").body).unwrap().contains("gossip"));
}

/// A service that drains is not ready, but serves; so its clients and load balancers go elsewhere in time.
#[test]
fn a_service_drains_before_it_stops() {
    let draining = |seconds| {
        let mut config = config();
        config.limits.drain_seconds = Some(seconds);
        let mut service = storage_with(memory(), &config);
        assert!(is_ready(&service));
        let connection = service.connect();
        service.begin_to_stop();
        (service, connection)
    };
    let (service, mut connection) = draining(3600); // longer than the requests take on any machine
    wait_for(|| (!is_ready(&service)).then_some(()));
    connection.send("GET /v1/records?limit=1", &[], b"").is(200);
    service.send("GET /v1/records?limit=1", &[], b"").is(200);
    let _service = std::mem::ManuallyDrop::new(service); // it ends with the tests
    let (mut service, connection) = draining(1);
    drop(connection);
    service.wait();
}

#[test]
fn a_token_is_for_trusted_hosts() {
    let open = |_| panic!("nothing is opened");
    let start = |change: &dyn Fn(&mut Config)| {
        let [own] = free();
        let mut config = in_cluster(own, &[own]);
        change(&mut config);
        Service::encryption_in_cluster(open, &config).err()
    };
    assert!(start(&|_| {}).is_none());
    assert!(matches!(start(&|config| config.cluster.join.clear()), Some(StartError::NeedsJoin)));
    let public_token = start(&|config| config.remote.token_file = Some("token".into()));
    assert!(matches!(public_token, Some(StartError::TokenNeedsClusterKey)));
    let any_host = start(&|config| config.cluster.key_files = vec!["key".into()]);
    assert!(matches!(any_host, Some(StartError::NeedsTrustedNames)));
    let wrong = start(&|config| config.cluster.names = vec!["https://a.example".into()]);
    assert!(matches!(wrong, Some(StartError::TrustedNames)));
    assert!(
        start(&|config| {
            config.cluster.key_files = vec!["key".into()];
            config.cluster.names = vec!["*.storage.example".into()];
        })
        .is_none()
    );
}
