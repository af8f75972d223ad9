//! The backend of the encryption server.

use std::io;
use std::sync::Arc;

use hyper::StatusCode;
use strongroom::{Error, RecordKey, Strongroom, WriteOptions};

use super::decoy_records::DecoyRecords;
use crate::backend::Backend;
use crate::body::unsent_answer::Response;
use crate::response::secret;

/// A store, served to clients.
pub(super) struct EncryptionBackend {
    pub(super) store: Arc<Strongroom>,
    pub(super) decoys: DecoyRecords,
}

impl Backend for EncryptionBackend {
    const OPENAPI: &'static str = include_str!("../../openapi/encryption.json");
    const PORT: u16 = 8420;

    fn ready(&self) -> Result<(), Error> {
        self.store.contains("readyz").map(drop)
    }
}

impl EncryptionBackend {
    pub(super) fn new(store: Arc<Strongroom>) -> Result<Self, Error> {
        Ok(Self { store, decoys: DecoyRecords::new()? })
    }
}

/// The options of a write, under the client's key if it has sent one.
pub(super) fn write_options(key: Option<&RecordKey>) -> WriteOptions<'_> {
    key.map_or_else(WriteOptions::new, |key| WriteOptions::new().key(key))
}

/// The answer with a record's new key.
pub(super) fn key_answer(status: StatusCode, key: &RecordKey) -> Response {
    secret(status, "key", &key.to_text())
}

/// The error that a reader or writer of records put into an [`io::Error`].
pub(super) fn record_error(error: io::Error) -> Error {
    error.downcast().unwrap_or_else(|error| Error::Internal(error.into()))
}
