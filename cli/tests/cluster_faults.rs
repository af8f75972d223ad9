//! Clusters with faults of their configurations, clocks, addresses and networks. The log, the metrics, the list of
//! nodes and the page for operators report each of them, and requests continue as far as possible. `docs/TESTING.md`
//! lists them.

#![cfg(all(target_os = "linux", feature = "server"))]

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{free, url, world};
use crate::support::World;
use crate::support::network::Network;
use crate::support::service::Service;
use crate::support::wait::{DEADLINE, output, poll_within, wait_for};

/// A service with a page for operators.
struct Shown {
    service: Service,
    is_storage: bool,
    page: SocketAddr,
}

fn command(world: &World, args: &[&str], own: SocketAddr, join: &str) -> Command {
    let cluster = ["--gossip-listen", &own.to_string(), "--join", join];
    let listen = ["--listen", "127.0.0.1:0", "--insecure-loopback", "--admin", "127.0.0.1:0"];
    world.command(&[args, &cluster, &listen].concat())
}

impl Shown {
    fn start(command: Command) -> Self {
        let is_storage = command.get_args().any(|arg| arg == "serve-storage");
        let mut service = Service::spawn(command);
        let page = service.next_address();
        Self { service, is_storage, page }
    }

    /// The list of nodes, as `strongroom nodes` gives it.
    fn nodes(&self, world: &World) -> Value {
        serde_json::from_str(&self.ask(world, &["nodes", "--json"])).unwrap()
    }

    /// The arguments of commands that ask it.
    fn place(&self) -> [String; 2] {
        [if self.is_storage { "--store" } else { "--server" }.to_owned(), url(&self.service)]
    }

    /// Runs a command that asks it.
    fn ask(&self, world: &World, args: &[&str]) -> String {
        let place = self.place();
        world.ok(&[args, &[&place[0], &place[1]]].concat(), "")
    }

    /// Makes requests.
    fn serves(&self, world: &World) {
        if self.is_storage {
            self.ask(world, &["stats", "--index-key-file", "index.key"]);
        } else {
            world.write("data", "four score");
            self.ask(world, &["store", "--id", "speech", "--key-out", "speech.key", "data"]);
            let found = self.ask(world, &["retrieve", "--id", "speech", "--key-file", "speech.key"]);
            assert_eq!(found, "four score");
        }
    }

    fn states(&self, world: &World) -> Vec<String> {
        let nodes = self.nodes(world);
        let states = nodes["nodes"].as_array().unwrap().iter().map(|node| node["state"].as_str().unwrap().to_owned());
        states.collect()
    }

    fn metric(&self, name: &str) -> f64 {
        let metrics = self.service.send("GET /metrics", &[], "");
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} in {metrics}")).trim().parse().unwrap()
    }

    /// Waits until the list of nodes has exactly these problems, each with a text. Then all others have them, too.
    fn wait_for_problems(&mut self, world: &World, expected: &[(&str, &str)]) {
        let problems = || {
            let nodes = self.nodes(world);
            let problems = nodes["problems"].as_array().unwrap().iter();
            problems
                .map(|problem| [&problem["kind"], &problem["detail"]].map(|text| text.as_str().unwrap().to_owned()))
                .collect::<Vec<_>>()
        };
        let has = |problems: &[[String; 2]], (kind, text): (&str, &str)| {
            problems.iter().any(|[found, detail]| found == kind && detail.contains(text))
        };
        let mut last = Vec::new();
        let are_there = || {
            thread::sleep(Duration::from_millis(50));
            last = problems();
            (last.len() == expected.len() && expected.iter().all(|problem| has(&last, *problem))).then_some(())
        };
        assert!(poll_within(DEADLINE, are_there).is_some(), "{last:?} instead of {expected:?}");
        let table = self.ask(world, &["nodes"]);
        let status = std::mem::replace(&mut self.service.address, self.page);
        let page = self.service.send("GET /admin/status", &[], "");
        self.service.address = status;
        for (kind, text) in expected {
            assert!(table.contains(&format!("{kind}: ")) && table.contains(text), "{table}");
            assert!(page.contains(&format!("\"{kind}\"")) && page.contains(text), "{page}");
            assert!(self.service.log().contains(&format!("\"{kind}\"")), "{kind}");
        }
        assert_eq!(self.metric("strongroom_cluster_problems").to_string(), expected.len().to_string());
    }
}

