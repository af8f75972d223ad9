//! Writing a record to a server piece by piece. A short record is sent when it is finished, with retries. A long record
//! is streamed without retries, because its beginning does not stay in memory.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::of_write;
use crate::error::Error;
use crate::http::{ApiRequest, HttpClient, RetryPolicy, StreamingRequest};
use crate::operations::{MAX_PIECE_LEN, WriteRecord};

/// A record that is being written to a server.
pub(super) struct Writer {
    http: Arc<HttpClient>,
    request: ApiRequest,
    /// The next piece. It never grows beyond its capacity, because growth would leave a copy in memory.
    gathered: Zeroizing<Vec<u8>>,
    /// The request, once it has begun.
    sending: Option<StreamingRequest>,
}

impl Writer {
    pub(super) fn new(http: Arc<HttpClient>, request: ApiRequest) -> Self {
        Self { http, request, gathered: empty_piece(), sending: None }
    }

    /// Sends the gathered bytes.
    fn send_gathered(&mut self) -> Result<StreamingRequest, Error> {
        let sending = match self.sending.take() {
            Some(sending) => sending,
            None => self.http.upload(&self.request).map_err(of_write)?,
        };
        let piece = mem::replace(&mut self.gathered, empty_piece());
        self.http.push(sending, Bytes::from_owner(piece)).map_err(of_write)
    }
}

impl WriteRecord for Writer {
    fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        if self.gathered.len() + piece.len() > MAX_PIECE_LEN {
            self.sending = Some(self.send_gathered()?);
        }
        self.gathered.extend_from_slice(piece);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), Error> {
        if self.sending.is_none() {
            let request = self.request.body(Bytes::from_owner(self.gathered));
            return self.http.write(&request, RetryPolicy::Idempotent, self.http.end()).0.map(drop).map_err(of_write);
        }
        let sending = self.send_gathered()?;
        self.http.finish(sending).map(drop).map_err(of_write)
    }
}

fn empty_piece() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(MAX_PIECE_LEN))
}
