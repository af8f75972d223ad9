//! The operations of a workload, and the records that must exist after a crash.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use strongroom::{Error, RecordKey, Strongroom};
use strongroom_faults::{Event, Shortage};

/// A version of a record.
pub(crate) struct Version {
    key: [u8; 32],
    pub(crate) data: Vec<u8>,
}

impl Version {
    /// Number `n`: its key and its data are unlike those of all others.
    pub(crate) fn new(n: u64, len: usize) -> Arc<Self> {
        Shortage::spare(|| Self::generate(n, len))
    }

    fn generate(n: u64, len: usize) -> Arc<Self> {
        let mut random = strongroom_faults::Random::new(n);
        let key = std::array::from_fn(|_| random.number().to_le_bytes()[0]);
        let mut data = Vec::with_capacity(len + 8);
        while data.len() < len {
            data.extend_from_slice(&random.number().to_le_bytes());
        }
        data.truncate(len);
        Arc::new(Self { key, data })
    }

    /// The same data under the key of number `n`.
    pub(crate) fn rekeyed(&self, n: u64) -> Arc<Self> {
        Shortage::spare(|| Arc::new(Self { key: Self::new(n, 0).key, data: self.data.clone() }))
    }

    pub(crate) fn key(&self) -> RecordKey {
        RecordKey::from_bytes(&self.key).unwrap()
    }
}

/// The version under an id; `None` for no record.
pub(crate) type State = Option<Arc<Version>>;

/// The changes of an operation, all or nothing.
#[derive(Clone, Default)]
pub(crate) struct Operation {
    pub(crate) changes: Vec<(String, State)>,
    /// Whether it may leave a claimed record behind, which a later purge removes.
    pub(crate) claims: bool,
    /// Whether it has several steps, so that a failed one may have changed something.
    pub(crate) in_steps: bool,
}

/// The states that are allowed at one moment.
#[derive(Clone, Default)]
pub(crate) struct Expected {
    /// The state before the operations that run, and those that they make.
    ids: BTreeMap<String, Vec<State>>,
    /// The operations that run, or whose outcome is unknown.
    running: BTreeSet<usize>,
}

impl Expected {
    pub(crate) fn follow(&mut self, event: &Event, operations: &[Operation]) {
        let (Event::Begun(number) | Event::Acknowledged(number) | Event::Refused(number)) = *event else { return };
        match event {
            Event::Begun(_) => self.running.insert(number),
            _ => self.running.remove(&number),
        };
        for (id, state) in &operations[number].changes {
            let allowed = self.ids.entry(id.clone()).or_insert_with(|| vec![None]);
            match event {
                Event::Begun(_) => allowed.push(state.clone()),
                Event::Acknowledged(_) => *allowed = vec![state.clone()],
                _ => drop(allowed.pop()),
            }
        }
    }

    /// Compares the store with the allowed states. Claimed records may remain of operations that run, or, if
    /// `claims_remain`, of any: the caller has the data, and a purge removes them.
    pub(crate) fn check(
        &self,
        store: &Strongroom,
        operations: &[Operation],
        claims_remain: bool,
    ) -> Result<(), String> {
        let mut present = 0;
        let mut found = BTreeMap::new();
        for (id, allowed) in &self.ids {
            present += u64::from(store.contains(id).map_err(|error| format!("contains: {error:?}"))?);
            let place = allowed.iter().position(|state| is_in(store, id, state));
            let states: Vec<_> = allowed.iter().map(|state| state.is_some()).collect();
            let outcome = || match allowed.iter().flatten().next() {
                Some(version) => store.retrieve(id, &version.key()).map(|data| data.len()),
                None => store.contains(id).map(usize::from),
            };
            found.insert(id, place.ok_or_else(|| format!("{id} has none of the states {states:?}: {:?}", outcome()))?);
        }
        for number in &self.running {
            let places: BTreeSet<_> = operations[*number].changes.iter().map(|(id, _)| found[id]).collect();
            if places.len() > 1 {
                return Err(format!("operation {number} is there in part"));
            }
        }
        let may_claim = |number: &usize| operations[*number].claims && (claims_remain || self.running.contains(number));
        let claims = (0..operations.len()).filter(may_claim).count() as u64;
        let records = store.stats().map_err(|error| format!("stats: {error:?}"))?.records;
        if !(present..=present + claims).contains(&records) {
            return Err(format!("{records} records, not {present}"));
        }
        Ok(())
    }
}

fn is_in(store: &Strongroom, id: &str, state: &State) -> bool {
    match state {
        Some(version) => store.retrieve(id, &version.key()).is_ok_and(|data| data == version.data),
        None => matches!(store.retrieve(id, &RecordKey::from_bytes(&[1; 32]).unwrap()), Err(Error::NotFound)),
    }
}

/// The line of an event in the journal of a process that may end at any moment.
pub(crate) fn line_of(event: &Event, operations: &[Operation]) -> String {
    match event {
        Event::Begun(number) => format!("begun {number} {}\n", ids(&operations[*number])),
        Event::Acknowledged(number) => format!("acknowledged {number}\n"),
        Event::Refused(number) => format!("refused {number}\n"),
        _ => String::new(),
    }
}

fn ids(operation: &Operation) -> String {
    operation.changes.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>().join(",")
}

/// The operations and events of a journal. `known` has all operations of the workload: those of several threads have
/// another order each time, but those of one id do not.
pub(crate) fn read_journal(journal: &str, before: &[Operation], known: &[Operation]) -> (Vec<Operation>, Vec<Event>) {
    let (mut operations, mut events) = (before.to_vec(), Vec::new());
    let mut left: Vec<_> = known[before.len()..].iter().collect();
    for line in journal.lines() {
        let mut words = line.split(' ');
        let (event, number) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
        events.push(match event {
            "begun" => {
                let name = words.next().unwrap();
                let place = left.iter().position(|operation| ids(operation) == name).unwrap();
                operations.resize(operations.len().max(number + 1), Operation::default());
                operations[number] = left.remove(place).clone();
                Event::Begun(number)
            }
            "acknowledged" => Event::Acknowledged(number),
            _ => Event::Refused(number),
        });
    }
    (operations, events)
}
