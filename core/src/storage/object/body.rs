//! The contents of objects. Each begins with a header of 24 bytes; integers are little-endian.
//!
//! ```text
//! header  = version(1) = 0x01 || kind(1) || move(1) || 0x00 || crc32(4) || nonce(16, random)
//! object  = header || [partner locator(32) || move id(16), if the object is part of a move] || payload
//! ```
//!
//! The CRC-32 covers the object's name and all its bytes except the CRC, so that a swapped object is detected, too. It
//! is the same in every version: one with an unknown version and the right CRC is newer, any other is damaged. The
//! nonce makes the ETag of each write unique (that of S3 is a hash of the content), so that no state recurs under a
//! compare and swap, and a write recognises its own object after a lost reply.

use bytes::Bytes;

use super::super::{Error, HEAD_LEN, Head, Info, LOCATOR_LEN, Locator};
use crate::util::random;

pub(super) const HEADER_LEN: usize = 24;
const MOVE_LEN: usize = LOCATOR_LEN + ID_LEN;
const POINTER_LEN: usize = 8 + LOCATOR_LEN + ID_LEN + HEAD_LEN;
/// The bytes that tell everything about a record except its data.
pub(super) const START_LEN: u64 = 256;
/// The most bytes before the data of a record that is not in segments.
pub(super) const MAX_PREFIX_LEN: u64 = (HEADER_LEN + MOVE_LEN) as u64;
/// The length of a tombstone.
pub(super) const TOMBSTONE_LEN: u64 = HEADER_LEN as u64;
/// The length of a reservation. Every record is longer.
pub(super) const RESERVATION_LEN: u64 = (HEADER_LEN + MOVE_LEN + ID_LEN) as u64;
/// The lengths of a pointer, alone and as a part of a move.
pub(super) const POINTER_LENS: [u64; 2] =
    [(HEADER_LEN + POINTER_LEN) as u64, (HEADER_LEN + MOVE_LEN + POINTER_LEN) as u64];

const ID_LEN: usize = 16;
/// A random number: of an upload, of a move, or of a write (its nonce).
pub(super) type Id = [u8; ID_LEN];

pub(super) fn new_id() -> Result<Id, Error> {
    let mut id = [0; ID_LEN];
    random::fill(&mut id).map_err(|error| Error::Backend(error.into()))?;
    Ok(id)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Takes the place of a deleted record, where the server cannot delete conditionally.
    Tombstone,
    /// The payload is the record.
    Record,
    /// The payload is a [`Pointer`].
    Pointer,
    Settings,
    /// Keeps a name free for a move (see `moves.rs`). The payload is the nonce of the record that is to be moved.
    Reservation,
    Segment,
    /// The payload is empty: the name says everything.
    Marker,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Tombstone, Self::Record, Self::Pointer, Self::Settings, Self::Reservation, Self::Segment, Self::Marker];
}

/// An object's part in a move (see `moves.rs`): the other locator, and the move's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    None,
    /// The record has moved to the other locator.
    Leaving(Locator, Id),
    /// The record came from the other locator, or is to come.
    Arriving(Locator, Id),
}

/// A record in segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) info: Info,
    /// The locator under which the record was uploaded, and the upload's id: they name the segments.
    pub(super) owner: Locator,
    pub(super) upload: Id,
}

impl Pointer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let Self { info, owner, upload } = self;
        [&info.len.to_le_bytes()[..], owner.as_bytes(), upload, info.head.as_bytes()].concat()
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let (len, rest) = payload.split_first_chunk()?;
        let (owner, rest) = rest.split_first_chunk()?;
        let (upload, head) = rest.split_first_chunk()?;
        let info = Info { head: Head::of(head).filter(|_| head.len() == HEAD_LEN)?, len: u64::from_le_bytes(*len) };
        Some(Self { info, owner: Locator::from_bytes(*owner), upload: *upload })
    }
}

