//! Reading and writing of records in pieces, for the files of `strongroom._records`.

use std::io::{BufRead, Read, Seek, SeekFrom, Write};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use strongroom::interrupt::is_interrupted;
use strongroom::{Error, RecordReader, RecordWriter, Wiped};

use crate::bytes::{Data, byte_view, to_python, write_into};
use crate::error::Failure;
use crate::interrupt::{closing, detached};
use crate::key::Key;
use crate::shared::{Shared, closed};

/// The length of the pieces that are read into a caller's buffer.
const PIECE: usize = 256 << 10;
/// The most memory that is reserved before data arrives: an encryption server only announces the length of a record.
const MOST_UNPROVED: usize = 16 << 20;

/// The source of a :class:`strongroom.RecordReader`.
#[pyclass(frozen, module = "strongroom._strongroom")]
pub(crate) struct NativeReader(Shared<RecordReader>);

impl NativeReader {
    pub(crate) fn new(reader: RecordReader) -> Self {
        Self(Shared::new(reader))
    }

    /// Makes the next call read the last `len` bytes again.
    fn give_back(&self, py: Python<'_>, len: usize) {
        let seek = |reader: &mut RecordReader| {
            let position = reader.stream_position()?.saturating_sub(len as u64);
            Ok(reader.seek(SeekFrom::Start(position))?)
        };
        let _ = self.0.with(py, seek); // a closed reader needs no position
    }
}

#[pymethods]
impl NativeReader {
    /// Read ``size`` bytes, or fewer at the end of the record or before unreadable data; if ``size`` is negative,
    /// read to the end.
    fn read<'py>(&self, py: Python<'py>, size: isize) -> Result<Bound<'py, PyBytes>, Failure> {
        let wanted = usize::try_from(size).ok();
        let size = self.0.with(py, |reader| {
            let position = reader.stream_position()?;
            Ok(match (reader.len(), wanted) {
                (Ok(len), _) => {
                    let left = len.saturating_sub(position);
                    let size = wanted.map_or(left, |wanted| left.min(wanted as u64));
                    isize::try_from(size).map_err(|_| Error::TooLarge)?.unsigned_abs()
                }
                (Err(_), Some(wanted)) => wanted.min(PIECE), // there may be valid data before a damaged end
                (Err(error), None) => return Err(error.into()),
            })
        })?;
        if size > MOST_UNPROVED {
            let data = self.0.with(py, |reader| read_growing(reader, size, wanted.is_none()))?;
            return Ok(to_python(py, &data).inspect_err(|_| self.give_back(py, data.len()))?);
        }
        let mut filled = 0;
        let bytes = PyBytes::new_with(py, size, |buffer| {
            filled = self.0.with(py, |reader| fill(reader, buffer, wanted.is_none()))?;
            Ok(())
        })?;
        if filled == size {
            return Ok(bytes);
        }
        let bytes = to_python(py, bytes.as_bytes().get(..filled).unwrap_or_default());
        Ok(bytes.inspect_err(|_| self.give_back(py, filled))?)
    }

    /// Read up to and with the next line feed, or ``size`` bytes, unless it is negative.
    fn readline<'py>(&self, py: Python<'py>, size: isize) -> Result<Bound<'py, PyBytes>, Failure> {
        let most = usize::try_from(size).unwrap_or(usize::MAX);
        let line = self.0.with(py, |reader| read_line(reader, most))?;
        Ok(to_python(py, &line).inspect_err(|_| self.give_back(py, line.len()))?)
    }

    /// Fill a writable buffer, up to the end of the record or to unreadable data; return the number of bytes.
    ///
    /// Data goes through memory that is wiped: other threads may use the buffer while this one is detached.
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> Result<usize, Failure> {
        let view = byte_view(buffer)?;
        let len = view.len()?;
        let mut piece = Wiped::from(vec![0; len.min(PIECE)]);
        let mut done = 0;
        while done < len {
            let wanted = piece.get_mut(..len.saturating_sub(done).min(PIECE)).unwrap_or_default();
            let filled = match self.0.with(py, |reader| fill(reader, wanted, false)) {
                Err(Failure::Core(_)) if done > 0 => break,
                filled => filled.inspect_err(|_| self.give_back(py, done))?,
            };
            write_into(&view, done, wanted.get(..filled).unwrap_or_default())
                .inspect_err(|_| self.give_back(py, done.saturating_add(filled)))?;
            done = done.saturating_add(filled);
            if filled < wanted.len() {
                break;
            }
        }
        Ok(done)
    }

    /// Move to a position, as in :meth:`io.IOBase.seek`.
    fn seek(&self, py: Python<'_>, offset: i64, whence: i32) -> Result<u64, Failure> {
        self.0.with(py, |reader| {
            let from = match whence {
                0 => 0,
                1 => reader.stream_position()?,
                2 => reader.len()?,
                _ => return Err(invalid("whence must be 0, 1 or 2")),
            };
            // Every position that this returns is also a valid offset.
            let position = from.checked_add_signed(offset).filter(|position| i64::try_from(*position).is_ok());
            let position = position.ok_or_else(|| invalid("a position must be from 0 to 2**63 - 1"))?;
            Ok(reader.seek(SeekFrom::Start(position))?)
        })
    }

    /// Release the record.
    fn close(&self, py: Python<'_>) -> Result<(), Failure> {
        // The removal of a taken record waits for the storage. If it is interrupted, a purge removes the record later.
        closing(py, || self.0.take_to_close().map(drop))
    }

    /// Whether the record was released.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.0.is_closed(py)
    }
}

