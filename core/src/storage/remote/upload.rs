//! A record sent piece by piece. A short one is sent at once when it is committed, and again if need be; of a long one, the
//! beginning is gone when its end comes, so that it is sent once.

use std::fmt;
use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::{RemoteStorage, ask_put, of_write};
use crate::http::Sending;
use crate::storage::{Error, Head, Locator, PutMode, Upload};

/// From so many bytes on, a record is sent as it comes.
const LONG: usize = 1 << 20;

pub(super) struct RemoteUpload {
    storage: Arc<RemoteStorage>,
    locator: Locator,
    mode: PutMode,
    len: u64,
    stage: Stage,
}

enum Stage {
    Gathering(Vec<u8>),
    Sending(Sending, Head),
    Failed,
}

impl RemoteUpload {
    pub(super) fn new(storage: Arc<RemoteStorage>, locator: Locator, mode: PutMode) -> Self {
        Self { storage, locator, mode, len: 0, stage: Stage::Gathering(Vec::new()) }
    }

    /// The next stage. Nothing has been done where this fails: the service has not seen the end.
    fn advance(&self, stage: Stage, bytes: &[u8]) -> Result<Stage, Error> {
        match stage {
            Stage::Gathering(mut gathered) => {
                gathered.extend_from_slice(bytes);
                if gathered.len() < LONG {
                    return Ok(Stage::Gathering(gathered));
                }
                let head = Head::require(&gathered)?;
                let sending = self.storage.http.upload(&ask_put(&self.locator, self.mode));
                let sending = sending.and_then(|sending| self.storage.http.push(sending, gathered.into()));
                Ok(Stage::Sending(sending.map_err(undone)?, head))
            }
            Stage::Sending(sending, head) => {
                let sending = self.storage.http.push(sending, Bytes::copy_from_slice(bytes));
                Ok(Stage::Sending(sending.map_err(undone)?, head))
            }
            Stage::Failed => Err(failed_before()),
        }
    }
}

/// A request that was not sent to its end has done nothing.
fn undone(failure: crate::http::Failure) -> Error {
    match of_write(failure) {
        Error::Indeterminate(source) => Error::Backend(source),
        error => error,
    }
}

fn failed_before() -> Error {
    Error::InvalidArgument("an earlier write of this record failed: start it again".into())
}

impl Upload for RemoteUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let stage = mem::replace(&mut self.stage, Stage::Failed);
        self.stage = self.advance(stage, bytes)?;
        self.len = self.len.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<(), Error> {
        let Self { storage, locator, mode, stage, .. } = *self;
        match stage {
            Stage::Gathering(record) => {
                let head = Head::require(&record)?;
                storage.write(&locator, head, &ask_put(&locator, mode).body(record.into()), mode)
            }
            Stage::Sending(sending, head) => match storage.http.finish(sending).map(drop).map_err(of_write) {
                Err(Error::Indeterminate(source)) => {
                    let is_there = storage.holds(&locator, head).unwrap_or(false);
                    if is_there { Ok(()) } else { Err(Error::Indeterminate(source)) }
                }
                outcome => outcome,
            },
            Stage::Failed => Err(failed_before()),
        }
    }
}

impl fmt::Debug for RemoteUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteUpload").field("bytes", &self.len).finish_non_exhaustive()
    }
}
