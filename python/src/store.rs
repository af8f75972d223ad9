//! The class `Strongroom` of Python: each method converts its arguments, and calls the library without the
//! interpreter's lock.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use strongroom::storage::Locator;
use strongroom::{Error, RecordKey, RecordReader, RecordWriter, Wiped};

use crate::arguments::{Natural, pairs, to_vec};
use crate::bytes::{Data, Id, byte_view, to_python, write_into};
use crate::error::Failure;
use crate::interrupt::{detached, release};
use crate::key::Key;
use crate::options::{ExpiresAt, ExpiresIn, options};
use crate::record::{NativeReader, NativeWriter};
use crate::retention::Retention;
use crate::stats::Stats;
use crate::verify::{self, Repair, Search, Verification};

/// A store of encrypted records, made by :func:`open` or :func:`connect`.
///
/// Each record has its own key, which only the caller receives. An id is a ``str`` (its UTF-8 bytes) or
/// bytes-like, of 1 to 4,096 bytes, compared byte by byte. Data is bytes-like: ``bytes`` are used in place; any
/// other buffer is copied first, because another thread could change it.
///
/// Every write is atomic, and durable when it returns. Many threads may use one store, and several processes one
/// database; after :func:`os.fork`, the child's copy raises :exc:`ForkedError`. A function that a store calls, such
/// as ``progress``, must not return in a forked child, where the call would wait forever for a thread of the parent.
#[pyclass(frozen, module = "strongroom")]
pub(crate) struct Strongroom(Option<strongroom::Strongroom>);

impl Strongroom {
    pub(crate) fn new(store: strongroom::Strongroom) -> Self {
        Self(Some(store))
    }

    /// Runs `work` on the store, detached.
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&strongroom::Strongroom) -> Result<T, Error> + Send,
    ) -> Result<T, Failure> {
        detached(py, || Ok(work(self.0.as_ref().ok_or(Error::Closed)?)?))
    }
}

/// Dropping an open store may checkpoint the log. Other threads need not wait for that.
impl Drop for Strongroom {
    fn drop(&mut self) {
        release(self.0.take());
    }
}

#[pymethods]
impl Strongroom {
    /// Return a handle of the same store with the ids of the namespace ``name``: through it, records of other
    /// namespaces cannot be found, even under the same id.
    ///
    /// :meth:`purge`, :meth:`maintain`, :meth:`compact`, :meth:`stats` and :meth:`close` concern the whole store on
    /// each handle. Namespaces exist without being created, and are not nested.
    ///
    /// >>> one, other = store.namespace("tenant 1"), store.namespace("tenant 2")
    /// >>> key = one.store("settings", b"data")
    /// >>> "settings" in one, "settings" in other
    /// (True, False)
    ///
    /// :param name: A ``str`` (its UTF-8 bytes) or bytes-like, of 0 to 255 bytes. The empty one is the namespace of a
    ///     new store.
    /// :raises InvalidArgumentError: The name is longer.
    fn namespace(&self, py: Python<'_>, name: Id<'_>) -> Result<Self, Failure> {
        Ok(Self(Some(self.call(py, |store| store.namespace(name))?)))
    }

    /// Return a handle of the same store and namespace that pads all records, as ``pad`` of :meth:`store`. To pad
    /// all records of a store on every handle, open it with ``pad``. Closing this handle closes the store.
    fn padded(&self, py: Python<'_>) -> Result<Self, Failure> {
        Ok(Self(Some(self.call(py, |store| Ok(store.padded()))?)))
    }

