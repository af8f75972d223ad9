//! Reading and writing of records in pieces, for the files of `strongroom._records`.

use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};

use pyo3::exceptions::{PyBufferError, PyMemoryError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use strongroom::interrupt::is_interrupted;
use strongroom::{Error, RecordReader, RecordWriter, Wiped};

use crate::bytes::{Data, byte_view, read_from, to_python, write_into};
use crate::error::Failure;
use crate::interrupt::{attached, closing, detached};
use crate::key::Key;
use crate::shared::{Shared, closed};

/// The least length of the pieces that are read into a buffer of Python.
const PIECE: usize = 256 << 10;
/// The number of pieces of longer reads: to write each, the thread waits for busy ones.
const PIECES: usize = 16;
/// The most memory that is used before data arrives: an encryption server only announces the length of a record.
const MOST_UNPROVED: usize = 16 << 20;

/// The source of a :class:`strongroom.RecordReader`.
#[pyclass(frozen, module = "strongroom._strongroom")]
pub(crate) struct NativeReader(Shared<Source>);

impl NativeReader {
    pub(crate) fn new(reader: RecordReader) -> Self {
        Self(Shared::new(Source { reader, position: 0, kept: Wiped::default(), kept_at: 0 }))
    }

    /// Reads into the [`byte_view`] that `open` returns, as [`Source::fill`] does, through memory that is wiped: other
    /// threads may use the buffer while this one is detached. Returns what `finish` makes of the view and the number of
    /// bytes.
    fn fill_view<T: Send>(
        &self,
        py: Python<'_>,
        open: impl Fn(Python<'_>) -> PyResult<Bound<'_, PyAny>> + Sync,
        all: bool,
        finish: impl FnOnce(&Bound<'_, PyAny>, usize) -> PyResult<T> + Send,
    ) -> Result<T, Failure> {
        let view = open(py)?;
        if view.getattr("readonly")?.is_truthy()? {
            return Err(PyBufferError::new_err("cannot write to read-only buffer").into()); // before data is read
        }
        let len = view.len()?;
        let view = view.unbind();
        let read = |source: &mut Source, (piece, done): &mut (Wiped, usize)| {
            while *done < len {
                let most = len.saturating_sub(*done).min(piece.len());
                let wanted = piece.get_mut(..most).unwrap_or_default();
                let filled = match source.fill(wanted, all) {
                    Err(_) if *done > 0 && !all && !is_interrupted() => break,
                    filled => filled?,
                };
                attached(|py| write_into(view.bind(py), *done, wanted.get(..filled).unwrap_or_default()))?;
                *done = done.saturating_add(filled);
                if filled < wanted.len() {
                    break;
                }
            }
            attached(|py| finish(view.bind(py), *done))
        };
        // `finish` may have released the view.
        let read_back = |(piece, done): (Wiped, usize), len| {
            let mut data = Wiped::zeros(len).map_err(|_| no_memory())?;
            let (written, rest) = data.split_at_mut_checked(done).ok_or(Error::TooLarge)?;
            attached(|py| read_from(&open(py)?, written))?;
            rest.copy_from_slice(piece.get(..rest.len()).ok_or(Error::TooLarge)?);
            Ok(data)
        };
        self.0.with(py, |source| {
            let piece = len.div_ceil(PIECES).clamp(PIECE, MOST_UNPROVED).min(len);
            let piece = Wiped::zeros(piece).map_err(|_| no_memory())?;
            source.atomically((piece, 0), read, read_back)
        })
    }
}

#[pymethods]
impl NativeReader {
    /// Read ``size`` bytes, or fewer at the end of the record or before unreadable data; if ``size`` is negative,
    /// read to the end.
    fn read<'py>(&self, py: Python<'py>, size: isize) -> Result<Bound<'py, PyBytes>, Failure> {
        let wanted = usize::try_from(size).ok();
        let size = self.0.with(py, |source| {
            Ok(match (source.reader.len(), wanted) {
                (Ok(len), _) => {
                    let left = len.saturating_sub(source.position);
                    let size = wanted.map_or(left, |wanted| left.min(wanted as u64));
                    isize::try_from(size).map_err(|_| Error::TooLarge)?.unsigned_abs()
                }
                (Err(_), Some(wanted)) => wanted.min(PIECE), // there may be valid data before a damaged end
                (Err(error), None) => return Err(error.into()),
            })
        })?;
        if size > MOST_UNPROVED {
            let file = file_of_zeros(py, size)?.unbind();
            let value = |view: &Bound<'_, PyAny>, filled| {
                let file = file.bind(view.py());
                view.call_method0("release")?;
                file.call_method1("truncate", (filled,))?;
                Ok(file.call_method0("getvalue")?.cast_into::<PyBytes>()?.unbind())
            };
            let all = wanted.is_none();
            let value = self.fill_view(py, |py| file.bind(py).call_method0("getbuffer"), all, value)?;
            return Ok(value.into_bound(py));
        }
        let mut shorter = None;
        let bytes = PyBytes::new_with(py, size, |buffer| {
            let read = |source: &mut Source, buffer: &mut &mut [u8]| {
                let filled = source.fill(buffer, wanted.is_none())?;
                let data = buffer.get(..filled).filter(|_| filled < size);
                data.map(|data| attached(|py| to_python(py, data).map(Bound::unbind))).transpose()
            };
            let copy = |buffer: &mut [u8], len| {
                Ok(Wiped::copy(buffer.get(..len).unwrap_or_default()).map_err(|_| no_memory())?)
            };
            shorter = self.0.with(py, |source| source.atomically(buffer, read, copy))?;
            Ok(())
        })?;
        Ok(shorter.map_or(bytes, |data| data.into_bound(py)))
    }

    /// Read up to and with the next line feed, or ``size`` bytes, unless it is negative.
    fn readline<'py>(&self, py: Python<'py>, size: isize) -> Result<Bound<'py, PyBytes>, Failure> {
        let most = usize::try_from(size).unwrap_or(usize::MAX);
        let read = |source: &mut Source, line: &mut Wiped| {
            source.read_line(line, most)?;
            attached(|py| to_python(py, line).map(Bound::unbind))
        };
        let line = self.0.with(py, |source| source.atomically(Wiped::default(), read, |line, _| Ok(line)))?;
        Ok(line.into_bound(py))
    }

    /// Fill a writable buffer, up to the end of the record or to unreadable data; return the number of bytes.
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> Result<usize, Failure> {
        let buffer = buffer.clone().unbind();
        self.fill_view(py, |py| byte_view(buffer.bind(py)), false, |_, filled| Ok(filled))
    }

    /// Take back ``data``, which was read at ``position`` but did not reach the caller: if the record can be read
    /// only once, the next read there returns it again.
    fn unread(&self, py: Python<'_>, position: u64, data: Data<'_>) -> Result<(), Failure> {
        let data = data.as_ref();
        self.0.with(py, |source| source.keep(position, data.len(), || Ok(Wiped::copy(data).map_err(|_| no_memory())?)))
    }

    /// Move to a position, as in :meth:`io.IOBase.seek`.
    fn seek(&self, py: Python<'_>, offset: i64, whence: i32) -> Result<u64, Failure> {
        self.0.with(py, |source| {
            let from = match whence {
                0 => 0,
                1 => source.position,
                2 => source.reader.len()?,
                _ => return Err(invalid("whence must be 0, 1 or 2")),
            };
            // Every position that this returns is also a valid offset.
            let position = from.checked_add_signed(offset).filter(|position| i64::try_from(*position).is_ok());
            source.position = position.ok_or_else(|| invalid("a position must be from 0 to 2**63 - 1"))?;
            Ok(source.position)
        })
    }

    /// Release the record.
    fn close(&self, py: Python<'_>) -> Result<(), Failure> {
        // The removal of a taken record waits for the storage. If it is interrupted after some seconds, a purge removes
        // the record later.
        closing(py, || self.0.take_to_close().map(drop))
    }

    /// Whether the record was released.
    #[getter]
    fn closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// A record, and the data that was read but not returned: an encryption server sends a record that was taken only once.
