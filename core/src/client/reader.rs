//! A record read in pieces from a server. If the connection breaks, reading continues at the same position on another.
//!
//! The key opens only one version, so versions are not mixed. Only two of the same length under one key could be.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes};
use zeroize::Zeroize;

use super::errors::again;
use super::{of_read, of_write, protocol_violation};
use crate::error::Error;
use crate::http::{self, ApiRequest, Failure, HttpClient, RetryPolicy, StreamingResponse, TimeBudget};
use crate::operations::ReadRecord;

/// How often the connection may break before another byte arrives.
const ATTEMPTS: usize = 3;

/// A record at a server, which sends no byte before it is authenticated.
pub(super) struct Reader {
    http: Arc<HttpClient>,
    request: ApiRequest,
    len: u64,
    position: u64,
    /// The answer. Its next bytes follow those of `piece`, which begins at the position.
    response: Option<StreamingResponse>,
    piece: Bytes,
    /// For all connections together.
    time_budget: TimeBudget,
    /// The position of `piece` in the only answer with the data, if the server has removed the record.
    only_answer: Option<u64>,
    /// The failure of the only answer, which is final.
    failure: Option<Error>,
}

impl Reader {
    pub(super) fn open(http: Arc<HttpClient>, request: ApiRequest) -> Result<Self, Error> {
        let response = http.begin(&request, RetryPolicy::Idempotent).map_err(of_read)?;
        Self::new(http, request, response, None).ok_or_else(protocol_violation)
    }

    /// Takes the record: the server removes it, and sends its data once.
    pub(super) fn take(http: Arc<HttpClient>, request: ApiRequest) -> Result<Self, Error> {
        let response = http.begin(&request, RetryPolicy::UnlessDone).map_err(of_write)?;
        Self::new(http, request, response, Some(0)).ok_or_else(|| Error::Indeterminate(protocol_violation().into()))
    }

    /// `None` if the answer has no length.
    fn new(
        http: Arc<HttpClient>,
        request: ApiRequest,
        response: StreamingResponse,
        only_answer: Option<u64>,
    ) -> Option<Self> {
        let (len, time_budget) = (response.len()?, http.time_budget());
        let (response, piece) = (Some(response), Bytes::new());
        Some(Self { http, request, len, position: 0, response, piece, time_budget, only_answer, failure: None })
    }

    /// All of the data, read into the start of `buffer`. Returns its length.
    pub(super) fn retrieve_into(mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let len = usize::try_from(self.len).map_err(|_| Error::TooLarge)?;
        let data = buffer.get_mut(..len).ok_or(Error::TooLarge)?;
        self.read_all(data).inspect_err(|_| data.zeroize())?;
        Ok(len)
    }

    /// Fills `data` from the position on. It is not longer than what is left.
    fn read_all(&mut self, mut data: &mut [u8]) -> Result<(), Error> {
        while !data.is_empty() {
            let len = self.read_next(data)?;
            let (_, rest) = data.split_at_mut(len);
            data = rest;
        }
        Ok(())
    }

    /// Reads the next bytes into the start of `buffer`. Returns their number, 0 only at the end.
    fn read_next(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.load_piece()?;
        let piece = self.arrived();
        let len = piece.len().min(buffer.len());
        let (Some(to), Some(from)) = (buffer.get_mut(..len), piece.get(..len)) else { return Ok(0) };
        to.copy_from_slice(from);
        self.consume(len);
        Ok(len)
    }

    /// Whether the position is not that of the only answer.
    fn is_displaced(&self) -> bool {
        self.only_answer.is_some_and(|position| position != self.position)
    }

    /// The bytes at the position that have arrived.
    fn arrived(&self) -> &[u8] {
        if self.is_displaced() { &[] } else { &self.piece }
    }

    /// Makes the piece have the next bytes, unless the position is the end.
    fn load_piece(&mut self) -> Result<(), Error> {
        let mut attempts = 1;
        while self.arrived().is_empty() && self.position < self.len {
            if self.is_displaced() {
                return Err(Error::Unsupported("a record that was taken from a server is read once, in order".into()));
            }
            if let Some(failure) = &self.failure {
                return Err(again(failure));
            }
            self.time_budget.check().map_err(of_read)?;
            let begun = Instant::now();
            let piece = self.next_piece();
            self.time_budget.spend(begun.elapsed());
            match piece {
                Err(Failure::Lost(_)) if attempts < ATTEMPTS && self.only_answer.is_none() => {
                    attempts += 1;
                    self.time_budget.spend_loss();
                }
                Err(failure) => {
                    let error = of_next_read(failure);
                    self.failure = self.only_answer.map(|_| again(&error));
                    return Err(error);
                }
                Ok(piece) => self.piece = piece,
            }
            self.time_budget.earn(self.piece.len());
        }
        Ok(())
    }

    /// The next bytes at the position, which is not the end.
    fn next_piece(&mut self) -> Result<Bytes, Failure> {
        let response = match self.response.take() {
            Some(response) => response,
            None => {
                let response =
                    self.http.begin(&self.request.clone().range(self.position, None), RetryPolicy::Idempotent)?;
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

/// As [`of_read`]. The key has opened the record before, so that a missing record was replaced or removed meanwhile.
fn of_next_read(failure: Failure) -> Error {
    match of_read(failure) {
        Error::NotFound => Error::Conflict,
        error => error,
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        Ok(self.read_next(buffer)?)
    }
}

impl BufRead for Reader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.load_piece()?;
        Ok(self.arrived())
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.arrived().len());
        self.piece.advance(amount);
        self.position += amount as u64;
        self.only_answer = self.only_answer.map(|position| position + amount as u64);
    }
}

impl ReadRecord for Reader {
    fn len(&mut self) -> Result<u64, Error> {
        Ok(self.len)
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn set_position(&mut self, position: u64) {
        if self.only_answer.is_some() {
            self.position = position; // a caller that comes back can still read the rest
        } else if position != self.position {
            (self.position, self.response, self.piece) = (position, None, Bytes::new());
        }
    }

    fn is_read_once(&self) -> bool {
        self.only_answer.is_some()
    }
}
