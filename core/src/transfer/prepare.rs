//! The settings of both storages: the destination must be new, or a copy of the source.

use crate::error::Error;
use crate::settings::{Padding, Settings};
use crate::storage::{self, Storage};

/// How often the settings of the destination are compared again after a concurrent change.
const ATTEMPTS: usize = 10;
/// Generations are numbered from 1 to 255, and then from 1 again.
const GENERATIONS: i16 = 255;

/// The settings of the source.
pub(super) fn source(from: &dyn Storage) -> Result<Settings, Error> {
    let text = "the source has no store: its settings are missing";
    let document = from.settings()?.ok_or(Error::InvalidArgument(text.into()))?;
    Ok(Settings::decode(&document)?)
}

/// Writes the source's settings to the destination, unless it is another store. A destination that pads goes on to do
/// so.
pub(super) fn destination(to: &dyn Storage, settings: &Settings) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        let there = to.settings()?;
        let mut new = settings.clone();
        match &there {
            Some(document) => match Settings::decode(document)? {
                // A service has made the id, and nothing has been stored.
                there if there.generations.is_empty() && to.list(None, 1)?.is_empty() => {}
                there => {
                    check_same_store(&there, settings)?;
                    if there.padding == Padding::Padme {
                        new.padding = there.padding;
                    }
                }
            },
            None if !to.list(None, 1)?.is_empty() && to.settings()?.is_none() => {
                return Err(Error::InvalidArgument(
                    "the destination has records, but no settings: it is damaged".into(),
                ));
            }
            None => {}
        }
        let new = new.encode();
        if there.as_ref() == Some(&new) {
            return Ok(());
        }
        match to.swap_settings(there.as_deref(), &new) {
            Err(storage::Error::Conflict) => {}
            outcome => return Ok(outcome?),
        }
    }
    Err(Error::Conflict)
}

fn check_same_store(there: &Settings, settings: &Settings) -> Result<(), Error> {
    if there.store_id != settings.store_id {
        let text = "the destination has another store: choose a new path, or an earlier copy of the same store";
        return Err(Error::InvalidArgument(text.into()));
    }
    let current = |settings: &Settings| settings.generations.first().copied();
    let (Some(ours), Some(theirs)) = (current(settings), current(there)) else { return Err(Error::Corrupt) };
    let ahead = (i16::from(ours.number) - i16::from(theirs.number)).rem_euclid(GENERATIONS);
    if ahead > GENERATIONS / 2 || ahead == 0 && ours.check_value != theirs.check_value {
        let text = "the destination has a later index key than the source, which would no longer open it: choose a new \
                    path";
        return Err(Error::InvalidArgument(text.into()));
    }
    if ahead == 0 && settings.generations.len() > there.generations.len() {
        let text = "the destination has finished the rotation of the index key in which the source is, and may have lost \
                    the previous key: choose a new path";
        return Err(Error::InvalidArgument(text.into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Generation;
    use crate::storage::MemoryStorage;

    fn settings(numbers: &[u8]) -> Settings {
        let generation = |number: &u8| Generation { number: *number, check_value: [*number; 16] };
        let first = numbers.first().map(generation).unwrap();
        let generations = numbers.iter().map(generation).collect();
        Settings { store_id: [7; 16], generations, ..Settings::new(first).unwrap() }
    }

    fn onto(there: &[u8], ours: &[u8]) -> bool {
        let to = MemoryStorage::new();
        to.swap_settings(None, &settings(there).encode()).unwrap();
        match destination(&to, &settings(ours)) {
            Ok(()) => to.settings().unwrap() == Some(settings(ours).encode()),
            Err(error) => {
                assert!(matches!(error, Error::InvalidArgument(_)), "{error:?}");
                assert_eq!(to.settings().unwrap(), Some(settings(there).encode()));
                false
            }
        }
    }

    #[test]
    fn settings_follow_a_rotation_and_never_go_back() {
        for (there, ours) in [(&[1][..], &[1][..]), (&[1], &[2, 1]), (&[2, 1], &[2]), (&[1], &[2]), (&[255], &[1, 255])]
        {
            assert!(onto(there, ours), "{there:?} {ours:?}");
        }
        for (there, ours) in [(&[2][..], &[1][..]), (&[2], &[2, 1]), (&[2, 1], &[1]), (&[1], &[255])] {
            assert!(!onto(there, ours), "{there:?} {ours:?}");
        }
    }

    #[test]
    fn a_destination_that_pads_goes_on_to_pad() {
        for (there, ours) in [(&[1][..], &[1][..]), (&[1], &[2, 1])] {
            let to = MemoryStorage::new();
            let padding = Padding::Padme;
            to.swap_settings(None, &Settings { padding, ..settings(there) }.encode()).unwrap();
            destination(&to, &settings(ours)).unwrap();
            assert_eq!(to.settings().unwrap(), Some(Settings { padding, ..settings(ours) }.encode()));
        }
        let to = MemoryStorage::new();
        to.swap_settings(None, &settings(&[1]).encode()).unwrap();
        let padded = Settings { padding: Padding::Padme, ..settings(&[1]) };
        destination(&to, &padded).unwrap();
        assert_eq!(to.settings().unwrap(), Some(padded.encode()));
    }

    #[test]
    fn an_id_without_a_store_is_replaced() {
        let to = MemoryStorage::new();
        to.swap_settings(None, &Settings::without_index_key().unwrap().encode()).unwrap();
        destination(&to, &settings(&[1])).unwrap();
        assert_eq!(to.settings().unwrap(), Some(settings(&[1]).encode()));
    }

    #[test]
    fn another_store_is_refused() {
        let to = MemoryStorage::new();
        let other = Settings { store_id: [8; 16], ..settings(&[1]) };
        to.swap_settings(None, &other.encode()).unwrap();
        assert!(matches!(destination(&to, &settings(&[1])), Err(Error::InvalidArgument(_))));
        assert_eq!(to.settings().unwrap(), Some(other.encode()));
    }

    #[test]
    fn another_key_of_the_same_generation_is_refused() {
        let to = MemoryStorage::new();
        let mut other = settings(&[1]);
        other.generations = vec![Generation { number: 1, check_value: [9; 16] }];
        to.swap_settings(None, &other.encode()).unwrap();
        assert!(matches!(destination(&to, &settings(&[1])), Err(Error::InvalidArgument(_))));
    }
}