pub(crate) struct Source {
    reader: RecordReader,
    /// That of the next byte. The reader follows.
    position: u64,
    kept: Wiped,
    kept_at: u64,
}

impl Source {
    /// The kept bytes from the position on.
    fn kept(&self) -> &[u8] {
        let offset = self.position.checked_sub(self.kept_at).and_then(|offset| usize::try_from(offset).ok());
        offset.and_then(|offset| self.kept.get(offset..)).unwrap_or_default()
    }

    fn kept_end(&self) -> u64 {
        self.kept_at.saturating_add(self.kept.len() as u64)
    }

    /// The reader at the position, which is not that of kept bytes.
    fn reader(&mut self) -> io::Result<&mut RecordReader> {
        self.reader.seek(SeekFrom::Start(self.position))?;
        Ok(&mut self.reader)
    }

    /// Runs `read`, which reads into `target`. After a failure, and after an interrupt, whose exception replaces the
    /// data, the position is unchanged, and the bytes that were read, which `read_back` returns for their number, are
    /// kept.
    fn atomically<D, T>(
        &mut self,
        mut target: D,
        read: impl FnOnce(&mut Self, &mut D) -> Result<T, Failure>,
        read_back: impl FnOnce(D, usize) -> Result<Wiped, Failure>,
    ) -> Result<T, Failure> {
        let start = self.position;
        let outcome = read(self, &mut target);
        let outcome = outcome.and_then(|data| if is_interrupted() { Err(Error::Busy.into()) } else { Ok(data) });
        let end = self.position;
        if outcome.is_err() {
            self.position = start;
            let len = usize::try_from(end.saturating_sub(start)).map_err(|_| Error::TooLarge)?;
            let _ = self.keep(start, len, || read_back(target, len)); // without memory for it, it is lost
        } else if end > start && end >= self.kept_end() {
            self.kept = Wiped::default(); // all of it was returned
        }
        outcome
    }

