//! SQLite, as a contestant of `compare`. Without encryption it is the baseline, with Strongroom's settings or, with
//! `defaults` before the other arguments, with SQLite's own. With `sealed` it is a typical implementation by hand:
//! SQLite's own settings with a durable write-ahead log, and each value under AES-256-GCM with its own key.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use strongroom_contest::{Contestant, Session, arguments, id, run};

fn main() {
    let mut arguments = arguments().peekable();
    if arguments.next_if_eq("defaults").is_some() {
        run::<Plain<DEFAULTS>>(arguments);
    } else if arguments.next_if_eq("sealed").is_some() {
        run::<Plain<SEALED>>(arguments);
    } else {
        run::<Plain<OURS>>(arguments);
    }
}

const OUR_SETTINGS: &str = "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 256; PRAGMA secure_delete = ON;";
const DURABLE_LOG: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
const TABLE: &str = "CREATE TABLE IF NOT EXISTS record (id BLOB NOT NULL UNIQUE, data BLOB NOT NULL) STRICT";

const OURS: u8 = 0;
const DEFAULTS: u8 = 1;
const SEALED: u8 = 2;

struct Plain<const KIND: u8> {
    path: PathBuf,
    first: Mutex<Connection>,
    /// The keys of sealed records 0, 1, 2, ...
    keys: Vec<[u8; 32]>,
}

/// A connection of one thread.
struct Thread<'k, const KIND: u8>(Connection, &'k [[u8; 32]]);

impl<const KIND: u8> Plain<KIND> {
    fn connect(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        match KIND {
            OURS => connection.execute_batch(OUR_SETTINGS).unwrap(),
            SEALED => connection.execute_batch(DURABLE_LOG).unwrap(),
            _ => {}
        }
        connection.execute_batch(TABLE).unwrap();
        connection
    }
}

impl<const KIND: u8> Contestant for Plain<KIND> {
    fn create(path: &Path) -> Self {
        Self { path: path.to_owned(), first: Mutex::new(Self::connect(path)), keys: Vec::new() }
    }

    fn fill(&mut self, numbers: Range<u64>, data: &[u8]) {
        let transaction = self.first.get_mut().unwrap().transaction().unwrap();
        numbers.for_each(|number| self.keys.extend(insert::<KIND>(&transaction, number, data)));
        transaction.commit().unwrap();
    }

    fn session(&self) -> impl Session {
        Thread::<KIND>(Self::connect(&self.path), &self.keys)
    }
}

impl<const KIND: u8> Session for Thread<'_, KIND> {
    fn store(&mut self, number: u64, data: &[u8]) {
        let transaction = Transaction::new(&mut self.0, TransactionBehavior::Immediate).unwrap();
        insert::<KIND>(&transaction, number, data);
        transaction.commit().unwrap();
    }

    fn retrieve(&mut self, number: u64) -> Vec<u8> {
        let mut statement = self.0.prepare_cached("SELECT data FROM record WHERE id = ?1").unwrap();
        let found: Vec<u8> = statement.query_row([id(number)], |row| row.get(0)).unwrap();
        if KIND == SEALED { open(&self.1[usize::try_from(number).unwrap()], number, &found) } else { found }
    }
}

/// Returns the key of a sealed value.
fn insert<const KIND: u8>(transaction: &Transaction<'_>, number: u64, data: &[u8]) -> Option<[u8; 32]> {
    let sql = "INSERT INTO record (id, data) VALUES (?1, ?2)";
    let mut statement = transaction.prepare_cached(sql).unwrap();
    if KIND == SEALED {
        let (key, sealed) = seal(number, data);
        statement.execute((id(number), sealed)).unwrap();
        Some(key)
    } else {
        statement.execute((id(number), data)).unwrap();
        None
    }
}

/// A new key, and `nonce || ciphertext || tag` under it, bound to the id.
fn seal(number: u64, data: &[u8]) -> ([u8; 32], Vec<u8>) {
    let (mut key, mut nonce) = ([0; 32], [0; 12]);
    SysRng.try_fill_bytes(&mut key).unwrap();
    SysRng.try_fill_bytes(&mut nonce).unwrap();
    let cipher = Aes256Gcm::new(&key.into());
    let sealed = cipher.encrypt(&nonce.into(), Payload { msg: data, aad: &id(number) }).unwrap();
    (key, [&nonce[..], &sealed].concat())
}

fn open(key: &[u8; 32], number: u64, sealed: &[u8]) -> Vec<u8> {
    let (nonce, sealed) = sealed.split_first_chunk::<12>().unwrap();
    let cipher = Aes256Gcm::new(key.into());
    cipher.decrypt(nonce.into(), Payload { msg: sealed, aad: &id(number) }).unwrap()
}