/// Runs `read`. After a failure, and after an interrupt, whose exception replaces the data, the position is unchanged.
fn atomically<T>(
    reader: &mut RecordReader,
    read: impl FnOnce(&mut RecordReader) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let start = reader.stream_position()?;
    let outcome = read(reader).and_then(|data| if is_interrupted() { Err(Error::Busy.into()) } else { Ok(data) });
    if outcome.is_err() {
        reader.seek(SeekFrom::Start(start))?;
    }
    outcome
}

/// Reads until `buffer` is full or the record ends. A failure after the first bytes is not returned unless `all` is
/// set: the next call encounters it again. After a failure, the position is unchanged.
fn fill(reader: &mut RecordReader, buffer: &mut [u8], all: bool) -> Result<usize, Failure> {
    atomically(reader, |reader| {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match reader.read(rest) {
                Ok(0) => break,
                Ok(len) => filled = filled.saturating_add(len),
                Err(_) if filled > 0 && !all && !is_interrupted() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    })
}

/// As [`fill`], into memory that grows to `len` bytes as they arrive.
fn read_growing(reader: &mut RecordReader, len: usize, all: bool) -> Result<Wiped, Failure> {
    atomically(reader, |reader| {
        let mut data = Wiped::default();
        while data.len() < len {
            let before = data.len();
            let size = before.saturating_mul(2).max(MOST_UNPROVED).min(len);
            data.grow(size).map_err(|_| Error::TooLarge)?;
            data.resize(size, 0);
            let filled = match fill(reader, data.get_mut(before..).unwrap_or_default(), all) {
                Err(_) if before > 0 && !all && !is_interrupted() => 0,
                filled => filled?,
            };
            data.truncate(before.saturating_add(filled));
            if data.len() < size {
                break;
            }
        }
        Ok(data)
    })
}

/// Reads a line, or at most `most` bytes of it. After a failure, the position is unchanged.
fn read_line(reader: &mut RecordReader, most: usize) -> Result<Wiped, Failure> {
    atomically(reader, |reader| {
        let mut line = Wiped::default();
        while line.len() < most {
            let chunk = reader.fill_buf()?;
            let chunk = chunk.get(..most.saturating_sub(line.len())).unwrap_or(chunk);
            let end = chunk.iter().position(|byte| *byte == b'\n').map(|place| place.saturating_add(1));
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
            let len = part.len();
            line.append(part).map_err(|_| Error::TooLarge)?;
            reader.consume(len);
            if end.is_some() || len == 0 {
                break;
            }
        }
        Ok(line)
    })
}

fn invalid(text: &'static str) -> Failure {
    Error::InvalidArgument(text.into()).into()
}

/// The target of a :class:`strongroom.RecordWriter`.
#[pyclass(frozen, module = "strongroom._strongroom")]
pub(crate) struct NativeWriter(Shared<RecordWriter>);

impl NativeWriter {
    pub(crate) fn new(writer: RecordWriter) -> Self {
        Self(Shared::new(writer))
    }
}

#[pymethods]
impl NativeWriter {
    /// The key that will open the record.
    fn key(&self, py: Python<'_>) -> Result<Key, Failure> {
        self.0.with(py, |writer| Key::copy(writer.key())).map(Key::from)
    }

    /// Write all of ``data``; return its length.
    fn write(&self, py: Python<'_>, data: Data<'_>) -> Result<usize, Failure> {
        let data = data.as_ref();
        let mut interrupted = None;
        let outcome = self.0.with_option(py, |writer| {
            let outcome = writer.as_mut().ok_or_else(closed)?.write_all(data);
            if is_interrupted() {
                interrupted = writer.take(); // an exception replaces the outcome: the caller does not learn it
            }
            Ok(outcome?)
        });
        if interrupted.is_some() {
            py.detach(|| drop(interrupted)); // here, because the waits of an interrupted call end at once
        }
        outcome.map(|()| data.len())
    }

    /// The number of bytes written.
    fn tell(&self, py: Python<'_>) -> Result<u64, Failure> {
        self.0.with(py, |writer| Ok(writer.bytes_written()))
    }

    /// Store the record.
    fn finish(&self, py: Python<'_>) -> Result<(), Failure> {
        detached(py, || {
            self.0.take()?.finish()?;
            Ok(())
        })
    }

    /// Drop the record, if it is not finished.
    fn close(&self, py: Python<'_>) -> Result<(), Failure> {
        let writer = closing(py, || self.0.take_to_close())?;
        py.detach(|| drop(writer)); // without interrupts, which would leave parts of the record in the storage
        Ok(())
    }

    /// Whether the record is finished, or was dropped.
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        self.0.is_closed(py)
    }
}
