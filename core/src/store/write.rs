//! Storing and replacing: each for bytes, a reader and a writer, in a plain form and in one with options.

use std::io::Read;
use std::sync::Arc;

use super::Strongroom;
use super::address::Address;
use super::repeated_write::RepeatedWrite;
use super::writer::{RecordWriter, Target};
use crate::cobblestone::verify_key;
use crate::error::{Error, same_key};
use crate::key::RecordKey;
use crate::options::WriteOptions;
use crate::storage::{self, Head, PutMode};

impl Strongroom {
    /// Stores `data` under a new id, and returns the only key that opens it.
    ///
    /// If the process ends before the key is written down, nobody can open the stored record: [`WriteOptions::key`] is
    /// for callers who write the key down first.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] where a record has the id, [`Error::InvalidId`], [`Error::TooLarge`], and those of the
    /// storage.
    pub fn store(&self, id: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Result<RecordKey, Error> {
        self.store_with(id, data, WriteOptions::new())
    }

    /// Stores as [`store`](Self::store), with options.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store).
    pub fn store_with(
        &self,
        id: impl AsRef<[u8]>,
        data: impl AsRef<[u8]>,
        options: WriteOptions<'_>,
    ) -> Result<RecordKey, Error> {
        let (data, address) = (data.as_ref(), self.address(id.as_ref())?);
        let key = options.sealing_key()?;
        match self.storage.put(&address.locator, &address.seal(&key, data)?, PutMode::Create) {
            Err(storage::Error::AlreadyExists) if options.caller_key().is_some() => {
                self.repeated(&address, &key, || Error::AlreadyExists)?.write_all(data)?;
            }
            outcome => outcome?,
        }
        Ok(key)
    }

    /// Stores `data` in place of the record that `old` opens, and returns the new version's own key. The old key no
    /// longer opens anything, and no older version opens under the new one.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::WrongKey`]; [`Error::Conflict`] where somebody else replaced or removed the record
    /// meanwhile; [`Error::InvalidId`], [`Error::TooLarge`], and those of the storage. The record is as it was.
    pub fn replace(&self, id: impl AsRef<[u8]>, old: &RecordKey, data: impl AsRef<[u8]>) -> Result<RecordKey, Error> {
        self.replace_with(id, old, data, WriteOptions::new())
    }

    /// Replaces as [`replace`](Self::replace), with options.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace); [`Error::InvalidArgument`] where both keys are the same.
    pub fn replace_with(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        data: impl AsRef<[u8]>,
        options: WriteOptions<'_>,
    ) -> Result<RecordKey, Error> {
        let (data, address) = (data.as_ref(), self.address(id.as_ref())?);
        let key = new_key(old, options)?;
        let head = match self.prove(&address, old) {
            Err(Error::WrongKey) if options.caller_key().is_some() => {
                self.repeated(&address, &key, || Error::WrongKey)?.write_all(data)?;
                return Ok(key);
            }
            head => head?,
        };
        match self.storage.put(&address.locator, &address.seal(&key, data)?, PutMode::ReplaceIf(head)) {
            // The call that this one repeats may have ended only now.
            Err(storage::Error::Conflict) if options.caller_key().is_some() => {
                self.repeated(&address, &key, || Error::Conflict)?.write_all(data)?;
            }
            outcome => outcome?,
        }
        Ok(key)
    }

    /// Stores all data of `source` under a new id, in constant memory, and returns the key.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store), and [`Error::Storage`] where `source` fails. Nothing is stored then.
    pub fn store_reader(&self, id: impl AsRef<[u8]>, source: impl Read) -> Result<RecordKey, Error> {
        self.store_reader_with(id, source, WriteOptions::new())
    }

    /// Stores as [`store_reader`](Self::store_reader), with options.
    ///
    /// # Errors
    ///
    /// As [`store_reader`](Self::store_reader).
    pub fn store_reader_with(
        &self,
        id: impl AsRef<[u8]>,
        source: impl Read,
        options: WriteOptions<'_>,
    ) -> Result<RecordKey, Error> {
        let address = self.address(id.as_ref())?;
        if options.caller_key().is_some() {
            return self.create(address, options)?.copy_from(source);
        }
        // The storage decides whether the id is free, when it gets the data.
        self.writer(&address, options.sealing_key()?, PutMode::Create)?.copy_from(source)
    }

    /// Stores all data of `source` in place of the record that `old` opens, in constant memory, and returns the new
    /// key.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace), and [`Error::Storage`] where `source` fails. The record is as it was then.
    pub fn replace_reader(&self, id: impl AsRef<[u8]>, old: &RecordKey, source: impl Read) -> Result<RecordKey, Error> {
        self.replace_reader_with(id, old, source, WriteOptions::new())
    }

    /// Replaces as [`replace_reader`](Self::replace_reader), with options.
    ///
    /// # Errors
    ///
    /// As [`replace_reader`](Self::replace_reader); [`Error::InvalidArgument`] where both keys are the same.
    pub fn replace_reader_with(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        source: impl Read,
        options: WriteOptions<'_>,
    ) -> Result<RecordKey, Error> {
        self.replace_record_with(id, old, options)?.copy_from(source)
    }

    /// Starts to store a record of any length under a new id, written piece by piece in constant memory.
    /// [`RecordWriter::finish`] returns the key; before it, nothing of the record is visible.
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
        self.create_record_with(id, WriteOptions::new())
    }

