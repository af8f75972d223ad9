//! Writing a record to a server piece by piece. A short record is sent when it is finished, and again if need be. A
//! long record is streamed, and so sent once: at its end, its beginning is no longer in memory.

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

/// From this many bytes on, a record is streamed.
const LONG: usize = 256 << 10;

/// A record that is being written to a server: write to it, then [`finish`](Self::finish). If it is dropped before,
/// nothing is stored.
///
/// It needs little memory of its own, however long the record is. A failed write is final: later ones fail too.
#[must_use = "a record that is not finished is not there"]
pub struct Writer {
    http: Arc<HttpClient>,
    request: ApiRequest,
    key: RecordKey,
    len: u64,
    /// The next piece. It never grows beyond its capacity, which would leave a copy behind.
    gathered: Zeroizing<Vec<u8>>,
    /// The request, once it has begun.
    sending: Option<StreamingRequest>,
    failed: bool,
}

impl Writer {
    pub(super) fn new(http: Arc<HttpClient>, request: ApiRequest, key: RecordKey) -> Self {
        Self { http, request, key, len: 0, gathered: piece(), sending: None, failed: false }
    }

    /// The key that will open the record. Write it down before [`finish`](Self::finish).
    #[must_use]
    pub fn key(&self) -> &RecordKey {
        &self.key
    }

    /// How many bytes have been written.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.len
    }

    /// Completes the record: it is stored, whole and durable, when this returns its key.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] or [`Error::Conflict`] where another write was faster, [`Error::Indeterminate`] where
    /// the answer was lost, [`Error::InvalidArgument`] where an earlier write failed, and those of the server and the
    /// connection.
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

    /// Writes all data of `source`, and finishes.
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
            self.failed = true; // until this succeeds
            self.sending = Some(self.send_gathered()?);
            self.failed = false;
        }
        self.gathered.extend_from_slice(data);
        self.len = self.len.saturating_add(data.len() as u64);
        Ok(())
    }

    /// Sends the gathered bytes.
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

    /// Does nothing: a record becomes durable when it is finished, not before.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("bytes", &self.len).finish_non_exhaustive()
    }
}
