//! Uploads to the storage service. A short record is sent at the commit, with retries. A long record is streamed
//! without retries, because its beginning does not stay in memory.

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::{RemoteStorage, of_write, put_request};
use crate::http::StreamingRequest;
use crate::storage::{Error, Head, Locator, PutMode, Upload};

/// The minimum length of a record that is streamed.
const LONG: usize = 1 << 20;

pub(super) struct RemoteUpload {
    storage: Arc<RemoteStorage>,
    locator: Locator,
    mode: PutMode,
    len: u64,
    gathered: Vec<u8>,
    /// The request and the record's head, once it has begun.
    sending: Option<(StreamingRequest, Head)>,
    failed: bool,
}

impl RemoteUpload {
    pub(super) fn new(storage: Arc<RemoteStorage>, locator: Locator, mode: PutMode) -> Self {
        Self { storage, locator, mode, len: 0, gathered: Vec::new(), sending: None, failed: false }
    }

    fn check(&self) -> Result<(), Error> {
        if self.failed {
            return Err(Error::InvalidArgument("an earlier write of this record failed: start it again".into()));
        }
        Ok(())
    }

    /// Sends the gathered bytes. A failure changes nothing, because the service has not received the end of the record.
    fn send_gathered(&mut self) -> Result<(StreamingRequest, Head), Error> {
        let http = &self.storage.http;
        let (sending, head) = match self.sending.take() {
            Some(begun) => begun,
            None => {
                let head = Head::require(&self.gathered)?;
                (http.upload(&put_request(&self.locator, self.mode)).map_err(of_write)?, head)
            }
        };
        let piece = mem::take(&mut self.gathered);
        Ok((http.push(sending, piece.into()).map_err(of_write)?, head))
    }
}

impl Upload for RemoteUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.check()?;
        self.gathered.extend_from_slice(bytes);
        self.len = self.len.saturating_add(bytes.len() as u64);
        if self.gathered.len() >= LONG {
            self.failed = true; // until this succeeds
            self.sending = Some(self.send_gathered()?);
            self.failed = false;
        }
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<(), Error> {
        self.check()?;
        if self.sending.is_none() {
            let head = Head::require(&self.gathered)?;
            let request = put_request(&self.locator, self.mode).body(mem::take(&mut self.gathered).into());
            return self.storage.write(&self.locator, head, &request, self.mode);
        }
        let (sending, head) = self.send_gathered()?;
        let end = self.storage.http.end();
        let outcome = self.storage.http.finish(sending);
        self.storage.resolve_outcome(outcome, false, &[(self.locator, head)], end)
    }
}

impl fmt::Debug for RemoteUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteUpload").field("bytes", &self.len).finish_non_exhaustive()
    }
}
