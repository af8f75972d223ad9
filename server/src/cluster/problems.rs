//! The problems of the cluster, in words for operators: the log, the list of nodes and the page show the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use strongroom::protocol::nodes::{Problem, Role};

use super::members::Member;
use super::seal::Refused;
use super::seeds::Seeds;
use super::traffic::{RefusedDatagram, Traffic};

/// How long a service may be alone after its start.
const ALONE: Duration = Duration::from_secs(10);

/// The facts that show the problems.
pub(super) struct Findings<'f> {
    pub(super) members: &'f [Member],
    pub(super) seeds: &'f Seeds,
    pub(super) traffic: &'f Traffic,
    /// The largest difference of clocks in milliseconds, of accepted messages.
    pub(super) skew: i64,
    pub(super) max_age_seconds: u64,
    /// The time since the start.
    pub(super) running: Duration,
    /// Whether the configuration names one of several stores.
    pub(super) has_store_id: bool,
}

impl Findings<'_> {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |kind: &str, detail: String| problems.push(Problem { kind: kind.to_owned(), detail });
        self.stores(&mut add);
        self.index_keys(&mut add);
        for member in self.members.iter().filter(|member| !member.is_this) {
            let address = member.address;
            if member.is_unreadable() && member.has_values {
                add(
                    "unreadable_node",
                    format!(
                        "{address} sends values that cannot be read, so it is ignored: compare the versions, and \
                         check its --advertise-url"
                    ),
                );
            } else if member.is_unreadable() {
                add(
                    "unreachable_node",
                    format!(
                        "{address} sends messages, but does not get the answers: check its --gossip-advertise, and \
                         that UDP reaches it there"
                    ),
                );
            }
            if member.is_doubled {
                add("doubled_address", format!("two services have the address {address}: check --gossip-advertise"));
            }
        }
        let (found, unresolved) = self.seeds.last();
        for (name, cause) in unresolved {
            add("unresolved_name", format!("the name {name} of --join cannot be resolved: {cause}"));
        }
        let is_alone = !self.members.iter().any(|member| !member.is_this && member.is_alive);
        if is_alone && !found.is_empty() && self.running > ALONE {
            let text = format!(
                "no other service answers at {}: check that one runs there with the same key, name and time, and that UDP \
                 reaches it",
                list(found.iter().map(SocketAddr::to_string))
            );
            add("alone", text);
        }
        if self.skew.unsigned_abs() > self.max_age_seconds.saturating_mul(1000) / 4 {
            add("clock_skew", format!("another service's clock is {}: synchronize the clocks", difference(self.skew)));
        }
        self.traffic.recently_refused().iter().filter_map(refused).for_each(|(kind, detail)| add(kind, detail));
        problems
    }

    fn stores(&self, add: &mut impl FnMut(&str, String)) {
        let stores = stores(self.members);
        if stores.len() > 1 && !self.has_store_id {
            let text = stores.iter().map(|(store, addresses)| {
                format!("{} ({})", store.get(..8).unwrap_or(store), list(addresses.iter().map(SocketAddr::to_string)))
            });
            add(
                "two_stores",
                format!(
                    "the services have different stores: {}. Give each store a cluster name of its own, or set \
                     cluster.store_id",
                    list(text)
                ),
            );
        }
    }

    /// Encryption servers of one store with different index keys.
    fn index_keys(&self, add: &mut impl FnMut(&str, String)) {
        let mut keys: BTreeMap<&str, BTreeMap<&str, Vec<SocketAddr>>> = BTreeMap::new();
        for member in self.members.iter().filter(|member| member.is_alive) {
            let Some(values) = member.values.as_ref().filter(|values| values.role == Role::Encryption) else {
                continue;
            };
            if let (Some(store), Some(key)) = (&values.store, &values.index_key) {
                keys.entry(store).or_default().entry(key).or_default().push(member.address);
            }
        }
        for keys in keys.values().filter(|keys| keys.len() > 1) {
            let groups = keys.values().map(|addresses| list(addresses.iter().map(SocketAddr::to_string)));
            let text = groups.collect::<Vec<_>>().join("; ");
            add(
                "index_keys",
                format!("encryption servers of one store have different index keys: {text}. Compare --index-key-file"),
            );
        }
    }
}

/// The stores of live services, and the services of each.
pub(super) fn stores(members: &[Member]) -> BTreeMap<String, BTreeSet<SocketAddr>> {
    let mut stores: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for member in members.iter().filter(|member| member.is_alive) {
        if let Some(store) = member.values.as_ref().and_then(|values| values.store.clone()) {
            stores.entry(store).or_default().insert(member.address);
        }
    }
    stores
}

/// The problem that a refused datagram shows.
fn refused(datagram: &RefusedDatagram) -> Option<(&'static str, String)> {
    let from = datagram.from;
    Some(match datagram.reason {
        Refused::Key => (
            "other_key",
            format!(
                "messages from {from} have another cluster key or another cluster name: compare --cluster-key-file and \
                 --cluster-name, or give the other cluster another port"
            ),
        ),
        Refused::Altered => (
            "other_address",
            format!(
                "messages from {from} were altered, or are for another address than this service advertises: --join must \
                 name the address of --gossip-advertise"
            ),
        ),
        Refused::Time(skew) => (
            "clock_skew",
            format!("the clock of {from} is {}: its messages are refused. Synchronize the clocks", difference(skew)),
        ),
        Refused::Format => ("foreign_messages", format!("{from} sends messages of another program or version")),
        Refused::Content => ("foreign_messages", format!("messages from {from} cannot be read: compare the versions")),
        // The network doubles datagrams, too.
        Refused::Replayed => return None,
    })
}

