//! A record sent to a server piece by piece. A short one is sent at once when it is finished, and again if need be; of a long
//! one, the beginning is gone when its end comes, so that it is sent once.

use std::fmt;
use std::io::{self, Read, Write};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::of_write;
use crate::error::{Error, source_failed};
use crate::http::{ApiRequest, HttpClient, RetryPolicy, StreamingRequest};
use crate::key::RecordKey;

/// From so many bytes on, a record is sent as it comes.
const LONG: usize = 256 << 10;

/// A record on its way into a store elsewhere: write to it, then [`finish`](Self::finish). Dropped before that, it leaves
/// nothing.
///
/// It needs little memory of its own, however long the record is. A write that fails is final: later ones fail too.
#[must_use = "a record that is not finished is not there"]
pub struct Writer {
    http: Arc<HttpClient>,
    request: ApiRequest,
    key: RecordKey,
    len: u64,
    /// What a piece will be. None grows beyond its room, so that no copy is left behind.
    gathered: Zeroizing<Vec<u8>>,
    /// The request, once it has begun.
    sending: Option<StreamingRequest>,
    failed: bool,
}

impl Writer {
    pub(super) fn new(http: Arc<HttpClient>, request: ApiRequest, key: RecordKey) -> Self {
        Self { http, request, key, len: 0, gathered: piece(), sending: None, failed: false }
    }

    /// The key that will open the record: here to be written down before [`finish`](Self::finish).
    #[must_use]
    pub fn key(&self) -> &RecordKey {
        &self.key
    }

    /// How many bytes have been written.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.len
    }

    /// Ends the record: it is there, whole and durable, when this returns its key.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] or [`Error::Conflict`] where somebody else was faster, [`Error::Indeterminate`] where the
    /// answer was lost, [`Error::InvalidArgument`] where an earlier write failed, and those of the server and the way to it.
    pub fn finish(mut self) -> Result<RecordKey, Error> {
        self.check()?;
        if self.sending.is_none() {
            let request = self.request.body(Bytes::from_owner(self.gathered));
            self.http.write(&request, RetryPolicy::Idempotent, self.http.end()).0.map_err(of_write)?;
        } else {
            let sending = self.send_gathered()?;
            self.http.finish(sending).map_err(of_write)?;
        }
        Ok(self.key)
    }

    /// Writes all that `source` gives, and finishes.
    pub(super) fn copy_from(mut self, mut source: impl Read) -> Result<RecordKey, Error> {
        let mut buffer = Zeroizing::new(vec![0; 64 << 10]);
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return self.finish(),
                Ok(len) => self.write_piece(buffer.get(..len).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(source_failed(error)),
            }
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.failed {
            return Err(Error::InvalidArgument("an earlier write of this record failed: start it again".into()));
        }
        Ok(())
    }

    /// Takes at most [`LONG`] bytes.
    fn write_piece(&mut self, data: &[u8]) -> Result<(), Error> {
        self.check()?;
        if self.gathered.len() + data.len() > LONG {
            self.failed = true; // unless this succeeds
            self.sending = Some(self.send_gathered()?);
            self.failed = false;
        }
        self.gathered.extend_from_slice(data);
        self.len = self.len.saturating_add(data.len() as u64);
        Ok(())
    }

    /// The request with what was gathered in it.
    fn send_gathered(&mut self) -> Result<StreamingRequest, Error> {
        let sending = match self.sending.take() {
            Some(sending) => sending,
            None => self.http.upload(&self.request).map_err(of_write)?,
        };
        let piece = mem::replace(&mut self.gathered, piece());
        self.http.push(sending, Bytes::from_owner(piece)).map_err(of_write)
    }
}

fn piece() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(LONG))
}

impl Write for Writer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let data = data.get(..LONG).unwrap_or(data);
        self.write_piece(data)?;
        Ok(data.len())
    }

    /// Does nothing: a record is durable when it is finished, not before.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("bytes", &self.len).finish_non_exhaustive()
    }
}
