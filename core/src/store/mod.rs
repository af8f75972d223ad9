//! The service: the only place that sees both encryption and storage.

mod read_ahead;
mod reader;
mod repeated_write;
mod write_behind;
mod writer;

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use reader::RecordReader;
pub use writer::RecordWriter;

use read_ahead::StoredVersion;
use repeated_write::RepeatedWrite;

use crate::cobblestone::{self, PREFIX_LEN, RangeOpener};
use crate::error::{Error, same_key};
use crate::key::RecordKey;
use crate::locator::{Locator, LocatorKey};
use crate::record::{HEADER_LEN, Header, is_id};
use crate::storage::{self, Fetched, Head, Info, PutMode, Stats, Storage};
use crate::util::parallel;

/// Bytes of a record from which on it is fetched and opened part by part: each is opened while a cache still holds it, and
/// several cores can share the work.
const LONG: u64 = parallel::WORTH_SHARING as u64;
/// How often a record is begun to be read that is replaced each time meanwhile.
const ATTEMPTS: usize = 5;
/// The bytes whose encryption takes as long as the derivation of a record's keys.
const KEY_SCHEDULE_COST: usize = 8 << 10;
/// The only namespace there is so far.
const NAMESPACE: &[u8] = b"";

/// A store of encrypted records.
///
/// Each record is sealed under a key of its own, made for it and handed to the caller alone; the store keeps no key.
/// An id is any 1 to 4,096 bytes, and is compared byte by byte: `é` written in two ways is two ids. The storage sees a
/// keyed hash of it, never the id.
///
/// Every write is durable when it returns, and whole or not at all. A handle may be used from many threads at once,
/// best in an [`Arc`]; it ends with [`close`](Self::close), or when it and all its readers and writers are dropped.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("records.db");
/// use strongroom::{Error, Strongroom};
///
/// let store = Strongroom::open(path)?;
/// let old_key = store.store("contract", b"first draft")?;
/// let new_key = store.replace("contract", &old_key, b"signed")?;
/// assert!(matches!(store.retrieve("contract", &old_key), Err(Error::WrongKey)));
/// assert_eq!(store.retrieve("contract", &new_key)?, b"signed");
/// store.delete("contract", &new_key)?;
/// assert!(matches!(store.retrieve("contract", &new_key), Err(Error::NotFound)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Strongroom {
    storage: Arc<dyn Storage>,
    locator_key: LocatorKey,
}

impl Strongroom {
    /// The store over `storage`, once the index key is known to be its own.
    pub(crate) fn new(storage: Arc<dyn Storage>, locator_key: LocatorKey) -> Self {
        Self { storage, locator_key }
    }

