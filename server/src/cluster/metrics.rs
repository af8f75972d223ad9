//! The cluster in Prometheus's text format.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{Cluster, problems, values};
use crate::metrics::header;

impl Cluster {
    /// The datagrams since the start: `{sent, received, refused: {reason: count}}`.
    pub(crate) fn datagrams(&self) -> Value {
        let traffic = &self.0.state.traffic;
        json!({
            "sent": traffic.sent.datagrams.load(Ordering::Relaxed),
            "received": traffic.received.datagrams.load(Ordering::Relaxed),
            "refused": traffic.refused().collect::<BTreeMap<_, _>>(),
        })
    }

    /// Appends the metrics.
    pub(crate) fn write_metrics(&self, to: &mut String) -> fmt::Result {
        let view = self.view();
        let mut members: BTreeMap<_, usize> = BTreeMap::new();
        for node in view.members.iter().filter_map(|member| member.node()) {
            *members.entry(values::labels(node.role, node.state)).or_default() += 1;
        }
        header(to, "cluster_members", "gauge", "Services of the cluster, as this one hears of them.")?;
        for ((role, state), count) in members {
            writeln!(to, "strongroom_cluster_members{{role=\"{role}\",state=\"{state}\"}} {count}")?;
        }
        header(to, "cluster_stores", "gauge", "Stores of the live services; more than one is a fault.")?;
        writeln!(to, "strongroom_cluster_stores {}", problems::stores(&view.members).len())?;
        header(to, "cluster_problems", "gauge", "Problems that the list of nodes describes.")?;
        writeln!(to, "strongroom_cluster_problems {}", view.problems.len())?;
        let traffic = &self.0.state.traffic;
        let directions = [("received", &traffic.received), ("sent", &traffic.sent)];
        header(to, "gossip_datagrams_total", "counter", "Datagrams of gossip.")?;
        for (direction, count) in directions {
            let datagrams = count.datagrams.load(Ordering::Relaxed);
            writeln!(to, "strongroom_gossip_datagrams_total{{direction=\"{direction}\"}} {datagrams}")?;
        }
        header(to, "gossip_bytes_total", "counter", "Bytes of these datagrams.")?;
        for (direction, count) in directions {
            let bytes = count.bytes.load(Ordering::Relaxed);
            writeln!(to, "strongroom_gossip_bytes_total{{direction=\"{direction}\"}} {bytes}")?;
        }
        header(to, "gossip_largest_datagram_bytes", "gauge", "Bytes of the largest of these datagrams.")?;
        for (direction, count) in directions {
            let bytes = count.largest.load(Ordering::Relaxed);
            writeln!(to, "strongroom_gossip_largest_datagram_bytes{{direction=\"{direction}\"}} {bytes}")?;
        }
        header(to, "gossip_unsent_total", "counter", "Datagrams that could not be sent.")?;
        writeln!(to, "strongroom_gossip_unsent_total {}", traffic.unsent.load(Ordering::Relaxed))?;
        header(to, "gossip_refused_total", "counter", "Datagrams that were refused, by reason.")?;
        for (reason, count) in traffic.refused() {
            writeln!(to, "strongroom_gossip_refused_total{{reason=\"{reason}\"}} {count}")?;
        }
        header(to, "gossip_clock_skew_seconds", "gauge", "The largest recent difference of another service's clock.")?;
        let (sign, millis) = (if view.skew < 0 { "-" } else { "" }, view.skew.unsigned_abs());
        writeln!(to, "strongroom_gossip_clock_skew_seconds {sign}{}.{:03}", millis / 1000, millis % 1000)
    }
}
