//! Services on hosts of their own, for which network namespaces stand: they find each other in any order, and again after a
//! cable was pulled.

#![cfg(all(target_os = "linux", feature = "server"))]

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::rounds::rounds;
use crate::support::World;
use crate::support::network::Network;
use crate::support::service::Service;
use crate::support::wait::{output, wait_for};

const HOSTS: usize = 5;

fn start(network: &Network, world: &World, number: usize, seed: usize) -> Service {
    let (own, seed) = (format!("10.99.0.{number}:8422"), format!("10.99.0.{seed}:8422"));
    let host = network.host(number);
    let args = ["serve-storage", "--store", ":memory:", "--listen", "127.0.0.1:8421", "--insecure-loopback"];
    let cluster = ["--cluster-key-file", "cluster.key", "--gossip-listen", &own, "--join", &seed];
    Service::spawn(world.through(&["ip", "netns", "exec", &host], &[&args[..], &cluster].concat()))
}

/// The names of the services that this host has for ready.
fn ready(network: &Network, world: &World, number: usize) -> Vec<String> {
    let host = network.host(number);
    let args = ["nodes", "--json", "--store", "http://127.0.0.1:8421"];
    let shown = output(&mut world.through(&["ip", "netns", "exec", &host], &args));
    let nodes: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let ready = nodes["nodes"].as_array().unwrap().iter().filter(|node| node["state"] == "ready");
    ready.map(|node| node["name"].as_str().unwrap().to_owned()).collect()
}

/// Waits until each of these hosts has so many ready services.
fn wait_until_ready(network: &Network, world: &World, hosts: &[usize], count: usize) -> Duration {
    let start = Instant::now();
    wait_for(|| hosts.iter().all(|host| ready(network, world, *host).len() == count).then_some(()));
    start.elapsed()
}

#[test]
fn services_on_five_hosts_find_each_other() {
    let Some(network) = Network::new("five", HOSTS) else { return };
    let world = World::new();
    world.ok(&["key", "new", "--cluster", "--key-out", "cluster.key"], "");
    let mut slowest = Duration::ZERO;
    for round in 0..rounds(2, 20) {
        // Another host is the one to join, and another one starts first, in each round.
        let order = (0..HOSTS).map(|n| (n * 2 + round) % HOSTS + 1);
        let mut services: Vec<_> =
            order.map(|number| (number, start(&network, &world, number, round % HOSTS + 1))).collect();
        slowest = slowest.max(wait_until_ready(&network, &world, &[1, 2, 3, 4, 5], HOSTS));
        if round > 0 {
            continue;
        }
        network.cable(3, "down");
        let apart = wait_until_ready(&network, &world, &[1, 2, 4, 5], HOSTS - 1);
        wait_until_ready(&network, &world, &[3], 1);
        network.cable(3, "up");
        let healed = wait_until_ready(&network, &world, &[1, 2, 3, 4, 5], HOSTS);
        let (number, killed) = services.remove(0);
        killed.stop(Signal::KILL);
        let left: Vec<_> = (1..=HOSTS).filter(|other| *other != number).collect();
        let dead = wait_until_ready(&network, &world, &left, HOSTS - 1);
        eprintln!("a pulled cable is noticed after {apart:?}, its return after {healed:?}, a kill after {dead:?}");
        drop(services);
        thread::sleep(Duration::from_millis(100));
    }
    eprintln!("{HOSTS} hosts, the slowest after the last start: {slowest:?}");
}
