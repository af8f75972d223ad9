//! Strongroom, as a contestant of `compare`.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::ops::Range;
use std::path::Path;

use strongroom::{RecordKey, Strongroom};
use strongroom_contest::{Contestant, Session, arguments, id, run};

fn main() {
    run::<Contender>(arguments());
}

struct Contender {
    store: Strongroom,
    /// The keys of records 0, 1, 2, ...
    keys: Vec<RecordKey>,
}

impl Contestant for Contender {
    fn create(path: &Path) -> Self {
        Self { store: Strongroom::open(path).unwrap(), keys: Vec::new() }
    }

    fn fill(&mut self, numbers: Range<u64>, data: &[u8]) {
        let items: Vec<_> = numbers.map(|number| (id(number), data)).collect();
        self.keys.extend(self.store.store_many(&items).unwrap());
    }

    fn session(&self) -> impl Session {
        self
    }
}

impl Session for &Contender {
    fn store(&mut self, number: u64, data: &[u8]) {
        self.store.store(id(number), data).unwrap();
    }

    fn retrieve(&mut self, number: u64) -> Vec<u8> {
        self.store.retrieve(id(number), &self.keys[usize::try_from(number).unwrap()]).unwrap()
    }
}
