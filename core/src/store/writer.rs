//! A record written piece by piece to a storage: sealed chunk by chunk.

use std::sync::Arc;

use super::address::Address;
use super::padding;
use super::repeated_write::{RepeatedWrite, opened_by};
use super::write_behind::WriteBehind;
use super::{LocatorKeys, expiry};
use crate::cobblestone::Sealer;
use crate::error::Error;
use crate::key::RecordKey;
use crate::operations::{NewVersion, WriteRecord};
use crate::storage::{self, Head, PutMode, Storage, Upload};

/// The number of sealed bytes that are passed to the storage together: nearly the size of one SQLite row.
const GATHER_LEN: usize = 256 << 10;

/// A record that is written in pieces.
pub(super) struct Writer {
    sink: Sink,
    /// The key if the write may repeat another, because the key is the caller's.
    repeatable: Option<RecordKey>,
}

/// The destination of the data.
#[expect(clippy::large_enum_variant, reason = "the writer is in a box")]
enum Sink {
    /// Sealed into a new record.
    Seal(Sealing),
    /// Compared with the record that an earlier write under the same key stored.
    Compare(RepeatedWrite),
}

/// The destination of a record.
pub(super) struct Target {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) keys: Arc<LocatorKeys>,
    pub(super) mode: PutMode,
}

/// A record that is being sealed. A single `put`, which shares its commit with other writers, writes a short one; an
/// upload begins when there are more bytes.
struct Sealing {
    target: Target,
    address: Address<'static>,
    sealer: Sealer,
    head: Head,
    /// The bytes of data, if padding follows them.
    padded: Option<u64>,
    /// Sealed bytes that have not been passed to the storage yet.
    sealed: Vec<u8>,
    upload: Option<WriteBehind>,
}

impl Target {
    fn upload(&self, address: &mut Address<'static>) -> Result<Box<dyn Upload>, Error> {
        let upload = |address: &Address<'_>| Arc::clone(&self.storage).upload(&address.locator, self.mode);
        match upload(address) {
            Err(storage::Error::AlreadyExists) if expiry::free(&*self.storage, [&*address])? => Ok(upload(address)?),
            // The version that it replaces may have moved.
            Err(storage::Error::Conflict) if self.keys.has_changed(&*self.storage, address.lease)? => {
                *address = self.keys.again(&*self.storage, address)?;
                Ok(upload(address)?)
            }
            outcome => Ok(outcome?),
        }
    }
}

impl Sealing {
    fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        if let Some(len) = &mut self.padded {
            *len = len.saturating_add(data.len() as u64);
        }
        self.seal(data)
    }

    fn seal(&mut self, data: &[u8]) -> Result<(), Error> {
        self.sealer.update(data, &mut self.sealed)?;
        if self.sealed.len() < GATHER_LEN {
            return Ok(());
        }
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let upload = self.target.upload(&mut self.address)?;
                none.insert(WriteBehind::new(upload))
            }
        };
        upload.write(&mut self.sealed)
    }

    fn finish(mut self) -> Result<(), Error> {
        if let Some(len) = self.padded {
            padding::write_after(len, |piece| self.seal(piece))?;
        }
        let Self { target, mut address, sealer, head, padded: _, mut sealed, upload } = self;
        let (storage, keys) = (&*target.storage, &*target.keys);
        // The data may have taken its time.
        let lease = keys.settings_check.lease(storage)?;
        if lease.is_current == address.lease.is_current {
            address.lease = lease;
        } else if upload.is_none() {
            address = keys.again(storage, &address)?;
        }
        match upload {
            None => {
                sealer.finish(&mut sealed)?;
                match target.mode {
                    PutMode::Create => expiry::put_new(storage, &address, &sealed)?,
                    mode => match storage.put(&address.locator, &sealed, mode) {
                        // The version that it replaces may have moved.
                        Err(storage::Error::Conflict) if keys.has_changed(storage, address.lease)? => {
                            address = keys.again(storage, &address)?;
                            storage.put(&address.locator, &sealed, mode)?;
                        }
                        outcome => outcome?,
                    },
                }
            }
            Some(upload) => {
                let mut upload = upload.finish()?;
                sealer.finish(&mut sealed)?;
                upload.write(&sealed)?;
                upload.commit()?;
            }
        }
        match target.mode {
            PutMode::Create => keys.settle(storage, &address, &head),
            _ => Ok(()), // the version that it has replaced was there
        }
    }
}

impl Writer {
    pub(super) fn new(target: Target, address: &Address<'_>, new: NewVersion<'_>) -> Result<Self, Error> {
        let header = new.header();
        let mut sealed = header.encode().to_vec();
        let sealer = Sealer::new(new.key.expose_bytes(), &address.context(&header), &mut sealed)?;
        let head = Head::of(&sealed).ok_or(Error::Corrupt)?;
        let sealing = Sealing {
            target,
            address: address.to_owned(),
            sealer,
            head,
            padded: new.padded.then_some(0),
            sealed,
            upload: None,
        };
        Ok(Self { sink: Sink::Seal(sealing), repeatable: None })
    }

    /// A writer that repeats an earlier write.
    pub(super) fn repeated(write: RepeatedWrite) -> Self {
        Self { sink: Sink::Compare(write), repeatable: None }
    }

    /// Marks the key as the caller's: the same write may run concurrently.
    pub(super) fn repeatable(self, key: &RecordKey) -> Self {
        Self { repeatable: Some(key.duplicate()), ..self }
    }
}

impl WriteRecord for Writer {
    fn write(&mut self, piece: &[u8]) -> Result<(), Error> {
        match &mut self.sink {
            Sink::Seal(sealing) => sealing.write(piece),
            Sink::Compare(write) => write.write(piece),
        }
    }

    fn finish(self: Box<Self>) -> Result<(), Error> {
        let Self { sink, repeatable } = *self;
        let sealing = match sink {
            Sink::Seal(sealing) => sealing,
            Sink::Compare(write) => return write.finish(),
        };
        let Some(key) = repeatable else { return sealing.finish() };
        let (storage, address) = (Arc::clone(&sealing.target.storage), sealing.address.to_owned());
        sealing.finish().map_err(|error| match error {
            Error::AlreadyExists | Error::Conflict => match opened_by(&storage, &address, &key) {
                Ok(Some(_)) => Error::Busy,
                _ => error,
            },
            _ => error,
        })
    }
}