/// Another cluster key, another cluster on the same port, another store, and a name without an address.
#[test]
fn wrong_keys_stores_and_names_are_reported() {
    let world = world();
    for name in ["cluster.key", "other.key"] {
        world.ok(&["key", "new", "--cluster", "--key-out", name], "");
    }
    let [one, second, third, fourth] = free();
    let start = |args: &[&str], own, other: SocketAddr| {
        let storage = ["serve-storage", "--store", ":memory:", "--cluster-key-file"];
        Shown::start(command(&world, &[&storage[..], args].concat(), own, &other.to_string()))
    };
    let mut shown = start(&["cluster.key", "--join", "nobody.invalid:1"], one, second);
    let mut second = start(&["cluster.key"], second, one);
    second.wait_for_problems(&world, &[("two_stores", "cluster.store_id")]);
    let name = ("unresolved_name", "nobody.invalid:1");
    shown.wait_for_problems(&world, &[("two_stores", "cluster.store_id"), name]);
    for (args, own) in [(["other.key"].as_slice(), third), (&["cluster.key", "--cluster-name", "other"], fourth)] {
        let mut other = start(args, own, one);
        let from = format!("from {own} have another cluster key or another cluster name");
        shown.wait_for_problems(&world, &[("two_stores", "cluster.store_id"), name, ("other_key", &from)]);
        other.wait_for_problems(&world, &[("alone", "the same key, name and time")]);
        assert!(shown.metric("strongroom_gossip_refused_total{reason=\"key\"}") > 0.0);
        other.serves(&world);
    }
    assert_eq!(shown.metric("strongroom_cluster_stores"), 2.0);
    shown.serves(&world);
    second.serves(&world);
}

/// Clocks that are 90 s and 45 s ahead, and an advertised address that is nobody's.
#[test]
fn wrong_clocks_and_addresses_are_reported() {
    let world = world();
    let [one, own, slow, fast, foreign, nobody] = free();
    let storage = |address, join: SocketAddr, more: &[&str]| {
        command(&world, &[&["serve-storage", "--store", "records.db"], more].concat(), address, &join.to_string())
    };
    let with_clock = |address, ahead: i64| {
        let (mut command, clock) = (storage(address, own, &[]), format!("clock-{ahead}"));
        world.preload(&mut command);
        world.write(&clock, ahead.to_le_bytes());
        command.env("CLOCK_OFFSET", world.path(&clock));
        Shown::start(command)
    };
    let right = Shown::start(storage(one, own, &[]));
    let also = slow.to_string();
    let server = ["serve", "--store", "cluster", "--index-key-file", "index.key", "--join", &also];
    let mut shown = Shown::start(command(&world, &server, own, &one.to_string()));
    let joined = with_clock(fast, 45);
    let mut refused = with_clock(slow, 90);
    let mut unreachable = Shown::start(storage(foreign, own, &["--gossip-advertise", &nobody.to_string()]));

    let skew = format!("the clock of {slow} is 90 s ahead: its messages are refused");
    let address = format!("{nobody} sends messages, but does not get the answers");
    let expected = [("clock_skew", "is 45 s ahead"), ("clock_skew", &skew), ("unreachable_node", &address)];
    shown.wait_for_problems(&world, &expected);
    refused.wait_for_problems(&world, &[("clock_skew", &format!("the clock of {own} is 90 s behind")), ("alone", "")]);
    unreachable.wait_for_problems(&world, &[("alone", &own.to_string())]);
    assert!(shown.metric("strongroom_gossip_refused_total{reason=\"time\"}") > 0.0);
    let difference = shown.metric("strongroom_gossip_clock_skew_seconds");
    assert!((40.0..50.0).contains(&difference), "{difference}");
    assert_eq!(shown.states(&world), ["ready"; 3], "those that gossip");
    for service in [&right, &shown, &joined, &refused, &unreachable] {
        service.serves(&world);
    }
}

/// Runs with a file in place of `/etc/hosts`. `None` if the system does not permit it.
fn with_hosts(world: &World, command: &Command) -> Option<Command> {
    let mount = |words: &mut Command| {
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        words.args(["--mount", "sh", "-c", script]).arg(world.path("hosts"));
    };
    let mut probe = Command::new("unshare");
    mount(&mut probe);
    let permitted = output(probe.arg("true"));
    if !permitted.status.success() {
        eprintln!("SKIPPED: no mount: {}", String::from_utf8_lossy(&permitted.stderr));
        return None;
    }
    let mut changed = world.other("unshare", &[]);
    mount(&mut changed);
    changed.arg(command.get_program()).args(command.get_args());
    Some(changed)
}

