//! The operations of a store, on a storage (`store/`) or on an encryption server (`client/`).
//! [`Strongroom`](crate::Strongroom) documents them.

use std::fmt;
use std::io::BufRead;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Error;
#[cfg(feature = "remote")]
use crate::http::PendingCall;
use crate::key::RecordKey;
use crate::record::Header;
use crate::storage::{Locator, Stats, Storage};

/// The key and the header's fields of a version to be written.
#[derive(Clone, Copy)]
pub(crate) struct NewVersion<'k> {
    pub(crate) key: &'k RecordKey,
    /// Whether the caller made the key, so that the write may repeat an earlier one.
    pub(crate) is_callers: bool,
    /// Unix time in seconds, not past; 0 for never.
    pub(crate) expires_at: u64,
    pub(crate) padded: bool,
}

impl NewVersion<'_> {
    pub(crate) fn header(&self) -> Header {
        Header { expires_at: self.expires_at, padded: self.padded }
    }
}

/// The outcome of each of many records.
pub(crate) type FoundRecords = Vec<Result<Vec<u8>, Error>>;

/// An operation: a storage has done it, an encryption server is yet to be asked for it.
pub(crate) enum Call<T> {
    Done(T),
    #[cfg(feature = "remote")]
    Pending(PendingCall<T, Error>),
}

impl<T: Send + 'static> Call<T> {
    pub(crate) fn map<U>(self, convert: impl FnOnce(T) -> U + Send + 'static) -> Call<U> {
        match self {
            Self::Done(result) => Call::Done(convert(result)),
            #[cfg(feature = "remote")]
            Self::Pending(call) => Call::Pending(call.map(convert)),
        }
    }

    /// Blocks until the operation is done.
    pub(crate) fn wait(self) -> Result<T, Error> {
        match self {
            Self::Done(result) => Ok(result),
            #[cfg(feature = "remote")]
            Self::Pending(call) => call.wait(),
        }
    }

    /// The result, on any async runtime.
    #[cfg(feature = "tokio")]
    pub(crate) async fn outcome(self) -> Result<T, Error> {
        match self {
            Self::Done(result) => Ok(result),
            #[cfg(feature = "remote")]
            Self::Pending(call) => call.outcome().await,
        }
    }
}

pub(crate) trait Operations: fmt::Debug + Send + Sync {
    /// Whether calls may be [`Call::Pending`], and do not block before.
    #[cfg(feature = "tokio")]
    fn is_service(&self) -> bool;

    /// The same store, with the ids of another namespace.
    fn namespace(&self, name: &[u8]) -> Result<Arc<dyn Operations>, Error>;

    fn store(&self, id: &[u8], data: &[u8], new: NewVersion<'_>) -> Result<Call<()>, Error>;

    fn replace(&self, id: &[u8], old: &RecordKey, data: &[u8], new: NewVersion<'_>) -> Result<Call<()>, Error>;

    /// Seals the data again. An expiry time of 0 keeps the old one, and a padded record remains padded.
    fn rekey(&self, id: &[u8], old: &RecordKey, new: NewVersion<'_>) -> Result<Call<()>, Error>;

    /// An implementation may check only at the end whether the id is free.
    fn create_record(&self, id: &[u8], new: NewVersion<'_>) -> Result<Box<dyn WriteRecord>, Error>;

    fn replace_record(&self, id: &[u8], old: &RecordKey, new: NewVersion<'_>) -> Result<Box<dyn WriteRecord>, Error>;

    fn store_many(&self, records: &[(&[u8], &[u8], NewVersion<'_>)]) -> Result<Call<()>, Error>;

    fn retrieve(&self, id: &[u8], key: &RecordKey) -> Result<Call<Vec<u8>>, Error>;

    fn retrieve_into(&self, id: &[u8], key: &RecordKey, buffer: &mut [u8]) -> Result<usize, Error>;

    fn retrieve_range(&self, id: &[u8], key: &RecordKey, range: Range<u64>) -> Result<Call<Vec<u8>>, Error>;

    fn open_record(&self, id: &[u8], key: &RecordKey) -> Result<Box<dyn ReadRecord>, Error>;

    fn take(&self, id: &[u8], key: &RecordKey) -> Result<Call<Vec<u8>>, Error>;

    fn take_record(&self, id: &[u8], key: &RecordKey) -> Result<Box<dyn ReadRecord>, Error>;

    /// [`Error::TooLarge`] if one call cannot return all records.
    fn retrieve_many(&self, records: &[(&[u8], &RecordKey)]) -> Result<Call<FoundRecords>, Error>;

    fn contains(&self, id: &[u8]) -> Result<Call<bool>, Error>;

    fn delete(&self, id: &[u8], key: &RecordKey) -> Result<Call<()>, Error>;

    fn erase(&self, id: &[u8]) -> Result<Call<bool>, Error>;

    /// One step: removes at most `limit` expired records, and returns their number; 0 if none is left.
    fn purge(&self, limit: usize) -> Result<usize, Error>;

    /// The storage, for work without keys.
    fn storage(&self) -> Result<&Arc<dyn Storage>, Error>;

    fn maintain(&self) -> Result<(), Error>;

    /// One step: returns at most `limit` bytes of free space, and the number of these bytes; 0 if none is left.
    fn compact(&self, limit: u64) -> Result<u64, Error>;

    fn stats(&self) -> Result<Call<Stats>, Error>;

    /// A hint at the index key in use, if it is known.
    fn index_key_hint(&self) -> Option<[u8; 4]>;

    fn begin_rotation(&self) -> Result<(), Error>;

    /// At most `limit` locators under the previous index key; `None` if it is not being rotated.
    fn unrotated(&self, limit: usize) -> Result<Option<Vec<Locator>>, Error>;

    fn erase_unrotated(&self, locator: &Locator) -> Result<bool, Error>;

    /// The locators of an id in `namespace`, or in this handle's: under the index key in use, and under the other one
    /// of a rotation.
    fn locators(&self, namespace: Option<&[u8]>, id: &[u8]) -> Result<(Locator, Option<Locator>), Error>;

    /// The generations of the index keys.
    fn generations(&self) -> Result<Vec<u8>, Error>;

    fn finish_rotation(&self) -> Result<(), Error>;

    fn close(&self) -> Result<(), Error>;
}

/// A record that is read in pieces.
pub(crate) trait ReadRecord: BufRead + Send {
    /// The length of the data, proved.
    fn len(&mut self) -> Result<u64, Error>;

    fn position(&self) -> u64;

    /// The position may be past the end.
    fn set_position(&mut self, position: u64);

    /// Whether the data can be read only once, in order.
    fn is_read_once(&self) -> bool {
        false
    }
}

/// The most bytes of one piece of a record that is written.
pub(crate) const MAX_PIECE_LEN: usize = 256 << 10;

/// A record that is written in pieces. If it is dropped before it is finished, nothing is stored.
pub(crate) trait WriteRecord: Send {
    /// Writes at most [`MAX_PIECE_LEN`] bytes.
    fn write(&mut self, piece: &[u8]) -> Result<(), Error>;

    fn finish(self: Box<Self>) -> Result<(), Error>;
}
