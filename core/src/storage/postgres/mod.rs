//! A storage in PostgreSQL. Each operation is one statement, so it sees one state and is one transaction.

mod change;
mod config;
mod connection;
mod environment;
mod error;
mod password_file;
mod pool;
mod read;
mod scan;
mod schema;
mod service_file;
mod statement;
mod tls;
mod upload;
mod verify;
mod write;

use std::borrow::Cow;
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::Row;

use super::commit_queue::CommitQueue;
use super::operation::Operation;
use super::repair::repair_each;
use super::types::check_settings;
use super::{
    Entry, Error, Fetched, Head, Info, Limits, Locator, PutMode, Repaired, Stats, Storage, Upload, Verified,
    VerifyPosition, require_store,
};
use crate::util::backoff::Backoff;
use crate::util::interrupt;
use crate::util::runtime::Runtime;
pub use config::PostgresConfig;
use error::Failure;
use pool::Pool;
use statement::Statement;
use upload::PostgresUpload;

/// The number of attempts for which a call has time if none is answered.
const ATTEMPTS: u32 = 3;
/// The time limit of calls that read all rows.
const LONG: Duration = Duration::from_secs(3600);
/// The most bytes of a record in one row, and the length of each segment but the last.
const SEGMENT_LEN: usize = 1 << 20;
/// The most bytes of one statement with many records.
const BATCH_BYTES: u64 = 64 << 20;
/// A part of a long record: 256 sealed chunks.
const PART_LEN: usize = 256 * 16_400;
/// Parts that are requested in parallel.
const PARALLEL_PARTS: usize = 2;

/// Records in a PostgreSQL database, which many processes on many machines may use at once.
///
/// A write is durable as the server's settings say: opening refuses those that lose acknowledged writes. A call without
/// an answer is repeated until the time limit if that does no harm; an outcome that is still unknown then is
/// [`Error::Indeterminate`]. After a fork, only the parent can use the handle.
///
/// Waiting writes of all threads are merged into one statement, as are the syncs of their commits.
pub struct PostgresStorage {
    schema: String,
    timeout: Duration,
    name: String,
    /// `None` only during the drop.
    pool: Option<Arc<Pool>>,
    queue: CommitQueue<Operation<'static>, Result<bool, Error>>,
    closed: AtomicBool,
    runtime: Runtime,
}

impl PostgresStorage {
    /// Opens the database, and creates the tables if there are none and the role may do so.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the database does not exist, the tables are missing and may not be created, or
    /// belong to another application, or if the server could lose acknowledged writes; [`Error::AccessDenied`] for a
    /// wrong password; [`Error::Unsupported`] for tables of a newer version; [`Error::Backend`] if the server cannot be
    /// reached.
    pub fn open(config: &PostgresConfig) -> Result<Self, Error> {
        let storage = Self::connect(config)?;
        storage.prepare_schema()?;
        Ok(storage)
    }

    /// As [`open`](Self::open), but creates nothing: there must be a store.
    pub(crate) fn open_existing(config: &PostgresConfig) -> Result<Self, Error> {
        let storage = Self::connect(config)?;
        storage.require_schema()?;
        require_store(&storage)?;
        Ok(storage)
    }

    /// As [`open`](Self::open), as the owner of the tables; then allows `role` to read and write records. A service
    /// should use such a role, which cannot change the tables.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open); [`Error::AccessDenied`] if the role of the URL may not do this.
    pub fn migrate(config: &PostgresConfig, role: Option<&str>) -> Result<Self, Error> {
        let storage = Self::open(config)?;
        if let Some(role) = role {
            storage.grant(role)?;
        }
        Ok(storage)
    }

    fn connect(config: &PostgresConfig) -> Result<Self, Error> {
        let (hosts, tls) = config.prepare()?;
        let runtime = Runtime::start("strongroom-pg").map_err(|error| Error::Backend(error.into()))?;
        Ok(Self {
            schema: config.schema.clone(),
            timeout: config.timeout,
            name: config.to_string(),
            pool: Some(Arc::new(Pool::new(hosts, tls, config.durability, config.timeout / ATTEMPTS))),
            queue: CommitQueue::new(write::abandoned),
            closed: AtomicBool::new(false),
            runtime,
        })
    }

