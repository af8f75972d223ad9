//! The services of the program find each other: in any order, with a key, after a kill, during rolling restarts.

#![cfg(all(unix, feature = "server"))]

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
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
use crate::support::wait::{self, DEADLINE, Join, StopOnDrop, wait_for};

/// TCP addresses that are free.
pub(crate) fn free_tcp<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.each_ref().map(|listener| listener.local_addr().unwrap())
}

/// UDP addresses that are free.
pub(crate) fn free<const N: usize>() -> [SocketAddr; N] {
    let sockets = [(); N].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    sockets.each_ref().map(|socket| socket.local_addr().unwrap())
}

/// Starts a service with this address for gossip, which joins another one.
pub(crate) fn start(world: &World, args: &[&str], own: SocketAddr, other: SocketAddr) -> Service {
    let (own, other) = (own.to_string(), other.to_string());
    Service::start(world, &[args, &["--gossip-listen", &own, "--bootstrap-nodes", &other]].concat())
}

fn start_storage(world: &World, store: &str, own: SocketAddr, other: SocketAddr) -> Service {
    start(world, &["serve-storage", "--store", store], own, other)
}

pub(crate) fn start_server(world: &World, own: SocketAddr, other: SocketAddr) -> Service {
    start(world, &["serve", "--store", "cluster", "--index-key-file", "index.key"], own, other)
}

pub(crate) fn world() -> World {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index.key"], "");
    world
}

pub(crate) fn url(service: &Service) -> String {
    format!("http://{}", service.address)
}

pub(crate) fn wait_until_ready(service: &Service) {
    wait_for(|| {
        thread::sleep(Duration::from_millis(20));
        service.send("GET /readyz", &[], "").starts_with("HTTP/1.1 200").then_some(())
    });
}

fn nodes(world: &World, service: &Service) -> Value {
    serde_json::from_str(&world.ok(&["nodes", "--json", "--server", &url(service)], "")).unwrap()
}

/// Waits until so many storage services have this state.
pub(crate) fn wait_for_storages(world: &World, server: &Service, state: &str, count: usize) {
    wait_for(|| {
        let nodes = nodes(world, server);
        let storages = nodes["nodes"].as_array().unwrap().iter().filter(|node| node["role"] == "storage");
        (storages.filter(|node| node["state"] == state).count() == count).then_some(())
    });
}

/// The README's commands of a cluster, with free ports in place of its own.
fn commands_of_the_readme() -> ([String; 4], [String; 4]) {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let mut blocks = readme.split("```console\n").skip(1).map(|block| block.split("```").next().unwrap());
    let block = blocks.find(|block| block.contains("--bootstrap-nodes")).unwrap().replace("\\\n", " ");
    let commands: Vec<_> = block.lines().filter_map(|line| line.strip_prefix("$ strongroom ")).collect();
    let [gossip_storage, gossip_server] = free().map(|address| address.to_string());
    let [server, storage] = free_tcp().map(|address| address.to_string());
    let ports = ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:8420", "127.0.0.1:8421"];
    let free = [gossip_storage, gossip_server, server, storage];
    let with_free =
        |command: &str| ports.iter().zip(&free).fold(command.to_owned(), |text, (port, free)| text.replace(port, free));
    let commands: [&str; 4] = commands.try_into().unwrap();
    (commands.map(with_free), free)
}

/// The client is the third command: it waits for the services. In every second order, it asks the storage service.
#[test]
fn the_commands_of_the_readme_work_in_any_order() {
    let run = |order: [usize; 3], asks_storage: bool| {
        let world = world();
        world.write("speech.txt", "four score");
        let ([storage, server, client, nodes], [.., server_address, storage_address]) = commands_of_the_readme();
        let at = |address: &str| {
            if asks_storage { address.replace(&server_address, &storage_address) } else { address.to_owned() }
        };
        let (client, nodes) = (at(&client), at(&nodes));
        assert!([&storage, &server, &client, &nodes].iter().all(|command| command.contains(" --bootstrap-nodes ")));
        let words = |command: &str| command.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let start = |command: &str, address: &str| {
            let command = words(&format!("{command} --listen {address}"));
            Service::start_on(&world, &command.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let run = |command: &str| {
            let command = words(&format!("{command} --timeout 180"));
            let mut command = world.command(&command.iter().map(String::as_str).collect::<Vec<_>>());
            let output = wait::output(command.env_remove("STRONGROOM_STORE"));
            assert!(output.status.success(), "{order:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let services = thread::scope(|scope| {
            let mut services = Vec::new();
            let mut stored = None;
            for command in order {
                match command {
                    0 => services.push(start(&storage, &storage_address)),
                    1 => services.push(start(&server, &server_address)),
                    _ => stored = Some(scope.spawn(|| run(&client))),
                }
            }
            stored.unwrap().join_within(DEADLINE);
            services
        });
        let at = format!("--bootstrap-nodes {server_address}");
        assert_eq!(run(&format!("retrieve {at} --id speech --key-file found.key")), "four score");
        let table = run(&nodes);
        let lines: Vec<_> = table.lines().collect();
        assert!(lines.len() == 3 && lines[0].starts_with("ROLE"), "{table}");
        assert!(
            lines[1].starts_with("encryption") && lines[1].contains(&format!("http://{server_address} ")),
            "{table}"
        );
        assert!(lines[2].starts_with("storage") && lines[2].contains(&format!("http://{storage_address} ")), "{table}");
        assert!(lines[if asks_storage { 2 } else { 1 }].ends_with("this one"), "{table}");
        drop(services);
    };
    let orders = [[0, 1, 2], [1, 0, 2], [2, 0, 1], [2, 1, 0], [0, 2, 1], [1, 2, 0]];
    thread::scope(|scope| {
        let runs: Vec<_> = orders
            .into_iter()
            .zip([false, true].into_iter().cycle())
            .map(|(order, storage)| scope.spawn(move || run(order, storage)))
            .collect();
        runs.into_iter().for_each(|run| run.join_within(DEADLINE));
    });
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
    for (file, expected) in [("index.key", "an index key"), ("key", "cannot open")] {
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
        let _stop = StopOnDrop(stop);
        let worker = move |worker: usize| {
            let endpoint = Endpoint::new(server_url).unwrap().timeout(DEADLINE / 2);
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
