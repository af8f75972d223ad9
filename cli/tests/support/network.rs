//! Network namespaces, which stand for hosts with cables to a switch.

use std::process::{Child, Command, Stdio};

use super::wait::{DEADLINE, WaitWithin, output};

/// Hosts with the addresses 10.99.0.1, 10.99.0.2 and so on, at one switch, which is a namespace, too.
pub(crate) struct Network {
    prefix: String,
    /// A process that removes the namespaces and their processes when this one ends, however it does.
    cleaner: Child,
}

impl Network {
    /// So many hosts. `None` if the system does not permit namespaces. `name` is that of the test.
    pub(crate) fn new(name: &str, hosts: usize) -> Option<Self> {
        let prefix = format!("strongroom-{}-{name}-", std::process::id());
        let names: Vec<_> = (0..=hosts).map(|number| format!("{prefix}{number}")).collect();
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
        for number in 1..=hosts {
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

    pub(crate) fn host(&self, number: usize) -> String {
        format!("{}{number}", self.prefix)
    }

    fn on(&self, number: usize, command: &str) -> String {
        format!("ip netns exec {} {command}", self.host(number))
    }

    /// Runs a command on a host, and returns its output.
    pub(crate) fn run(&self, number: usize, command: &str) -> String {
        let outcome = output(Command::new("sh").args(["-c", &self.on(number, command)]));
        assert!(outcome.status.success(), "{command}: {}", String::from_utf8_lossy(&outcome.stderr));
        String::from_utf8(outcome.stdout).unwrap()
    }

    /// Connects a host to the switch, or pulls its cable.
    pub(crate) fn cable(&self, number: usize, state: &str) {
        self.run(0, &format!("ip link set port{number} {state}"));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.cleaner.stdin.take());
        let _ = self.cleaner.wait_within(DEADLINE);
    }
}