    /// Keeps `data`, of length `len`, which was read at `start`, if the record cannot be read again.
    fn keep(&mut self, start: u64, len: usize, data: impl FnOnce() -> Result<Wiped, Failure>) -> Result<(), Failure> {
        if self.reader.is_read_once() && len > 0 && start.saturating_add(len as u64) > self.kept_end() {
            (self.kept_at, self.kept) = (start, data()?);
        }
        Ok(())
    }

    /// Reads until `buffer` is full or the record ends. A failure after the first bytes is not returned unless `all` is
    /// set: the next call encounters it again.
    fn fill(&mut self, buffer: &mut [u8], all: bool) -> Result<usize, Failure> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(rest) {
                Ok(0) => break,
                Ok(len) => filled = filled.saturating_add(len),
                Err(_) if filled > 0 && !all && !is_interrupted() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    /// Reads a line, or at most `most` bytes of it.
    fn read_line(&mut self, line: &mut Wiped, most: usize) -> Result<(), Failure> {
        while line.len() < most {
            let chunk = self.fill_buf()?;
            let chunk = chunk.get(..most.saturating_sub(line.len())).unwrap_or(chunk);
            let end = chunk.iter().position(|byte| *byte == b'\n').map(|place| place.saturating_add(1));
            let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
            let len = part.len();
            line.append(part).map_err(|_| no_memory())?;
            self.consume(len);
            if end.is_some() || len == 0 {
                break;
            }
        }
        Ok(())
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = if self.kept().is_empty() { self.reader()?.read(buffer)? } else { self.kept().read(buffer)? };
        self.position = self.position.saturating_add(len as u64);
        Ok(len)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.kept().is_empty() { self.reader()?.fill_buf() } else { Ok(self.kept()) }
    }

    fn consume(&mut self, amount: usize) {
        if self.kept().is_empty() {
            self.reader.consume(amount);
        }
        self.position = self.position.saturating_add(amount as u64);
    }
}

/// An ``io.BytesIO`` of `len` zeros. Memory is used only where they are overwritten, and its value is not a copy.
fn file_of_zeros(py: Python<'_>, len: usize) -> PyResult<Bound<'_, PyAny>> {
    // The system provides zeros on the first use. Nothing else refers to them, so that the file changes them in place.
    let zeros = py.get_type::<PyBytes>().call1((len,)).map_err(|_| no_memory())?;
    py.import("io")?.getattr("BytesIO")?.call1((zeros,))
}

fn no_memory() -> PyErr {
    PyMemoryError::new_err("the data does not fit in memory")
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
    fn closed(&self) -> bool {
        self.0.is_closed()
    }
}
