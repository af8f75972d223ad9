//! The backend of the encryption server.

use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hyper::StatusCode;
use strongroom::{Error, RecordKey, Strongroom, WriteOptions};

use super::decoy_records::DecoyRecords;
use crate::backend::Backend;
use crate::body::unsent_answer::Response;
use crate::problem::Problem;
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

    fn purge(&self, limit: usize) -> Result<usize, Error> {
        self.store.purge(limit)
    }
}

impl EncryptionBackend {
    pub(super) fn new(store: Arc<Strongroom>) -> Result<Self, Error> {
        Ok(Self { store, decoys: DecoyRecords::new()? })
    }
}

/// The options of a write that expires at a Unix time, or after a number of seconds; `None` if there is neither.
pub(super) fn expiry(
    expires_at: Option<u64>,
    expires_in: Option<u64>,
) -> Result<Option<WriteOptions<'static>>, Problem> {
    match (expires_at.map(Duration::from_secs), expires_in.map(Duration::from_secs)) {
        (None, None) => Ok(None),
        (None, Some(time)) => Ok(Some(WriteOptions::new().expires_in(time))),
        (Some(time), None) => match UNIX_EPOCH.checked_add(time) {
            Some(time) => Ok(Some(WriteOptions::new().expires_at(time))),
            None => Err(Problem::bad_request("the expiry time is too late")),
        },
        (Some(_), Some(_)) => Err(Problem::bad_request("give an expiry time or a duration, not both")),
    }
}

/// The options of a write: with this expiry, and under the client's key if it has sent one.
pub(super) fn write_options<'k>(key: Option<&'k RecordKey>, expiry: Option<WriteOptions<'static>>) -> WriteOptions<'k> {
    let options: WriteOptions<'k> = expiry.unwrap_or_default();
    key.map_or(options, |key| options.key(key))
}

/// The answer with a record's new key.
pub(super) fn key_answer(status: StatusCode, key: &RecordKey) -> Response {
    secret(status, "key", &key.to_text())
}

/// The error that a reader or writer of records put into an [`io::Error`].
pub(super) fn record_error(error: io::Error) -> Error {
    error.downcast().unwrap_or_else(|error| Error::Internal(error.into()))
}
