//! The backend of the encryption server.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// The end of a new version's life.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expiry {
    At(SystemTime),
    In(Duration),
}

impl Expiry {
    /// The expiry of a request with these fields: a Unix time and a number of seconds.
    pub(super) fn new(expires_at: Option<u64>, expires_in: Option<u64>) -> Result<Option<Self>, Problem> {
        match (expires_at, expires_in) {
            (None, None) => Ok(None),
            (None, Some(seconds)) => Ok(Some(Self::In(Duration::from_secs(seconds)))),
            (Some(time), None) => match UNIX_EPOCH.checked_add(Duration::from_secs(time)) {
                Some(time) => Ok(Some(Self::At(time))),
                None => Err(Problem::bad_request("the expiry time is too late")),
            },
            (Some(_), Some(_)) => Err(Problem::bad_request("give an expiry time or a duration, not both")),
        }
    }
}

/// The options of a write: under the client's key if it has sent one.
pub(super) fn write_options(key: Option<&RecordKey>, expiry: Option<Expiry>) -> WriteOptions<'_> {
    let options = key.map_or_else(WriteOptions::new, |key| WriteOptions::new().key(key));
    match expiry {
        None => options,
        Some(Expiry::At(time)) => options.expires_at(time),
        Some(Expiry::In(time)) => options.expires_in(time),
    }
}

/// The answer with a record's new key.
pub(super) fn key_answer(status: StatusCode, key: &RecordKey) -> Response {
    secret(status, "key", &key.to_text())
}

/// The error that a reader or writer of records put into an [`io::Error`].
pub(super) fn record_error(error: io::Error) -> Error {
    error.downcast().unwrap_or_else(|error| Error::Internal(error.into()))
}
