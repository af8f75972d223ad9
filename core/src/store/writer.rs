//! A record written piece by piece.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Record;
use super::repeated_write::RepeatedWrite;
use super::write_behind::{WriteBehind, failed_before};
use crate::cobblestone::{CHUNK_LEN, Sealer};
use crate::error::{Error, source_failed};
use crate::key::RecordKey;
use crate::record::Header;
use crate::storage::{Storage, Upload};

/// Sealed bytes that are gathered before the storage gets them.
const GATHER_LEN: usize = 256 << 10;

/// A record on its way into a store: write to it, then [`finish`](Self::finish). Dropped before that, it leaves
/// nothing.
///
/// It needs little memory of its own, however long the record is. A write that fails is final: later ones fail too.
#[must_use = "a record that is not finished is not there"]
pub struct RecordWriter {
    sink: Sink,
    key: RecordKey,
    len: u64,
    /// The record, where its key is the caller's, so that the write may repeat another.
    repeatable: Option<(Arc<dyn Storage>, Record<'static>)>,
}

/// Where the data goes.
enum Sink {
    /// Into a new record.
    Seal {
        feed: WriteBehind,
        sealer: Sealer,
        sealed: Vec<u8>,
    },
    /// Beside the record that an earlier write under the same key stored.
    Compare(RepeatedWrite),
    Failed,
}

impl RecordWriter {
    pub(super) fn new(upload: Box<dyn Upload>, key: RecordKey, header: Header, context: &[u8]) -> Result<Self, Error> {
        let mut sealed = header.encode().to_vec();
        let sealer = Sealer::new(key.expose_bytes(), context, &mut sealed)?;
        let sink = Sink::Seal { feed: WriteBehind::new(upload), sealer, sealed };
        Ok(Self { sink, key, len: 0, repeatable: None })
    }

    /// A writer that repeats an earlier write under `key`.
    pub(super) fn repeat(repeat: RepeatedWrite, key: RecordKey) -> Self {
        Self { sink: Sink::Compare(repeat), key, len: 0, repeatable: None }
    }

    /// The key is the caller's: the same write may be under way elsewhere.
    pub(super) fn repeatable(mut self, storage: &Arc<dyn Storage>, record: Record<'_>) -> Self {
        self.repeatable = Some((Arc::clone(storage), record.into_owned()));
        self
    }

    /// The key that will open the record: here to be written down before [`finish`](Self::finish), so that no crash
    /// comes between.
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
    /// [`Error::AlreadyExists`] or [`Error::Conflict`] where somebody else was faster; [`Error::Busy`] where that was a
    /// write under the same key: repeat this one; [`Error::InvalidArgument`] where an earlier write failed; and those of
    /// the storage.
    pub fn finish(self) -> Result<RecordKey, Error> {
        match self.sink {
            Sink::Seal { feed, sealer, mut sealed } => {
                let mut upload = feed.finish()?;
                sealer.finish(&mut sealed)?;
                upload.write(&sealed)?;
                upload.commit().map_err(|error| match (error.into(), self.repeatable) {
                    (error @ (Error::AlreadyExists | Error::Conflict), Some((storage, record))) => {
                        let repeat = RepeatedWrite::find(&storage, &record, &self.key, || Error::Conflict);
                        if matches!(repeat, Ok(Some(_))) { Error::Busy } else { error }
                    }
                    (error, _) => error,
                })?;
            }
            Sink::Compare(repeat) => repeat.finish()?,
            Sink::Failed => return Err(failed_before()),
        }
        Ok(self.key)
    }

    /// Writes all that `source` gives, and finishes.
    pub(super) fn copy_from(mut self, mut source: impl Read) -> Result<RecordKey, Error> {
        let mut buffer = Zeroizing::new(vec![0; 4 * CHUNK_LEN]);
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return self.finish(),
                Ok(len) => self.write_piece(buffer.get(..len).ok_or_else(too_much_read)?)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(source_failed(error)),
            }
        }
    }

    fn write_piece(&mut self, data: &[u8]) -> Result<(), Error> {
        let outcome = match &mut self.sink {
            Sink::Seal { feed, sealer, sealed } => sealer
                .update(data, sealed)
                .map_err(Error::from)
                .and_then(|()| if sealed.len() >= GATHER_LEN { feed.write(sealed) } else { Ok(()) }),
            Sink::Compare(repeat) => repeat.write(data),
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
        // No more at once than is gathered: what a caller writes is not sealed into a buffer of its size.
        let data = data.get(..GATHER_LEN).unwrap_or(data);
        self.write_piece(data)?;
        Ok(data.len())
    }

    /// Does nothing: a record is durable when it is finished, not before.
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
    source_failed(io::Error::other("the source claims to have read more than it was asked for"))
}
