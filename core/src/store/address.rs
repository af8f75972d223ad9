//! The address of a record: its id, its locator, and the context that binds both; sealing and opening at an address.

use std::borrow::Cow;
use std::sync::Arc;

use super::padding;
use super::settings_check::Lease;
use crate::cobblestone::{self, PREFIX_LEN, Sealer};
use crate::error::Error;
use crate::key::RecordKey;
use crate::locator::Locator;
use crate::operations::NewVersion;
use crate::record::{HEADER_LEN, Header};
use crate::storage::Head;
use crate::util::clock::Clock;
use crate::util::wiped::Wiped;

/// An id in its namespace, and the locator of its record.
pub(super) struct Address<'i> {
    pub(super) namespace: Arc<[u8]>,
    pub(super) id: Cow<'i, [u8]>,
    pub(super) locator: Locator,
    /// The locator to which the record moves: when the rotation begins, if it has not begun; or when another handle
    /// moves it, if this one cannot.
    pub(super) moves_to: Option<Locator>,
    pub(super) lease: Lease,
    pub(super) clock: Clock,
}

impl<'i> Address<'i> {
    pub(super) fn new(locator: Locator, clock: &Clock, namespace: &Arc<[u8]>, id: &'i [u8], lease: Lease) -> Self {
        Self { namespace: Arc::clone(namespace), id: id.into(), locator, moves_to: None, lease, clock: clock.clone() }
    }
}

impl Address<'_> {
    /// The same id, under the previous key's locator.
    pub(super) fn before_rotation(self, locator: Locator) -> Self {
        Self { locator, moves_to: Some(self.locator), ..self }
    }

    /// Whether another handle may move the record at any time.
    pub(super) fn may_move(&self) -> bool {
        self.lease.is_current && self.moves_to.is_some()
    }

    pub(super) fn to_owned(&self) -> Address<'static> {
        Address {
            namespace: Arc::clone(&self.namespace),
            id: self.id.clone().into_owned().into(),
            locator: self.locator,
            moves_to: self.moves_to,
            lease: self.lease,
            clock: self.clock.clone(),
        }
    }

    /// The context of a record with this header.
    pub(super) fn context(&self, header: &Header) -> Vec<u8> {
        header.context(&self.namespace, &self.id)
    }

    /// The context of the version with this head, the first bytes of its message, and its header.
    pub(super) fn context_of(&self, head: &Head) -> Result<(Vec<u8>, [u8; PREFIX_LEN], Header), Error> {
        let (header, prefix) = head.as_bytes().split_first_chunk().ok_or(Error::Corrupt)?;
        let header = Header::decode(header)?;
        Ok((self.context(&header), prefix.try_into().map_err(|_| Error::Corrupt)?, header))
    }

    /// Fails if `key` is not that of the version with this head.
    pub(super) fn prove(&self, key: &RecordKey, head: &Head) -> Result<(), Error> {
        let (context, prefix, _) = self.context_of(head)?;
        Ok(cobblestone::verify_key(key.expose_bytes(), &context, &prefix)?)
    }

    /// `header || message`, in one buffer of the exact size.
    pub(super) fn seal(&self, new: NewVersion<'_>, data: &[u8]) -> Result<Vec<u8>, Error> {
        if new.padded {
            return self.seal_padded(new, data);
        }
        let header = new.header();
        let mut sealed = cobblestone::zeros(sealed_len(data.len() as u64)?)?;
        let (start, message) = sealed.split_first_chunk_mut().ok_or(Error::TooLarge)?;
        *start = header.encode();
        cobblestone::seal_into(new.key.expose_bytes(), &self.context(&header), data, message)?;
        Ok(sealed)
    }

    fn seal_padded(&self, new: NewVersion<'_>, data: &[u8]) -> Result<Vec<u8>, Error> {
        let (header, len) = (new.header(), data.len() as u64);
        let mut sealed = Vec::new();
        let sealed_len = sealed_len(padding::padded_len(len).ok_or(Error::TooLarge)?)?;
        sealed.try_reserve_exact(sealed_len).map_err(|_| Error::TooLarge)?;
        sealed.extend_from_slice(&header.encode());
        let mut sealer = Sealer::new(new.key.expose_bytes(), &self.context(&header), &mut sealed)?;
        sealer.update(data, &mut sealed)?;
        padding::write_after(len, |piece| Ok(sealer.update(piece, &mut sealed)?))?;
        sealer.finish(&mut sealed)?;
        Ok(sealed)
    }

    /// Opens into a buffer of the exact size, so that bindings to other languages need no copy.
    pub(super) fn open(&self, key: &RecordKey, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let (header, context, message) = self.message_of(key, sealed)?;
        let mut plaintext = cobblestone::open(key.expose_bytes(), &context, message)?;
        if header.padded {
            let padded = plaintext.len() as u64;
            let len = plaintext.last_chunk().and_then(|trailer| padding::data_len(padded, *trailer));
            let len = len.and_then(|len| usize::try_from(len).ok());
            plaintext.truncate(len.ok_or(Error::Corrupt)?);
        }
        Ok(plaintext)
    }

    /// Opens into the start of `buffer`, and returns the length.
    pub(super) fn open_into(&self, key: &RecordKey, sealed: &[u8], buffer: &mut [u8]) -> Result<usize, Error> {
        let (header, context, message) = self.message_of(key, sealed)?;
        if header.padded {
            let data = Wiped::from(self.open(key, sealed)?);
            buffer.get_mut(..data.len()).ok_or(Error::TooLarge)?.copy_from_slice(&data);
            return Ok(data.len());
        }
        let len = cobblestone::plaintext_len(message.len() as u64);
        let len_here = len.as_ref().ok().and_then(|len| usize::try_from(*len).ok());
        let Some(plaintext) = len_here.and_then(|len| buffer.get_mut(..len)) else {
            // Without the right key the answer is `WrongKey`, never the length.
            let prefix = message.first_chunk().ok_or(Error::Corrupt)?;
            cobblestone::verify_key(key.expose_bytes(), &context, prefix)?;
            return Err(len.map_or(Error::Corrupt, |_| Error::TooLarge));
        };
        cobblestone::open_into(key.expose_bytes(), &context, message, plaintext)?;
        Ok(plaintext.len())
    }

    /// The header, the context and the message of a stored version, unless it has expired.
    fn message_of<'s>(&self, key: &RecordKey, sealed: &'s [u8]) -> Result<(Header, Vec<u8>, &'s [u8]), Error> {
        let (header, message) = sealed.split_first_chunk().ok_or(Error::Corrupt)?;
        let header = Header::decode(header)?;
        let context = self.context(&header);
        if self.clock.forbids(header.expiry()) {
            // Without the right key the answer is `WrongKey`, never `Expired`.
            let prefix = message.first_chunk().ok_or(Error::Corrupt)?;
            cobblestone::verify_key(key.expose_bytes(), &context, prefix)?;
            return Err(Error::Expired);
        }
        Ok((header, context, message))
    }
}

/// The bytes of the record with `plaintext_len` bytes of plaintext.
fn sealed_len(plaintext_len: u64) -> Result<usize, Error> {
    let message_len = cobblestone::message_len(plaintext_len).ok_or(Error::TooLarge)?;
    usize::try_from(message_len).ok().and_then(|len| len.checked_add(HEADER_LEN)).ok_or(Error::TooLarge)
}
