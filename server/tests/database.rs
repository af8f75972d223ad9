//! Services over a database: deleted ciphertext, files that disappear, and another process that keeps the lock.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use serde_json::json;
use strongroom::storage::{Durability, SqliteStorage};
use strongroom::{IndexKey, Strongroom};
use strongroom_server::{Config, Service};

use crate::support::wait::{DEADLINE, Join, wait_for};
use crate::support::{Answer, Running, config, start};

const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");

/// Either service over a database in a folder of its own.
struct Served {
    folder: tempfile::TempDir,
    is_storage: bool,
    server: Running,
}

impl Served {
    fn both(config: &Config) -> [Self; 2] {
        [false, true].map(|is_storage| {
            let folder = tempfile::tempdir().unwrap();
            let storage = Arc::new(SqliteStorage::open(folder.path().join("records.db"), Durability::Full).unwrap());
            let service = if is_storage {
                Service::storage(storage, config)
            } else {
                let builder = Strongroom::builder().storage(storage).index_key(IndexKey::from_bytes(&[7; 32]).unwrap());
                Service::encryption(Arc::new(builder.open().unwrap()), config)
            };
            Self { folder, is_storage, server: start(service.unwrap(), config) }
        })
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("records.db{suffix}"))
    }

    /// The request that writes record `n`, without a body.
    fn write_request(&self, n: u8) -> (String, Vec<(&'static str, &'static str)>) {
        if self.is_storage {
            let locator = format!("01{}", format!("{n:02x}").repeat(31));
            return (format!("PUT /v1/records/{locator}"), vec![OCTETS, ("if-none-match", "*")]);
        }
        let ids = ["AA", "AQ", "Ag", "Aw", "BA", "BQ", "Bg", "Bw"];
        ("POST /v1/store".to_owned(), vec![OCTETS, ("strongroom-id", ids[usize::from(n)])])
    }

    fn write(&self, n: u8, len: usize) -> Answer {
        let (request, headers) = self.write_request(n);
        self.server.send(&request, &headers, &record(len))
    }

    /// Erases record 0.
    fn erase(&self) -> Answer {
        let (request, _) = self.write_request(0);
        match self.is_storage {
            true => self.server.send(&request.replace("PUT", "DELETE"), &[], b""),
            false => self.server.json("/v1/erase", &json!({"id_base64": "AA=="})),
        }
    }

    fn ready(&self) -> Answer {
        self.server.send("GET /readyz", &[], b"")
    }
}

/// A header of format 1, and any bytes.
fn record(len: usize) -> Vec<u8> {
    let mut record = vec![7; len.max(68)];
    record[..12].copy_from_slice(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    record
}

fn contains(path: &Path, part: &[u8]) -> bool {
    fs::read(path).is_ok_and(|file| file.windows(part.len()).any(|window| window == part))
}

#[test]
fn deleted_ciphertext_leaves_all_files_in_the_background() {
    let mut config = config();
    config.maintenance.interval_seconds = 1;
    let services = Served::both(&config);
    for served in &services {
        assert!((200..300).contains(&served.write(0, 5000).status));
        assert!((200..300).contains(&served.erase().status));
    }
    for served in &services {
        wait_for(|| served.path("-wal").metadata().is_ok_and(|log| log.len() == 0).then_some(()));
        assert!(!contains(&served.path(""), &[7; 1000]) && !contains(&served.path("-shm"), &[7; 1000]));
        assert!((200..300).contains(&served.write(1, 5000).status), "it works on");
    }
}

type Event = fn(&Served);

/// Each removes, renames or replaces files of the store.
const EVENTS: [(&str, Event); 4] = [
    ("all removed", |served| ["", "-wal", "-shm"].iter().for_each(|suffix| remove(served, suffix))),
    ("the database replaced", |served| replace(served, "")),
    ("the log removed", |served| remove(served, "-wal")),
    ("the log replaced", |served| replace(served, "-wal")),
];

fn remove(served: &Served, suffix: &str) {
    fs::remove_file(served.path(suffix)).unwrap();
}

fn replace(served: &Served, suffix: &str) {
    let other = served.folder.path().join("other");
    fs::copy(served.path(suffix), &other).unwrap();
    fs::rename(other, served.path(suffix)).unwrap();
}

#[test]
fn a_service_whose_files_are_gone_is_not_ready() {
    for (what, event) in EVENTS {
        for served in Served::both(&config()) {
            served.ready().is(200);
            event(&served);
            served.ready().is_problem(503, 14, "Storage");
            let answer = served.write(0, 100);
            assert_eq!(answer.status, 500, "{what}: {}", String::from_utf8_lossy(&answer.body));
        }
    }
}

/// For single writes, and for writes that share a commit.
#[test]
fn a_service_whose_files_are_gone_acknowledges_nothing() {
    for (what, event) in EVENTS {
        for served in Served::both(&config()) {
            served.ready().is(200);
            event(&served);
            let statuses: Vec<u16> = thread::scope(|scope| {
                let writers: Vec<_> = (0..8)
                    .map(|n| {
                        scope.spawn({
                            let served = &served;
                            move || served.write(n, 100).status
                        })
                    })
                    .collect();
                writers.into_iter().map(|writer| writer.join_within(DEADLINE)).collect()
            });
            assert!(statuses.iter().all(|status| [500, 502].contains(status)), "{what}: {statuses:?}");
            served.ready().is_problem(503, 14, "Storage");
        }
    }
}

/// A long body that began before.
#[test]
fn a_stream_into_files_that_are_gone_is_not_acknowledged() {
    for (what, event) in EVENTS {
        for served in Served::both(&config()) {
            let body = record(3 << 20);
            let (request, headers) = served.write_request(0);
            let mut client = served.server.connect();
            client.head(&request, &headers, Some(body.len() as u64));
            let (begin, rest) = body.split_at(2 << 20);
            std::io::Write::write_all(&mut client.stream, begin).unwrap();
            wait_for(|| served.path(".uploads").exists().then_some(()));
            event(&served);
            let _ = std::io::Write::write_all(&mut client.stream, rest); // the service may reject it halfway
            let answer = client.answer(false);
            assert!([500, 502].contains(&answer.status), "{what}: {}", answer.status);
            served.ready().is_problem(503, 14, "Storage");
        }
    }
}

/// SQLite waits five seconds for a lock.
#[test]
fn a_lock_of_another_process_is_busy() {
    let services = Served::both(&config());
    let locks: Vec<_> = services
        .iter()
        .map(|served| {
            let lock = rusqlite::Connection::open(served.path("")).unwrap();
            lock.execute_batch("BEGIN IMMEDIATE").unwrap();
            lock
        })
        .collect();
    thread::scope(|scope| {
        for served in &services {
            scope.spawn(|| {
                served.write(0, 100).is_problem(503, 12, "Busy");
            });
            served.ready().is(200); // it can be read
        }
    });
    drop(locks);
    services.iter().for_each(|served| assert!((200..300).contains(&served.write(0, 100).status)));
}
