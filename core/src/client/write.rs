//! Storing and replacing, as [`Strongroom`](crate::Strongroom) does. The client makes the key, unless the caller did,
//! and sends it with the data: so it can repeat a write whose answer was lost.

use std::io::Read;
use std::sync::Arc;

use super::{Client, Writer, replace_request, store_request, wiped};
use crate::error::Error;
use crate::http::{ApiRequest, RetryPolicy};
use crate::key::RecordKey;
use crate::options::WriteOptions;

impl Client {
    /// As [`Strongroom::store`](crate::Strongroom::store).
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`], [`Error::InvalidId`], [`Error::TooLarge`], and those of the server and the connection.
    pub fn store(&self, id: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Result<RecordKey, Error> {
        self.store_with(id, data, WriteOptions::new())
    }

    /// As [`Strongroom::store_with`](crate::Strongroom::store_with).
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
        let key = options.sealing_key()?;
        self.send(&store_request(id.as_ref(), &key)?.body(wiped(data.as_ref())))?;
        Ok(key)
    }

    /// As [`Strongroom::replace`](crate::Strongroom::replace).
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve); [`Error::Conflict`] where somebody else replaced or removed the record
    /// meanwhile, [`Error::TooLarge`].
    pub fn replace(&self, id: impl AsRef<[u8]>, old: &RecordKey, data: impl AsRef<[u8]>) -> Result<RecordKey, Error> {
        self.replace_with(id, old, data, WriteOptions::new())
    }

    /// As [`Strongroom::replace_with`](crate::Strongroom::replace_with).
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
        let key = options.sealing_key()?;
        self.send(&replace_request(id.as_ref(), old, &key)?.body(wiped(data.as_ref())))?;
        Ok(key)
    }

    /// As [`Strongroom::store_reader`](crate::Strongroom::store_reader).
    ///
    /// # Errors
    ///
    /// As [`store`](Self::store), and [`Error::Storage`] where `source` fails. Nothing is stored then.
    pub fn store_reader(&self, id: impl AsRef<[u8]>, source: impl Read) -> Result<RecordKey, Error> {
        self.store_reader_with(id, source, WriteOptions::new())
    }

    /// As [`Strongroom::store_reader_with`](crate::Strongroom::store_reader_with).
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
        self.create_record_with(id, options)?.copy_from(source)
    }

    /// As [`Strongroom::replace_reader`](crate::Strongroom::replace_reader).
    ///
    /// # Errors
    ///
    /// As [`replace`](Self::replace), and [`Error::Storage`] where `source` fails. The record is as it was then.
    pub fn replace_reader(&self, id: impl AsRef<[u8]>, old: &RecordKey, source: impl Read) -> Result<RecordKey, Error> {
        self.replace_reader_with(id, old, source, WriteOptions::new())
    }

    /// As [`Strongroom::replace_reader_with`](crate::Strongroom::replace_reader_with).
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

    /// As [`Strongroom::create_record`](crate::Strongroom::create_record).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`]; writing and [`Writer::finish`] return the others.
    pub fn create_record(&self, id: impl AsRef<[u8]>) -> Result<Writer, Error> {
        self.create_record_with(id, WriteOptions::new())
    }

    /// As [`Strongroom::create_record_with`](crate::Strongroom::create_record_with).
    ///
    /// # Errors
    ///
    /// As [`create_record`](Self::create_record).
    pub fn create_record_with(&self, id: impl AsRef<[u8]>, options: WriteOptions<'_>) -> Result<Writer, Error> {
        let key = options.sealing_key()?;
        Ok(Writer::new(Arc::clone(&self.http), store_request(id.as_ref(), &key)?, key))
    }

    /// As [`Strongroom::replace_record`](crate::Strongroom::replace_record).
    ///
    /// # Errors
    ///
    /// As [`open_record`](Self::open_record).
    pub fn replace_record(&self, id: impl AsRef<[u8]>, old: &RecordKey) -> Result<Writer, Error> {
        self.replace_record_with(id, old, WriteOptions::new())
    }

    /// As [`Strongroom::replace_record_with`](crate::Strongroom::replace_record_with).
    ///
    /// # Errors
    ///
    /// As [`replace_record`](Self::replace_record); [`Error::InvalidArgument`] where both keys are the same.
    pub fn replace_record_with(
        &self,
        id: impl AsRef<[u8]>,
        old: &RecordKey,
        options: WriteOptions<'_>,
    ) -> Result<Writer, Error> {
        let key = options.sealing_key()?;
        let request = replace_request(id.as_ref(), old, &key)?;
        if options.caller_key().is_none() {
            self.retrieve_range(&id, old, 0..0)?; // fails before all data is sent
        }
        Ok(Writer::new(Arc::clone(&self.http), request, key))
    }

    /// Sends a write under a key that the server did not choose, so that it may be repeated.
    fn send(&self, request: &ApiRequest) -> Result<(), Error> {
        self.http.write(request, RetryPolicy::Idempotent, self.http.end()).0.map(drop).map_err(super::of_write)
    }
}