    /// Starts as [`create_record`](Self::create_record), with options.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store).
    pub fn create_record_with(&self, id: impl AsRef<[u8]>, options: WriteOptions<'_>) -> Result<RecordWriter, Error> {
        self.create(self.address(id.as_ref())?, options)
    }

    /// Starts to store a record of any length in place of the one that `old` opens, written piece by piece in constant
    /// memory. Before [`RecordWriter::finish`], the record is as it was.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace).
    pub fn replace_record(&self, id: impl AsRef<[u8]>, old: &RecordKey) -> Result<RecordWriter, Error> {
        self.replace_record_with(id, old, WriteOptions::new())
    }

    /// Starts as [`replace_record`](Self::replace_record), with options.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace); [`Error::InvalidArgument`] where both keys are the same.
    pub fn replace_record_with(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        options: WriteOptions<'_>,
    ) -> Result<RecordWriter, Error> {
        let address = self.address(id.as_ref())?;
        let key = new_key(old, options)?;
        match self.prove(&address, old) {
            Err(Error::WrongKey) if options.caller_key().is_some() => {
                let repeated = self.repeated(&address, &key, || Error::WrongKey)?;
                Ok(RecordWriter::repeated(repeated, key))
            }
            head => {
                let writer = self.writer(&address, key, PutMode::ReplaceIf(head?))?;
                Ok(if options.caller_key().is_some() { writer.repeatable(address) } else { writer })
            }
        }
    }

    fn create(&self, address: Address<'_>, options: WriteOptions<'_>) -> Result<RecordWriter, Error> {
        let key = options.sealing_key()?;
        let is_taken = self.storage.info(&address.locator)?.is_some(); // fails before the data is written
        match (is_taken, options.caller_key()) {
            (true, None) => Err(Error::AlreadyExists),
            (true, Some(_)) => Ok(RecordWriter::repeated(self.repeated(&address, &key, || Error::AlreadyExists)?, key)),
            (false, None) => self.writer(&address, key, PutMode::Create),
            (false, Some(_)) => Ok(self.writer(&address, key, PutMode::Create)?.repeatable(address)),
        }
    }

    fn writer(&self, address: &Address<'_>, key: RecordKey, mode: PutMode) -> Result<RecordWriter, Error> {
        let target = Target { storage: Arc::clone(&self.storage), locator: address.locator, mode };
        RecordWriter::new(target, address, key)
    }

    /// The write under `key` that this one repeats; `differs` makes the error of a write that repeats none.
    fn repeated(&self, address: &Address<'_>, key: &RecordKey, differs: fn() -> Error) -> Result<RepeatedWrite, Error> {
        RepeatedWrite::find(&self.storage, address, key, differs)
    }

    /// The head of the stored record, once `key` is known to be its key.
    pub(super) fn prove(&self, address: &Address<'_>, key: &RecordKey) -> Result<Head, Error> {
        let head = self.storage.info(&address.locator)?.ok_or(Error::NotFound)?.head;
        let (context, prefix, _) = address.context_of(&head)?;
        verify_key(key.expose_bytes(), &context, &prefix)?;
        Ok(head)
    }
}

/// The key of a new version.
fn new_key(old: &RecordKey, options: WriteOptions<'_>) -> Result<RecordKey, Error> {
    match options.caller_key() {
        Some(new) if old.ct_eq(new) => Err(same_key()),
        _ => options.sealing_key(),
    }
}
