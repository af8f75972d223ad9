//! Services on hosts of their own, for which network namespaces stand: they find each other in any order, and again
//! after a cable was pulled.

#![cfg(all(target_os = "linux", feature = "server"))]

use std::process::Command;
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
    Service::spawn(command(network, world, number, seed))
}

fn command(network: &Network, world: &World, number: usize, seed: usize) -> Command {
    let (own, seed) = (format!("10.99.0.{number}:8422"), format!("10.99.0.{seed}:8422"));
    let host = network.host(number);
    let args = ["serve-storage", "--store", ":memory:", "--listen", "127.0.0.1:8421", "--insecure-loopback"];
    let cluster = ["--cluster-key-file", "cluster.key", "--gossip-listen", &own, "--join", &seed];
    world.through(&["ip", "netns", "exec", &host], &[&args[..], &cluster].concat())
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

/// The smallest packets of IPv4 have 576 bytes, of IPv6 1,280: longer datagrams arrive in fragments.
#[test]
fn a_small_mtu_splits_no_cluster() {
    let Some(network) = Network::new("mtu", 3) else { return };
    let world = World::new();
    world.ok(&["key", "new", "--cluster", "--key-out", "cluster.key"], "");
    let services: Vec<_> = (1..=3)
        .map(|number| {
            network.run(number, "ip link set eth0 mtu 576");
            let mut command = command(&network, &world, number, 1);
            // Texts that cannot be compressed make the messages long.
            let zone: String =
                (0..128).map(|_| world.ok(&["key", "new", "--key-out", "-"], "")[40..44].to_owned()).collect();
            command.args(["--zone", &zone[..64]]);
            let labels: Vec<_> =
                zone.as_bytes().chunks(60).take(4).map(|label| str::from_utf8(label).unwrap()).collect();
            command.args(["--advertise-url", &format!("https://{}:8421", labels.join("."))]);
            Service::spawn(command)
        })
        .collect();
    wait_until_ready(&network, &world, &[1, 2, 3], 3);
    let longest = (1..=3).map(|number| {
        let metrics = network.run(number, "curl --silent http://127.0.0.1:8421/metrics");
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("strongroom_gossip_largest_datagram_bytes{direction=\"received\"} "));
        line.unwrap().parse::<usize>().unwrap()
    });
    let longest = longest.max().unwrap();
    assert!(longest > 576, "{longest}");
    drop(services);
}