/// A new object.
pub(super) struct NewObject {
    pub(super) kind: Kind,
    pub(super) nonce: Id,
    pub(super) bytes: Bytes,
}

impl NewObject {
    pub(super) fn new(name: &str, kind: Kind, part: Move, payload: &[u8]) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(HEADER_LEN + MOVE_LEN + payload.len()).map_err(|_| Error::TooLarge)?;
        bytes.resize(HEADER_LEN, 0);
        if let Move::Leaving(partner, id) | Move::Arriving(partner, id) = part {
            bytes.extend_from_slice(partner.as_bytes());
            bytes.extend_from_slice(&id);
        }
        bytes.extend_from_slice(payload);
        let code = match part {
            Move::None => 0,
            Move::Leaving(..) => 1,
            Move::Arriving(..) => 2,
        };
        Self::finish(name, kind, code, bytes)
    }

    /// The object whose payload lies in `bytes`, after room for the header.
    pub(super) fn in_place(name: &str, kind: Kind, bytes: Vec<u8>) -> Result<Self, Error> {
        Self::finish(name, kind, 0, bytes)
    }

    fn finish(name: &str, kind: Kind, part: u8, mut bytes: Vec<u8>) -> Result<Self, Error> {
        let nonce = new_id()?;
        let code = Kind::ALL.iter().position(|other| *other == kind).and_then(|code| u8::try_from(code).ok());
        let header = bytes.first_chunk_mut::<HEADER_LEN>().ok_or(Error::Corrupt)?;
        let [version, kind_code, in_move, reserved, _, _, _, _, own @ ..] = header;
        (*version, *kind_code, *in_move, *reserved, *own) = (1, code.unwrap_or(u8::MAX), part, 0, nonce);
        let checksum = checksum(name, &bytes).ok_or(Error::Corrupt)?;
        if let Some(place) = bytes.get_mut(4..8) {
            place.copy_from_slice(&checksum.to_le_bytes());
        }
        Ok(Self { kind, nonce, bytes: bytes.into() })
    }
}

fn checksum(name: &str, bytes: &[u8]) -> Option<u32> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(name.as_bytes());
    hasher.update(bytes.get(..4)?);
    hasher.update(bytes.get(8..)?);
    Some(hasher.finalize())
}

/// The beginning of an object, or the whole.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) kind: Kind,
    pub(super) part: Move,
    pub(super) nonce: Id,
    /// The bytes of the payload that were fetched.
    pub(super) payload: Bytes,
    /// The length of the whole payload.
    pub(super) payload_len: u64,
}