    /// Store ``data`` under a new id, and return the only key that opens it.
    ///
    /// :param key: A key that the caller made with :meth:`Key.generate` and wrote down, so that no crash loses it.
    ///     The call may then be repeated after a lost reply: it succeeds if the stored record opens under this key
    ///     to the same bytes. Make a new key for each version of a record: an attacker with write access to the
    ///     storage can put back an older version that was sealed under the same key.
    /// :param expires_at: The time at which the record expires: an aware :class:`~datetime.datetime`, or the Unix time
    ///     in seconds. Fractions of a second are rounded up. From then on its key opens nothing
    ///     (:exc:`ExpiredError`), the id is free for a new record, and :meth:`purge` removes the record. The time is
    ///     authenticated, but not secret. A repeated call keeps the time of the earlier one.
    /// :param expires_in: A :class:`~datetime.timedelta`, or the seconds, from the call to this time instead.
    /// :param pad: Hide the length of the data: the record is padded to one of few lengths (Padmé), by at most 12 %
    ///     and 8 bytes. Reading it gives only the data. The length is hidden in the storage and its backups, not on a
    ///     connection over which the data itself travels.
    /// :raises AlreadyExistsError: A record has this id; with ``key``, a different record.
    /// :raises InvalidArgumentError: The expiry time is past or invalid, or both forms of it are given.
    #[pyo3(signature = (id, data, *, key=None, expires_at=None, expires_in=None, pad=false))]
    #[expect(clippy::too_many_arguments, reason = "they are named where it is called")]
    fn store(
        &self,
        py: Python<'_>,
        id: Id<'_>,
        data: Data<'_>,
        key: Option<&Bound<'_, Key>>,
        expires_at: Option<ExpiresAt>,
        expires_in: Option<ExpiresIn>,
        pad: bool,
    ) -> Result<Key, Failure> {
        let options = options(key, expires_at, expires_in, pad)?;
        Ok(self.call(py, |store| store.store_with(id, data, options))?.into())
    }

