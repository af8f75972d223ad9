//! A record written piece by piece.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::address::Address;
use super::repeated_write::{RepeatedWrite, opened_by};
use super::write_behind::{WriteBehind, failed_before};
use crate::cobblestone::{CHUNK_LEN, Sealer};
use crate::error::{Error, source_failed};
use crate::key::RecordKey;
use crate::locator::Locator;
use crate::record::Header;
use crate::storage::{PutMode, Storage};

/// Sealed bytes that are gathered before the storage gets them: nearly what one row of SQLite holds.
const GATHER_LEN: usize = 256 << 10;
/// Bytes of the first reads from a source, until one is full: most records are short.
const SHORT_READ_LEN: usize = 4 << 10;
const LONG_READ_LEN: usize = 4 * CHUNK_LEN;

/// A record that is being written: write to it, then [`finish`](Self::finish). If it is dropped before, nothing is
/// stored.
///
/// It needs little memory of its own, however long the record is. A failed write is final: later ones fail too.
#[must_use = "a record that is not finished is not there"]
pub struct RecordWriter {
    sink: Sink,
    key: RecordKey,
    len: u64,
    /// The address of the record if its key is the caller's, so that the write may repeat another.
    repeatable: Option<Address<'static>>,
}

/// Where the data goes.
enum Sink {
    /// Into a new record.
    Seal(Sealing),
    /// Compared with the record that an earlier write under the same key stored.
    Compare(RepeatedWrite),
    Failed,
}

/// The destination of a record.
pub(super) struct Target {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) locator: Locator,
    pub(super) mode: PutMode,
}

/// A record that is being sealed. A single `put`, which shares its commit with other writers, writes a short one; an
/// upload begins when there are more bytes.
struct Sealing {
    target: Target,
    sealer: Sealer,
    /// Sealed bytes that the storage has not got yet.
    sealed: Vec<u8>,
    upload: Option<WriteBehind>,
}

impl Sealing {
    fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        self.sealer.update(data, &mut self.sealed)?;
        if self.sealed.len() < GATHER_LEN {
            return Ok(());
        }
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let upload = Arc::clone(&self.target.storage).upload(&self.target.locator, self.target.mode)?;
                none.insert(WriteBehind::new(upload))
            }
        };
        upload.write(&mut self.sealed)
    }

    fn finish(self) -> Result<(), Error> {
        let Self { target, sealer, mut sealed, upload } = self;
        match upload {
            None => {
                sealer.finish(&mut sealed)?;
                target.storage.put(&target.locator, &sealed, target.mode)?;
            }
            Some(upload) => {
                let mut upload = upload.finish()?;
                sealer.finish(&mut sealed)?;
                upload.write(&sealed)?;
                upload.commit()?;
            }
        }
        Ok(())
    }
}

impl RecordWriter {
    pub(super) fn new(target: Target, address: &Address<'_>, key: RecordKey) -> Result<Self, Error> {
        let header = Header::default();
        let mut sealed = header.encode().to_vec();
        let sealer = Sealer::new(key.expose_bytes(), &address.context(&header), &mut sealed)?;
        let sink = Sink::Seal(Sealing { target, sealer, sealed, upload: None });
        Ok(Self { sink, key, len: 0, repeatable: None })
    }

    /// A writer that repeats an earlier write under `key`.
    pub(super) fn repeated(write: RepeatedWrite, key: RecordKey) -> Self {
        Self { sink: Sink::Compare(write), key, len: 0, repeatable: None }
    }

    /// The key is the caller's: the same write may be under way elsewhere.
    pub(super) fn repeatable(self, address: Address<'_>) -> Self {
        Self { repeatable: Some(address.into_owned()), ..self }
    }

    /// The key that will open the record. Write it down before [`finish`](Self::finish), so that no crash separates the
    /// record from its key.
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
    /// [`Error::AlreadyExists`] or [`Error::Conflict`] where another write was faster; [`Error::Busy`] where that was a
    /// write under the same key: repeat this one; [`Error::InvalidArgument`] where an earlier write failed; and those
    /// of the storage.
    pub fn finish(self) -> Result<RecordKey, Error> {
        match self.sink {
            Sink::Seal(sealing) => {
                let storage = Arc::clone(&sealing.target.storage);
                sealing.finish().map_err(|error| match (error, self.repeatable) {
                    (error @ (Error::AlreadyExists | Error::Conflict), Some(address)) => {
                        match opened_by(&storage, &address, &self.key) {
                            Ok(Some(_)) => Error::Busy,
                            _ => error,
                        }
                    }
                    (error, _) => error,
                })?;
            }
            Sink::Compare(write) => write.finish()?,
            Sink::Failed => return Err(failed_before()),
        }
        Ok(self.key)
    }

    /// Writes all data of `source`, and finishes.
    pub(super) fn copy_from(mut self, mut source: impl Read) -> Result<RecordKey, Error> {
        let mut buffer = Zeroizing::new(vec![0; SHORT_READ_LEN]);
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return self.finish(),
                Ok(len) => {
                    self.write_piece(buffer.get(..len).ok_or_else(too_much_read)?)?;
                    if buffer.len() == SHORT_READ_LEN && len == SHORT_READ_LEN {
                        buffer = Zeroizing::new(vec![0; LONG_READ_LEN]);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(source_failed(error)),
            }
        }
    }

    fn write_piece(&mut self, data: &[u8]) -> Result<(), Error> {
        let outcome = match &mut self.sink {
            Sink::Seal(sealing) => sealing.write(data),
            Sink::Compare(write) => write.write(data),
            Sink::Failed => return Err(failed_before()),
        };
        match outcome {
            Ok(()) => self.len = self.len.saturating_add(data.len() as u64),
            Err(_) => self.sink = Sink::Failed,
        }
        outcome
    }
}

impl Write for RecordWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        // Accepts no more at once than is gathered, so that a long slice is not sealed into a buffer of its size.
        let data = data.get(..GATHER_LEN).unwrap_or(data);
        self.write_piece(data)?;
        Ok(data.len())
    }

    /// Does nothing: a record becomes durable when it is finished, not before.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordWriter").field("bytes", &self.len).finish_non_exhaustive()
    }
}

fn too_much_read() -> Error {
    source_failed(io::Error::other("the source reported more bytes than were requested"))
}
