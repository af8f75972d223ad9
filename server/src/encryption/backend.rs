//! The store behind the encryption server. Without the right key, a client cannot tell by time whether a record exists.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;
use strongroom::{Error, RecordKey, Strongroom, WriteOptions};

use super::decoy_records::DecoyRecords;
use super::response_delay;
use crate::backend::Backend;
use crate::blocking_pool::Effect;
use crate::body::content::Response;
use crate::call::Call;
use crate::problem::Problem;
use crate::response::secret;

/// A store, served to callers elsewhere.
pub(super) struct EncryptionBackend {
    pub(super) store: Arc<Strongroom>,
    decoys: DecoyRecords,
}

impl Backend for EncryptionBackend {
    const OPENAPI: &'static str = include_str!("../../openapi/encryption.json");
    const PORT: u16 = 8420;

    fn ready(&self) -> Result<(), Error> {
        self.store.contains("readyz").map(drop)
    }
}

impl Call<EncryptionBackend> {
    /// Does `work` on the storage with a key that may be wrong. `NotFound`, for a missing record and for a wrong key,
    /// is answered at the end of a time step, which hides the duration of the work, and so which of the two it was. The
    /// step begins when the request arrives: a client that could choose when the work begins would see the difference.
    pub(super) fn run_with_key<T, E, W>(
        &self,
        effect: Effect,
        work: W,
    ) -> impl Future<Output = Result<T, Problem>> + Send + use<T, E, W>
    where
        T: Send + 'static,
        E: Send + 'static,
        W: FnOnce(&EncryptionBackend) -> Result<T, E> + Send + 'static,
        Problem: From<E>,
    {
        let (start, outcome) = (Instant::now(), self.run(effect, work));
        async move {
            let outcome = outcome.await;
            if matches!(&outcome, Err(problem) if problem.status == StatusCode::NOT_FOUND) {
                response_delay::until_next_step(start).await;
            }
            outcome
        }
    }
}

impl EncryptionBackend {
    pub(super) fn new(store: Arc<Strongroom>) -> Result<Self, Error> {
        Ok(Self { store, decoys: DecoyRecords::new()? })
    }

    /// For a missing record, takes as long as for a wrong key.
    pub(super) fn hide<T>(&self, outcome: Result<T, Error>, id: &[u8], key: &RecordKey) -> Result<T, Error> {
        if let Err(Error::NotFound) = outcome {
            self.decoys.try_key(id, key);
        }
        outcome
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
