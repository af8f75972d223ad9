//! The store for async programs: the same operations as futures (feature `tokio`).
//!
//! ```
//! use strongroom::aio::Strongroom;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("records.db");
//! let store = Strongroom::open(path).await?;
//! let key = store.store("user:42:passport", b"scanned pages").await?;
//! assert_eq!(store.retrieve("user:42:passport", &key).await?, b"scanned pages");
//! store.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! No thread waits for an encryption server ([`Strongroom::connect`]): one thread of the store drives its connections,
//! for all calls. The number of threads does not limit the calls. At most 64 are sent at the same time, on as many
//! connections; others wait in a queue.
//!
//! All other stores seal and open records in this process, and the interface of storages blocks, whether a storage is a
//! database, a storage service, PostgreSQL or an object store. So each store has a pool of threads for its calls, 64 at
//! most unless [`Strongroom::with_threads`] says otherwise. They are started as they are needed, and end after 10
//! seconds without work. The bound limits memory and open requests, and calls beyond it wait in a queue: 64 calls that
//! wait for a disk share a commit, and more would bring nothing. A call to a storage service occupies a thread while it
//! waits, so the bound is also that of concurrent requests.
//!
//! For an encryption server, the pool has the rest of the work: opening and closing the store, the calls of
//! [`RecordReader`] and [`RecordWriter`] (a thread for the time of a call, none between them), the methods that open
//! these, [`retrieve_into`](Strongroom::retrieve_into) and [`purge`](Strongroom::purge).
//!
//! None of this needs a runtime: futures work in each one. [`RecordReader`] and [`RecordWriter`] have the traits of
//! tokio.
//!
//! # Cancellation
//!
//! The future of a call owns copies of its arguments, and it can be a task of its own; copies of keys and data are
//! wiped. It begins when it is polled. Dropping it earlier than it ends cancels the call:
//!
//! - A call that still waits in a queue does not take place.
//! - A call that has begun ends soon. It takes place as a whole or not at all, and nobody learns which. The connection
//!   of a call to an encryption server is closed, unless the answer is complete: a request without its end has no
//!   effect.
//!
//! The key of a write that takes place after it was cancelled is lost, unless it was known before: if calls may be
//! cancelled, make keys with [`RecordKey::generate`], save them, and pass them with [`WriteOptions::key`]. Such a write
//! may be repeated. Data that a cancelled [`take`](Strongroom::take) removes is lost. Dropping a [`RecordWriter`]
//! stores nothing; its key is known from the start.
//!
//! # The blocking API in async programs
//!
//! For a single call, or a function that has no twin here, such as [`transfer::copy`](crate::transfer), wrap the
//! blocking one; it may also wait for async code of any runtime:
//!
//! ```
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("records.db");
//! let store = Arc::new(strongroom::Strongroom::open(path)?);
//! let shared = Arc::clone(&store);
//! let key = tokio::task::spawn_blocking(move || shared.store("id", b"data")).await??;
//! # assert_eq!(store.retrieve("id", &key)?, b"data");
//! # Ok(())
//! # }
//! ```
//!
//! A blocking call on a thread of a runtime works, but stops the other tasks of that thread meanwhile.
//! [`Strongroom::new`] makes an async handle of a blocking one; both may be used side by side.

mod maintenance;
mod pool;
mod reader;
mod stream;
mod write;
mod writer;

use std::fmt;
use std::num::NonZero;
use std::ops::Range;
#[cfg(feature = "sqlite")]
use std::path::Path;
use std::sync::Arc;

use crate::builder::Builder;
use crate::error::Error;
#[cfg(feature = "remote")]
use crate::http::Endpoint;
use crate::key::RecordKey;
use crate::operations::Call;
use crate::store_identity::StoreIdentity;
use crate::strongroom::{self, Steps};
use pool::{OnPool, Pool};
pub use reader::RecordReader;
pub use writer::RecordWriter;

#[expect(unused_imports, reason = "for links in the documentation")]
use crate::options::WriteOptions;
use crate::util::wiped::Wiped;

/// The threads of a store, unless the caller says otherwise.
const THREADS: usize = 64;