    fn check_usable(&self) -> Result<(), Error> {
        self.runtime.check_process().map_err(|unfinished| Failure::from(unfinished).of_read())?;
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    fn statement(&self, text: &str) -> Statement {
        Statement::new(&self.schema, text)
    }

    fn end(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// The rows of a statement that changes nothing, or that may be repeated.
    fn read(&self, statement: &Statement) -> Result<Vec<Row>, Error> {
        let end = self.end();
        self.attempts(true, end, || self.attempt(statement, end)).0.map_err(Failure::of_read)
    }

    /// The same, for one that may look at all rows.
    fn read_long(&self, statement: &Statement) -> Result<Vec<Row>, Error> {
        let end = Instant::now() + LONG;
        let attempt = || {
            let (pool, statement) = (self.pool()?, statement.clone());
            self.runtime.call(async move { pool.run_long(&statement, end.into()).await })
        };
        self.attempts(true, end, attempt).0.map_err(Failure::of_read)
    }

    /// The rows of a write whose repetition does no harm, and whether the outcome of an earlier attempt is unknown.
    fn write(&self, statement: &Statement, end: Instant) -> (Result<Vec<Row>, Error>, bool) {
        let (outcome, lost) = self.attempts(true, end, || self.attempt(statement, end));
        (outcome.map_err(|failure| failure.of_write(lost)), lost)
    }

    /// Repeats a statement until it succeeds, is refused, or the time is up. Also returns whether the outcome of an
    /// earlier attempt is unknown.
    fn attempts(
        &self,
        repeat_lost: bool,
        end: Instant,
        attempt: impl Fn() -> Result<Vec<Row>, Failure>,
    ) -> (Result<Vec<Row>, Failure>, bool) {
        // A server that cannot be reached may be restarting, or another may take its place.
        let reached_by = Instant::now() + self.timeout / ATTEMPTS;
        let (mut backoff, mut lost) = (Backoff::new(), false);
        loop {
            let outcome = self.check_usable().map_err(Failure::Refused).and_then(|()| attempt());
            let again = match &outcome {
                Err(Failure::NotDone(_) | Failure::Crowded(_)) => lost || Instant::now() < reached_by,
                Err(Failure::Lost(_)) => repeat_lost,
                _ => false,
            };
            let pause = backoff.pause();
            if !again || Instant::now() + pause >= end || interrupt::was_interrupted() {
                return (outcome, lost);
            }
            lost |= matches!(outcome, Err(Failure::Lost(_)));
            interrupt::sleep(pause);
        }
    }

    fn attempt(&self, statement: &Statement, end: Instant) -> Result<Vec<Row>, Failure> {
        let (pool, statement) = (self.pool()?, statement.clone());
        let end = end.min(Instant::now() + self.timeout / ATTEMPTS);
        self.runtime.call(async move { pool.run(&statement, end.into()).await })
    }

    fn pool(&self) -> Result<Arc<Pool>, Error> {
        self.pool.clone().ok_or(Error::Closed)
    }

    fn run_script(&self, script: String) -> Result<(), Error> {
        self.check_usable()?;
        let (pool, end) = (self.pool()?, self.end());
        let outcome = self.runtime.wait(async move { pool.run_script(&script, end.into()).await });
        outcome.map_err(|failure| failure.of_write(false))
    }
}

impl Storage for PostgresStorage {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        Head::require(record)?;
        if record.len() > SEGMENT_LEN {
            return self.put_long(locator, record, mode);
        }
        self.apply(&Operation::Put { locator: *locator, record: Cow::Borrowed(record), mode }).map(drop)
    }

    /// One statement. At most 64 MiB.
    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error> {
        self.create_together(records)
    }

    /// In statements of a limited size.
    fn put_each(&self, records: &[(Locator, &[u8], PutMode)]) -> Vec<Result<(), Error>> {
        self.put_in_groups(records)
    }

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        self.fetch(locator, max_len)
    }

    fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.fetch_many(locators, max_len)
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        self.find_info(locator)
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.fill(locator, head, offset, buffer)
    }

    fn get_end(&self, locator: &Locator, len: usize) -> Result<Option<(Info, Vec<u8>)>, Error> {
        self.fetch_end(locator, len)
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        self.check_mode(locator, mode)?;
        Ok(Box::new(PostgresUpload::new(self, *locator, mode)?))
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        self.apply(&Operation::Delete { locator: *locator, expected: expected.copied() })
    }

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        self.move_record(from, head, to)
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        self.list_after(after, limit)
    }

    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        self.list_due(now, limit)
    }

    /// Each step is one statement.
    fn purge(&self, now: u64, limit: usize) -> Result<usize, Error> {
        self.purge_due(now, limit)
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        let rows = self.read(&self.statement("SELECT document FROM @.settings"))?;
        rows.first().map(|row| statement::column(row, 0)).transpose()
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        check_settings(new)?;
        self.swap_document(expected, new)
    }

    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        self.verify_step(position, limit)
    }

    fn repair(self: Arc<Self>, copy: &dyn Storage) -> Result<Repaired, Error> {
        repair_each(&self, copy)
    }

    fn stats(&self, now: u64) -> Result<Stats, Error> {
        self.count(now)
    }

    /// Removes the leftovers of uploads that have not grown for an hour. PostgreSQL itself removes deleted rows
    /// (`autovacuum`), and its log and backups keep them for as long as they are kept.
    fn maintain(&self) -> Result<(), Error> {
        self.sweep()
    }

    fn limits(&self) -> Limits {
        Limits { batch_bytes: BATCH_BYTES, part_len: PART_LEN, parallel_parts: PARALLEL_PARTS, ..Limits::default() }
    }

    fn close(&self) -> Result<(), Error> {
        match self.check_usable() {
            Err(Error::Closed) => return Ok(()),
            outcome => outcome?,
        }
        self.closed.store(true, Ordering::Release);
        if let Some(pool) = self.pool.clone() {
            self.runtime.spawn(async move { pool.close().await });
        }
        Ok(())
    }
}

impl Drop for PostgresStorage {
    fn drop(&mut self) {
        if self.runtime.check_process().is_err() {
            // The connections belong to the parent, and its thread may have held their locks at the fork.
            let _ = ManuallyDrop::new(self.pool.take());
        }
    }
}

impl fmt::Debug for PostgresStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStorage").field("url", &self.name).finish_non_exhaustive()
    }
}
