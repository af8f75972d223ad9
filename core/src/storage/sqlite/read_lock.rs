//! A thread that holds SQLite's read lock while reads are frequent, so that reads need not take it.
//!
//! A read locks and unlocks the log's index. These two system calls cost more than most reads, and they run under a
//! lock of the process, so that concurrent reads wait for each other. But SQLite makes them only for the first reading
//! connection of a process, and counts the others. So an additional connection holds the lock for all.
//!
//! It must not prevent checkpoints and restarts of the log. So, after a time without writes, it first checkpoints the
//! log itself (reads from the database file are also faster). After a complete checkpoint, SQLite gives a reader the
//! one lock that does not prevent a restart. The thread releases the lock every few milliseconds for other processes'
//! checkpoints, and holds none during writes. It ends when reads become rare.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;

use super::error::{Fault, Outcome};
use super::handle_state::HandleState;
use super::rows;
use crate::util::background_thread::{BackgroundThread, Requests};

/// The time between two releases of the lock.
const TICK: Duration = Duration::from_millis(10);
/// Ticks without a write after which the thread checkpoints the log and holds the lock.
const QUIET_TICKS: u32 = 10;
/// Ticks without a request after which the thread ends.
const IDLE_TICKS: u32 = 50;

#[derive(Default)]
pub(super) struct ReadLock(BackgroundThread);

impl ReadLock {
    /// Starts the thread unless it runs, because reads are frequent. `open` makes its connection.
    pub(super) fn request(&self, open: impl FnOnce() -> Outcome<Connection> + Send + 'static, state: Arc<HandleState>) {
        self.0.request("strongroom-lock", move |requests| {
            let outcome = open().and_then(|connection| hold(&connection, &state, requests));
            outcome.unwrap_or_else(|Fault(error)| state.note_write(&error));
        });
    }

    /// Ends the thread for good, and waits for its end.
    pub(super) fn end(&self) {
        self.0.end();
    }
}

/// Holds the lock, with interruptions, for as long as reads are frequent. After a failed write the log must not be
/// checkpointed.
fn hold(connection: &Connection, state: &HandleState, requests: &Requests) -> Outcome<()> {
    let (mut version, mut quiet, mut idle) = (data_version(connection)?, 0, 0);
    while idle < IDLE_TICKS && state.check_writable().is_ok() {
        let held = if quiet >= QUIET_TICKS && checkpoint(connection)? {
            let transaction = connection.unchecked_transaction()?;
            rows::begin_read(&transaction)?;
            Some(transaction)
        } else {
            None
        };
        let ended = requests.wait(TICK);
        drop(held);
        if ended {
            break;
        }
        idle = if requests.take() { 0 } else { idle + 1 };
        let before = std::mem::replace(&mut version, data_version(connection)?);
        quiet = if version == before { quiet.saturating_add(1) } else { 0 };
    }
    Ok(())
}

/// A number that changes with each commit of another connection, in any process.
fn data_version(connection: &Connection) -> Outcome<i64> {
    Ok(connection.prepare_cached("PRAGMA data_version")?.query_row((), |row| row.get(0))?)
}

/// Checkpoints the log as far as possible without waiting for other users. Returns whether the checkpoint is complete.
fn checkpoint(connection: &Connection) -> Outcome<bool> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
    let pages: (i64, i64) = statement.query_row((), |row| Ok((row.get(1)?, row.get(2)?)))?;
    Ok(pages.0 == pages.1)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread;
    use std::time::Instant;

    use super::super::tests::locator;
    use super::super::{Durability, SqliteStorage};
    use super::*;
    use crate::storage::{PutMode, Storage};

    /// Whether the database file itself, without its log, contains `part`.
    fn is_moved(path: &Path, part: &[u8]) -> bool {
        std::fs::read(path).unwrap().windows(part.len()).any(|window| window == part)
    }

    fn reads_until(storage: &SqliteStorage, done: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done() {
            assert!(Instant::now() < deadline, "in vain");
            (0..100).for_each(|_| drop(storage.get(&locator(0)).unwrap()));
        }
    }

    fn runs(storage: &SqliteStorage) -> bool {
        storage.database.read_lock.0.is_running()
    }

    #[test]
    fn frequent_reads_checkpoint_the_log_and_never_prevent_its_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.db");
        let storage = SqliteStorage::open(&path, Durability::Relaxed).unwrap();
        let mut longest = 0;
        for number in 0..5 {
            let record: Vec<u8> = (0..250_000_u32).flat_map(|n| (n ^ u32::from(number) << 20).to_le_bytes()).collect();
            storage.put(&locator(number), &record, PutMode::Create).unwrap();
            let part = &record[500_000..500_400];
            assert!(!is_moved(&path, part), "by whom?");
            reads_until(&storage, || is_moved(&path, part));
            assert_eq!(storage.get(&locator(number)).unwrap().as_ref(), Some(&record));
            reads_until(&storage, || runs(&storage));
            longest = longest.max(std::fs::metadata(path.with_extension("db-wal")).unwrap().len());
        }
        // 5,000,000 without a restart; on a busy machine some are missed.
        assert!(longest < 4_000_000, "the log grew where it should have been restarted: {longest}");
    }

    #[test]
    fn the_thread_ends_with_the_reads_and_with_the_storage() {
        let folder = tempfile::tempdir().unwrap();
        let storage = SqliteStorage::open(folder.path().join("records.db"), Durability::Full).unwrap();
        storage.get(&locator(0)).unwrap();
        assert!(!runs(&storage), "one read is not many");
        reads_until(&storage, || runs(&storage));
        let deadline = Instant::now() + Duration::from_secs(60);
        while runs(&storage) {
            assert!(Instant::now() < deadline, "it goes on without reads");
            thread::sleep(TICK);
        }
        reads_until(&storage, || runs(&storage));
        storage.close().unwrap();
        assert!(!runs(&storage));
    }
}