fn difference(millis: i64) -> String {
    let seconds = millis.unsigned_abs() / 1000;
    format!("{seconds} s {}", if millis > 0 { "ahead" } else { "behind, or the messages are old" })
}

pub(super) fn list(items: impl Iterator<Item = String>) -> String {
    /// More are not legible.
    const SHOWN: usize = 8;
    let items: Vec<_> = items.collect();
    let shown = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if items.len() > SHOWN { format!("{shown} and {} more", items.len() - SHOWN) } else { shown }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::super::values::Values;
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    /// A live service with these values, of which others have known for a minute.
    fn member(port: u16, values: Option<Values>) -> Member {
        let heard = Instant::now();
        let since = heard.checked_sub(Duration::from_secs(60)).unwrap();
        let (address, is_this, has_values) = (address(port), port == 0, values.is_some());
        Member { address, is_this, is_alive: true, heard, since, values, has_values, is_doubled: false }
    }

    fn server(store: &str, index_key: &str) -> Option<Values> {
        let mut values = Values::new(Role::Encryption, "https://one.example".into(), None);
        (values.store, values.index_key) = (Some(store.into()), Some(index_key.into()));
        Some(values)
    }

    async fn found(members: &[Member], traffic: &Traffic, join: &[&str], skew: i64) -> Vec<(String, String)> {
        let resolver: super::super::seeds::Resolver = Arc::new(|name| {
            Box::pin(async move {
                match &*name {
                    "none" => Ok(Vec::new()),
                    "many" => Ok((1..=100).map(address).collect()),
                    _ => Err(std::io::ErrorKind::NotFound.into()),
                }
            })
        });
        let join = join.iter().map(|name| (*name).to_owned()).collect();
        let seeds = Seeds::new(join, resolver, address(0));
        assert!(seeds.round().await.len() <= 8);
        let (running, has_store_id) = (Duration::from_secs(60), false);
        let findings = Findings { members, seeds: &seeds, traffic, skew, max_age_seconds: 60, running, has_store_id };
        findings.problems().into_iter().map(|problem| (problem.kind, problem.detail)).collect()
    }

    #[tokio::test]
    async fn each_fault_is_a_problem_of_its_own() {
        let own = || member(0, server("a", "1"));
        let traffic = Traffic::default();
        let one = |problems: &[(String, String)], kind: &str, detail: &str| {
            assert!(problems.len() == 1 && problems[0].0 == kind && problems[0].1.contains(detail), "{problems:?}");
        };
        assert_eq!(found(&[own(), member(1, server("a", "1"))], &traffic, &["many"], 14_000).await, []);
        one(
            &found(&[own(), member(1, server("a", "2"))], &traffic, &[], 0).await,
            "index_keys",
            "192.0.2.1:0; 192.0.2.1:1",
        );
        one(&found(&[own(), member(1, server("b", "1"))], &traffic, &[], 0).await, "two_stores", "a (192.0.2.1:0)");
        one(&found(&[own(), member(1, None)], &traffic, &[], 0).await, "unreachable_node", "192.0.2.1:1");
        let unreadable = Member { has_values: true, ..member(1, None) };
        one(&found(&[own(), unreadable], &traffic, &[], 0).await, "unreadable_node", "192.0.2.1:1");
        let doubled = Member { is_doubled: true, ..member(1, server("a", "1")) };
        one(&found(&[own(), doubled], &traffic, &[], 0).await, "doubled_address", "192.0.2.1:1");
        one(&found(&[own(), member(1, server("a", "1"))], &traffic, &[], -16_000).await, "clock_skew", "16 s behind");
        // A name with 100 addresses, at which nobody answers, and names without any.
        one(&found(&[own()], &traffic, &["many"], 0).await, "alone", "192.0.2.1:8 and 92 more");
        one(
            &found(&[own()], &traffic, &["none"], 0).await,
            "unresolved_name",
            "none of --join cannot be resolved: no address",
        );
        one(&found(&[own()], &traffic, &["other"], 0).await, "unresolved_name", "other of --join cannot be resolved");
        for (reason, kind, detail) in [
            (Refused::Key, "other_key", "--cluster-name"),
            (Refused::Altered, "other_address", "--gossip-advertise"),
            (Refused::Time(90_000), "clock_skew", "90 s ahead"),
            (Refused::Format, "foreign_messages", "another program"),
            (Refused::Content, "foreign_messages", "compare the versions"),
        ] {
            let traffic = Traffic::default();
            assert!(traffic.refuse(reason, address(9)) && !traffic.refuse(reason, address(9)), "one line in the log");
            let problems = found(&[own()], &traffic, &[], 0).await;
            one(&problems, kind, detail);
            assert!(problems[0].1.contains("192.0.2.1:9"), "{problems:?}");
        }
        traffic.refuse(Refused::Replayed, address(9));
        assert_eq!(found(&[own()], &traffic, &[], 0).await, [], "networks double datagrams");
    }
}
