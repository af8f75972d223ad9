//! A storage that counts and injects faults: an event before a `put`, an upload or a `get_many`, or after a long record
//! is found, an invented record for each `get`, only long records, missing parts, an upload that fails at one of its
//! writes.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use strongroom::storage::{
    Entry, Error, Fetched, Head, Info, Locator, PutMode, Stats, Storage, Upload, Verified, VerifyPosition,
};

type Event = Box<dyn FnOnce() + Send>;

pub(crate) struct Intercepted {
    inner: Arc<dyn Storage>,
    before_put: Mutex<Option<Event>>,
    before_upload: Mutex<Option<Event>>,
    after_long: Mutex<Option<Event>>,
    /// With the number of calls before.
    before_get_many: Mutex<Option<(usize, Event)>>,
    served: Mutex<Option<Vec<u8>>>,
    most_of_many: u64,
    loses_outcomes: bool,
    lists_from_the_start: bool,
    all_are_long: bool,
    has_no_parts: bool,
    uploads_fail_at: Option<usize>,
    bytes_read: AtomicUsize,
}

impl Intercepted {
    /// Without faults, until `serve` is called.
    pub(crate) fn hostile(inner: Arc<dyn Storage>) -> Self {
        let (before_put, before_upload) = (Mutex::default(), Mutex::default());
        let (after_long, before_get_many, served) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (all_are_long, has_no_parts, uploads_fail_at) = (false, false, None);
        let (loses_outcomes, lists_from_the_start, bytes_read) = (false, false, AtomicUsize::new(0));
        Self {
            inner,
            before_put,
            before_upload,
            after_long,
            before_get_many,
            served,
            most_of_many: u64::MAX,
            loses_outcomes,
            lists_from_the_start,
            all_are_long,
            has_no_parts,
            uploads_fail_at,
            bytes_read,
        }
    }

    /// Runs `event` once, before the first `put` reaches `inner`.
    pub(crate) fn before_put(inner: Arc<dyn Storage>, event: impl FnOnce() + Send + 'static) -> Self {
        Self { before_put: Mutex::new(Some(Box::new(event))), ..Self::hostile(inner) }
    }

    /// Runs `event` once, before the first `upload` reaches `inner`.
    pub(crate) fn before_upload(inner: Arc<dyn Storage>, event: impl FnOnce() + Send + 'static) -> Self {
        Self { before_upload: Mutex::new(Some(Box::new(event))), ..Self::hostile(inner) }
    }

    /// Runs `event` once, between finding a long record and reading it.
    pub(crate) fn after_long(inner: Arc<dyn Storage>, event: impl FnOnce() + Send + 'static) -> Self {
        Self { after_long: Mutex::new(Some(Box::new(event))), ..Self::hostile(inner) }
    }

    /// A `get_many` returns at most this number of bytes.
    pub(crate) fn with_batches(inner: Arc<dyn Storage>, len: u64) -> Self {
        Self { most_of_many: len, ..Self::hostile(inner) }
    }

    /// Runs `event` once, before the `get_many` after the first `n`.
    pub(crate) fn before_get_many(inner: Arc<dyn Storage>, n: usize, event: impl FnOnce() + Send + 'static) -> Self {
        Self { before_get_many: Mutex::new(Some((n, Box::new(event)))), ..Self::hostile(inner) }
    }

    /// Leaves out the last record of each `get_many`.
    pub(crate) fn losing_outcomes(inner: Arc<dyn Storage>) -> Self {
        Self { loses_outcomes: true, ..Self::hostile(inner) }
    }

    /// Ignores where a list or a search begins, so that each page is the first.
    pub(crate) fn listing_from_the_start(inner: Arc<dyn Storage>) -> Self {
        Self { lists_from_the_start: true, ..Self::hostile(inner) }
    }

    /// Reports each record as long, so that it is read in parts.
    pub(crate) fn in_parts(inner: Arc<dyn Storage>) -> Self {
        Self { all_are_long: true, ..Self::hostile(inner) }
    }

    /// Reports each record as long, and each part as that of a removed version.
    pub(crate) fn without_parts(inner: Arc<dyn Storage>) -> Self {
        Self { has_no_parts: true, ..Self::in_parts(inner) }
    }