/// A name with 100 addresses: at first nobody is there, and then a service is at one of them.
#[test]
fn a_name_with_many_addresses_is_searched() {
    let world = world();
    let lines: String = (1..=100).map(|number| format!("127.1.0.{number} many\n")).collect();
    world.write("hosts", "127.0.0.1 localhost\n".to_owned() + &lines);
    let [own, other] = free();
    let one = SocketAddr::new([127, 1, 0, 77].into(), other.port());
    let name = format!("many:{}", one.port());
    let server = ["serve", "--store", "cluster", "--index-key-file", "index.key"];
    let Some(server) = with_hosts(&world, &command(&world, &server, own, &name)) else { return };
    let mut shown = Shown::start(server);
    let nobody = format!("127.1.0.8:{} and 92 more", one.port());
    shown.wait_for_problems(&world, &[("alone", &nobody), ("no_storage", "")]);
    let storage = ["serve-storage", "--store", "records.db"];
    let storage = Shown::start(with_hosts(&world, &command(&world, &storage, one, &name)).unwrap());
    shown.wait_for_problems(&world, &[]);
    shown.serves(&world);
    storage.serves(&world);
}

/// A host without IPv4, whose network carries 1,280 bytes at most.
#[test]
fn ipv6_and_a_small_mtu_suffice() {
    let Some(network) = Network::new("ipv6", 1) else { return };
    for step in ["ip -4 address flush dev lo", "ip -4 address flush dev eth0", "ip link set lo mtu 1280"] {
        network.run(1, step);
    }
    let world = world();
    world.ok(&["key", "new", "--cluster", "--key-out", "cluster.key"], "");
    let host = network.host(1);
    let start = |number: u16, args: &[&str]| {
        let (gossip, http) = (format!("[::1]:{}", 8430 + number), format!("[::1]:{}", 8420 + number));
        let cluster = ["--gossip-listen", &gossip, "--join", "[::1]:8430", "--cluster-key-file", "cluster.key"];
        let own = ["--listen", &http, "--insecure-loopback", "--cluster-names", "::1"];
        Service::spawn(world.through(&["ip", "netns", "exec", &host], &[args, &cluster, &own].concat()))
    };
    let server = ["serve", "--store", "cluster", "--index-key-file", "index.key"];
    let mut services = vec![
        start(0, &[&server[..], &["--admin", "[::1]:8440"]].concat()),
        start(1, &["serve-storage", "--store", "records.db"]),
    ];
    // Texts that cannot be compressed make the messages long. Nobody asks these servers.
    services.extend((2..=9).map(|number| {
        let label = || world.ok(&["key", "new", "--index", "--key-out", "-"], "")[4..54].to_owned();
        let advertised = format!("https://{}.{}.{}.{}", label(), label(), label(), label());
        start(number, &[&server[..], &["--advertise-url", &advertised]].concat())
    }));
    let run = |args: &str| {
        let args: Vec<_> = args.split(' ').collect();
        let output = output(&mut world.through(&["ip", "netns", "exec", &host], &args));
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let are_ready = |nodes: &Value| {
        let states = nodes["nodes"].as_array().unwrap().iter().filter(|node| node["state"] == "ready");
        states.count() == services.len() && nodes["problems"].as_array().unwrap().is_empty()
    };
    wait_for(|| {
        let nodes = serde_json::from_str(&run("nodes --json --server http://[::1]:8420")).unwrap();
        are_ready(&nodes).then_some(())
    });
    world.write("data", "four score");
    run("store --server http://[::1]:8420 --id speech --key-out speech.key data");
    assert_eq!(run("retrieve --server http://[::1]:8420 --id speech --key-file speech.key"), "four score");
    let status = serde_json::from_str(&network.run(1, "curl --silent http://[::1]:8440/admin/status")).unwrap();
    assert!(are_ready(&status), "{status}");
    let largest = |number: usize| {
        let metrics = network.run(1, &format!("curl --silent http://[::1]:{}/metrics", 8420 + number));
        assert!(metrics.contains("\nstrongroom_cluster_problems 0\n"), "{metrics}");
        let largest = metrics.split("largest_datagram_bytes{direction=\"received\"} ").nth(1).unwrap();
        largest.lines().next().unwrap().parse::<usize>().unwrap()
    };
    let largest = (0..services.len()).map(largest).max().unwrap();
    assert!(largest > 1_280 - 48, "no datagram has been split: {largest}");
}
