//! A record read in pieces from a server. If the connection breaks, reading continues at the same place on another. The
//! key opens one version, so that no two are mixed, unless its holder has stored two of one length under it.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};

use super::{of_read, protocol_violation};
use crate::error::Error;
use crate::http::{self, ApiRequest, Failure, HttpClient, StreamingResponse, TimeBudget};

/// How often a connection may break without a byte in between.
const ATTEMPTS: usize = 3;

/// A record, read from any place in constant memory.
///
/// The server sends no byte before it is authenticated. A stream that ends without an error is complete. The errors
/// arrive in an [`io::Error`]; [`io::Error::downcast`] returns the [`Error`](crate::Error).
pub struct Reader {
    http: Arc<HttpClient>,
    request: ApiRequest,
    len: u64,
    position: u64,
    /// The answer; its next bytes follow those of `piece`, which begins at the position.
    response: Option<StreamingResponse>,
    piece: Bytes,
    /// For all connections together.
    time_budget: TimeBudget,
}

impl Reader {
    pub(super) fn open(http: Arc<HttpClient>, request: ApiRequest) -> Result<Self, Error> {
        let response = http.begin(&request).map_err(of_read)?;
        let len = response.len().ok_or_else(protocol_violation)?;
        let time_budget = http.time_budget();
        Ok(Self { http, request, len, position: 0, response: Some(response), piece: Bytes::new(), time_budget })
    }

    /// The length of the data in bytes, proved by the server.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next bytes at the position, which is not the end.
    fn next_piece(&mut self) -> Result<Bytes, Failure> {
        let response = match self.response.take() {
            Some(response) => response,
            None => {
                let response = self.http.begin(&self.request.clone().range(self.position, None))?;
                if http::part(response.status, &response.headers) != Some((self.position..self.len, self.len)) {
                    return Err(Failure::ProtocolViolation);
                }
                response
            }
        };
        let (response, piece) = self.http.next(response)?;
        let left = usize::try_from(self.len - self.position).unwrap_or(usize::MAX);
        let piece = piece.filter(|piece| piece.len() <= left).ok_or(Failure::ProtocolViolation)?;
        self.response = Some(response);
        Ok(piece)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.position >= self.len {
            return Ok(0);
        }
        let mut attempts = 1;
        while self.piece.is_empty() {
            self.time_budget.check().map_err(of_read)?;
            let begun = Instant::now();
            let piece = self.next_piece();
            self.time_budget.spend(begun.elapsed());
            match piece {
                Err(Failure::Lost(_)) if attempts < ATTEMPTS => {
                    attempts += 1;
                    self.time_budget.spend_loss();
                }
                piece => self.piece = piece.map_err(of_read)?,
            }
            self.time_budget.earn(self.piece.len());
        }
        let len = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(buffer.get_mut(..len).unwrap_or_default());
        self.position += len as u64;
        Ok(len)
    }
}

impl Seek for Reader {
    /// A position past the end is allowed; reads there return nothing.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.len.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        let invalid = || Error::InvalidArgument("a position before the start of the record".into());
        let position = position.ok_or_else(invalid)?;
        if position != self.position {
            (self.position, self.response, self.piece) = (position, None, Bytes::new());
        }
        Ok(position)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("position", &self.position).finish_non_exhaustive()
    }
}
