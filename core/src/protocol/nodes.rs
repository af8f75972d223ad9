//! The document of `GET /v1/nodes`: the services of a cluster, as one of them knows them. A reader ignores the fields
//! that it does not know, and accepts the roles and states of newer versions as unknown ones.

use serde::{Deserialize, Serialize};

/// The services of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Nodes {
    /// The services, the answering one included.
    pub nodes: Vec<Node>,
    /// The problems that the answering service has noticed.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

impl Nodes {
    /// The answering service.
    #[must_use]
    pub fn this_node(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.is_this_node)
    }
}

/// A service of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The service's name in the cluster.
    pub name: String,
    /// The kind of service.
    pub role: Role,
    /// The URL for clients.
    pub url: String,
    /// The zone, such as a data centre, if it is configured.
    #[serde(default)]
    pub zone: Option<String>,
    /// Whether the service serves requests.
    pub state: NodeState,
    /// The service's version.
    #[serde(default)]
    pub version: String,
    /// The id of the service's store, in hexadecimal, if it is known.
    #[serde(default)]
    pub store: Option<String>,
    /// The requests that the service is processing.
    #[serde(default)]
    pub requests_in_flight: u64,
    /// The time since the answering service last heard of this one.
    #[serde(default)]
    pub heard_seconds_ago: f64,
    /// Whether this is the answering service.
    #[serde(default)]
    pub is_this_node: bool,
}

/// A kind of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// An encryption server.
    Encryption,
    /// A storage service.
    Storage,
    /// A kind of a newer version.
    #[serde(other)]
    Unknown,
}

/// Whether a service serves requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It has just started.
    Starting,
    /// It serves requests.
    Ready,
    /// It cannot reach its storage.
    Failing,
    /// It is about to stop.
    Draining,
    /// The others no longer hear of it.
    Dead,
    /// A state of a newer version.
    #[serde(other)]
    Unknown,
}

/// A problem in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind, in snake case.
    pub kind: String,
    /// The description for people.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(role: Role, state: NodeState) -> Node {
        Node {
            name: "one".into(),
            role,
            url: "https://one.example:8421".into(),
            zone: Some("a".into()),
            state,
            version: "1.2.3".into(),
            store: Some("ab".repeat(16)),
            requests_in_flight: 7,
            heard_seconds_ago: 0.5,
            is_this_node: true,
        }
    }

    #[test]
    fn a_document_comes_back() {
        use NodeState::{Dead, Draining, Failing, Ready, Starting};
        let problems = vec![Problem { kind: "two_stores".into(), detail: "two stores".into() }];
        let states = [Starting, Ready, Failing, Draining, Dead];
        let nodes =
            states.into_iter().flat_map(|state| [Role::Encryption, Role::Storage].map(|role| node(role, state)));
        let nodes = Nodes { nodes: nodes.collect(), problems };
        let text = serde_json::to_string(&nodes).unwrap();
        assert_eq!(serde_json::from_str::<Nodes>(&text).unwrap(), nodes);
        assert_eq!(nodes.this_node(), Some(&nodes.nodes[0]));
        assert!(text.contains("\"role\":\"encryption\"") && text.contains("\"state\":\"draining\""), "{text}");
    }

    #[test]
    fn a_document_of_a_newer_version_is_read() {
        let document = json!({
            "nodes": [{
                "name": "two", "role": "witness", "url": "https://two.example", "zone": null, "state": "paused", "load": [1],
            }],
            "epoch": 3,
        });
        let nodes: Nodes = serde_json::from_value(document).unwrap();
        assert!(nodes.problems.is_empty());
        assert_eq!((nodes.nodes[0].role, nodes.nodes[0].state), (Role::Unknown, NodeState::Unknown));
        for wrong in [json!({}), json!({"nodes": [{"name": "a"}]}), json!([])] {
            assert!(serde_json::from_value::<Nodes>(wrong).is_err());
        }
    }
}
