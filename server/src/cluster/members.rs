//! The services of the cluster, as this one hears of them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use chitchat::{Chitchat, ChitchatId, Heartbeat};
use strongroom::protocol::nodes::{Node, NodeState};
use tokio::time::Instant;

use super::values::Values;

/// How long a service may be known before its values, and how long two services may share an address: a new service
/// needs a round or two, and a restarted one is known twice until its former process counts as dead.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// The address at which others reach it by gossip, which is also its name.
    pub(super) address: SocketAddr,
    pub(super) is_this: bool,
    pub(super) is_alive: bool,
    /// The last news of it.
    pub(super) heard: Instant,
    /// The first news of it.
    pub(super) since: Instant,
    /// `None` if its values have not arrived, or cannot be read.
    pub(super) values: Option<Values>,
    /// Whether any value has arrived, even an unreadable one.
    pub(super) has_values: bool,
    /// Whether another live service has the same address.
    pub(super) is_doubled: bool,
}

impl Member {
    /// Whether it is known for longer than its values need.
    pub(super) fn is_unreadable(&self) -> bool {
        self.is_alive && self.values.is_none() && self.since.elapsed() > PATIENCE
    }

    /// Its state for others.
    pub(super) fn state(&self) -> NodeState {
        match &self.values {
            Some(values) if self.is_alive => values.state,
            _ => NodeState::Dead,
        }
    }

    /// `None` if its values are not known.
    pub(super) fn node(&self) -> Option<Node> {
        let values = self.values.clone()?;
        Some(Node {
            name: self.address.to_string(),
            role: values.role,
            url: values.url,
            zone: values.zone,
            state: self.state(),
            version: values.version,
            store: values.store,
            requests_in_flight: values.requests_in_flight,
            heard_seconds_ago: if self.is_this { 0.0 } else { self.heard.elapsed().as_secs_f64() },
            is_this_node: self.is_this,
        })
    }
}

/// Looks at the cluster in intervals, and notes when each service was heard.
#[derive(Default)]
pub(super) struct Observer {
    heard: HashMap<ChitchatId, Heard>,
}

struct Heard {
    heartbeat: Heartbeat,
    at: Instant,
    since: Instant,
}

impl Observer {
    /// All services, each once: of the processes that had one address, the live one that was heard last.
    pub(super) fn look(&mut self, chitchat: &Chitchat) -> Vec<Member> {
        let now = Instant::now();
        let live: std::collections::HashSet<_> = chitchat.live_nodes().collect();
        let mut members: BTreeMap<SocketAddr, Member> = BTreeMap::new();
        self.heard.retain(|id, _| chitchat.node_state(id).is_some());
        for (id, state) in chitchat.node_states() {
            let heartbeat = state.heartbeat();
            let heard = self.heard.entry(id.clone()).or_insert(Heard { heartbeat, at: now, since: now });
            if heard.heartbeat != heartbeat {
                (heard.heartbeat, heard.at) = (heartbeat, now);
            }
            let found = Member {
                address: id.gossip_advertise_addr,
                is_this: id == chitchat.self_chitchat_id(),
                is_alive: live.contains(id),
                heard: heard.at,
                since: heard.since,
                values: Values::read(state),
                has_values: state.key_values().next().is_some(),
                is_doubled: false,
            };
            match members.get_mut(&found.address) {
                Some(known) => {
                    let is_old = |member: &Member| member.is_alive && member.since.elapsed() > PATIENCE;
                    let is_doubled = is_old(known) && is_old(&found);
                    if rank(&found) > rank(known) {
                        *known = found;
                    }
                    known.is_doubled |= is_doubled;
                }
                None => drop(members.insert(found.address, found)),
            }
        }
        members.into_values().collect()
    }
}

fn rank(member: &Member) -> (bool, bool, Instant) {
    (member.is_this, member.is_alive, member.heard)
}