    /// Makes each upload fail at its `n`th write. The commit counts as a write.
    pub(crate) fn failing_upload(inner: Arc<dyn Storage>, n: usize) -> Self {
        Self { uploads_fail_at: Some(n), ..Self::hostile(inner) }
    }

    /// The number of bytes that `get`, `get_many` and `read_at` returned.
    pub(crate) fn bytes_read(&self) -> usize {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Makes each later `get` return this.
    pub(crate) fn serve(&self, record: &[u8]) {
        *self.served.lock().unwrap() = Some(record.to_vec());
    }
}

impl fmt::Debug for Intercepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Storage for Intercepted {
    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        let event = self.before_put.lock().unwrap().take();
        if let Some(event) = event {
            event();
        }
        self.inner.put(locator, record, mode)
    }

    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error> {
        self.inner.create_many(records)
    }

    fn get(&self, locator: &Locator) -> Result<Option<Vec<u8>>, Error> {
        match &*self.served.lock().unwrap() {
            Some(record) => Ok(Some(record.clone())),
            None => {
                let record = self.inner.get(locator)?;
                self.bytes_read.fetch_add(record.as_ref().map_or(0, Vec::len), Ordering::Relaxed);
                Ok(record)
            }
        }
    }

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        if self.served.lock().unwrap().is_some() {
            return Ok(self.get(locator)?.map(Fetched::Record));
        }
        if self.all_are_long {
            return Ok(self.info(locator)?.map(|info| Fetched::Long { info, start: Vec::new() }));
        }
        let found = self.inner.get_up_to(locator, max_len)?;
        match &found {
            Some(Fetched::Record(record)) => drop(self.bytes_read.fetch_add(record.len(), Ordering::Relaxed)),
            Some(Fetched::Long { .. }) => {
                let event = self.after_long.lock().unwrap().take();
                event.into_iter().for_each(|event| event());
            }
            None => {}
        }
        Ok(found)
    }

    fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let event = self.before_get_many.lock().unwrap().take();
        match event {
            Some((0, event)) => event(),
            event => *self.before_get_many.lock().unwrap() = event.map(|(n, event)| (n - 1, event)),
        }
        let mut found = self.inner.get_many(locators, max_len.min(self.most_of_many))?;
        if self.loses_outcomes {
            found.pop();
        }
        self.bytes_read.fetch_add(found.iter().flatten().map(Vec::len).sum(), Ordering::Relaxed);
        Ok(found)
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        self.inner.info(locator)
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        if self.has_no_parts {
            return Err(Error::Conflict);
        }
        self.bytes_read.fetch_add(buffer.len(), Ordering::Relaxed);
        self.inner.read_at(locator, head, offset, buffer)
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        let event = self.before_upload.lock().unwrap().take();
        event.into_iter().for_each(|event| event());
        let upload = Arc::clone(&self.inner).upload(locator, mode)?;
        match self.uploads_fail_at {
            None => Ok(upload),
            Some(left) => Ok(Box::new(FailingUpload { upload, left })),
        }
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        self.inner.delete(locator, expected)
    }

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        self.inner.rename(from, head, to)
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        self.inner.list(after.filter(|_| !self.lists_from_the_start), limit)
    }

    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        self.inner.list_expired(now, limit)
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        self.inner.settings()
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        self.inner.swap_settings(expected, new)
    }

    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        self.inner.verify(position.filter(|_| !self.lists_from_the_start), limit)
    }

    fn purge(&self, now: u64, limit: usize) -> Result<usize, Error> {
        self.inner.purge(now, limit)
    }

    fn stats(&self, now: u64) -> Result<Stats, Error> {
        self.inner.stats(now)
    }

    fn maintain(&self) -> Result<(), Error> {
        self.inner.maintain()
    }

    fn close(&self) -> Result<(), Error> {
        self.inner.close()
    }
}

#[derive(Debug)]
struct FailingUpload {
    upload: Box<dyn Upload>,
    /// The number of writes that still succeed.
    left: usize,
}

impl FailingUpload {
    fn step(&mut self) -> Result<(), Error> {
        self.left = self.left.checked_sub(1).ok_or(Error::Full)?;
        Ok(())
    }
}

impl Upload for FailingUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.step()?;
        self.upload.write(bytes)
    }

    fn commit(mut self: Box<Self>) -> Result<(), Error> {
        self.step()?;
        self.upload.commit()
    }
}
