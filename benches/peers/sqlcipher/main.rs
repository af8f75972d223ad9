//! SQLCipher with a raw key, as a contestant of `compare`, with Strongroom's settings.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use strongroom_contest::{Contestant, Session, arguments, id, run};

fn main() {
    run::<SqlCipher>(arguments());
}

const KEY: &str = "PRAGMA key = \"x'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'\";";
const SETTINGS: &str = "PRAGMA cipher_page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 2048; PRAGMA secure_delete = ON;";
const TABLE: &str = "CREATE TABLE IF NOT EXISTS record (id BLOB NOT NULL UNIQUE, data BLOB NOT NULL) STRICT";

struct SqlCipher {
    path: PathBuf,
    first: Mutex<Connection>,
}

/// A connection of one thread.
struct Thread(Connection);

fn connect(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    for sql in [KEY, SETTINGS, TABLE] {
        connection.execute_batch(sql).unwrap();
    }
    connection
}

impl Contestant for SqlCipher {
    fn create(path: &Path) -> Self {
        Self { path: path.to_owned(), first: Mutex::new(connect(path)) }
    }

    fn fill(&mut self, numbers: Range<u64>, data: &[u8]) {
        let transaction = self.first.get_mut().unwrap().transaction().unwrap();
        numbers.for_each(|number| insert(&transaction, number, data));
        transaction.commit().unwrap();
    }

    fn session(&self) -> impl Session {
        Thread(connect(&self.path))
    }
}

impl Session for Thread {
    fn store(&mut self, number: u64, data: &[u8]) {
        let transaction = Transaction::new(&mut self.0, TransactionBehavior::Immediate).unwrap();
        insert(&transaction, number, data);
        transaction.commit().unwrap();
    }

    fn retrieve(&mut self, number: u64) -> Vec<u8> {
        let mut statement = self.0.prepare_cached("SELECT data FROM record WHERE id = ?1").unwrap();
        statement.query_row([id(number)], |row| row.get(0)).unwrap()
    }
}

fn insert(transaction: &Transaction<'_>, number: u64, data: &[u8]) {
    let sql = "INSERT INTO record (id, data) VALUES (?1, ?2)";
    transaction.prepare_cached(sql).unwrap().execute((id(number), data)).unwrap();
}
