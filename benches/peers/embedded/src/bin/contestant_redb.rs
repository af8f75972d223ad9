//! redb, as a contestant: a transaction for each store, durable when it is committed.

use std::ops::Range;
use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use strongroom_contest::{Contestant, Session, arguments, id, run};

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("record");

fn main() {
    run::<Redb>(arguments());
}

struct Redb(Database);

impl Redb {
    fn insert(&self, numbers: Range<u64>, data: &[u8]) {
        let mut transaction = self.0.begin_write().unwrap();
        transaction.set_durability(Durability::Immediate).unwrap();
        {
            let mut table = transaction.open_table(TABLE).unwrap();
            for number in numbers {
                table.insert(&id(number)[..], data).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
}

impl Contestant for Redb {
    fn create(path: &Path) -> Self {
        let store = Self(Database::create(path).unwrap());
        store.insert(0..0, &[]);
        store
    }

    fn fill(&mut self, numbers: Range<u64>, data: &[u8]) {
        self.insert(numbers, data);
    }

    fn session(&self) -> impl Session {
        self
    }
}

impl Session for &Redb {
    fn store(&mut self, number: u64, data: &[u8]) {
        self.insert(number..number + 1, data);
    }

    fn retrieve(&mut self, number: u64) -> Vec<u8> {
        let transaction = self.0.begin_read().unwrap();
        let table = transaction.open_table(TABLE).unwrap();
        table.get(&id(number)[..]).unwrap().unwrap().value().to_vec()
    }
}
