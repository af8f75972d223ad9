//! The status of a node and of its cluster, as JSON.

use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Value, json};
use strongroom::Error;
use strongroom::protocol::nodes::{self, NodeState, Nodes, Problem, Role};

use super::expiry::Expiry;
use crate::background_work::BackgroundWork;
use crate::config::document::Config;
use crate::shared::Shared;

/// The most nodes and problems that are shown.
const MOST: usize = 256;

/// The node that the page shows.
pub(crate) struct Node {
    role: Role,
    /// The first address of the service, which names the node if it is in no cluster.
    address: String,
    start: Instant,
    expiry: Expiry,
}

impl Node {
    /// `expiry_times` returns the expiry times until a time, the earliest first, at most as many as its second
    /// argument.
    pub(crate) fn new(
        role: Role,
        config: &Config,
        background: BackgroundWork,
        expiry_times: impl Fn(u64, usize) -> Result<Vec<u64>, Error> + Send + Sync + 'static,
    ) -> Self {
        let address = config.listen.first().map_or_else(|| "this node".to_owned(), |address| address.clone().into());
        Self { role, address, start: Instant::now(), expiry: Expiry::new(background, expiry_times) }
    }

    /// It shows amounts of work and the nodes of the cluster, and nothing about records, clients and tokens.
    pub(super) async fn status(&self, shared: &Shared) -> Value {
        let is_ready = shared.readiness.probe().await.is_ok() && !shared.is_draining();
        let Nodes { nodes, problems } = shared.nodes().map_or_else(|| self.alone(is_ready, shared), shorten);
        json!({
            "role": self.role,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.start.elapsed().as_secs_f64(),
            "is_ready": is_ready,
            "nodes": nodes,
            "problems": problems,
            "gossip": shared.gossip(),
            "expiring": self.expiry.document(),
            "metrics": shared.metrics.document(shared.pool.waiting()),
        })
    }

    /// This node, if it is in no cluster.
    fn alone(&self, is_ready: bool, shared: &Shared) -> Nodes {
        let state = match (shared.is_draining(), is_ready) {
            (true, _) => NodeState::Draining,
            (false, true) => NodeState::Ready,
            (false, false) => NodeState::Failing,
        };
        let in_flight = shared.metrics.in_flight.load(Ordering::Relaxed).saturating_sub(1); // without this request
        let node = nodes::Node {
            name: self.address.clone(),
            role: self.role,
            url: String::new(),
            zone: None,
            state,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            store: None,
            requests_in_flight: in_flight as u64,
            heard_seconds_ago: 0.0,
            is_this_node: true,
        };
        Nodes { nodes: vec![node], problems: Vec::new() }
    }
}

/// At most as many nodes and problems as are shown, with this node among them.
fn shorten(Nodes { mut nodes, mut problems }: Nodes) -> Nodes {
    let hidden = nodes.len().saturating_sub(MOST);
    nodes.sort_by_key(|node| !node.is_this_node);
    nodes.truncate(MOST);
    problems.truncate(MOST);
    if hidden > 0 {
        let detail = format!("{hidden} more nodes are not shown here: `strongroom nodes` lists all of them");
        problems.push(Problem { kind: "many_nodes".to_owned(), detail });
    }
    Nodes { nodes, problems }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_nodes_are_shortened_and_this_one_is_kept() {
        let config = Config::default();
        let node = Node::new(Role::Storage, &config, BackgroundWork::default(), |_, _| Ok(Vec::new()));
        let shared = Shared::new(&config, std::sync::Arc::new(crate::readiness::Readiness::new(|| Ok(None)))).unwrap();
        let one = node.alone(true, &shared).nodes.remove(0);
        let others = (0..1000).map(|number| nodes::Node {
            name: number.to_string(),
            is_this_node: number == 999,
            ..one.clone()
        });
        let shown = shorten(Nodes { nodes: others.collect(), problems: Vec::new() });
        assert_eq!((shown.nodes.len(), shown.nodes[0].name.as_str(), shown.problems.len()), (MOST, "999", 1));
        assert!(shown.problems[0].detail.starts_with("744 more"));
        let few = Nodes { nodes: vec![one], problems: Vec::new() };
        assert_eq!(shorten(few.clone()), few);
    }
}
