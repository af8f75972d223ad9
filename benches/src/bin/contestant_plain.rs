//! SQLite without encryption, as a contestant of `compare`: the floor. `plain` has Strongroom's settings; with
//! `defaults` before the other arguments it has SQLite's own.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use strongroom_contest::{Contestant, Session, arguments, id, run};

fn main() {
    let mut arguments = arguments().peekable();
    if arguments.next_if_eq("defaults").is_some() {
        run::<Plain<true>>(arguments);
    } else {
        run::<Plain<false>>(arguments);
    }
}

const OUR_SETTINGS: &str = "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 2048; PRAGMA secure_delete = ON;";
const TABLE: &str = "CREATE TABLE IF NOT EXISTS record (id BLOB NOT NULL UNIQUE, data BLOB NOT NULL) STRICT";

struct Plain<const DEFAULTS: bool> {
    path: PathBuf,
    first: Mutex<Connection>,
}

/// A connection of one thread.
struct Thread(Connection);

impl<const DEFAULTS: bool> Plain<DEFAULTS> {
    fn connect(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        if !DEFAULTS {
            connection.execute_batch(OUR_SETTINGS).unwrap();
        }
        connection.execute_batch(TABLE).unwrap();
        connection
    }
}

impl<const DEFAULTS: bool> Contestant for Plain<DEFAULTS> {
    fn create(path: &Path) -> Self {
        Self { path: path.to_owned(), first: Mutex::new(Self::connect(path)) }
    }

    fn fill(&mut self, numbers: Range<u64>, data: &[u8]) {
        let transaction = self.first.get_mut().unwrap().transaction().unwrap();
        numbers.for_each(|number| insert(&transaction, number, data));
        transaction.commit().unwrap();
    }

    fn session(&self) -> impl Session {
        Thread(Self::connect(&self.path))
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
