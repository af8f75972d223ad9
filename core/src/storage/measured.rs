//! A storage whose operations are counted. It forwards each method, so that none falls back to a default
//! implementation.

use std::fmt;
use std::sync::Arc;

use super::{
    Entry, Error, Fetched, Head, Info, Limits, Locator, PutMode, Repaired, Stats, Storage, StorageMetrics, Upload,
    Verified, VerifyPosition,
};

pub(super) struct Measured {
    inner: Arc<dyn Storage>,
    metrics: StorageMetrics,
}

impl Measured {
    pub(super) fn new(inner: Arc<dyn Storage>, metrics: StorageMetrics) -> Self {
        Self { inner, metrics }
    }
}

impl fmt::Debug for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Storage for Measured {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        self.metrics.count("put", || self.inner.put(locator, record, mode))
    }

    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error> {
        self.metrics.count("create_many", || self.inner.create_many(records))
    }

    fn put_each(&self, records: &[(Locator, &[u8], PutMode)]) -> Vec<Result<(), Error>> {
        self.metrics.count_each("put_each", || self.inner.put_each(records))
    }

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        self.metrics.count("get", || self.inner.get_up_to(locator, max_len))
    }

    fn get(&self, locator: &Locator) -> Result<Option<Vec<u8>>, Error> {
        self.metrics.count("get", || self.inner.get(locator))
    }

    fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.metrics.count("get_many", || self.inner.get_many(locators, max_len))
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        self.metrics.count("info", || self.inner.info(locator))
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.metrics.count("read_at", || self.inner.read_at(locator, head, offset, buffer))
    }

    fn get_end(&self, locator: &Locator, len: usize) -> Result<Option<(Info, Vec<u8>)>, Error> {
        self.metrics.count("get_end", || self.inner.get_end(locator, len))
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        let upload = self.metrics.count("upload", || Arc::clone(&self.inner).upload(locator, mode))?;
        Ok(Box::new(MeasuredUpload { upload, metrics: self.metrics.clone() }))
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        self.metrics.count("delete", || self.inner.delete(locator, expected))
    }

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        self.metrics.count("rename", || self.inner.rename(from, head, to))
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        self.metrics.count("list", || self.inner.list(after, limit))
    }

    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        self.metrics.count("list_expired", || self.inner.list_expired(now, limit))
    }

    fn purge(&self, now: u64, limit: usize) -> Result<usize, Error> {
        self.metrics.count("purge", || self.inner.purge(now, limit))
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        self.metrics.count("settings", || self.inner.settings())
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        self.metrics.count("swap_settings", || self.inner.swap_settings(expected, new))
    }

    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        self.metrics.count("verify", || self.inner.verify(position, limit))
    }

    fn repair(self: Arc<Self>, copy: &dyn Storage) -> Result<Repaired, Error> {
        self.metrics.count("repair", || Arc::clone(&self.inner).repair(copy))
    }

    fn stats(&self, now: u64) -> Result<Stats, Error> {
        self.metrics.count("stats", || self.inner.stats(now))
    }

    fn maintain(&self) -> Result<(), Error> {
        self.metrics.count("maintain", || self.inner.maintain())
    }

    fn compact(&self, limit: u64) -> Result<u64, Error> {
        self.metrics.count("compact", || self.inner.compact(limit))
    }

    fn health(&self) -> Result<(), Error> {
        self.inner.health()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn close(&self) -> Result<(), Error> {
        self.inner.close()
    }
}

#[derive(Debug)]
struct MeasuredUpload {
    upload: Box<dyn Upload>,
    metrics: StorageMetrics,
}

impl Upload for MeasuredUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.metrics.count("upload", || self.upload.write(bytes))
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        let Self { upload, metrics } = *self;
        metrics.count("upload", || upload.commit())
    }
}
