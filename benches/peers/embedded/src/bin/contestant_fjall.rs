//! fjall, as a contestant: a sync of its journal follows each store, or batch of stores.

use std::ops::Range;
use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use strongroom_contest::{Contestant, Session, arguments, id, run};

fn main() {
    run::<Fjall>(arguments());
}

struct Fjall {
    database: Database,
    records: Keyspace,
}

impl Contestant for Fjall {
    fn create(path: &Path) -> Self {
        let database = Database::builder(path).open().unwrap();
        let records = database.keyspace("record", KeyspaceCreateOptions::default).unwrap();
        Self { database, records }
    }

    fn fill(&mut self, numbers: Range<u64>, data: &[u8]) {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for number in numbers {
            batch.insert(&self.records, id(number), data);
        }
        batch.commit().unwrap();
    }

    fn session(&self) -> impl Session {
        self
    }
}

impl Session for &Fjall {
    fn store(&mut self, number: u64, data: &[u8]) {
        self.records.insert(id(number), data).unwrap();
        self.database.persist(PersistMode::SyncAll).unwrap();
    }

    fn retrieve(&mut self, number: u64) -> Vec<u8> {
        self.records.get(id(number)).unwrap().unwrap().to_vec()
    }
}
