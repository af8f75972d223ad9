//! askar's storage with a raw key and SQLite, as a contestant of `compare`. The settings are its own, except those for
//! durable stores. Each operation has a session, as in typical use.

use std::ops::Range;
use std::path::Path;

use askar_storage::any::{AnyBackend, into_any_backend};
use askar_storage::backend::sqlite::SqliteStoreOptions;
use askar_storage::entry::{EntryKind, EntryOperation};
use askar_storage::future::block_on;
use askar_storage::{Backend, BackendSession, ManageBackend, StoreKeyMethod, generate_raw_store_key};
use strongroom_contest::{Contestant, Session, arguments, id, run};

fn main() {
    run::<Askar>(arguments());
}

struct Askar(AnyBackend);

impl Askar {
    fn insert(&self, numbers: Range<u64>, data: &[u8], transaction: bool) {
        block_on(async {
            let mut session = self.0.session(None, transaction).unwrap();
            for number in numbers {
                let (kind, operation, name) = (EntryKind::Item, EntryOperation::Insert, name(number));
                session.update(kind, operation, "record", &name, Some(data), None, None).await.unwrap();
            }
            session.close(true).await.unwrap();
        });
    }
}

/// askar's names are text.
fn name(number: u64) -> String {
    id(number).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Contestant for Askar {
    fn create(path: &Path) -> Self {
        let url = format!("sqlite://{}?journal_mode=wal&synchronous=full&busy_timeout=60000", path.display());
        let key = generate_raw_store_key(None).unwrap();
        let options = SqliteStoreOptions::new(url.as_str()).unwrap();
        let store = block_on(options.provision_backend(StoreKeyMethod::RawKey, key, None, false));
        Self(into_any_backend(store.unwrap()))
    }

    fn fill(&mut self, numbers: Range<u64>, data: &[u8]) {
        self.insert(numbers, data, true);
    }

    fn session(&self) -> impl Session {
        self
    }
}

impl Session for &Askar {
    fn store(&mut self, number: u64, data: &[u8]) {
        self.insert(number..number + 1, data, false);
    }

    fn retrieve(&mut self, number: u64) -> Vec<u8> {
        block_on(async {
            let mut session = self.0.session(None, false).unwrap();
            let entry = session.fetch(EntryKind::Item, "record", &name(number), false).await.unwrap().unwrap();
            session.close(true).await.unwrap();
            entry.value.as_ref().to_vec()
        })
    }
}
