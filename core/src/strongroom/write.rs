//! Storing, replacing and rekeying, from bytes, a reader or a writer, with and without options.

use std::io::Read;

use super::calls::replacing_key;
use super::{RecordWriter, Strongroom};
use crate::error::Error;
use crate::key::RecordKey;
use crate::options::WriteOptions;

impl Strongroom {
    /// Stores `data` under a new id, and returns the only key that opens it.
    ///
    /// If the process ends before the caller saves the key, nobody can open the record. To save the key first, use
    /// [`WriteOptions::key`].
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if a record has this id, [`Error::InvalidId`], [`Error::TooLarge`], and those of the
    /// storage.
    pub fn store(&self, id: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Result<RecordKey, Error> {
        self.store_with(id, data, WriteOptions::new())
    }

    /// As [`store`](Self::store), with options.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store); [`Error::InvalidArgument`] if the expiry time is past.
    pub fn store_with(
        &self,
        id: impl AsRef<[u8]>,
        data: impl AsRef<[u8]>,
        options: WriteOptions<'_>,
    ) -> Result<RecordKey, Error> {
        self.begin_store(id.as_ref(), data.as_ref(), options)?.wait()
    }

    /// Replaces the data of the record that `old` opens, and returns the key of the new version. The old key does not
    /// open the new version, nor the new key an older one.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; [`Error::WrongKey`]; [`Error::Expired`]; [`Error::Conflict`] if the record is replaced or
    /// removed concurrently; [`Error::InvalidId`], [`Error::TooLarge`], and those of the storage. The record is then
    /// unchanged.
    pub fn replace(&self, id: impl AsRef<[u8]>, old: &RecordKey, data: impl AsRef<[u8]>) -> Result<RecordKey, Error> {
        self.replace_with(id, old, data, WriteOptions::new())
    }

    /// As [`replace`](Self::replace), with options.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace); [`Error::InvalidArgument`] if both keys are the same, or the
    /// expiry time is past.
    pub fn replace_with(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        data: impl AsRef<[u8]>,
        options: WriteOptions<'_>,
    ) -> Result<RecordKey, Error> {
        self.begin_replace(id.as_ref(), old, data.as_ref(), options)?.wait()
    }

    /// Re-encrypts the data of the record that `old` opens, in constant memory and without a copy of the data on disk,
    /// and returns its new key. The expiry time remains. Afterwards, `old` opens nothing.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace) and [`retrieve`](Self::retrieve). The record is then unchanged.
    pub fn rekey(&self, id: impl AsRef<[u8]>, old: &RecordKey) -> Result<RecordKey, Error> {
        self.rekey_with(id, old, WriteOptions::new())
    }

    /// As [`rekey`](Self::rekey), with options. An expiry time replaces the old one. With the caller's key, the call
    /// may be repeated after a lost reply: it succeeds if the stored record opens under this key.
    ///
    /// # Errors
    ///
    /// As [`rekey`](Self::rekey); [`Error::InvalidArgument`] if both keys are the same, or the expiry time is past.
    pub fn rekey_with(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        options: WriteOptions<'_>,
    ) -> Result<RecordKey, Error> {
        self.begin_rekey(id.as_ref(), old, options)?.wait()
    }

    /// Stores all data of `source` under a new id, in constant memory, and returns the key.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store), and [`Error::Storage`] if `source` fails. Then nothing is stored.
    pub fn store_reader(&self, id: impl AsRef<[u8]>, source: impl Read) -> Result<RecordKey, Error> {
        self.store_reader_with(id, source, WriteOptions::new())
    }

    /// As [`store_reader`](Self::store_reader), with options.
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
        self.writer(id.as_ref(), options)?.copy_from(source)
    }

    /// Replaces the data of the record that `old` opens with all data of `source`, in constant memory, and returns the
    /// new key.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace), and [`Error::Storage`] if `source` fails. Then the record is unchanged.
    pub fn replace_reader(&self, id: impl AsRef<[u8]>, old: &RecordKey, source: impl Read) -> Result<RecordKey, Error> {
        self.replace_reader_with(id, old, source, WriteOptions::new())
    }

    /// As [`replace_reader`](Self::replace_reader), with options.
    ///
    /// # Errors
    ///
    /// As [`replace_reader`](Self::replace_reader); [`Error::InvalidArgument`] if both keys are the same, or the
    /// expiry time is past.
    pub fn replace_reader_with(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        source: impl Read,
        options: WriteOptions<'_>,
    ) -> Result<RecordKey, Error> {
        self.replace_record_with(id, old, options)?.copy_from(source)
    }

    /// Starts to store a record of any length under a new id, piece by piece in constant memory.
    /// [`RecordWriter::finish`] makes the record visible and returns its key.
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

    /// As [`create_record`](Self::create_record), with options.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store).
    pub fn create_record_with(&self, id: impl AsRef<[u8]>, options: WriteOptions<'_>) -> Result<RecordWriter, Error> {
        let id = id.as_ref();
        // With a caller's key, an earlier attempt may have stored the record.
        if options.caller_key().is_none() && self.operations.contains(id)?.wait()? {
            return Err(Error::AlreadyExists); // before the data is written
        }
        self.writer(id, options)
    }

    /// Starts to replace the data of the record that `old` opens, piece by piece in constant memory. The record is
    /// unchanged until [`RecordWriter::finish`].
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace).
    pub fn replace_record(&self, id: impl AsRef<[u8]>, old: &RecordKey) -> Result<RecordWriter, Error> {
        self.replace_record_with(id, old, WriteOptions::new())
    }

    /// As [`replace_record`](Self::replace_record), with options.
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace); [`Error::InvalidArgument`] if both keys are the same, or the
    /// expiry time is past.
    pub fn replace_record_with(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        options: WriteOptions<'_>,
    ) -> Result<RecordWriter, Error> {
        let key = replacing_key(old, options)?;
        let record = self.operations.replace_record(id.as_ref(), old, self.new_version(&key, options)?)?;
        Ok(RecordWriter::new(record, key))
    }

    /// Stores many pairs of id and data in one transaction, and returns their keys in the same order.
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store), for any of them; [`Error::AlreadyExists`] also if two pairs have the same id;
    /// [`Error::Unsupported`] from a storage without transactions; [`Error::TooLarge`] above 64 MiB in a storage
    /// service or PostgreSQL, and in an encryption server above 64 MiB of JSON (about 48 MiB of data) or 32,768
    /// records.
    pub fn store_many<I: AsRef<[u8]>, D: AsRef<[u8]>>(&self, items: &[(I, D)]) -> Result<Vec<RecordKey>, Error> {
        self.begin_store_many(items)?.wait()
    }

    /// As [`store_many`](Self::store_many), with options for each pair.
    ///
    /// # Errors
    ///
    /// As [`store_many`](Self::store_many). A repetition with the same keys succeeds if all records are stored.
    pub fn store_many_with<I: AsRef<[u8]>, D: AsRef<[u8]>>(
        &self,
        items: &[(I, D, WriteOptions<'_>)],
    ) -> Result<Vec<RecordKey>, Error> {
        self.begin_store_many_with(items)?.wait()
    }

    fn writer(&self, id: &[u8], options: WriteOptions<'_>) -> Result<RecordWriter, Error> {
        let key = options.sealing_key()?;
        Ok(RecordWriter::new(self.operations.create_record(id, self.new_version(&key, options)?)?, key))
    }
}
