//! The settings document of a store: its identity, the check values of its index keys, and the default of padding.
//!
//! `docs/FORMAT.md` specifies its bytes. The storage compares and swaps the document, and never interprets it.

use crate::util::random::{self, RandomError};

const VERSION: u8 = 1;
const STORE_ID_LEN: usize = 16;
const CHECK_VALUE_LEN: usize = 16;
/// A store has at most two index keys: the current one and, during a rotation, the previous one.
const MAX_GENERATIONS: usize = 2;

/// Whether records are padded to hide their lengths, unless a write says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Padding {
    #[default]
    None,
    Padme,
}

/// An index key of the store: its generation number, and the value that identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) number: u8,
    pub(crate) check_value: [u8; CHECK_VALUE_LEN],
}

/// The settings of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Distinguishes stores. Random, not secret.
    pub(crate) store_id: [u8; STORE_ID_LEN],
    pub(crate) padding: Padding,
    /// The current index key, then the previous one during a rotation. None in a storage that no program with an index
    /// key has opened yet.
    pub(crate) generations: Vec<Generation>,
}

/// The id of the store with these settings, in hexadecimal; `None` if this version cannot read them. For the services.
#[must_use]
#[cfg(feature = "remote")]
pub fn store_id(settings: &[u8]) -> Option<String> {
    Settings::decode(settings).ok().map(|settings| crate::StoreIdentity::new(&settings).id_text())
}

/// The reason why a document cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// A newer version wrote it.
    NewerVersion,
    Damaged,
}

impl Settings {
    /// The settings of a new store, whose index key has this check value.
    #[cfg(test)]
    pub(crate) fn new(generation: Generation) -> Result<Self, RandomError> {
        Ok(Self { generations: vec![generation], ..Self::without_index_key()? })
    }

    /// The settings of a new store whose index key is not known yet.
    pub(crate) fn without_index_key() -> Result<Self, RandomError> {
        let mut store_id = [0; STORE_ID_LEN];
        random::fill(&mut store_id)?;
        Ok(Self { store_id, padding: Padding::default(), generations: Vec::new() })
    }

    /// `version(1) || store id(16) || padding(1) || count(1) || count times: number(1) || check value(16)`
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut document = vec![VERSION];
        document.extend(self.store_id);
        document.push(match self.padding {
            Padding::None => 0,
            Padding::Padme => 1,
        });
        let generations = self.generations.get(..MAX_GENERATIONS).unwrap_or(&self.generations);
        document.extend(u8::try_from(generations.len()));
        for generation in generations {
            document.push(generation.number);
            document.extend(generation.check_value);
        }
        document
    }

    pub(crate) fn decode(document: &[u8]) -> Result<Self, Unreadable> {
        match document.split_first() {
            Some((&VERSION, rest)) => Self::decode_version_1(rest).ok_or(Unreadable::Damaged),
            Some((version, _)) if *version > VERSION => Err(Unreadable::NewerVersion),
            _ => Err(Unreadable::Damaged),
        }
    }

    fn decode_version_1(rest: &[u8]) -> Option<Self> {
        let (store_id, rest) = rest.split_first_chunk()?;
        let (padding, rest) = rest.split_first()?;
        let padding = match padding {
            0 => Padding::None,
            1 => Padding::Padme,
            _ => return None,
        };
        let (count, rest) = rest.split_first()?;
        let (chunks, []) = rest.as_chunks::<{ 1 + CHECK_VALUE_LEN }>() else { return None };
        let generation = |chunk: &[u8; 1 + CHECK_VALUE_LEN]| {
            let (number, check_value) = chunk.split_first()?;
            let check_value = check_value.try_into().ok()?;
            (*number != 0).then_some(Generation { number: *number, check_value })
        };
        let generations = chunks.iter().map(generation).collect::<Option<Vec<_>>>()?;
        let is_valid = match &*generations {
            [] | [_] => true,
            [one, other] => one.number != other.number,
            _ => false,
        };
        (is_valid && generations.len() == usize::from(*count)).then_some(Self {
            store_id: *store_id,
            padding,
            generations,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u8) -> Generation {
        Generation { number, check_value: [number; CHECK_VALUE_LEN] }
    }

    #[test]
    fn a_document_comes_back() {
        for generations in [vec![], vec![generation(1)], vec![generation(3), generation(2)]] {
            for padding in [Padding::None, Padding::Padme] {
                let settings = Settings { store_id: [7; STORE_ID_LEN], padding, generations: generations.clone() };
                let document = settings.encode();
                assert_eq!(document.len(), 19 + 17 * generations.len());
                assert_eq!(Settings::decode(&document), Ok(settings));
            }
        }
        let new = Settings::new(generation(1)).unwrap();
        assert_ne!(new.store_id, Settings::new(generation(1)).unwrap().store_id);
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let settings =
            Settings { store_id: [0xaa; STORE_ID_LEN], padding: Padding::Padme, generations: vec![generation(1)] };
        let expected = [&[1][..], &[0xaa; 16], &[1, 1, 1], &[1; 16]].concat();
        assert_eq!(settings.encode(), expected);
        #[cfg(feature = "remote")]
        assert_eq!(store_id(&expected), Some("aa".repeat(16)));
        #[cfg(feature = "remote")]
        assert_eq!(store_id(b"other"), None);
    }

    #[test]
    fn a_damaged_document_differs_from_a_newer_one() {
        let good = Settings::new(generation(1)).unwrap().encode();
        let with = |at: usize, byte: u8| {
            let mut document = good.clone();
            document[at] = byte;
            document
        };
        assert_eq!(Settings::decode(&with(0, 2)), Err(Unreadable::NewerVersion));
        let doubled = {
            let mut document = with(18, 2);
            document.extend(good[19..].to_vec());
            document
        };
        let damaged =
            [Vec::new(), with(0, 0), with(17, 2), with(18, 0), with(18, 2), with(19, 0), doubled, good[..35].to_vec()];
        for document in damaged {
            assert_eq!(Settings::decode(&document), Err(Unreadable::Damaged), "{document:?}");
        }
        assert_eq!(Settings::decode(&[good.clone(), vec![0]].concat()), Err(Unreadable::Damaged));
    }
}
