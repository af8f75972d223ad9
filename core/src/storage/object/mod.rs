//! A storage in a bucket of an object store: S3 and compatible servers, Google Cloud Storage, Azure.
//!
//! Each record is an object, which changes only by conditional writes; a long one is a small object that points to
//! immutable segments. `names.rs` has the names of the objects, `body.rs` their contents. All operations are futures on
//! one thread; this file waits for them.

mod body;
mod bucket;
mod credentials;
mod failed;
mod lists;
mod location;
mod maintain;
mod moves;
mod names;
mod probe;
mod records;
mod segments;
mod settings;
mod transport;
mod upload;
mod verify;

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::error::again;
use super::repair::repair_each;
use super::{
    Entry, Error, Fetched, Head, Info, Limits, Locator, PutMode, Repaired, Stats, Storage, Upload, Verified,
    VerifyPosition, require_store,
};
use crate::http::AnyHost;
use crate::util::runtime::{Runtime, Unfinished};
use body::Kind;
use bucket::Bucket;
pub use location::BucketUrl;
use records::{MAX_INLINE_LEN, PARALLEL_RECORDS, Records};
use segments::SEGMENT_LEN;
use transport::Transport;
use upload::ObjectUpload;

/// The metadata services of the providers, which have no TLS. Only `credentials=instance` in the URL uses them.
const METADATA_HOSTS: &[&str] = &["169.254.169.254", "169.254.170.2", "metadata.google.internal", "metadata"];
/// Parts of a long record, each of a segment, that are read in parallel. A stream opens one while it fetches two, which
/// take twice their length: 35 MiB in total.
const PARALLEL_PARTS: usize = 3;

/// A storage in a bucket of an object store.
///
/// Opening it checks that the server heeds the conditions of writes, and fails with [`Error::Unsupported`] if not:
/// records would be lost. Each call has a time limit (30 seconds by default). A write whose outcome cannot be learned
/// in time is [`Error::Indeterminate`].
///
/// There are no transactions: [`create_many`](Storage::create_many) is [`Error::Unsupported`], and
/// [`get_many`](Storage::get_many) and [`list`](Storage::list) are not of one moment. [`stats`](Storage::stats) counts
/// up to 48 bytes too many for a record that has been renamed. After a fork, only the parent can use the handle.
pub struct ObjectStorage {
    /// `None` only during the drop.
    records: Option<Arc<Records>>,
    runtime: Runtime,
    closed: AtomicBool,
    url: BucketUrl,
}

/// A call without a result: the storage's own failure, or that of the wait.
enum Stopped {
    Error(Error),
    Unfinished(Unfinished),
}

