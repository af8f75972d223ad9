//! One interface to a local store and to a store behind an encryption server.

use std::io::{self, Read, Seek, SeekFrom, Write};

use strongroom::client::{self, Client};
use strongroom::{Error, RecordKey, RecordReader, RecordWriter, Stats, Strongroom, WriteOptions};

use crate::args::Id;

pub(crate) enum Store {
    Here(Strongroom),
    Elsewhere(Client),
}

pub(crate) enum Writer {
    Here(Box<RecordWriter>),
    Elsewhere(Box<client::Writer>),
}

pub(crate) enum Reader {
    Here(Box<RecordReader>),
    Elsewhere(Box<client::Reader>),
}

impl Store {
    pub(crate) fn create_record(&self, id: &Id) -> Result<Writer, Error> {
        Ok(match self {
            Self::Here(store) => Writer::Here(store.create_record(id)?.into()),
            Self::Elsewhere(store) => Writer::Elsewhere(store.create_record(id)?.into()),
        })
    }

    pub(crate) fn store_reader_with(
        &self,
        id: &Id,
        source: impl Read,
        options: WriteOptions<'_>,
    ) -> Result<RecordKey, Error> {
        match self {
            Self::Here(store) => store.store_reader_with(id, source, options),
            Self::Elsewhere(store) => store.store_reader_with(id, source, options),
        }
    }

    pub(crate) fn open_record(&self, id: &Id, key: &RecordKey) -> Result<Reader, Error> {
        Ok(match self {
            Self::Here(store) => Reader::Here(store.open_record(id, key)?.into()),
            Self::Elsewhere(store) => Reader::Elsewhere(store.open_record(id, key)?.into()),
        })
    }

    pub(crate) fn replace_record(&self, id: &Id, old: &RecordKey) -> Result<Writer, Error> {
        Ok(match self {
            Self::Here(store) => Writer::Here(store.replace_record(id, old)?.into()),
            Self::Elsewhere(store) => Writer::Elsewhere(store.replace_record(id, old)?.into()),
        })
    }

    pub(crate) fn delete(&self, id: &Id, key: &RecordKey) -> Result<(), Error> {
        match self {
            Self::Here(store) => store.delete(id, key),
            Self::Elsewhere(store) => store.delete(id, key),
        }
    }

    pub(crate) fn erase(&self, id: &Id) -> Result<bool, Error> {
        match self {
            Self::Here(store) => store.erase(id),
            Self::Elsewhere(store) => store.erase(id),
        }
    }

    pub(crate) fn stats(&self) -> Result<Stats, Error> {
        match self {
            Self::Here(store) => store.stats(),
            Self::Elsewhere(store) => store.stats(),
        }
    }
}

impl Writer {
    pub(crate) fn key(&self) -> &RecordKey {
        match self {
            Self::Here(writer) => writer.key(),
            Self::Elsewhere(writer) => writer.key(),
        }
    }

    pub(crate) fn finish(self) -> Result<RecordKey, Error> {
        match self {
            Self::Here(writer) => writer.finish(),
            Self::Elsewhere(writer) => writer.finish(),
        }
    }
}

impl Write for Writer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Here(writer) => writer.write(data),
            Self::Elsewhere(writer) => writer.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reader {
    /// The authenticated length of the data.
    pub(crate) fn len(&mut self) -> Result<u64, Error> {
        match self {
            Self::Here(reader) => reader.len(),
            Self::Elsewhere(reader) => Ok(reader.len()),
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Here(reader) => reader.read(buffer),
            Self::Elsewhere(reader) => reader.read(buffer),
        }
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Here(reader) => reader.seek(to),
            Self::Elsewhere(reader) => reader.seek(to),
        }
    }
}
