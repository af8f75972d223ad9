//! Services of a cluster that stop for a while, and that get a new cluster key while clients work.

#![cfg(all(unix, feature = "server"))]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use strongroom::{Endpoint, Strongroom};

use crate::cluster::{free, free_tcp, start};
use crate::rounds::rounds;
use crate::support::World;
use crate::support::service::Service;
use crate::support::wait::{DEADLINE, Join, StopOnDrop, wait_for};

/// The number of services in a state, as this one sees them.
fn count(service: &Service, state: &str) -> usize {
    let answer = service.send("GET /v1/nodes", &[], "");
    let nodes: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    nodes["nodes"].as_array().unwrap().iter().filter(|node| node["state"] == state).count()
}

fn wait_for_count<'s>(
    services: impl IntoIterator<Item = &'s Service> + Clone,
    state: &str,
    expected: usize,
) -> Duration {
    let start = Instant::now();
    wait_for(|| {
        thread::sleep(Duration::from_millis(20));
        services.clone().into_iter().all(|service| count(service, state) == expected).then_some(())
    });
    start.elapsed()
}

/// The lines of the log since `seen`, which say that a service is silent.
fn silences(service: &mut Service, seen: &mut usize) -> usize {
    let log = service.log();
    let new = log[*seen..].matches("a service of the cluster is silent").count();
    *seen = log.len();
    new
}

/// A process that stops for a second is hardly ever taken for dead: how often depends on the machine, and is printed.
/// One that stops for longer is, until it continues.
#[test]
fn a_process_that_stops_is_dead_until_it_continues() {
    let world = World::new();
    let addresses = free::<5>();
    let storage = |own: &SocketAddr| start(&world, &["serve-storage", "--store", ":memory:"], *own, addresses[0]);
    let mut services: Vec<_> = addresses.iter().map(storage).collect();
    wait_for_count(&services, "ready", 5);
    let stopped = services.pop().unwrap();
    let mut seen = [0; 4];
    for (service, seen) in services.iter_mut().zip(&mut seen) {
        silences(service, seen);
    }
    let mut short_stop = || {
        stopped.signal(Signal::STOP);
        thread::sleep(Duration::from_secs(1));
        stopped.signal(Signal::CONT);
        thread::sleep(Duration::from_millis(1_500)); // longer than a service looks at the others
        services.iter_mut().zip(&mut seen).map(|(service, seen)| silences(service, seen)).sum::<usize>()
    };
    let attempts: Vec<_> = (0..rounds(0, 20)).map(|_| short_stop()).collect();
    eprintln!("four peers after each stop of 1 s: {attempts:?} took it for dead");

    stopped.signal(Signal::STOP);
    let noticed = wait_for_count(&services, "dead", 1);
    stopped.signal(Signal::CONT);
    let forgiven = wait_for_count(&services, "ready", 5);
    assert!(services.iter_mut().zip(&mut seen).all(|(service, seen)| silences(service, seen) > 0));
    eprintln!("a stop was noticed after {noticed:?}, and forgiven {forgiven:?} after its end");
}

/// All services get a new cluster key, one half of them at a time, and no request fails.
#[test]
fn a_new_cluster_key_fails_no_request() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index.key"], "");
    for name in ["old", "new"] {
        world.ok(&["key", "new", "--cluster", "--key-out", name], "");
    }
    world.write("config.toml", "[limits]\ndrain_seconds = 0\n[cluster]\nnames = [\"127.0.0.1\"]\n");
    let gossip = free::<4>();
    let http = free_tcp::<4>();
    let start_one = |number: usize, keys: &str| {
        let listen = http[number].to_string();
        let role: &[&str] = match number % 2 {
            0 => &["serve-storage", "--store", "records.db"],
            _ => &["serve", "--store", "cluster", "--index-key-file", "index.key"],
        };
        let own = gossip[number].to_string();
        let join = gossip[(number + 1) % 4].to_string();
        let more = ["--config", "config.toml", "--cluster-key-file", keys, "--insecure-loopback", "--listen", &listen];
        let cluster = ["--gossip-listen", &own, "--join", &join];
        Service::start_on(&world, &[role, &more, &cluster].concat())
    };
    let mut services: Vec<_> = (0..4).map(|number| Some(start_one(number, "old"))).collect();
    wait_for_count(services.iter().flatten(), "ready", 4);
    let urls = format!("http://{},http://{}", http[1], http[3]);
    let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let (stop, done, urls) = (&stop, &done, &urls);
        let _stop = StopOnDrop(stop);
        let worker = move |worker: usize| {
            let client = Strongroom::connect(&Endpoint::new(urls).unwrap().timeout(DEADLINE / 2)).unwrap();
            for n in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                let id = format!("{worker}-{n}");
                let key = client.store(&id, &id).unwrap();
                assert_eq!(client.retrieve(&id, &key).unwrap(), id.as_bytes());
                done.fetch_add(2, Ordering::Relaxed);
            }
        };
        let workers: Vec<_> = (0..4).map(|number| scope.spawn(move || worker(number))).collect();
        let all = ["old,new", "new,old", "new"].into_iter().flat_map(|keys| [[0, 1], [2, 3]].map(|half| (half, keys)));
        // The short form has each list of keys, and each pair of lists that meet: a half stops before it starts again,
        // because "old" never meets "new,old".
        let short = vec![([0, 1], "old,new"), ([2, 3], "new,old"), ([0, 1], "new")];
        for (half, keys) in rounds(short, all.collect()) {
            for number in half {
                let (status, log) = services[number].take().unwrap().stop(Signal::TERM);
                assert!(status == Some(0) && !log.contains("other_key"), "{log}");
            }
            for number in half {
                services[number] = Some(start_one(number, keys));
            }
            wait_for_count(services.iter().flatten(), "ready", 4);
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join_within(DEADLINE));
    });
    eprintln!("{} requests while the cluster key changed", done.load(Ordering::Relaxed));
}