impl From<Unfinished> for Stopped {
    fn from(unfinished: Unfinished) -> Self {
        Self::Unfinished(unfinished)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Stopped {
    /// The error of a call that changes nothing.
    fn of_read(self) -> Error {
        match self {
            Self::Error(error) => error,
            Self::Unfinished(Unfinished::Forked) => Error::Forked,
            Self::Unfinished(Unfinished::NotBegun | Unfinished::Interrupted) => Error::Busy,
            Self::Unfinished(Unfinished::Ended) => Error::Backend("the thread for connections has ended".into()),
        }
    }

    fn of_write(self) -> Error {
        match self {
            Self::Unfinished(Unfinished::Interrupted) => Error::Indeterminate("the call was interrupted".into()),
            Self::Unfinished(Unfinished::Ended) => Error::Indeterminate("the thread for connections has ended".into()),
            other => other.of_read(),
        }
    }
}

impl ObjectStorage {
    /// Opens the storage in a bucket, which must exist. The first one to open it creates the storage.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if the server does not keep the promises that a storage needs;
    /// [`Error::InvalidArgument`] without credentials; [`Error::AccessDenied`] if they are wrong, or do not allow to
    /// read, write, delete and list; [`Error::Backend`] if the server cannot be reached or the bucket does not exist.
    pub fn open(url: &BucketUrl) -> Result<Self, Error> {
        let storage = Self::connect(url)?;
        let is_new = match storage.settings() {
            Err(Error::Corrupt) => false, // a repair restores them
            settings => settings?.is_none(),
        };
        storage.long(|records| async move { records.bucket.probe(is_new).await }).map_err(Stopped::of_read)?;
        Ok(storage)
    }

    /// As [`open`](Self::open), but there must be a store: else nothing is written.
    pub(crate) fn open_existing(url: &BucketUrl) -> Result<Self, Error> {
        let storage = Self::connect(url)?;
        require_store(&storage)?;
        storage.long(|records| async move { records.bucket.probe(false).await }).map_err(Stopped::of_read)?;
        Ok(storage)
    }

    /// Makes no request.
    fn connect(url: &BucketUrl) -> Result<Self, Error> {
        let plain = if url.of_instance { METADATA_HOSTS } else { &[] };
        let http = AnyHost::new(url.authorities.clone(), url.timeout, plain);
        let transport = Transport(http.map_err(|error| Error::Backend(error.into()))?);
        let (objects, signer) = credentials::connect(url, transport.clone())?;
        let bucket = Bucket {
            objects,
            signer,
            transport,
            prefix: url.prefix.clone(),
            time: url.timeout,
            bare_etags: AtomicBool::new(false),
            conditional_delete: AtomicBool::new(false),
        };
        let runtime = Runtime::start("strongroom-objects").map_err(|error| Error::Backend(error.into()))?;
        let records = Some(Arc::new(Records::new(bucket)));
        Ok(Self { records, runtime, closed: AtomicBool::new(false), url: url.clone() })
    }

    fn check_open(&self) -> Result<(), Error> {
        self.runtime.check_process().map_err(|_| Error::Forked)?;
        if self.closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    fn records(&self) -> Result<Arc<Records>, Error> {
        self.records.clone().ok_or(Error::Closed)
    }

    fn end(&self) -> Instant {
        Instant::now() + self.url.timeout
    }

    /// Waits for a call on many records, in which each request has the whole time.
    fn long<T: Send + 'static, F>(&self, call: impl FnOnce(Arc<Records>) -> F) -> Result<T, Stopped>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.check_open()?;
        let future = call(self.records()?);
        self.runtime.call(async move { future.await.map_err(Stopped::Error) })
    }

    /// Waits for a call on one record that changes nothing.
    fn read<T: Send + 'static, F>(&self, call: impl FnOnce(Arc<Records>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.long(|records| transport::until(self.end(), call(records))).map_err(Stopped::of_read)
    }

    /// Waits for a call on one record that changes something.
    fn write<T: Send + 'static, F>(&self, call: impl FnOnce(Arc<Records>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.long(|records| transport::until(self.end(), call(records))).map_err(Stopped::of_write)
    }

    /// Writes a record that is longer than an object may be.
    fn put_long(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        let mut upload = ObjectUpload::new(self, *locator, mode)?;
        upload.add(record)?;
        upload.commit_now()
    }
}

/// Copies the parts into `buffer`, which is as long.
fn fill(buffer: &mut [u8], parts: &[Bytes]) -> Result<(), Error> {
    let mut rest = buffer;
    for part in parts {
        let (now, later) = rest.split_at_mut_checked(part.len()).ok_or(Error::Corrupt)?;
        now.copy_from_slice(part);
        rest = later;
    }
    if rest.is_empty() { Ok(()) } else { Err(Error::Corrupt) }
}