    /// Stores `data` under a new id, and returns the only key that opens it.
    ///
    /// If the process ends before the key is written down, the record is there and nobody can open it: see
    /// [`store_with_key`](Self::store_with_key) to write the key down first.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] where a record has the id, [`Error::InvalidId`], [`Error::TooLarge`], and those of the
    /// storage.
    pub fn store(&self, id: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Result<RecordKey, Error> {
        let key = RecordKey::generate()?;
        let record = self.record(id.as_ref())?;
        self.storage.put(&record.locator, &record.seal(&key, data.as_ref())?, PutMode::Create)?;
        Ok(key)
    }

    /// Stores `data` under a new id and a key that the caller made, with [`RecordKey::generate`], and wrote down.
    ///
    /// The call may be repeated after a lost reply: where a record is there that opens under this key to the same bytes,
    /// it succeeds.
    ///
    /// Make a new key for each version of a record. If two versions of one record were sealed under the same key, an
    /// attacker who can write to the storage can put the older one back, and it opens under that key. The store cannot
    /// notice this: it keeps no key.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store): [`Error::AlreadyExists`] where the record there is another.
    pub fn store_with_key(&self, id: impl AsRef<[u8]>, key: &RecordKey, data: impl AsRef<[u8]>) -> Result<(), Error> {
        let data = data.as_ref();
        let record = self.record(id.as_ref())?;
        match self.storage.put(&record.locator, &record.seal(key, data)?, PutMode::Create) {
            Err(storage::Error::AlreadyExists) => {
                self.repeat(&record, key, || Error::AlreadyExists)?.ok_or(Error::AlreadyExists)?.write_all(data)
            }
            outcome => Ok(outcome?),
        }
    }

    /// The data stored under `id`.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::WrongKey`], also where the record's first 68 bytes were altered;
    /// [`Error::Corrupt`] where anything else of it was; [`Error::Conflict`] where a long record is replaced again and again
    /// while it is read; [`Error::Expired`], [`Error::Unsupported`], [`Error::InvalidId`], and those of the storage.
    pub fn retrieve(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<Vec<u8>, Error> {
        let record = self.record(id.as_ref())?;
        self.of_one_version(&record, |found| match found {
            Fetched::Record(sealed) => record.open(key, &sealed),
            Fetched::Long { info, .. } => reader(&self.storage, &record, key, info)?.retrieve(),
        })
    }

    /// Retrieves the data stored under `id` into the start of `buffer`, and returns its length: for callers who choose
    /// where plaintext lies, and wipe it. What of `buffer` is behind the data stays as it was, or is zero.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve), and [`Error::TooLarge`] where the data does not fit in `buffer`:
    /// [`RecordReader::len`] tells its length. No plaintext is in `buffer` then.
    pub fn retrieve_into(&self, id: impl AsRef<[u8]>, key: &RecordKey, buffer: &mut [u8]) -> Result<usize, Error> {
        let record = self.record(id.as_ref())?;
        self.of_one_version(&record, |found| match found {
            Fetched::Record(sealed) => record.open_into(key, &sealed, buffer),
            Fetched::Long { info, .. } => reader(&self.storage, &record, key, info)?.retrieve_into(buffer),
        })
    }

    /// Stores `data` in place of the record that `old` opens, and returns the new version's own key. The old key no
    /// longer opens anything, and no older version opens under the new one.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::WrongKey`]; [`Error::Conflict`] where somebody else replaced or removed the record
    /// meanwhile; [`Error::InvalidId`], [`Error::TooLarge`], and those of the storage. The record is as it was.
    pub fn replace(&self, id: impl AsRef<[u8]>, old: &RecordKey, data: impl AsRef<[u8]>) -> Result<RecordKey, Error> {
        let record = self.record(id.as_ref())?;
        let head = self.prove(&record, old)?;
        let key = RecordKey::generate()?;
        self.storage.put(&record.locator, &record.seal(&key, data.as_ref())?, PutMode::ReplaceIf(head))?;
        Ok(key)
    }

    /// Replaces as [`replace`](Self::replace), under a `new` key that the caller made, with [`RecordKey::generate`],
    /// and wrote down.
    ///
    /// The call may be repeated after a lost reply: where the record there opens under the new key to the same bytes, it
    /// succeeds. As with [`store_with_key`](Self::store_with_key), the new key must never have sealed an earlier version
    /// of this record.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace); [`Error::InvalidArgument`] where both keys are one.
    pub fn replace_with_key(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        new: &RecordKey,
        data: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        if old.ct_eq(new) {
            return Err(same_key());
        }
        let (record, data) = (self.record(id.as_ref())?, data.as_ref());
        let head = match self.prove(&record, old) {
            Err(Error::WrongKey) => {
                return self.repeat(&record, new, || Error::WrongKey)?.ok_or(Error::WrongKey)?.write_all(data);
            }
            head => head?,
        };
        match self.storage.put(&record.locator, &record.seal(new, data)?, PutMode::ReplaceIf(head)) {
            // The call that this one repeats may have been under way until now.
            Err(storage::Error::Conflict) => {
                self.repeat(&record, new, || Error::Conflict)?.ok_or(Error::Conflict)?.write_all(data)
            }
            outcome => Ok(outcome?),
        }
    }

    /// Starts to store a record of any length under a new id, written piece by piece in constant memory. The key comes
    /// with [`RecordWriter::finish`]; before it, nothing of the record can be seen.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let store = strongroom::Strongroom::open(folder.path().join("records.db"))?;
    /// use std::io::{Read, Write};
    ///
    /// let mut writer = store.create_record("log")?;
    /// for n in 0..1000 {
    ///     writeln!(writer, "line {n}")?;
    /// }
    /// let key = writer.finish()?;
    ///
    /// let mut text = String::new();
    /// store.open_record("log", &key)?.read_to_string(&mut text)?;
    /// assert!(text.ends_with("line 999\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store).
    pub fn create_record(&self, id: impl AsRef<[u8]>) -> Result<RecordWriter, Error> {
        let record = self.record(id.as_ref())?;
        self.writer(&record, RecordKey::generate()?, PutMode::Create)
    }

    /// The same under a key that the caller made and wrote down. As with [`store_with_key`](Self::store_with_key), the
    /// write may be repeated with the same data: where a record is there that opens under this key, the data is compared
    /// with it. The key must never have sealed an earlier version of this record.
    ///
    /// # Errors
    ///
    /// As [`store_with_key`](Self::store_with_key). Of two such writes at once, one may be told [`Error::Busy`] when it
    /// finishes: the other has just stored a record under this key, and one more repetition tells whether it is the same.
    pub fn create_record_with_key(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<RecordWriter, Error> {
        let record = self.record(id.as_ref())?;
        match self.writer(&record, key.duplicate(), PutMode::Create) {
            Err(Error::AlreadyExists) => {
                let repeat = self.repeat(&record, key, || Error::AlreadyExists)?.ok_or(Error::AlreadyExists)?;
                Ok(RecordWriter::repeat(repeat, key.duplicate()))
            }
            writer => Ok(writer?.repeatable(&self.storage, record)),
        }
    }

    /// Starts to replace the record that `old` opens, as [`replace`](Self::replace) does. The old version stays until
    /// [`RecordWriter::finish`] succeeds.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace).
    pub fn replace_record(&self, id: impl AsRef<[u8]>, old: &RecordKey) -> Result<RecordWriter, Error> {
        let record = self.record(id.as_ref())?;
        let head = self.prove(&record, old)?;
        self.writer(&record, RecordKey::generate()?, PutMode::ReplaceIf(head))
    }

    /// The same under a `new` key that the caller made and wrote down. The write may be repeated with the same data.
    /// As with [`store_with_key`](Self::store_with_key), the key must never have sealed an earlier version of this record.
    ///
    /// # Errors
    ///
    /// As [`replace_with_key`](Self::replace_with_key); [`Error::Busy`] as
    /// [`create_record_with_key`](Self::create_record_with_key).
    pub fn replace_record_with_key(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        new: &RecordKey,
    ) -> Result<RecordWriter, Error> {
        if old.ct_eq(new) {
            return Err(same_key());
        }
        let record = self.record(id.as_ref())?;
        let head = self.prove(&record, old);
        match head.and_then(|head| self.writer(&record, new.duplicate(), PutMode::ReplaceIf(head))) {
            Err(error @ (Error::WrongKey | Error::Conflict)) => {
                let repeat = self.repeat(&record, new, || Error::WrongKey)?.ok_or(error)?;
                Ok(RecordWriter::repeat(repeat, new.duplicate()))
            }
            writer => Ok(writer?.repeatable(&self.storage, record)),
        }
    }

    /// Stores all that `source` gives under a new id, in constant memory, and returns the key.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store), and [`Error::Storage`] where `source` fails. Nothing is stored then.
    pub fn store_reader(&self, id: impl AsRef<[u8]>, source: impl Read) -> Result<RecordKey, Error> {
        self.create_record(id)?.copy_from(source)
    }

    /// Stores all that `source` gives under a new id and a key that the caller made and wrote down. As with
    /// [`store_with_key`](Self::store_with_key), the call may be repeated with the same data, and the key must never have
    /// sealed an earlier version of this record.
    ///
    /// # Errors
    ///
    /// As [`store_reader`](Self::store_reader): [`Error::AlreadyExists`] where the record there is another;
    /// [`Error::Busy`] as [`create_record_with_key`](Self::create_record_with_key).
    pub fn store_reader_with_key(&self, id: impl AsRef<[u8]>, key: &RecordKey, source: impl Read) -> Result<(), Error> {
        self.create_record_with_key(id, key)?.copy_from(source).map(drop)
    }

    /// Stores all that `source` gives in place of the record that `old` opens, in constant memory, and returns the new
    /// key.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace), and [`Error::Storage`] where `source` fails. The record is as it was then.
    pub fn replace_reader(&self, id: impl AsRef<[u8]>, old: &RecordKey, source: impl Read) -> Result<RecordKey, Error> {
        self.replace_record(id, old)?.copy_from(source)
    }

    /// Opens a record to read it in pieces, from any place, in constant memory.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve), for the record's first 68 bytes; the rest is checked as it is read.
    pub fn open_record(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<RecordReader, Error> {
        let record = self.record(id.as_ref())?;
        let info = self.storage.info(&record.locator)?.ok_or(Error::NotFound)?;
        reader(&self.storage, &record, key, info)
    }

    /// The bytes `range` of the data stored under `id`; bytes of `range` past the end are left out. The length is
    /// proved, and only the chunks that the range touches are read.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve); [`Error::Conflict`] where the record is replaced or removed meanwhile;
    /// [`Error::TooLarge`] where the range does not fit in memory.
    pub fn retrieve_range(&self, id: impl AsRef<[u8]>, key: &RecordKey, range: Range<u64>) -> Result<Vec<u8>, Error> {
        self.open_record(id, key)?.read_range(range)
    }

    /// Removes the record that `key` opens.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::WrongKey`]; [`Error::Conflict`] where somebody else replaced or removed the record
    /// meanwhile; [`Error::InvalidId`], and those of the storage.
    pub fn delete(&self, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<(), Error> {
        let record = self.record(id.as_ref())?;
        let head = self.prove(&record, key)?;
        if self.storage.delete(&record.locator, Some(&head))? { Ok(()) } else { Err(Error::Conflict) }
    }

    /// Removes the record of `id` without its key: the operator's means to fulfil a right to erasure. Returns whether
    /// there was one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`], and those of the storage.
    pub fn erase(&self, id: impl AsRef<[u8]>) -> Result<bool, Error> {
        Ok(self.storage.delete(&self.record(id.as_ref())?.locator, None)?)
    }

    /// Whether a record has this id.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`], and those of the storage.
    pub fn contains(&self, id: impl AsRef<[u8]>) -> Result<bool, Error> {
        Ok(self.storage.info(&self.record(id.as_ref())?.locator)?.is_some())
    }

    /// Stores many pairs of id and data in one transaction, all or none, and returns their keys in the same order.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store), for any of them; [`Error::AlreadyExists`] also where an id is named twice;
    /// [`Error::Unsupported`] from a storage without transactions.
    pub fn store_many<I: AsRef<[u8]>, D: AsRef<[u8]>>(&self, items: &[(I, D)]) -> Result<Vec<RecordKey>, Error> {
        let pairs: Vec<(&[u8], &[u8])> = items.iter().map(|(id, data)| (id.as_ref(), data.as_ref())).collect();
        let cost = |(_, data): &(&[u8], &[u8])| data.len().saturating_add(KEY_SCHEDULE_COST);
        let cost = pairs.iter().map(cost).fold(0, usize::saturating_add);
        let mut made: Vec<_> = pairs.iter().map(|_| None).collect();
        let threads = parallel::for_bytes(cost, parallel::WORTH_SHARING);
        parallel::for_each(threads, pairs.iter().zip(&mut made), |((id, data), made)| {
            let (record, key) = (self.record(id)?, RecordKey::generate()?);
            let sealed = record.seal(&key, data)?;
            *made = Some((key, (record.locator, sealed)));
            Ok::<_, Error>(())
        })?;
        let (keys, sealed): (Vec<_>, Vec<_>) = made.into_iter().flatten().unzip();
        let sealed: Vec<_> = sealed.iter().map(|(locator, record)| (*locator, record.as_slice())).collect();
        self.storage.create_many(&sealed)?;
        Ok(keys)
    }

    /// Retrieves many records, each with its own outcome, in the same order. A storage with transactions reads them all
    /// from one moment.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`] for any of them, and those of the storage. Inside, those of [`retrieve`](Self::retrieve).
    pub fn retrieve_many<I: AsRef<[u8]>>(
        &self,
        items: &[(I, &RecordKey)],
    ) -> Result<Vec<Result<Vec<u8>, Error>>, Error> {
        let records = items.iter().map(|(id, _)| self.record(id.as_ref()));
        let records = records.collect::<Result<Vec<_>, _>>()?;
        let locators: Vec<_> = records.iter().map(|record| record.locator).collect();
        let found = self.storage.get_many(&locators)?;
        let outcomes = records.iter().zip(items).zip(found);
        Ok(outcomes.map(|((record, (_, key)), sealed)| record.open(key, &sealed.ok_or(Error::NotFound)?)).collect())
    }

    /// Removes what interrupted writes left, if nobody is writing a large record at the time, and gives its room to
    /// later records. Opening a store does the same.
    ///
    /// # Errors
    ///
    /// Those of the storage.
    pub fn maintain(&self) -> Result<(), Error> {
        Ok(self.storage.maintain()?)
    }

    /// How many records there are, and the bytes of their ciphertexts. Takes time in proportion to their number.
    ///
    /// # Errors
    ///
    /// Those of the storage.
    pub fn stats(&self) -> Result<Stats, Error> {
        Ok(self.storage.stats()?)
    }

    /// Closes the store for all who share it; every later call is [`Error::Closed`]. Dropping it and all its
    /// readers and writers does the same, and reports no error.
    ///
    /// # Errors
    ///
    /// Those of the storage. The store is closed all the same.
    pub fn close(&self) -> Result<(), Error> {
        Ok(self.storage.close()?)
    }

    /// The record of a valid id.
    fn record<'i>(&self, id: &'i [u8]) -> Result<Record<'i>, Error> {
        if !is_id(id) {
            return Err(Error::InvalidId);
        }
        Ok(Record { id: id.into(), locator: self.locator_key.locator(NAMESPACE, id) })
    }

    /// What `open` makes of one version of a record. A long one that is replaced while its parts are read is begun again:
    /// as a rule, the key does not open the new version, and that is the outcome.
    fn of_one_version<T>(
        &self,
        record: &Record<'_>,
        mut open: impl FnMut(Fetched) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..ATTEMPTS {
            match open(self.storage.get_up_to(&record.locator, LONG)?.ok_or(Error::NotFound)?) {
                Err(Error::Conflict) => {}
                outcome => return outcome,
            }
        }
        Err(Error::Conflict)
    }

    /// The repeat of a write under `key`, if there is something to repeat.
    fn repeat(
        &self,
        record: &Record<'_>,
        key: &RecordKey,
        differs: fn() -> Error,
    ) -> Result<Option<RepeatedWrite>, Error> {
        RepeatedWrite::find(&self.storage, record, key, differs)
    }

    /// The head of the stored record, once `key` is known to be its key.
    fn prove(&self, record: &Record<'_>, key: &RecordKey) -> Result<Head, Error> {
        let head = self.storage.info(&record.locator)?.ok_or(Error::NotFound)?.head;
        let (context, prefix, _) = record.context_of(&head)?;
        cobblestone::verify_key(key.expose_bytes(), &context, &prefix)?;
        Ok(head)
    }

    fn writer(&self, record: &Record<'_>, key: RecordKey, mode: PutMode) -> Result<RecordWriter, Error> {
        let upload = Arc::clone(&self.storage).upload(&record.locator, mode)?;
        let header = Header::default();
        RecordWriter::new(upload, key, header, &header.context(NAMESPACE, &record.id))
    }
}

/// Shows neither ids nor keys.
impl fmt::Debug for Strongroom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strongroom").field("storage", &self.storage).finish_non_exhaustive()
    }
}

/// Opens the version of a record that has this info.
fn reader(storage: &Arc<dyn Storage>, record: &Record<'_>, key: &RecordKey, info: Info) -> Result<RecordReader, Error> {
    let (context, prefix, header) = record.context_of(&info.head)?;
    if has_passed(header.expires_at) {
        // Believed only from the key's holder.
        cobblestone::verify_key(key.expose_bytes(), &context, &prefix)?;
        return Err(Error::Expired);
    }
    let message_len = info.len.checked_sub(HEADER_LEN as u64).ok_or(Error::Corrupt)?;
    let opener = RangeOpener::new(key.expose_bytes(), &context, &prefix, message_len)?;
    let source = StoredVersion { storage: Arc::clone(storage), locator: record.locator, head: info.head };
    Ok(RecordReader::new(source, opener))
}

/// An id and where its record lies.
struct Record<'i> {
    id: Cow<'i, [u8]>,
    locator: Locator,
}

