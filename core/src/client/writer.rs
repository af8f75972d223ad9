//! Writing a record to a server piece by piece. A short record is sent when it is finished, with retries. A long record
//! is streamed without retries, because its beginning does not stay in memory.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::{of_repeated_write, of_write};
use crate::error::Error;
use crate::http::{ApiRequest, HttpClient, RetryPolicy, StreamingRequest};
use crate::operations::{MAX_PIECE_LEN, WriteRecord};
use crate::util::wiped::Wiped;

/// A record that is being written to a server.
pub(super) struct Writer {
    http: Arc<HttpClient>,
    request: ApiRequest,
    /// The next piece. It never grows beyond its capacity, because growth would leave a copy in memory.
    gathered: Wiped,
    /// The request, once it has begun.
    sending: Option<StreamingRequest>,
    /// The old key of a replacement opened the record at the start: if it does not at the end, the record was replaced
    /// or removed meanwhile.
    is_old_key_proved: bool,
}

impl Writer {
    pub(super) fn new(http: Arc<HttpClient>, request: ApiRequest) -> Self {
        Self { http, request, gathered: empty_piece(), sending: None, is_old_key_proved: false }
    }

    /// A replacement whose old key opens the record.
    pub(super) fn with_proved_old_key(http: Arc<HttpClient>, request: ApiRequest) -> Self {
        Self { is_old_key_proved: true, ..Self::new(http, request) }
    }

    /// Sends the gathered bytes.
    fn send_gathered(&mut self) -> Result<StreamingRequest, Error> {
        let of_replacement = of_replacement(self.is_old_key_proved);
        let to_error = |failure| of_replacement(of_write(failure));
        let sending = match self.sending.take() {
            Some(sending) => sending,
            None => self.http.upload(&self.request).map_err(to_error)?,
        };
        let piece = mem::replace(&mut self.gathered, empty_piece());
        self.http.push(sending, Bytes::from_owner(piece)).map_err(to_error)
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
        let outcome = if self.sending.is_none() {
            let request = self.request.body(Bytes::from_owner(self.gathered));
            self.http.write(&request, RetryPolicy::Idempotent, self.http.end())
        } else {
            let sending = self.send_gathered()?;
            (self.http.finish(sending), false)
        };
        of_repeated_write(outcome).map(drop).map_err(of_replacement(self.is_old_key_proved))
    }
}

/// The error of a replacement whose old key may have been proved.
fn of_replacement(is_old_key_proved: bool) -> impl Fn(Error) -> Error + Copy {
    move |error| match error {
        Error::NotFound if is_old_key_proved => Error::Conflict,
        error => error,
    }
}

fn empty_piece() -> Wiped {
    Wiped::with_capacity(MAX_PIECE_LEN)
}
