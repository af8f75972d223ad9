//! Strongroom, as a contestant of `compare`; with `reader` before the other arguments, it stores from readers.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::ops::Range;
use std::path::Path;

use strongroom::{RecordKey, Strongroom};
use strongroom_contest::{Contestant, Session, arguments, id, run};

fn main() {
    let mut arguments = arguments().peekable();
    if arguments.next_if_eq("reader").is_some() {
        run::<Contender<true>>(arguments);
    } else {
        run::<Contender<false>>(arguments);
    }
}

/// With `READERS`, data to store comes from a reader.
struct Contender<const READERS: bool> {
    store: Strongroom,
    /// The keys of records 0, 1, 2, ...
    keys: Vec<RecordKey>,
}

impl<const READERS: bool> Contestant for Contender<READERS> {
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

impl<const READERS: bool> Session for &Contender<READERS> {
    fn store(&mut self, number: u64, data: &[u8]) {
        if READERS {
            self.store.store_reader(id(number), data).unwrap();
        } else {
            self.store.store(id(number), data).unwrap();
        }
    }

    fn retrieve(&mut self, number: u64) -> Vec<u8> {
        self.store.retrieve(id(number), &self.keys[usize::try_from(number).unwrap()]).unwrap()
    }
}