/// A [`strongroom::Strongroom`](crate::Strongroom) for async programs: its methods are the same, and so are their
/// errors. Clones are handles of the same store.
///
/// [The module](self) describes threads and cancellation. The future of a method borrows nothing, unless it says so.
#[derive(Clone)]
pub struct Strongroom {
    /// The pool drops it, because that may close the store.
    store: Arc<OnPool<Arc<strongroom::Strongroom>>>,
    pool: Pool,
}

impl Strongroom {
    /// A handle of an open store.
    #[must_use]
    pub fn new(store: impl Into<Arc<strongroom::Strongroom>>) -> Self {
        Self::on(store.into(), Pool::new(THREADS))
    }

    /// As [`new`](Self::new), with at most this number of threads, and so of calls that need one at the same time.
    #[must_use]
    pub fn with_threads(store: impl Into<Arc<strongroom::Strongroom>>, threads: NonZero<usize>) -> Self {
        Self::on(store.into(), Pool::new(threads.get()))
    }

    fn on(store: Arc<strongroom::Strongroom>, pool: Pool) -> Self {
        Self { store: Arc::new(pool.own(store)), pool }
    }

    /// Opens the SQLite database at `path`, as [`strongroom::Strongroom::open`](crate::Strongroom::open).
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::open`](crate::Strongroom::open).
    #[cfg(feature = "sqlite")]
    pub fn open(path: impl AsRef<Path>) -> impl Future<Output = Result<Self, Error>> + Send + 'static {
        Self::from_builder(strongroom::Strongroom::builder().path(path))
    }

    /// Opens the store of a [`Builder`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("records.db");
    /// use strongroom::{IndexKey, aio};
    ///
    /// let index_key = IndexKey::generate()?; // in production: from your secret manager
    /// let builder = strongroom::Strongroom::builder().path(path).index_key(index_key);
    /// let store = aio::Strongroom::from_builder(builder).await?;
    /// # store.close().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Builder::open`].
    pub fn from_builder(builder: Builder) -> impl Future<Output = Result<Self, Error>> + Send + 'static {
        Self::opened(|| builder.open())
    }

    /// Connects to an encryption server, as [`strongroom::Strongroom::connect`](crate::Strongroom::connect).
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::connect`](crate::Strongroom::connect).
    #[cfg(feature = "remote")]
    pub fn connect(endpoint: &Endpoint) -> impl Future<Output = Result<Self, Error>> + Send + 'static {
        let endpoint = endpoint.clone();
        Self::opened(move || strongroom::Strongroom::connect(&endpoint))
    }

    fn opened(
        open: impl FnOnce() -> Result<strongroom::Strongroom, Error> + Send + 'static,
    ) -> impl Future<Output = Result<Self, Error>> + Send + 'static {
        let pool = Pool::new(THREADS);
        let inner = pool.clone();
        pool.run(move || Ok(Self::on(Arc::new(open()?), inner)))
    }

    /// The outcome of `work`, which a thread of the pool does.
    fn on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&strongroom::Strongroom) -> Result<T, Error> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'static {
        let store = Arc::clone(&self.store);
        self.pool.clone().run(move || work(store.get()?))
    }

    /// As [`on_pool`](Self::on_pool), for a reader or a writer.
    fn stream_on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce(&strongroom::Strongroom) -> Result<T, Error> + Send + 'static,
    ) -> impl Future<Output = Result<OnPool<T>, Error>> + Send + 'static {
        let pool = self.pool.clone();
        self.on_pool(move |store| work(store).map(|stream| pool.own(stream)))
    }

    /// The outcome of the operation that `begin` begins. No thread waits for an encryption server; other operations are
    /// done on the pool.
    fn call<T: Send + 'static>(
        &self,
        begin: impl FnOnce(&strongroom::Strongroom) -> Result<Call<T>, Error> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'static {
        let (store, pool) = (Arc::clone(&self.store), self.pool.clone());
        async move {
            if store.get()?.operations().is_service() {
                let call = begin(store.get()?)?;
                return call.outcome().await;
            }
            pool.run(move || begin(store.get()?)?.wait()).await
        }
    }

    /// As [`call`](Self::call), for plaintext, which is wiped if nobody waits for it any more.
    fn call_for_data(
        &self,
        begin: impl FnOnce(&strongroom::Strongroom) -> Result<Call<Vec<u8>>, Error> + Send + 'static,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> + Send + 'static {
        let call = self.call(|store| Ok(begin(store)?.map(Wiped::from)));
        async { call.await.map(Wiped::into_inner) }
    }

    /// As [`strongroom::Strongroom::identity`](crate::Strongroom::identity).
    #[must_use]
    pub fn identity(&self) -> Option<StoreIdentity> {
        self.store.get().ok()?.identity()
    }

    /// As [`strongroom::Strongroom::namespace`](crate::Strongroom::namespace). Both handles share their threads.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `name` has more than 255 bytes.
    pub fn namespace(&self, name: impl AsRef<[u8]>) -> Result<Self, Error> {
        Ok(Self::on(Arc::new(self.store.get()?.namespace(name)?), self.pool.clone()))
    }

    /// As [`strongroom::Strongroom::padded`](crate::Strongroom::padded). Both handles share their threads.
    #[must_use]
    pub fn padded(&self) -> Self {
        let padded = |store: &Arc<strongroom::Strongroom>| Self::on(Arc::new(store.padded()), self.pool.clone());
        self.store.get().map_or_else(|_| self.clone(), padded)
    }

    /// Retrieves the data stored under `id`.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::retrieve`](crate::Strongroom::retrieve).
    pub fn retrieve(
        &self,
        id: impl AsRef<[u8]>,
        key: &RecordKey,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> + Send + 'static {
        let (id, key) = (id.as_ref().to_vec(), key.duplicate());
        self.call_for_data(move |store| store.operations().retrieve(&id, &key))
    }

    /// Retrieves the data stored under `id` into the start of `buffer`, which the future borrows, and returns its
    /// length. If it fails or is dropped, `buffer` is unchanged.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::retrieve_into`](crate::Strongroom::retrieve_into).
    pub async fn retrieve_into(
        &self,
        id: impl AsRef<[u8]>,
        key: &RecordKey,
        buffer: &mut [u8],
    ) -> Result<usize, Error> {
        let (id, key, most) = (id.as_ref().to_vec(), key.duplicate(), buffer.len());
        let call = self.on_pool(move |store| {
            let mut data = Wiped::zeros(most).map_err(|_| Error::TooLarge)?;
            let len = store.retrieve_into(id, &key, &mut data)?;
            Ok((data, len))
        });
        let (data, len) = call.await?;
        if let (Some(to), Some(from)) = (buffer.get_mut(..len), data.get(..len)) {
            to.copy_from_slice(from);
        }
        Ok(len)
    }

    /// Retrieves the bytes `range` of the data stored under `id`, up to its end.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::retrieve_range`](crate::Strongroom::retrieve_range).
    pub fn retrieve_range(
        &self,
        id: impl AsRef<[u8]>,
        key: &RecordKey,
        range: Range<u64>,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> + Send + 'static {
        let (id, key) = (id.as_ref().to_vec(), key.duplicate());
        self.call_for_data(move |store| store.operations().retrieve_range(&id, &key, range))
    }

    /// Retrieves many records, each with its own outcome, in the same order.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::retrieve_many`](crate::Strongroom::retrieve_many).
    pub fn retrieve_many<I: AsRef<[u8]>>(
        &self,
        items: &[(I, &RecordKey)],
    ) -> impl Future<Output = Result<Vec<Result<Vec<u8>, Error>>, Error>> + Send + 'static {
        let items: Vec<_> = items.iter().map(|(id, key)| (id.as_ref().to_vec(), key.duplicate())).collect();
        let (items, this) = (Arc::new(items), self.clone());
        async move {
            let mut steps = Steps::new(items.len());
            while let Some((range, is_alone)) = steps.next() {
                let found = match items.get(range.clone()).unwrap_or_default() {
                    [(id, key)] if is_alone => Ok(vec![this.retrieve(id, key).await.map(Wiped::from)]),
                    _ => this.retrieve_step(Arc::clone(&items), range.clone()).await,
                };
                steps.note(range, found)?;
            }
            Ok(steps.into_found().into_iter().map(|data| data.map(Wiped::into_inner)).collect())
        }
    }

    /// Retrieves the records in `range` in one step.
    fn retrieve_step(
        &self,
        items: Arc<Vec<(Vec<u8>, RecordKey)>>,
        range: Range<usize>,
    ) -> impl Future<Output = Result<Vec<Result<Wiped, Error>>, Error>> + Send + 'static {
        self.call(move |store| {
            let items = items.get(range).unwrap_or_default();
            let items: Vec<_> = items.iter().map(|(id, key)| (id.as_slice(), key)).collect();
            let call = store.operations().retrieve_many(&items)?;
            Ok(call.map(|found| found.into_iter().map(|data| data.map(Wiped::from)).collect()))
        })
    }

    /// Opens a record to read it in pieces, from any position, in constant memory.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::open_record`](crate::Strongroom::open_record).
    pub fn open_record(
        &self,
        id: impl AsRef<[u8]>,
        key: &RecordKey,
    ) -> impl Future<Output = Result<RecordReader, Error>> + Send + 'static {
        let (id, key) = (id.as_ref().to_vec(), key.duplicate());
        let call = self.stream_on_pool(move |store| store.open_record(id, &key));
        async { call.await.map(RecordReader::new) }
    }

    /// Retrieves the data stored under `id`, and removes the record. If the future is dropped, the data may be lost.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::take`](crate::Strongroom::take).
    pub fn take(
        &self,
        id: impl AsRef<[u8]>,
        key: &RecordKey,
    ) -> impl Future<Output = Result<Vec<u8>, Error>> + Send + 'static {
        let (id, key) = (id.as_ref().to_vec(), key.duplicate());
        self.call_for_data(move |store| store.operations().take(&id, &key))
    }

    /// As [`take`](Self::take), for data of any length in constant memory: dropping the reader removes the record, soon
    /// afterwards. If the future is dropped, the data may be lost.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::take_record`](crate::Strongroom::take_record).
    pub fn take_record(
        &self,
        id: impl AsRef<[u8]>,
        key: &RecordKey,
    ) -> impl Future<Output = Result<RecordReader, Error>> + Send + 'static {
        let (id, key) = (id.as_ref().to_vec(), key.duplicate());
        let call = self.stream_on_pool(move |store| store.take_record(id, &key));
        async { call.await.map(RecordReader::new) }
    }

    /// Whether there is an unexpired record under this id.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::contains`](crate::Strongroom::contains).
    pub fn contains(&self, id: impl AsRef<[u8]>) -> impl Future<Output = Result<bool, Error>> + Send + 'static {
        let id = id.as_ref().to_vec();
        self.call(move |store| store.operations().contains(&id))
    }

    /// Removes the record that `key` opens.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::delete`](crate::Strongroom::delete).
    pub fn delete(
        &self,
        id: impl AsRef<[u8]>,
        key: &RecordKey,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let (id, key) = (id.as_ref().to_vec(), key.duplicate());
        self.call(move |store| store.operations().delete(&id, &key))
    }

    /// Removes the record of `id` without its key. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::erase`](crate::Strongroom::erase).
    pub fn erase(&self, id: impl AsRef<[u8]>) -> impl Future<Output = Result<bool, Error>> + Send + 'static {
        let id = id.as_ref().to_vec();
        self.call(move |store| store.operations().erase(&id))
    }

    /// Closes the store for all users of all its handles. Dropping all of them, and all readers and writers, also
    /// closes it, soon afterwards and without a report of errors.
    ///
    /// # Errors
    ///
    /// As [`strongroom::Strongroom::close`](crate::Strongroom::close).
    pub fn close(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        self.on_pool(strongroom::Strongroom::close)
    }
}

/// Shows neither ids nor keys.
impl fmt::Debug for Strongroom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Strongroom").field(&self.store.get().ok()).field(&self.pool).finish()
    }
}
