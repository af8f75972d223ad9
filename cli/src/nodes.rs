//! The services of a cluster, as a table.

use std::iter;

use serde_json::json;
use strongroom::protocol::nodes::{Node, Nodes, Role};

use crate::failure::{Failure, escape_controls};
use crate::open;
use crate::options::Options;
use crate::reply::{columns, reply};

pub(crate) fn nodes(options: &Options) -> Result<(), Failure> {
    let role = if options.server.is_some() { Role::Encryption } else { Role::Storage };
    let nodes = strongroom::nodes(&open::service(options)?, role)?;
    reply(options, &json!(nodes), &table(&nodes))
}

/// A line for each service, in columns, and one for each problem.
fn table(nodes: &Nodes) -> String {
    const HEADS: [&str; 8] = ["ROLE", "STATE", "URL", "ZONE", "VERSION", "STORE", "REQUESTS", "HEARD"];
    let rows: Vec<_> = iter::once(HEADS.map(str::to_owned)).chain(nodes.nodes.iter().map(row)).collect();
    let mut lines = columns(&rows);
    lines
        .extend(nodes.problems.iter().map(|problem| escape_controls(&format!("{}: {}", problem.kind, problem.detail))));
    lines.join("\n")
}

fn row(node: &Node) -> [String; 8] {
    let name = |value: serde_json::Value| value.as_str().unwrap_or("unknown").to_owned();
    let heard = if node.is_this_node { "this one".to_owned() } else { format!("{:.1} s ago", node.heard_seconds_ago) };
    let store = node.store.as_deref().map(|store| store.chars().take(8).collect());
    [
        name(json!(node.role)),
        name(json!(node.state)),
        escape_controls(&node.url),
        escape_controls(node.zone.as_deref().unwrap_or("-")),
        escape_controls(&node.version),
        escape_controls(&store.unwrap_or_else(|| "-".to_owned())),
        node.requests_in_flight.to_string(),
        heard,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_aligned_columns_and_the_problems() {
        let document = json!({
            "nodes": [
                {
                    "name": "127.0.0.1:1", "role": "storage", "url": "http://127.0.0.1:8421", "zone": "a", "state": "ready",
                    "version": "1", "store": "0123456789abcdef", "requests_in_flight": 12, "is_this_node": true,
                },
                {"name": "127.0.0.1:2", "role": "encryption", "url": "https://a\u{1b}[2J", "state": "dead", "heard_seconds_ago": 7.26},
            ],
            "problems": [{"kind": "alone", "detail": "no\none"}],
        });
        let table = table(&serde_json::from_value(document).unwrap());
        let expected = "\
ROLE        STATE  URL                    ZONE  VERSION  STORE     REQUESTS  HEARD
storage     ready  http://127.0.0.1:8421  a     1        01234567  12        this one
encryption  dead   https://a\\u{1b}[2J     -              -         0         7.3 s ago
alone: no\\none";
        assert_eq!(table, expected);
    }
}
