//! A wrong key and a missing record get the same answer after the same time, so that a client without the right key
//! cannot find out whether a record exists. The work is equal by `decoy_records.rs`, the time by `response_delay.rs`.

use std::time::Instant;

use hyper::StatusCode;
use strongroom::{Error, RecordKey};

use super::backend::EncryptionBackend;
use super::response_delay;
use crate::blocking_pool::Effect;
use crate::call::Call;
use crate::problem::Problem;

impl Call<EncryptionBackend> {
    /// Runs `work` on the storage with a key that may be wrong. `NotFound`, for a missing record and for a wrong key,
    /// is answered at the end of a time step, which hides the duration of the work and so the cause. The step begins
    /// when the request is complete: a client that could choose when the work begins could measure the difference.
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
    /// If there is no record, takes as long as with a wrong key.
    pub(super) fn hide<T>(&self, outcome: Result<T, Error>, id: &[u8], key: &RecordKey) -> Result<T, Error> {
        if let Err(Error::NotFound) = outcome {
            self.decoys.try_key(id, key);
        }
        outcome
    }
}
