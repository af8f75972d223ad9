//! Services on hosts of their own, for which network namespaces stand: they find each other in any order, and again after a
//! cable was pulled.

#![cfg(all(target_os = "linux", feature = "server"))]

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::rounds::rounds;
use crate::support::World;
use crate::support::service::Service;
use crate::support::wait::{DEADLINE, WaitWithin, output, wait_for};

const HOSTS: usize = 5;

/// Hosts with the addresses 10.99.0.1 to 10.99.0.5 at one switch, which is a namespace, too.
struct Network {
    prefix: String,
    /// A process that removes the namespaces and their processes when this one ends, however it does.
    cleaner: Child,
}

impl Network {
    /// `None` if the system does not permit namespaces.
    fn new() -> Option<Self> {
        let prefix = format!("strongroom-{}-", std::process::id());
        let names: Vec<_> = (0..=HOSTS).map(|number| format!("{prefix}{number}")).collect();
        let clean = format!(
            "cat; for n in {}; do ip netns pids $n | xargs -r kill -9; ip netns del $n; done 2>/dev/null",
            names.join(" ")
        );
        let mut cleaner = Command::new("sh");
        cleaner.args(["-c", &clean]).stdin(Stdio::piped()).stdout(Stdio::null());
        let network = Self { prefix, cleaner: cleaner.spawn().unwrap() };
        let mut commands = vec![format!("ip netns add {}", network.host(0))];
        commands.push(network.on(0, "ip link add br0 type bridge"));
        commands.push(network.on(0, "ip link set br0 up"));
        for number in 1..=HOSTS {
            commands.push(format!("ip netns add {}", network.host(number)));
            let peer = network.host(number);
            commands.push(network.on(0, &format!("ip link add port{number} type veth peer name eth0 netns {peer}")));
            commands.push(network.on(0, &format!("ip link set port{number} master br0 up")));
            for step in
                ["ip link set lo up", &format!("ip addr add 10.99.0.{number}/24 dev eth0"), "ip link set eth0 up"]
            {
                commands.push(network.on(number, step));
            }
        }
        for command in commands {
            let outcome = output(Command::new("sh").args(["-c", &command]));
            if !outcome.status.success() {
                eprintln!("SKIPPED: `{command}` fails: {}", String::from_utf8_lossy(&outcome.stderr));
                return None;
            }
        }
        Some(network)
    }

    fn host(&self, number: usize) -> String {
        format!("{}{number}", self.prefix)
    }

    fn on(&self, number: usize, command: &str) -> String {
        format!("ip netns exec {} {command}", self.host(number))
    }

    /// Connects a host to the switch, or pulls its cable.
    fn cable(&self, number: usize, state: &str) {
        let command = self.on(0, &format!("ip link set port{number} {state}"));
        assert!(output(Command::new("sh").args(["-c", &command])).status.success());
    }

    fn start(&self, world: &World, number: usize, seed: usize) -> Service {
        let (own, seed) = (format!("10.99.0.{number}:8422"), format!("10.99.0.{seed}:8422"));
        let host = self.host(number);
        let args = ["serve-storage", "--store", ":memory:", "--listen", "127.0.0.1:8421", "--insecure-loopback"];
        let cluster = ["--cluster-key-file", "cluster.key", "--gossip-listen", &own, "--join", &seed];
        Service::spawn(world.through(&["ip", "netns", "exec", &host], &[&args[..], &cluster].concat()))
    }

    /// The names of the services that this host has for ready.
    fn ready(&self, world: &World, number: usize) -> Vec<String> {
        let host = self.host(number);
        let args = ["nodes", "--json", "--store", "http://127.0.0.1:8421"];
        let shown = output(&mut world.through(&["ip", "netns", "exec", &host], &args));
        let nodes: Value = serde_json::from_slice(&shown.stdout).unwrap();
        let ready = nodes["nodes"].as_array().unwrap().iter().filter(|node| node["state"] == "ready");
        ready.map(|node| node["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until each of these hosts has so many ready services.
    fn wait_for(&self, world: &World, hosts: &[usize], count: usize) -> Duration {
        let start = Instant::now();
        wait_for(|| hosts.iter().all(|host| self.ready(world, *host).len() == count).then_some(()));
        start.elapsed()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.cleaner.stdin.take());
        let _ = self.cleaner.wait_within(DEADLINE);
    }
}

#[test]
fn services_on_five_hosts_find_each_other() {
    let Some(network) = Network::new() else { return };
    let world = World::new();
    world.ok(&["key", "new", "--cluster", "--key-out", "cluster.key"], "");
    let mut slowest = Duration::ZERO;
    for round in 0..rounds(2, 20) {
        // Another host is the one to join, and another one starts first, in each round.
        let order = (0..HOSTS).map(|n| (n * 2 + round) % HOSTS + 1);
        let mut services: Vec<_> =
            order.map(|number| (number, network.start(&world, number, round % HOSTS + 1))).collect();
        slowest = slowest.max(network.wait_for(&world, &[1, 2, 3, 4, 5], HOSTS));
        if round > 0 {
            continue;
        }
        network.cable(3, "down");
        let apart = network.wait_for(&world, &[1, 2, 4, 5], HOSTS - 1);
        network.wait_for(&world, &[3], 1);
        network.cable(3, "up");
        let healed = network.wait_for(&world, &[1, 2, 3, 4, 5], HOSTS);
        let (number, killed) = services.remove(0);
        killed.stop(Signal::KILL);
        let left: Vec<_> = (1..=HOSTS).filter(|other| *other != number).collect();
        let dead = network.wait_for(&world, &left, HOSTS - 1);
        eprintln!("a pulled cable is noticed after {apart:?}, its return after {healed:?}, a kill after {dead:?}");
        drop(services);
        thread::sleep(Duration::from_millis(100));
    }
    eprintln!("{HOSTS} hosts, the slowest after the last start: {slowest:?}");
}
