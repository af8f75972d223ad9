//! A storage whose calls pass a hook, which may act before them, or fail them.

use std::fmt;
use std::sync::Arc;

use strongroom::storage::{
    Entry, Error, Fetched, Head, Info, Limits, Locator, PutMode, Stats, Storage, Upload, Verified, VerifyPosition,
};

pub(crate) type Shared = Arc<dyn Storage>;
type Hook = Arc<dyn Fn(&str, &[u8]) -> Result<(), Error> + Send + Sync>;

/// Calls `hook` with the name of each method and the record or locator before it reaches `inner`.
struct Hooked {
    inner: Shared,
    limits: Limits,
    hook: Hook,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

pub(crate) fn hooked(
    inner: &Shared,
    hook: impl Fn(&str, &[u8]) -> Result<(), Error> + Send + Sync + 'static,
) -> Shared {
    hooked_with(inner, Limits::default(), hook)
}

pub(crate) fn hooked_with(
    inner: &Shared,
    limits: Limits,
    hook: impl Fn(&str, &[u8]) -> Result<(), Error> + Send + Sync + 'static,
) -> Shared {
    Arc::new(Hooked { inner: Arc::clone(inner), limits, hook: Arc::new(hook) })
}

impl Storage for Hooked {
    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        (self.hook)("put", record)?;
        self.inner.put(locator, record, mode)
    }

    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error> {
        (self.hook)("create_many", &[])?;
        self.inner.create_many(records)
    }

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        (self.hook)("get", locator.as_bytes())?;
        self.inner.get_up_to(locator, max_len)
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        (self.hook)("info", locator.as_bytes())?;
        self.inner.info(locator)
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        (self.hook)("read_at", locator.as_bytes())?;
        self.inner.read_at(locator, head, offset, buffer)
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        (self.hook)("upload", locator.as_bytes())?;
        let upload = Arc::clone(&self.inner).upload(locator, mode)?;
        Ok(Box::new(HookedUpload { upload, hook: Arc::clone(&self.hook) }))
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        (self.hook)("delete", locator.as_bytes())?;
        self.inner.delete(locator, expected)
    }

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        (self.hook)("rename", from.as_bytes())?;
        self.inner.rename(from, head, to)?;
        (self.hook)("renamed", to.as_bytes())
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        (self.hook)("list", after.map_or(&[], |after| after.as_bytes()))?;
        self.inner.list(after, limit)
    }

    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        self.inner.list_expired(now, limit)
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        self.inner.settings()
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        (self.hook)("swap_settings", new)?;
        self.inner.swap_settings(expected, new)
    }

    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        self.inner.verify(position, limit)
    }

    fn stats(&self, now: u64) -> Result<Stats, Error> {
        self.inner.stats(now)
    }

    fn maintain(&self) -> Result<(), Error> {
        self.inner.maintain()
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn close(&self) -> Result<(), Error> {
        self.inner.close()
    }
}

struct HookedUpload {
    upload: Box<dyn Upload>,
    hook: Hook,
}

impl fmt::Debug for HookedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.upload.fmt(f)
    }
}

impl Upload for HookedUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.upload.write(bytes)
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        (self.hook)("commit", &[])?;
        self.upload.commit()
    }
}
