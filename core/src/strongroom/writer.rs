//! A record written piece by piece.

use std::fmt;
use std::io::{self, Read, Write};

use zeroize::Zeroizing;

use super::feed::{Feed, failed_before};
use crate::cobblestone::{CHUNK_LEN, Sealer};
use crate::error::{Error, source_failed};
use crate::key::RecordKey;
use crate::record::Header;
use crate::storage::Upload;

/// Sealed bytes that are gathered before the storage gets them.
const GATHER_LEN: usize = 256 << 10;

/// A record on its way into a store: write to it, then [`finish`](Self::finish). Dropped before that, it leaves
/// nothing.
///
/// It needs little memory of its own, however long the record is. A write that fails is final: later ones fail too.
#[must_use = "a record that is not finished is not there"]
pub struct RecordWriter {
    feed: Feed,
    sealer: Sealer,
    key: RecordKey,
    sealed: Vec<u8>,
    len: u64,
}

impl RecordWriter {
    pub(super) fn new(upload: Box<dyn Upload>, key: RecordKey, header: Header, context: &[u8]) -> Result<Self, Error> {
        let mut sealed = header.encode().to_vec();
        let sealer = Sealer::new(key.expose_bytes(), context, &mut sealed)?;
        Ok(Self { feed: Feed::new(upload), sealer, key, sealed, len: 0 })
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
    /// [`Error::AlreadyExists`] or [`Error::Conflict`] where somebody else was faster, [`Error::InvalidArgument`] where
    /// an earlier write failed, and those of the storage.
    pub fn finish(mut self) -> Result<RecordKey, Error> {
        let mut upload = self.feed.finish()?;
        self.sealer.finish(&mut self.sealed)?;
        upload.write(&self.sealed)?;
        upload.commit()?;
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
        if let Feed::Failed = self.feed {
            return Err(failed_before());
        }
        if let Err(error) = self.sealer.update(data, &mut self.sealed) {
            self.feed = Feed::Failed;
            return Err(error.into());
        }
        if self.sealed.len() >= GATHER_LEN {
            self.feed.write(&mut self.sealed)?;
        }
        self.len = self.len.saturating_add(data.len() as u64);
        Ok(())
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
