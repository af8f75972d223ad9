//! The repair from a copy, record by record, for storages in which a damaged record is replaced like any other.

use std::sync::Arc;

use super::{Damage, DamageKind, Error, Info, Locator, PutMode, Repaired, Storage, VerifyPosition, next_step};
use crate::util::interrupt::is_interrupted;

/// Damaged records that are restored before the search goes on.
const STEP: usize = 100;
/// A longer record is written piece by piece.
const PIECE: usize = 256 << 10;

/// Replaces each damaged record by the one in `copy`, if that one is intact; then removes what belongs to no record.
pub(super) fn repair_each<S: Storage + 'static>(storage: &Arc<S>, copy: &dyn Storage) -> Result<Repaired, Error> {
    let (mut repaired, mut position, mut last) = (Repaired::default(), None, None);
    loop {
        let step = next_step(&**storage, position.as_ref(), STEP)?;
        let is_damage = |damage: &&Damage| damage.kind != DamageKind::Unsupported;
        for locator in step.damage.iter().filter(is_damage).filter_map(|damage| damage.locator) {
            if last.replace(locator) == Some(locator) {
                continue;
            }
            match restore(storage, copy, &locator) {
                Ok(true) => repaired.restored.push(locator),
                Ok(false) | Err(Error::Corrupt) => {} // the next search reports it again
                Err(error) => return Err(error),
            }
        }
        match step.next {
            Some(next) => position = Some(next),
            None => break,
        }
    }
    storage.maintain()?;
    Ok(repaired)
}

/// Replaces a damaged record. `false` if the copy has no intact one, or if another program has replaced it.
fn restore<S: Storage + 'static>(storage: &Arc<S>, copy: &dyn Storage, locator: &Locator) -> Result<bool, Error> {
    let Some(info) = intact_info(copy, locator)? else { return Ok(false) };
    let mode = match storage.info(locator) {
        Ok(Some(damaged)) => PutMode::ReplaceIf(damaged.head),
        Ok(None) | Err(Error::Unsupported(_)) => return Ok(false), // it was removed or replaced
        Err(Error::Corrupt) => PutMode::Overwrite,                 // it has no head
        Err(error) => return Err(error),
    };
    // This head may be that of an intact version that has replaced the damaged one.
    if intact_info(&**storage, locator)?.is_some() {
        return Ok(false);
    }
    let written = match usize::try_from(info.len) {
        Ok(len) if len <= PIECE => {
            let mut record = vec![0; len];
            copy.read_at(locator, &info.head, 0, &mut record)?;
            storage.put(locator, &record, mode)
        }
        _ => write_long(storage, copy, locator, &info, mode),
    };
    match written {
        Ok(()) => Ok(true),
        Err(Error::Conflict) => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_long<S: Storage + 'static>(
    storage: &Arc<S>,
    copy: &dyn Storage,
    locator: &Locator,
    info: &Info,
    mode: PutMode,
) -> Result<(), Error> {
    let mut upload = Arc::clone(storage).upload(locator, mode)?;
    let (mut buffer, mut offset) = (vec![0; PIECE], 0);
    while offset < info.len {
        check_interrupt()?;
        let left = usize::try_from(info.len - offset).unwrap_or(usize::MAX);
        let piece = buffer.get_mut(..left.min(PIECE)).unwrap_or_default();
        copy.read_at(locator, &info.head, offset, piece)?;
        upload.write(piece)?;
        offset += piece.len() as u64;
    }
    upload.commit()
}

/// The info of a record, if it is intact, and not of a newer version.
pub(super) fn intact_info(copy: &dyn Storage, locator: &Locator) -> Result<Option<Info>, Error> {
    let info = match copy.info(locator) {
        Ok(Some(info)) => info,
        Ok(None) => return Ok(None),
        Err(error) if error.is_of_record() => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut records, mut position) = (0, VerifyPosition::Record(*locator));
    loop {
        check_interrupt()?;
        let step = next_step(copy, Some(&position), 1)?;
        if !step.damage.is_empty() {
            return Ok(None);
        }
        records += step.records;
        match step.next {
            Some(next) => position = next,
            None => return Ok(Some(info).filter(|_| records == 1)),
        }
    }
}

fn check_interrupt() -> Result<(), Error> {
    if is_interrupted() { Err(Error::Busy) } else { Ok(()) }
}