    /// Return the data stored under ``id``.
    ///
    /// :raises NotFoundError: There is no record under this id.
    /// :raises WrongKeyError: The key does not open it, or its first 68 bytes were altered.
    /// :raises CorruptError: It was altered or damaged.
    /// :raises ExpiredError: It has expired.
    fn retrieve<'py>(&self, py: Python<'py>, id: Id<'_>, key: &Bound<'_, Key>) -> Result<Bound<'py, PyBytes>, Failure> {
        let key = key.get().inner();
        let data = self.call(py, |store| store.retrieve(id, key).map(Wiped::from))?;
        Ok(to_python(py, &data)?)
    }

    /// Return the data stored under ``id``, and remove the record. One of several callers gets the data, and the
    /// others :exc:`NotFoundError`.
    ///
    /// The data is delivered at most once: if the process ends, an exception of a signal handler ends the call, or a
    /// connection breaks before the caller has the data, it is lost. To lose nothing, use :meth:`retrieve`, and then
    /// :meth:`delete`.
    ///
    /// :raises NotFoundError: There is no record under this id.
    /// :raises WrongKeyError: The key does not open it, or its first 68 bytes were altered. The record is unchanged.
    /// :raises CorruptError: It was altered or damaged. The record is unchanged.
    /// :raises ExpiredError: It has expired.
    /// :raises IndeterminateError: The outcome is unknown, for example because the answer of a service was lost.
    fn take<'py>(&self, py: Python<'py>, id: Id<'_>, key: &Bound<'_, Key>) -> Result<Bound<'py, PyBytes>, Failure> {
        let key = key.get().inner();
        let data = self.call(py, |store| store.take(id, key).map(Wiped::from))?;
        Ok(to_python(py, &data)?)
    }

    /// Retrieve into the start of a writable buffer, such as a ``bytearray`` that the caller wipes, and return the
    /// data's length. The bytes after the data are unchanged.
    ///
    /// :raises TooLargeError: The data does not fit. The buffer is unchanged.
    fn retrieve_into(
        &self,
        py: Python<'_>,
        id: Id<'_>,
        key: &Bound<'_, Key>,
        buffer: &Bound<'_, PyAny>,
    ) -> Result<usize, Failure> {
        let key = key.get().inner();
        let view = byte_view(buffer)?;
        let room = view.len()?;
        // Not directly into the buffer, which other threads may use while this one is detached.
        let data = self.call(py, |store| store.retrieve(id, key).map(Wiped::from))?;
        if data.len() > room {
            return Err(Error::TooLarge.into());
        }
        write_into(&view, 0, &data)?;
        Ok(data.len())
    }

    /// Return the bytes from ``start`` to ``stop``, exclusive; the range is clipped at the end. Only the chunks of
    /// the range are read, and the final chunk, which proves the record's length.
    ///
    /// :raises ConflictError: The record was replaced or removed during the call.
    fn retrieve_range<'py>(
        &self,
        py: Python<'py>,
        id: Id<'_>,
        key: &Bound<'_, Key>,
        start: Natural,
        stop: Natural,
    ) -> Result<Bound<'py, PyBytes>, Failure> {
        let key = key.get().inner();
        let data = self.call(py, |store| store.retrieve_range(id, key, start.0..stop.0).map(Wiped::from))?;
        Ok(to_python(py, &data)?)
    }

    /// Replace the data of the record that ``key`` opens, and return the new version's key. The old key no longer
    /// opens anything.
    ///
    /// :param new_key: A key for the new version, as ``key`` of :meth:`store`.
    /// :param expires_at: The time at which the new version expires, as in :meth:`store`.
    /// :param expires_in: The time from the call until then instead, as in :meth:`store`.
    /// :param pad: Hide the length of the data, as in :meth:`store`.
    /// :raises NotFoundError: There is no record under this id.
    /// :raises WrongKeyError: The key does not open it.
    /// :raises ExpiredError: It has expired.
    /// :raises ConflictError: It was replaced or removed concurrently.
    /// :raises InvalidArgumentError: The new key is the old one, or the expiry time is past or invalid.
    #[pyo3(signature = (id, key, data, *, new_key=None, expires_at=None, expires_in=None, pad=false))]
    #[expect(clippy::too_many_arguments, reason = "they are named where it is called")]
    fn replace(
        &self,
        py: Python<'_>,
        id: Id<'_>,
        key: &Bound<'_, Key>,
        data: Data<'_>,
        new_key: Option<&Bound<'_, Key>>,
        expires_at: Option<ExpiresAt>,
        expires_in: Option<ExpiresIn>,
        pad: bool,
    ) -> Result<Key, Failure> {
        let (key, options) = (key.get().inner(), options(new_key, expires_at, expires_in, pad)?);
        Ok(self.call(py, |store| store.replace_with(id, key, data, options))?.into())
    }

    /// Re-encrypt the data of the record that ``key`` opens, in constant memory, and return its new key. The old
    /// key no longer opens anything. Without an expiry time, the record keeps its own.
    ///
    /// :param new_key: The new key, as ``key`` of :meth:`store`.
    /// :param expires_at: The time at which the record expires, as in :meth:`store`.
    /// :param expires_in: The time from the call until then instead, as in :meth:`store`.
    /// :param pad: Hide the length of the data, as in :meth:`store`. A padded record remains padded.
    /// :raises NotFoundError: There is no record under this id.
    /// :raises WrongKeyError: The key does not open it.
    /// :raises CorruptError: It was altered or damaged.
    /// :raises ExpiredError: It has expired.
    /// :raises ConflictError: It was replaced or removed concurrently.
    /// :raises InvalidArgumentError: The new key is the old one, or the expiry time is past or invalid.
    #[pyo3(signature = (id, key, *, new_key=None, expires_at=None, expires_in=None, pad=false))]
    #[expect(clippy::too_many_arguments, reason = "they are named where it is called")]
    fn rekey(
        &self,
        py: Python<'_>,
        id: Id<'_>,
        key: &Bound<'_, Key>,
        new_key: Option<&Bound<'_, Key>>,
        expires_at: Option<ExpiresAt>,
        expires_in: Option<ExpiresIn>,
        pad: bool,
    ) -> Result<Key, Failure> {
        let (key, options) = (key.get().inner(), options(new_key, expires_at, expires_in, pad)?);
        Ok(self.call(py, |store| store.rekey_with(id, key, options))?.into())
    }

    /// Remove the record that ``key`` opens, even if it has expired.
    ///
    /// If the storage's answer is lost, this succeeds also if another caller removes the record meanwhile: only
    /// :meth:`take` tells that nobody else has read it.
    ///
    /// :raises NotFoundError: There is no record under this id.
    /// :raises WrongKeyError: The key does not open it.
    /// :raises ConflictError: It was replaced or removed concurrently.
    fn delete(&self, py: Python<'_>, id: Id<'_>, key: &Bound<'_, Key>) -> Result<(), Failure> {
        let key = key.get().inner();
        self.call(py, |store| store.delete(id, key))
    }

    /// Remove the record of ``id`` without its key, for a right to erasure. Return whether there was one.
    fn erase(&self, py: Python<'_>, id: Id<'_>) -> Result<bool, Failure> {
        self.call(py, |store| store.erase(id))
    }

    fn __contains__(&self, py: Python<'_>, id: Id<'_>) -> Result<bool, Failure> {
        self.call(py, |store| store.contains(id))
    }

    /// Store pairs of id and data in one transaction, all or none, and return their keys in the same order.
    ///
    /// :param keys: A key for each pair, as ``key`` of :meth:`store`.
    /// :param expires_at: The time at which the records expire, as in :meth:`store`.
    /// :param expires_in: The time from the call until then instead, as in :meth:`store`.
    /// :param pad: Hide the length of the data, as in :meth:`store`.
    /// :raises AlreadyExistsError: A record has one of the ids, or two of the pairs have the same id.
    /// :raises InvalidArgumentError: There are more or fewer keys than pairs, or the expiry time is past or invalid.
    #[pyo3(signature = (items, *, keys=None, expires_at=None, expires_in=None, pad=false))]
    fn store_many(
        &self,
        py: Python<'_>,
        items: &Bound<'_, PyAny>,
        keys: Option<&Bound<'_, PyAny>>,
        expires_at: Option<ExpiresAt>,
        expires_in: Option<ExpiresIn>,
        pad: bool,
    ) -> Result<Vec<Key>, Failure> {
        let items = to_vec(items)?;
        let items: Vec<(Id<'_>, Data<'_>)> = pairs(&items, "a pair of id and data, as from dict.items(),")?;
        if keys.is_none() && expires_at.is_none() && expires_in.is_none() && !pad {
            return Ok(self.call(py, |store| store.store_many(&items))?.into_iter().map(Key::from).collect());
        }
        let keys = match keys {
            Some(keys) => keys.try_iter()?.map(|key| Ok(Some(key?.cast_into()?))).collect::<PyResult<Vec<_>>>()?,
            None => vec![None; items.len()],
        };
        if keys.len() != items.len() {
            return Err(Error::InvalidArgument("keys has more or fewer keys than there are pairs".into()).into());
        }
        let items = items.iter().zip(&keys).map(|((id, data), key)| {
            Ok((id.as_ref(), data.as_ref(), options(key.as_ref(), expires_at, expires_in, pad)?))
        });
        let items = items.collect::<Result<Vec<_>, Failure>>()?;
        Ok(self.call(py, |store| store.store_many_with(&items))?.into_iter().map(Key::from).collect())
    }

    /// Retrieve the data of pairs of id and key, in the same order. A storage with transactions reads them in
    /// one; more than 64 MiB from a service is read in several steps.
    ///
    /// :param return_exceptions: Put the exception of a record that cannot be retrieved in its place, instead of
    ///     raising the first one.
    #[pyo3(signature = (items, *, return_exceptions=false))]
    fn retrieve_many<'py>(
        &self,
        py: Python<'py>,
        items: &Bound<'py, PyAny>,
        return_exceptions: bool,
    ) -> Result<Bound<'py, PyList>, Failure> {
        let items = to_vec(items)?;
        let items: Vec<(Id<'_>, Bound<'_, Key>)> = pairs(&items, "a pair of id and key, as from dict.items(),")?;
        let items: Vec<(_, &RecordKey)> = items.iter().map(|(id, key)| (id.as_ref(), key.get().inner())).collect();
        // All are wiped, also those after one whose exception is raised.
        let found: Vec<_> = self.call(py, |store| {
            let found = store.retrieve_many(&items)?;
            Ok(found.into_iter().map(|found| found.map(Wiped::from)).collect())
        })?;
        let list = PyList::empty(py);
        for outcome in found {
            match outcome.map_err(|error| PyErr::from(Failure::Core(error))) {
                Ok(data) => list.append(to_python(py, &data)?)?,
                Err(error) if return_exceptions => list.append(error.into_value(py))?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(list)
    }

    /// Store the content of a file under a new id, in constant memory, and return the key.
    ///
    /// :param source: A path, or an object with ``read()``.
    /// :param progress: Called with the number of bytes stored so far. An exception ends the call, and nothing is
    ///     stored.
    /// :param key: A key that the caller made and wrote down, as ``key`` of :meth:`store`.
    /// :param expires_at: The time at which the record expires, as in :meth:`store`.
    /// :param expires_in: The time from the call until then instead, as in :meth:`store`.
    /// :param pad: Hide the length of the data, as in :meth:`store`.
    /// :raises AlreadyExistsError: A record has this id; with ``key``, a different record.
    /// :raises InvalidArgumentError: The expiry time is past or invalid.
    /// :raises BlockingIOError: The source is non-blocking, and had nothing to read.
    #[pyo3(signature = (id, source, progress=None, *, key=None, expires_at=None, expires_in=None, pad=false))]
    #[expect(clippy::too_many_arguments, reason = "they are named where it is called")]
    fn store_file<'py>(
        slf: &Bound<'py, Self>,
        id: &Bound<'py, PyAny>,
        source: &Bound<'py, PyAny>,
        progress: Option<&Bound<'py, PyAny>>,
        key: Option<&Bound<'py, Key>>,
        expires_at: Option<&Bound<'py, PyAny>>,
        expires_in: Option<&Bound<'py, PyAny>>,
        pad: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let records = slf.py().import("strongroom._records")?;
        records.call_method1("store_file", (slf, id, source, progress, key, expires_at, expires_in, pad))
    }

    /// Replace the data of the record that ``key`` opens with the content of a file, in constant memory, and return
    /// the new version's key.
    ///
    /// :param source: A path, or an object with ``read()``.
    /// :param progress: Called with the number of bytes stored so far. An exception ends the call, and the record is
    ///     unchanged.
    /// :param new_key: A key for the new version, as ``key`` of :meth:`store`.
    /// :param expires_at: The time at which the new version expires, as in :meth:`store`.
    /// :param expires_in: The time from the call until then instead, as in :meth:`store`.
    /// :param pad: Hide the length of the data, as in :meth:`store`.
    /// :raises NotFoundError: There is no record under this id.
    /// :raises WrongKeyError: The key does not open it.
    /// :raises ExpiredError: It has expired.
    /// :raises ConflictError: It was replaced or removed concurrently.
    /// :raises InvalidArgumentError: The new key is the old one, or the expiry time is past or invalid.
    /// :raises BlockingIOError: The source is non-blocking, and had nothing to read.
    #[pyo3(signature = (id, key, source, progress=None, *, new_key=None, expires_at=None, expires_in=None, pad=false))]
    #[expect(clippy::too_many_arguments, reason = "they are named where it is called")]
    fn replace_file<'py>(
        slf: &Bound<'py, Self>,
        id: &Bound<'py, PyAny>,
        key: &Bound<'py, Key>,
        source: &Bound<'py, PyAny>,
        progress: Option<&Bound<'py, PyAny>>,
        new_key: Option<&Bound<'py, Key>>,
        expires_at: Option<&Bound<'py, PyAny>>,
        expires_in: Option<&Bound<'py, PyAny>>,
        pad: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let records = slf.py().import("strongroom._records")?;
        records.call_method1("replace_file", (slf, id, key, source, progress, new_key, expires_at, expires_in, pad))
    }

    /// Open a record as a binary file to read and seek in: a :class:`RecordReader`.
    ///
    /// :raises NotFoundError: There is no record under this id.
    /// :raises WrongKeyError: The key does not open it, or its first 68 bytes were altered.
    /// :raises ExpiredError: It has expired.
    fn open_record<'py>(
        &self,
        py: Python<'py>,
        id: Id<'_>,
        key: &Bound<'_, Key>,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        let key = key.get().inner();
        record_reader(py, self.call(py, |store| store.open_record(id, key))?)
    }

    /// Take a record, as :meth:`take` does, as a binary file to read: a :class:`RecordReader`. Only this file can
    /// read the record, and closing it removes the record. On an encryption server, the file is read from start to
    /// end; elsewhere, also from other positions.
    ///
    /// If the process ends before the file is closed, nobody can read the record, and the first :meth:`purge` or
    /// :meth:`maintain` after a day removes it.
    ///
    /// :raises NotFoundError: There is no record under this id.
    /// :raises WrongKeyError: The key does not open it, or its first 68 bytes were altered. The record is unchanged.
    /// :raises ExpiredError: It has expired.
    /// :raises IndeterminateError: The outcome is unknown.
    fn take_record<'py>(
        &self,
        py: Python<'py>,
        id: Id<'_>,
        key: &Bound<'_, Key>,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        let key = key.get().inner();
        record_reader(py, self.call(py, |store| store.take_record(id, key))?)
    }

    /// Start to store a record under a new id as a binary file to write to: a :class:`RecordWriter`.
    ///
    /// :param key: A key that the caller made and wrote down, as ``key`` of :meth:`store`.
    /// :param expires_at: The time at which the record expires, as in :meth:`store`.
    /// :param expires_in: The time from the call until then instead, as in :meth:`store`.
    /// :param pad: Hide the length of the data, as in :meth:`store`.
    /// :raises AlreadyExistsError: A record has this id; with ``key``, a different record. Finishing the record may
    ///     raise this, too.
    /// :raises InvalidArgumentError: The expiry time is past or invalid.
    /// :raises BusyError: At the finish, with ``key``: the same write ran concurrently. Repeat it.
    #[pyo3(signature = (id, *, key=None, expires_at=None, expires_in=None, pad=false))]
    fn create_record<'py>(
        &self,
        py: Python<'py>,
        id: Id<'_>,
        key: Option<&Bound<'_, Key>>,
        expires_at: Option<ExpiresAt>,
        expires_in: Option<ExpiresIn>,
        pad: bool,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        let options = options(key, expires_at, expires_in, pad)?;
        record_writer(py, self.call(py, |store| store.create_record_with(id, options))?)
    }

    /// Start to replace the record that ``key`` opens, as a binary file to write to: a :class:`RecordWriter`, which
    /// has the new version's key. The old version remains until the new one is finished.
    ///
    /// :param new_key: A key for the new version, as ``key`` of :meth:`store`.
    /// :param expires_at: The time at which the new version expires, as in :meth:`store`.
    /// :param expires_in: The time from the call until then instead, as in :meth:`store`.
    /// :param pad: Hide the length of the data, as in :meth:`store`.
    /// :raises NotFoundError: There is no record under this id.
    /// :raises WrongKeyError: The key does not open it.
    /// :raises ExpiredError: It has expired.
    /// :raises InvalidArgumentError: The new key is the old one, or the expiry time is past or invalid.
    #[pyo3(signature = (id, key, *, new_key=None, expires_at=None, expires_in=None, pad=false))]
    #[expect(clippy::too_many_arguments, reason = "they are named where it is called")]
    fn replace_record<'py>(
        &self,
        py: Python<'py>,
        id: Id<'_>,
        key: &Bound<'_, Key>,
        new_key: Option<&Bound<'_, Key>>,
        expires_at: Option<ExpiresAt>,
        expires_in: Option<ExpiresIn>,
        pad: bool,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        let (key, options) = (key.get().inner(), options(new_key, expires_at, expires_in, pad)?);
        record_writer(py, self.call(py, |store| store.replace_record_with(id, key, options))?)
    }

    /// Remove expired records, and return their number. Expired records are unreadable in any case; this frees their
    /// space. It removes them in short steps, so that other writers wait little.
    ///
    /// :param limit: Remove at most this many records. If fewer were removed, none is left.
    #[pyo3(signature = (limit=None))]
    fn purge(&self, py: Python<'_>, limit: Option<Natural>) -> Result<usize, Failure> {
        let limit = most(limit);
        self.call(py, |store| store.purge(limit))
    }

    /// Begin the rotation of the index key: the new key takes the place of the previous one. It takes a second.
    /// Without effect if the new key is the store's already.
    ///
    /// From then on, each operation on an id moves its record to the new key. Use ``id in store`` for every known id
    /// of every namespace: it raises if the record cannot be moved, for example on a full disk. A read of data succeeds
    /// even then, and may leave the record under the previous key. A read-only store, and a call with a wrong key of a
    /// record, moves nothing. When none remain, :meth:`finish_rotation` ends the rotation. It may be interrupted at any
    /// time; other handles with both keys continue to work. A record that is being replaced in pieces meanwhile may
    /// raise :exc:`ConflictError`.
    ///
    /// :raises BusyError: The store's settings were changed concurrently.
    /// :raises UnsupportedError: The store is an encryption server, which has its own index key; or it is read-only.
    fn begin_rotation(&self, py: Python<'_>) -> Result<(), Failure> {
        self.call(py, |store| store.begin_rotation())
    }

    /// Return the locators of records that remain under the previous index key, in all namespaces, as hexadecimal
    /// digits; ``None`` if the rotation has not begun, or if the store was opened without a previous index key or after
    /// the rotation had ended. The time is proportional to the number of locators.
    ///
    /// :param limit: Return at most this many locators.
    /// :raises UnsupportedError: The store is an encryption server, which has its own index key.
    #[pyo3(signature = (limit=None))]
    fn rotation(&self, py: Python<'_>, limit: Option<Natural>) -> Result<Option<Vec<String>>, Failure> {
        let limit = most(limit);
        let rotation = self.call(py, |store| store.rotation(limit))?;
        Ok(rotation.map(|rotation| rotation.remaining.iter().map(Locator::to_hex).collect()))
    }

    /// Remove a record that remains under the previous index key, because nobody knows its id. Return whether there
    /// was one.
    ///
    /// :param locator: One of those that :meth:`rotation` returns.
    /// :raises InvalidArgumentError: The locator is not one under the previous index key, or there is no rotation.
    /// :raises UnsupportedError: The store is an encryption server.
    fn erase_unrotated(&self, py: Python<'_>, locator: &str) -> Result<bool, Failure> {
        let locator = Locator::from_hex(locator)
            .ok_or(Error::InvalidArgument("a locator has 64 lower-case hexadecimal digits".into()))?;
        self.call(py, |store| store.erase_unrotated(&locator))
    }

    /// Find the records of the whole store whose ids are not in ``known``, for example those whose keys were lost.
    /// It changes nothing: see :meth:`erase_others`.
    ///
    /// A record that was stored after ``known`` was listed is one of the others. So let nobody store between the list
    /// and this call; what is stored later is safe.
    ///
    /// :param known: Pairs of a namespace, ``""`` for the default one, and an id.
    /// :raises InvalidIdError: An id is invalid.
    /// :raises IndexKeyMismatchError: The index key is being rotated, and this handle does not have both keys.
    /// :raises UnsupportedError: The store is an encryption server.
    fn retention(&self, py: Python<'_>, known: &Bound<'_, PyAny>) -> Result<Retention, Failure> {
        let known = to_vec(known)?;
        let known: Vec<(Id<'_>, Id<'_>)> = pairs(&known, "a pair of namespace and id")?;
        Ok(self.call(py, |store| store.retention(known))?.into())
    }

    /// Remove the other records of ``retention``, in all namespaces, and return their number. A record that was
    /// replaced since stays. After an exception, some may have been removed.
    ///
    /// :param allow_all: Remove all records of the store if none of the known ids has one. Otherwise this is an error,
    ///     because the list may be wrong.
    /// :raises InvalidArgumentError: No record would remain.
    /// :raises UnsupportedError: The store is an encryption server.
    #[pyo3(signature = (retention, *, allow_all=false))]
    fn erase_others(&self, py: Python<'_>, retention: &Bound<'_, Retention>, allow_all: bool) -> Result<u64, Failure> {
        let retention = retention.get().inner();
        if allow_all {
            return self.call(py, |store| store.erase_others(&retention.clone().allow_all()));
        }
        self.call(py, |store| store.erase_others(retention))
    }

    /// End the rotation of the index key: from then on, the store is opened with the new key alone.
    ///
    /// :raises InvalidArgumentError: Records remain under the previous index key, or there is no rotation.
    /// :raises ConflictError: The store's settings were changed concurrently.
    /// :raises UnsupportedError: The store is an encryption server.
    fn finish_rotation(&self, py: Python<'_>) -> Result<(), Failure> {
        self.call(py, |store| store.finish_rotation())
    }

    /// Return the number of records, the bytes of their ciphertexts, the number of expired records, and the free
    /// space, in time proportional to the number of records.
    fn stats(&self, py: Python<'_>) -> Result<Stats, Failure> {
        Ok(self.call(py, |store| store.stats())?.into())
    }

    /// Search the store for damage, without any record's key, in short steps. It changes nothing, and others may
    /// read and write meanwhile. Damage raises nothing: see the result.
    ///
    /// :param start_at: The position at which to start, :attr:`Verification.next` of an earlier search; or a locator,
    ///     to start after its record.
    /// :param bytes_per_second: Check at most this many bytes of records per second, to leave time for others.
    /// :param records_only: Check records only. The check of the database's pages and indexes would read the whole
    ///     database once more, in one step.
    /// :param progress: Called after each step with a :class:`Verification`: the totals so far, and the damage that
    ///     this step found. An exception ends the search.
    /// :raises InvalidArgumentError: The position is one of another store.
    /// :raises CorruptError: The damage prevents the search.
    /// :raises UnsupportedError: The store is an encryption server.
    #[pyo3(signature = (*, start_at=None, bytes_per_second=None, records_only=false, progress=None))]
    fn verify(
        &self,
        py: Python<'_>,
        start_at: Option<&str>,
        bytes_per_second: Option<Natural>,
        records_only: bool,
        progress: Option<Py<PyAny>>,
    ) -> Result<Verification, Failure> {
        let options = verify::options(start_at, bytes_per_second, records_only)?;
        let mut search = Search::new(py, progress)?;
        let report = self.call(py, |store| store.verify(&options, |step| search.step(&step)))?;
        search.finish(report)
    }

    /// Replace each damaged record by the one in ``copy``, without any record's key. ``copy`` is the same store at
    /// another place, such as a backup that is open with ``read_only``; only its intact records are used. Intact
    /// records are never replaced, and a damaged one that the copy lacks stays as it is: :meth:`verify` reports it.
    /// Others should not write meanwhile.
    ///
    /// :raises InvalidArgumentError: ``copy`` is another store, or this one.
    /// :raises UnsupportedError: The store is a service, or read-only.
    /// :raises BusyError: Others never stop writing.
    fn repair_from(&self, py: Python<'_>, copy: &Bound<'_, Self>) -> Result<Repair, Failure> {
        let copy = copy.get().0.as_ref().ok_or(Error::Closed)?;
        Ok(self.call(py, |store| store.repair_from(copy))?.into())
    }

    /// Remove the remains of interrupted writes and reuse their space, as opening a store does; then move the
    /// content of the database's log into the database. Until then, both may have the ciphertext of deleted records.
    ///
    /// :raises BusyError: Other handles read all the time.
    fn maintain(&self, py: Python<'_>) -> Result<(), Failure> {
        self.call(py, |store| store.maintain())
    }

    /// Return free space (:attr:`Stats.free`) to the operating system, and its number of bytes. The database's file
    /// becomes shorter. It works in short steps, and others may read and write meanwhile. Call :meth:`maintain`
    /// before, which frees the space of what was removed last.
    ///
    /// :param limit: Return at most this many bytes. If fewer were returned, none is left.
    /// :raises UnsupportedError: The store is neither an SQLite database nor a storage service on one.
    #[pyo3(signature = (limit=None))]
    fn compact(&self, py: Python<'_>, limit: Option<Natural>) -> Result<u64, Failure> {
        let limit = most(limit) as u64;
        self.call(py, |store| store.compact(limit))
    }

    /// Close the store on all of its handles: every later read and write raises :exc:`ClosedError`. Closing it again
    /// does nothing.
    ///
    /// A database waits for writes of other threads, and at most 5 seconds for their reads. After longer reads, its
    /// file is complete once the last of them has ended.
    fn close(&self, py: Python<'_>) -> Result<(), Failure> {
        self.call(py, |store| store.close())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, pyo3::types::PyTuple>) -> Result<(), Failure> {
        self.close(py)
    }

    fn __repr__(&self) -> &'static str {
        "<strongroom.Strongroom>"
    }
}

/// The limit; without one, as many as there are.
fn most(limit: Option<Natural>) -> usize {
    limit.and_then(|limit| usize::try_from(limit.0).ok()).unwrap_or(usize::MAX)
}

/// A `RecordReader` of the Python package.
fn record_reader(py: Python<'_>, reader: RecordReader) -> Result<Bound<'_, PyAny>, Failure> {
    Ok(py.import("strongroom._records")?.getattr("RecordReader")?.call1((NativeReader::new(reader),))?)
}

/// A `RecordWriter` of the Python package.
fn record_writer(py: Python<'_>, writer: RecordWriter) -> Result<Bound<'_, PyAny>, Failure> {
    Ok(py.import("strongroom._records")?.getattr("RecordWriter")?.call1((NativeWriter::new(writer),))?)
}
