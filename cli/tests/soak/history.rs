//! An id in use: its versions, and its history.

use super::checker::{Effect, Expiry, Operation, Version};
use super::operation::Content;

/// No attempt is given up in less time, in nanoseconds: a third of the time limit of a server's call to its storage
/// service.
const SHORTEST_ATTEMPT: u64 = 900_000_000;

/// An id in use.
pub(crate) struct Id {
    pub(crate) name: String,
    pub(crate) contents: Vec<Content>,
    pub(crate) expiries: Vec<Expiry>,
    pub(crate) history: Vec<Operation>,
    /// All calls, for people.
    pub(crate) calls: Vec<String>,
    /// The version that is probably there.
    pub(crate) current: Option<Version>,
    pub(crate) in_flight: usize,
    pub(crate) is_ending: bool,
}

impl Id {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            name: format!("id {number}"),
            contents: Vec::new(),
            expiries: Vec::new(),
            history: Vec::new(),
            calls: Vec::new(),
            current: None,
            in_flight: 0,
            is_ending: false,
        }
    }

    /// Whether it is not at its end. Then it is in use, and does not end.
    pub(crate) fn begin_use(&mut self) -> bool {
        self.in_flight += usize::from(!self.is_ending);
        !self.is_ending
    }

    /// Adds a version that is yet to be stored.
    pub(crate) fn add(&mut self, content: Content, expiry: Expiry) -> Version {
        self.contents.push(content);
        self.expiries.push(expiry);
        self.contents.len() - 1
    }

    /// Adds an operation; its outcome is unknown if it has not `returned`.
    pub(crate) fn record(&mut self, called: u64, returned: Option<u64>, effect: Effect) {
        match effect {
            Effect::Stored(version) | Effect::Replaced(_, version) | Effect::Found(version) => {
                self.current = Some(version);
            }
            Effect::Removed(_) | Effect::Deleted(_) | Effect::Erased | Effect::Absent => self.current = None,
            Effect::Missing(version) if self.current == Some(version) => self.current = None,
            Effect::Missing(_) | Effect::Present => {}
        }
        // A store whose attempt was lost may take effect once more, until it returns, or late if the attempt was given
        // up ("A request that is executed late" in HTTP.md).
        if matches!(effect, Effect::Stored(_)) {
            let latest = returned.filter(|returned| returned - called <= SHORTEST_ATTEMPT).unwrap_or(u64::MAX);
            self.history.push(Operation { called, returned: None, latest, effect });
        }
        self.history.push(Operation { called, returned, latest: u64::MAX, effect });
    }

    /// The history as text.
    pub(crate) fn text(&self) -> String {
        let lines = self.history.iter().map(|operation| {
            let returned = operation.returned.map_or("unknown".to_owned(), |at| at.to_string());
            format!("{:>16} {returned:>16} {:?}\n", operation.called, operation.effect)
        });
        let expiries =
            self.expiries.iter().enumerate().filter_map(|(n, expiry)| Some(format!("{n} expires {:?}\n", (*expiry)?)));
        let lines = lines.chain(expiries).chain(self.calls.iter().cloned());
        format!("{}\n{}", self.name, lines.collect::<String>())
    }
}
