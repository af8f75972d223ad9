//! The services of the program find each other: in any order, with a key, after a kill, during rolling restarts.

#![cfg(all(unix, feature = "server"))]

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use strongroom::{Endpoint, Strongroom};

use crate::rounds::rounds;
use crate::support::World;
use crate::support::postgres::Postgres;
use crate::support::service::Service;
use crate::support::wait::{DEADLINE, Join, wait_for};

/// UDP addresses that are free.
fn free<const N: usize>() -> [SocketAddr; N] {
    let sockets = [(); N].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.each_ref().map(|socket| socket.local_addr().unwrap())
}

/// Starts a service with this address for gossip, which joins another one.
fn start(world: &World, args: &[&str], own: SocketAddr, other: SocketAddr) -> Service {
    let (own, other) = (own.to_string(), other.to_string());
    Service::start(world, &[args, &["--gossip-listen", &own, "--bootstrap-nodes", &other]].concat())
}

fn start_storage(world: &World, store: &str, own: SocketAddr, other: SocketAddr) -> Service {
    start(world, &["serve-storage", "--store", store], own, other)
}

fn start_server(world: &World, own: SocketAddr, other: SocketAddr) -> Service {
    start(world, &["serve", "--store", "cluster", "--index-key-file", "index.key"], own, other)
}

fn world() -> World {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index.key"], "");
    world
}

fn url(service: &Service) -> String {
    format!("http://{}", service.address)
}

fn wait_until_ready(service: &Service) {
    wait_for(|| {
        thread::sleep(Duration::from_millis(20));
        service.send("GET /readyz", &[], "").starts_with("HTTP/1.1 200").then_some(())
    });
}

fn nodes(world: &World, service: &Service) -> Value {
    serde_json::from_str(&world.ok(&["nodes", "--json", "--server", &url(service)], "")).unwrap()
}

/// Waits until so many storage services have this state.
fn wait_for_storages(world: &World, server: &Service, state: &str, count: usize) {
    wait_for(|| {
        let nodes = nodes(world, server);
        let storages = nodes["nodes"].as_array().unwrap().iter().filter(|node| node["role"] == "storage");
        (storages.filter(|node| node["state"] == state).count() == count).then_some(())
    });
}

#[test]
fn the_commands_of_the_readme_work_in_any_order() {
    for server_first in [true, false] {
        let world = world();
        let [one, other] = free();
        let (storage, server) = if server_first {
            let server = start_server(&world, other, one);
            (start_storage(&world, "records.db", one, other), server)
        } else {
            let storage = start_storage(&world, "records.db", one, other);
            (storage, start_server(&world, other, one))
        };
        wait_until_ready(&server);
        world.ok(&["store", "--server", &url(&server), "--id", "speech", "--key-out", "key"], "four score");
        let data = world.ok(&["retrieve", "--server", &url(&server), "--id", "speech", "--key-file", "key"], "");
        assert_eq!(data, "four score");
        wait_for_storages(&world, &server, "ready", 1);
        let table = world.ok(&["nodes", "--server", &url(&server)], "");
        let lines: Vec<_> = table.lines().collect();
        assert!(lines.len() == 3 && lines[0].starts_with("ROLE"), "{table}");
        assert!(lines[1].contains(&url(&server)) && lines[1].ends_with("this one"), "{table}");
        assert!(lines[2].starts_with("storage") && lines[2].contains(&url(&storage)), "{table}");
        assert_eq!(server.stop(Signal::TERM).0, Some(0));
        assert_eq!(storage.stop(Signal::TERM).0, Some(0));
    }
}

/// The services of two machines have a key; one with another key is not heard, and both report it.
#[test]
fn a_key_keeps_others_out() {
    let world = world();
    world.ok(&["key", "new", "--cluster", "--key-out", "cluster.key"], "");
    world.ok(&["key", "new", "--cluster", "--key-out", "other.key"], "");
    assert!(String::from_utf8(world.read("cluster.key")).unwrap().starts_with("src1"));
    let [one, other, third] = free();
    let with_key = |key, own, other| {
        start(&world, &["serve-storage", "--store", ":memory:", "--cluster-key-file", key], own, other)
    };
    let first = with_key("cluster.key", one, other);
    let second = with_key("cluster.key", other, one);
    let outsider = with_key("other.key", third, one);
    let nodes = |service: &Service| -> Value {
        serde_json::from_str(&world.ok(&["nodes", "--json", "--store", &url(service)], "")).unwrap()
    };
    let has = |service: &Service, count: usize, kind: &str| {
        let nodes = nodes(service);
        let problems = nodes["problems"].as_array().unwrap();
        nodes["nodes"].as_array().unwrap().len() == count && problems.iter().any(|problem| problem["kind"] == kind)
    };
    wait_for(|| (has(&first, 2, "other_key") && has(&outsider, 1, "alone")).then_some(()));
    let (_, log) = first.stop(Signal::TERM);
    assert!(log.contains("a message to the cluster is refused") && log.contains("draining"), "{log}");
    drop((second, outsider));
    for (file, expected) in [("index.key", "an index key"), ("key", "cannot read")] {
        let args = ["serve-storage", "--store", ":memory:", "--join", "127.0.0.1:1", "--cluster-key-file", file];
        let error = world.fail(19, &args, "");
        assert!(error.contains("cluster.key_files") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_killed_storage_service_fails_no_request() {
    killed_services_fail_no_request(&world(), "records.db");
}

#[test]
fn a_killed_storage_service_on_postgres_fails_no_request() {
    let world = world();
    killed_services_fail_no_request(&world, &Postgres::shared().url_for(world.folder.path()));
}

/// One of two storage services of a database is killed, and then each is restarted: clients notice nothing.
fn killed_services_fail_no_request(world: &World, store: &str) {
    let [one, other, third] = free();
    let mut storages = [one, other].map(|own| (own, start_storage(world, store, own, third)));
    let server = start_server(world, third, one);
    wait_until_ready(&server);
    wait_for_storages(world, &server, "ready", 2);
    let (stop, done, server_url) = (AtomicBool::new(false), AtomicUsize::new(0), url(&server));
    let slowest = thread::scope(|scope| {
        let (stop, done, server_url) = (&stop, &done, &server_url);
        let worker = move |worker: usize| {
            let endpoint = Endpoint::new(server_url).unwrap().timeout(Duration::from_secs(20));
            let client = Strongroom::connect(&endpoint).unwrap();
            let mut slowest = Duration::ZERO;
            for n in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                let (id, start) = (format!("{worker}-{n}"), Instant::now());
                let key = client.store(&id, &id).unwrap();
                assert_eq!(client.retrieve(&id, &key).unwrap(), id.as_bytes());
                slowest = slowest.max(start.elapsed());
                done.fetch_add(1, Ordering::Relaxed);
            }
            slowest
        };
        let workers: Vec<_> = (0..4).map(|number| scope.spawn(move || worker(number))).collect();
        let wait_for_more = || {
            let before = done.load(Ordering::Relaxed);
            wait_for(|| (done.load(Ordering::Relaxed) > before + rounds(20, 500)).then_some(()));
        };
        wait_for_more();
        for signal in [Signal::KILL, Signal::TERM] {
            for (own, storage) in &mut storages {
                storage.signal(signal);
                wait_for_storages(world, &server, "dead", 1);
                wait_for_more();
                *storage = start_storage(world, store, *own, third);
                wait_for_storages(world, &server, "ready", 2);
            }
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join_within(DEADLINE)).max().unwrap()
    });
    eprintln!("{} calls, the slowest pair of calls took {slowest:?}", done.load(Ordering::Relaxed) * 2);
}