impl Record<'_> {
    fn into_owned(self) -> Record<'static> {
        Record { id: self.id.into_owned().into(), locator: self.locator }
    }

    /// `header || message`, in one buffer of the exact size.
    fn seal(&self, key: &RecordKey, data: &[u8]) -> Result<Vec<u8>, Error> {
        let header = Header::default();
        let message_len = cobblestone::message_len(data.len() as u64).ok_or(Error::TooLarge)?;
        let message_len = usize::try_from(message_len).map_err(|_| Error::TooLarge)?;
        let mut sealed = cobblestone::zeros(HEADER_LEN + message_len)?;
        let (start, message) = sealed.split_first_chunk_mut().ok_or(Error::TooLarge)?;
        *start = header.encode();
        let context = header.context(NAMESPACE, &self.id);
        cobblestone::seal_into(key.expose_bytes(), &context, data, message)?;
        Ok(sealed)
    }

    /// The context of the version with this head, the message's first bytes, and the header.
    fn context_of(&self, head: &Head) -> Result<(Vec<u8>, [u8; PREFIX_LEN], Header), Error> {
        let (header, prefix) = head.as_bytes().split_first_chunk().ok_or(Error::Corrupt)?;
        let header = Header::decode(header)?;
        Ok((header.context(NAMESPACE, &self.id), prefix.try_into().map_err(|_| Error::Corrupt)?, header))
    }

    /// Opens into a buffer of the exact size, of which the interfaces to other languages need no copy.
    fn open(&self, key: &RecordKey, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let (context, message) = self.message_of(key, sealed)?;
        Ok(cobblestone::open(key.expose_bytes(), &context, message)?)
    }

    /// Opens into the start of `buffer`, and returns the length.
    fn open_into(&self, key: &RecordKey, sealed: &[u8], buffer: &mut [u8]) -> Result<usize, Error> {
        let (context, message) = self.message_of(key, sealed)?;
        let len = cobblestone::plaintext_len(message.len() as u64);
        let len_here = len.as_ref().ok().and_then(|len| usize::try_from(*len).ok());
        let Some(plaintext) = len_here.and_then(|len| buffer.get_mut(..len)) else {
            // Who has not the key is told that, and not the length.
            let prefix = message.first_chunk().ok_or(Error::Corrupt)?;
            cobblestone::verify_key(key.expose_bytes(), &context, prefix)?;
            return Err(len.map_or(Error::Corrupt, |_| Error::TooLarge));
        };
        cobblestone::open_into(key.expose_bytes(), &context, message, plaintext)?;
        Ok(plaintext.len())
    }

    /// The context and the message of a stored version, unless it has expired.
    fn message_of<'s>(&self, key: &RecordKey, sealed: &'s [u8]) -> Result<(Vec<u8>, &'s [u8]), Error> {
        let (header, message) = sealed.split_first_chunk().ok_or(Error::Corrupt)?;
        let header = Header::decode(header)?;
        let context = header.context(NAMESPACE, &self.id);
        if has_passed(header.expires_at) {
            // Believed only from the key's holder.
            let prefix = message.first_chunk().ok_or(Error::Corrupt)?;
            cobblestone::verify_key(key.expose_bytes(), &context, prefix)?;
            return Err(Error::Expired);
        }
        Ok((context, message))
    }
}

/// Whether a Unix time in seconds lies in the past; 0 never does. A clock that cannot be right proves no time to be left.
fn has_passed(time: u64) -> bool {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |now| now.as_secs());
    time != 0 && time <= now()
}
