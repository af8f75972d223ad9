//! A storage that does not behave: something happens before a `put`, or a `get` gives what somebody made up.

use std::fmt;
use std::sync::{Arc, Mutex};

use strongroom::storage::{Entry, Error, Head, Info, Locator, PutMode, Stats, Storage, Upload};

type Event = Box<dyn FnOnce() + Send>;

pub(crate) struct Intercepted {
    inner: Arc<dyn Storage>,
    before_put: Mutex<Option<Event>>,
    served: Mutex<Option<Vec<u8>>>,
}

impl Intercepted {
    /// Runs `event` once, before the first `put` reaches `inner`.
    pub(crate) fn before_put(inner: Arc<dyn Storage>, event: impl FnOnce() + Send + 'static) -> Self {
        Self { inner, before_put: Mutex::new(Some(Box::new(event))), served: Mutex::default() }
    }

    /// Answers every `get` as `serve` says.
    pub(crate) fn hostile(inner: Arc<dyn Storage>) -> Self {
        Self { inner, before_put: Mutex::default(), served: Mutex::default() }
    }

    /// From now on each `get` returns this.
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

    fn create_many(&self, records: &[(Locator, Vec<u8>)]) -> Result<(), Error> {
        self.inner.create_many(records)
    }

    fn get(&self, locator: &Locator) -> Result<Option<Vec<u8>>, Error> {
        match &*self.served.lock().unwrap() {
            Some(record) => Ok(Some(record.clone())),
            None => self.inner.get(locator),
        }
    }

    fn get_many(&self, locators: &[Locator]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.inner.get_many(locators)
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        self.inner.info(locator)
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        self.inner.read_at(locator, head, offset, buffer)
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        Arc::clone(&self.inner).upload(locator, mode)
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        self.inner.delete(locator, expected)
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        self.inner.list(after, limit)
    }

    fn check_value(&self) -> Result<Option<[u8; 16]>, Error> {
        self.inner.check_value()
    }

    fn init_check_value(&self, value: &[u8; 16]) -> Result<[u8; 16], Error> {
        self.inner.init_check_value(value)
    }

    fn stats(&self) -> Result<Stats, Error> {
        self.inner.stats()
    }

    fn close(&self) -> Result<(), Error> {
        self.inner.close()
    }
}