impl Object {
    /// Decodes the first bytes of an object of `len` bytes, at least [`START_LEN`] or all. If they are all, their
    /// checksum is checked; if not, damage may look like a newer version.
    pub(super) fn decode(name: &str, bytes: &Bytes, len: u64) -> Result<Self, Error> {
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Error::Corrupt)?;
        let [version, kind, part, reserved, a, b, c, d, nonce @ ..] = *header;
        if bytes.len() as u64 == len && checksum(name, bytes) != Some(u32::from_le_bytes([a, b, c, d])) {
            return Err(Error::Corrupt);
        }
        if version != 1 || reserved != 0 {
            return Err(Error::Unsupported("an object is of a newer version of this library".into()));
        }
        let kind = *Kind::ALL.get(usize::from(kind)).ok_or(Error::Corrupt)?;
        // These hide a record, so the checksum must prove them: a longer object may be a damaged record.
        let is_proved = match kind {
            Kind::Tombstone => len == TOMBSTONE_LEN,
            Kind::Reservation => len == RESERVATION_LEN,
            _ => true,
        };
        if !is_proved {
            return Err(Error::Corrupt);
        }
        let partner = || -> Option<(Locator, Id)> {
            let (partner, rest) = bytes.get(HEADER_LEN..)?.split_first_chunk()?;
            Some((Locator::from_bytes(*partner), *rest.first_chunk()?))
        };
        let part = match part {
            0 => Move::None,
            1 => partner().map(|(partner, id)| Move::Leaving(partner, id)).ok_or(Error::Corrupt)?,
            2 => partner().map(|(partner, id)| Move::Arriving(partner, id)).ok_or(Error::Corrupt)?,
            _ => return Err(Error::Corrupt),
        };
        let prefix = if part == Move::None { HEADER_LEN } else { HEADER_LEN + MOVE_LEN };
        let payload_len = len.checked_sub(prefix as u64).ok_or(Error::Corrupt)?;
        Ok(Self { kind, part, nonce, payload: bytes.slice(prefix..), payload_len })
    }

    /// Whether all bytes were fetched.
    pub(super) fn is_whole(&self) -> bool {
        self.payload.len() as u64 == self.payload_len
    }

    /// The bytes before the payload.
    pub(super) fn prefix_len(&self) -> u64 {
        if self.part == Move::None { HEADER_LEN as u64 } else { MAX_PREFIX_LEN }
    }

    pub(super) fn pointer(&self) -> Option<Pointer> {
        (self.kind == Kind::Pointer).then(|| Pointer::decode(&self.payload))?
    }

    /// The head and length of the record; `None` if this is none.
    pub(super) fn info(&self) -> Result<Option<Info>, Error> {
        match self.kind {
            Kind::Tombstone | Kind::Reservation => Ok(None),
            Kind::Record => {
                Ok(Some(Info { head: Head::of(&self.payload).ok_or(Error::Corrupt)?, len: self.payload_len }))
            }
            Kind::Pointer => Ok(Some(self.pointer().ok_or(Error::Corrupt)?.info)),
            _ => Err(Error::Corrupt),
        }
    }

    pub(super) fn is_leaving(&self, move_id: Id) -> bool {
        matches!(self.part, Move::Leaving(_, id) if id == move_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "r/00";

    fn decode(name: &str, bytes: &[u8]) -> Result<Object, Error> {
        Object::decode(name, &Bytes::copy_from_slice(bytes), bytes.len() as u64)
    }

    #[test]
    fn objects_come_back_and_damage_is_found() {
        let (partner, id) = (Locator::from_bytes([7; LOCATOR_LEN]), [9; ID_LEN]);
        let record: Vec<u8> = (0..100).collect();
        for part in [Move::None, Move::Leaving(partner, id), Move::Arriving(partner, id)] {
            let new = NewObject::new(NAME, Kind::Record, part, &record).unwrap();
            let found = decode(NAME, &new.bytes).unwrap();
            assert!(found.is_whole() && found.nonce == new.nonce && found.part == part && found.payload == record);
            assert_eq!(found.info().unwrap().unwrap().len, 100);
            assert!(matches!(decode("r/01", &new.bytes), Err(Error::Corrupt)), "under another name");
            for bit in 0..new.bytes.len() * 8 {
                let mut damaged = new.bytes.to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(NAME, &damaged).is_err(), "bit {bit}");
            }
            for len in 0..new.bytes.len() {
                assert!(decode(NAME, &new.bytes[..len]).is_err(), "{len} bytes");
            }
        }
    }

    /// Any other byte in the header of an object, of which only the beginning is read.
    #[test]
    fn damage_never_hides_a_record() {
        let (partner, id) = (Locator::from_bytes([7; LOCATOR_LEN]), [9; ID_LEN]);
        for part in [Move::None, Move::Leaving(partner, id), Move::Arriving(partner, id)] {
            for (len, is_whole) in [(100, true), (1000, false)] {
                let new = NewObject::new(NAME, Kind::Record, part, &vec![1; len]).unwrap();
                for (at, byte) in (0..HEADER_LEN).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                    let mut damaged = new.bytes.to_vec();
                    if std::mem::replace(&mut damaged[at], byte) == byte {
                        continue;
                    }
                    let len = damaged.len();
                    let start = Bytes::from(damaged).slice(..len.min(usize::try_from(START_LEN).unwrap()));
                    let found = Object::decode(NAME, &start, len as u64).and_then(|found| found.info());
                    assert!(!matches!(found, Ok(None)), "{part:?}: {byte} at {at} of {len}");
                    assert!(!is_whole || matches!(found, Err(Error::Corrupt)), "{part:?}: {byte} at {at}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn damage_to_each_kind_is_found() {
        let (id, record) = ([9; ID_LEN], [1; HEAD_LEN]);
        let part = Move::Arriving(Locator::from_bytes([7; LOCATOR_LEN]), id);
        let info = Info { head: Head::of(&record).unwrap(), len: 1 << 40 };
        let pointer = Pointer { info, owner: Locator::from_bytes([5; LOCATOR_LEN]), upload: id }.encode();
        for (kind, part, payload) in [
            (Kind::Tombstone, Move::None, &[][..]),
            (Kind::Record, part, &record),
            (Kind::Pointer, Move::None, &pointer),
            (Kind::Pointer, part, &pointer),
            (Kind::Settings, Move::None, b"settings"),
            (Kind::Reservation, part, &id),
            (Kind::Segment, Move::None, b"data"),
            (Kind::Marker, Move::None, &[]),
        ] {
            let new = NewObject::new(NAME, kind, part, payload).unwrap();
            for bit in 0..new.bytes.len() * 8 {
                let mut damaged = new.bytes.to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(matches!(decode(NAME, &damaged), Err(Error::Corrupt)), "{kind:?}: bit {bit}");
            }
        }
    }

    #[test]
    fn a_newer_version_is_not_damage() {
        for at in [0, 3] {
            let mut newer = NewObject::new(NAME, Kind::Record, Move::None, &[1; HEAD_LEN]).unwrap().bytes.to_vec();
            newer[at] += 1;
            assert!(matches!(decode(NAME, &newer), Err(Error::Corrupt)), "the checksum is that of the old one");
            let checksum = checksum(NAME, &newer).unwrap();
            newer[4..8].copy_from_slice(&checksum.to_le_bytes());
            assert!(matches!(decode(NAME, &newer), Err(Error::Unsupported(_))), "at {at}");
        }
    }

    #[test]
    fn lengths_tell_kinds() {
        let id = [9; ID_LEN];
        let part = Move::Arriving(Locator::from_bytes([7; LOCATOR_LEN]), id);
        let len = |kind, part, payload: &[u8]| NewObject::new(NAME, kind, part, payload).unwrap().bytes.len() as u64;
        assert_eq!(len(Kind::Tombstone, Move::None, &[]), TOMBSTONE_LEN);
        assert_eq!(len(Kind::Reservation, part, &id), RESERVATION_LEN);
        assert!(len(Kind::Record, Move::None, &[0; HEAD_LEN]) > RESERVATION_LEN);
        let info = Info { head: Head::of(&[3; HEAD_LEN]).unwrap(), len: 1 << 40 };
        let pointer = Pointer { info, owner: Locator::from_bytes([5; LOCATOR_LEN]), upload: id };
        for (part, expected) in [Move::None, part].into_iter().zip(POINTER_LENS) {
            let new = NewObject::new(NAME, Kind::Pointer, part, &pointer.encode()).unwrap();
            assert_eq!(new.bytes.len() as u64, expected);
            assert!(expected <= START_LEN);
            assert_eq!(decode(NAME, &new.bytes).unwrap().pointer(), Some(pointer));
        }
    }

    #[test]
    fn a_segment_is_made_in_place() {
        let mut bytes = vec![0; HEADER_LEN];
        bytes.extend_from_slice(b"data");
        let new = NewObject::in_place(NAME, Kind::Segment, bytes).unwrap();
        let found = decode(NAME, &new.bytes).unwrap();
        assert_eq!((found.kind, &found.payload[..]), (Kind::Segment, &b"data"[..]));
    }
}
