//! The values that a service tells the others about itself. They are texts, and those of others are checked: if one is
//! missing or too long, that service is ignored. Unknown values are ignored, too. A later version whose requests differ
//! takes another role or state: this one shows it as unknown, and sends it none.

use chitchat::NodeState as Gossiped;
use strongroom::StoreIdentity;
use strongroom::protocol::nodes::{NodeState, Role};

const ROLE: &str = "role";
const URL: &str = "url";
const ZONE: &str = "zone";
const VERSION: &str = "version";
const STATE: &str = "state";
const STORE: &str = "store";
/// A hint at the index key, by which wrong ones are noticed.
const INDEX_KEY: &str = "index-key";
const IN_FLIGHT: &str = "in-flight";

/// The most bytes of a text of another service.
const LONGEST: usize = 512;

/// The values of one service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Values {
    pub(crate) role: Role,
    pub(crate) url: String,
    pub(crate) zone: Option<String>,
    pub(crate) version: String,
    pub(crate) state: NodeState,
    /// The id of its store in hexadecimal, once it is known.
    pub(crate) store: Option<String>,
    /// A hint at its index key in hexadecimal.
    pub(crate) index_key: Option<String>,
    pub(crate) requests_in_flight: u64,
}

impl Values {
    /// The values of a service that has just started.
    pub(super) fn new(role: Role, url: String, zone: Option<String>) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let state = NodeState::Starting;
        Self { role, url, zone, version, state, store: None, index_key: None, requests_in_flight: 0 }
    }

    pub(crate) fn set_store(&mut self, store: &StoreIdentity) {
        self.store = Some(store.id_text());
        self.index_key = store.index_key_hint_text();
    }

    /// The values as texts.
    pub(super) fn texts(&self) -> Vec<(String, String)> {
        let present = [
            (ROLE, Some(role(self.role).to_owned())),
            (URL, Some(self.url.clone())),
            (ZONE, self.zone.clone()),
            (VERSION, Some(self.version.clone())),
            (STATE, Some(state(self.state).to_owned())),
            (STORE, self.store.clone()),
            (INDEX_KEY, self.index_key.clone()),
            (IN_FLIGHT, Some(self.requests_in_flight.to_string())),
        ];
        present.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// The values of another service; `None` if one that is needed is missing.
    pub(super) fn read(gossiped: &Gossiped) -> Option<Self> {
        let text = |name| gossiped.get(name).filter(|text| is_printable(text)).map(str::to_owned);
        Some(Self {
            role: match gossiped.get(ROLE)? {
                "encryption" => Role::Encryption,
                "storage" => Role::Storage,
                _ => Role::Unknown,
            },
            url: text(URL)?,
            zone: text(ZONE),
            version: text(VERSION)?,
            state: match gossiped.get(STATE)? {
                "starting" => NodeState::Starting,
                "ready" => NodeState::Ready,
                "failing" => NodeState::Failing,
                "draining" => NodeState::Draining,
                _ => NodeState::Unknown,
            },
            store: text(STORE),
            index_key: text(INDEX_KEY),
            requests_in_flight: gossiped.get(IN_FLIGHT).and_then(|count| count.parse().ok()).unwrap_or_default(),
        })
    }
}

/// Whether a text may be shown in logs and on terminals.
pub(crate) fn is_printable(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && text.chars().all(|c| c.is_ascii_graphic())
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Encryption => "encryption",
        Role::Storage => "storage",
        Role::Unknown => "unknown",
    }
}

fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Starting => "starting",
        NodeState::Ready => "ready",
        NodeState::Failing => "failing",
        NodeState::Draining => "draining",
        NodeState::Dead => "dead",
        NodeState::Unknown => "unknown",
    }
}

/// The names of roles and states in metrics.
pub(super) fn labels(role_of: Role, state_of: NodeState) -> (&'static str, &'static str) {
    (role(role_of), state(state_of))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gossiped(texts: &[(String, String)]) -> Gossiped {
        let mut gossiped = Gossiped::for_test();
        texts.iter().for_each(|(name, value)| gossiped.set(name, value));
        gossiped
    }

    #[test]
    fn values_come_back() {
        use NodeState::{Draining, Failing, Ready, Starting};
        for role in [Role::Encryption, Role::Storage] {
            let mut values = Values::new(role, "https://one.example:8421".into(), None);
            assert_eq!(Values::read(&gossiped(&values.texts())), Some(values.clone()));
            (values.zone, values.store, values.index_key) =
                (Some("a".into()), Some("07".repeat(16)), Some("08".repeat(4)));
            values.requests_in_flight = 9;
            for state in [Starting, Ready, Failing, Draining] {
                values.state = state;
                assert_eq!(Values::read(&gossiped(&values.texts())), Some(values.clone()));
            }
        }
    }

    #[test]
    fn the_values_of_others_are_checked() {
        let texts = Values::new(Role::Storage, "https://one.example".into(), Some("a".into())).texts();
        let read = |name: &str, value: Option<&str>| {
            let mut texts = texts.clone();
            texts.retain(|(other, _)| other != name);
            texts.extend(value.map(|value| (name.to_owned(), value.to_owned())));
            Values::read(&gossiped(&texts))
        };
        for missing in [ROLE, URL, VERSION, STATE] {
            assert_eq!(read(missing, None), None, "{missing}");
        }
        let long = "x".repeat(LONGEST + 1);
        for wrong in ["", &long, "a b", "https://\u{202e}", "\x1b[2J"] {
            assert!(read(URL, Some(wrong)).is_none(), "{wrong:?}");
            assert!(read(ZONE, Some(wrong)).unwrap().zone.is_none(), "{wrong:?}");
        }
        assert_eq!(read(STATE, Some("paused")).unwrap().state, NodeState::Unknown);
        assert_eq!(read(ROLE, Some("witness")).unwrap().role, Role::Unknown);
        assert_eq!(read(IN_FLIGHT, Some("-1")).unwrap().requests_in_flight, 0);
    }
}