impl Storage for ObjectStorage {
    fn kind(&self) -> &'static str {
        "object"
    }

    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        let head = Head::require(record)?;
        if record.len() as u64 > MAX_INLINE_LEN {
            return self.put_long(locator, record, mode);
        }
        let (locator, record) = (*locator, record.to_vec());
        self.write(move |records| async move { records.commit(&locator, Kind::Record, &record, &head, mode).await })
    }

    /// Always [`Error::Unsupported`]: an object store has no transactions.
    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error> {
        self.check_open()?;
        records.iter().try_for_each(|(_, record)| Head::require(record).map(drop))?;
        Err(Error::Unsupported("an object store cannot write many records all or none: store them one by one".into()))
    }

    fn put_each(&self, records: &[(Locator, &[u8], PutMode)]) -> Vec<Result<(), Error>> {
        let mut outcomes = Vec::with_capacity(records.len());
        for some in records.chunks(PARALLEL_RECORDS) {
            let is_short = |record: &[u8]| record.len() as u64 <= MAX_INLINE_LEN;
            let short: Vec<_> = some
                .iter()
                .filter(|(_, record, _)| is_short(record))
                .map(|(locator, record, mode)| (*locator, Head::require(record), record.to_vec(), *mode))
                .collect();
            let count = short.len();
            let together = self.long(move |records| async move {
                let put = |(locator, head, record, mode): (Locator, Result<Head, Error>, Vec<u8>, PutMode)| {
                    let records = &records;
                    async move { records.commit(&locator, Kind::Record, &record, &head?, mode).await }
                };
                Ok(stream::iter(short.into_iter().map(put)).buffered(PARALLEL_RECORDS).collect::<Vec<_>>().await)
            });
            let mut together = match together.map_err(Stopped::of_write) {
                Ok(outcomes) => outcomes,
                Err(error) => (0..count).map(|_| Err(again(&error))).collect(),
            }
            .into_iter();
            for (locator, record, mode) in some {
                outcomes.push(if is_short(record) {
                    together.next().unwrap_or(Err(Error::Corrupt))
                } else {
                    self.put_long(locator, record, *mode)
                });
            }
        }
        outcomes
    }

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        let locator = *locator;
        self.read(move |records| async move { records.get_up_to(&locator, max_len).await })
    }

    fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let locators = locators.to_vec();
        self.long(move |records| async move { records.get_many(&locators, max_len).await }).map_err(Stopped::of_read)
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        let locator = *locator;
        self.read(move |records| async move { records.info(&locator).await })
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let (locator, head, len) = (*locator, *head, buffer.len() as u64);
        let parts = self.read(move |records| async move { records.read_at(&locator, &head, offset, len).await })?;
        fill(buffer, &parts)
    }

    fn get_end(&self, locator: &Locator, len: usize) -> Result<Option<(Info, Vec<u8>)>, Error> {
        let locator = *locator;
        let found = self.read(move |records| async move { records.get_end(&locator, len as u64).await })?;
        Ok(found.map(|(info, parts)| (info, parts.concat())))
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        self.check_open()?;
        if mode != PutMode::Overwrite {
            mode.check(self.info(locator)?.map(|info| info.head))?;
        }
        Ok(Box::new(ObjectUpload::new(self, *locator, mode)?))
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        let (locator, expected) = (*locator, expected.copied());
        self.write(move |records| async move { records.delete(&locator, expected.as_ref()).await })
    }

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        let (from, head, to) = (*from, *head, *to);
        self.write(move |records| async move { records.rename(&from, &head, &to).await })
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        let after = after.copied();
        self.long(move |records| async move { records.list(after.as_ref(), limit).await }).map_err(Stopped::of_read)
    }

    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        self.long(move |records| async move { records.list_expired(now, limit).await }).map_err(Stopped::of_read)
    }

    fn purge(&self, now: u64, limit: usize) -> Result<usize, Error> {
        self.long(move |records| async move { records.purge(now, limit).await }).map_err(Stopped::of_write)
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read(|records| async move { records.settings().await })
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        let (expected, new) = (expected.map(<[u8]>::to_vec), new.to_vec());
        self.write(move |records| async move { records.swap_settings(expected.as_deref(), &new).await })
    }

    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        let position = position.cloned();
        self.long(move |records| async move { records.verify(position.as_ref(), limit).await })
            .map_err(Stopped::of_read)
    }

    fn repair(self: Arc<Self>, copy: &dyn Storage) -> Result<Repaired, Error> {
        if let Some(settings) = copy.settings()? {
            self.write(move |records| async move { records.restore_settings(&settings).await })?;
        }
        repair_each(&self, copy)
    }

    fn stats(&self, now: u64) -> Result<Stats, Error> {
        self.long(move |records| async move { records.stats(now).await }).map_err(Stopped::of_read)
    }

    fn maintain(&self) -> Result<(), Error> {
        self.long(|records| async move { records.maintain().await }).map_err(Stopped::of_write)
    }

    fn limits(&self) -> Limits {
        let part_len = usize::try_from(SEGMENT_LEN).unwrap_or(usize::MAX);
        Limits { record_bytes: u64::MAX, batch_bytes: 0, part_len, parallel_parts: PARALLEL_PARTS }
    }

    fn close(&self) -> Result<(), Error> {
        self.runtime.check_process().map_err(|_| Error::Forked)?;
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

impl Drop for ObjectStorage {
    fn drop(&mut self) {
        if self.runtime.check_process().is_err() {
            // The connections belong to the parent, and its thread may have held their locks at the fork.
            let _ = ManuallyDrop::new(self.records.take());
        }
    }
}

/// Shows the bucket's URL, which has no secret.
impl fmt::Debug for ObjectStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectStorage({})", self.url)
    }
}
