//! Repair without keys: damaged rows are replaced by the records of a copy, and indexes are built again. If pages are
//! damaged, no row may be removed, because that could overwrite the pages of intact ones: then the whole database is
//! built again ([`super::rebuild`]), as it is if a record has two rows.

use std::sync::Arc;

use super::connection_settings::Commit;
use super::damaged_row::DamagedRow;
use super::error::{Fault, Outcome};
use super::rows::{SEGMENT_LEN, check_interrupt, prefix};
use super::upload::SqliteUpload;
use super::verify::structure::{self, Structure};
use super::verify::{self, RowPosition};
use super::{SqliteStorage, garbage, scan};
use crate::storage::repair::intact_info;
use crate::storage::{DamageKind, Error, Info, LOCATOR_LEN, Locator, PutMode, Repaired, Storage, Upload};
use crate::util::interrupt::is_interrupted;

impl SqliteStorage {
    pub(super) fn repair_from(self: &Arc<Self>, copy: &dyn Storage) -> Outcome<Repaired> {
        self.database.check_writable()?;
        let structure = self.database.interruptible_snapshot(structure::check)?;
        let outcome = match structure.needs_rebuild {
            true => Err(Error::Corrupt.into()),
            false => self.repair_in_place(copy, &structure),
        };
        match outcome {
            Err(Fault(Error::Corrupt)) => self.rebuild(copy),
            outcome => outcome,
        }
    }

    /// [`Error::Corrupt`] if the database must be built again.
    fn repair_in_place(self: &Arc<Self>, copy: &dyn Storage, structure: &Structure) -> Outcome<Repaired> {
        let reindex = |index: &String| self.reindex(index);
        let (of_segments, of_records): (Vec<_>, Vec<_>) =
            structure.indexes.iter().partition(|index| index.contains("segment"));
        of_segments.into_iter().try_for_each(reindex)?;
        if !of_records.is_empty() {
            // The index may have the only intact part of a damaged row's locator.
            self.each_damaged_row(|_| Err(Error::Corrupt.into()))?;
            of_records.into_iter().try_for_each(reindex)?;
        }
        let repaired = self.repair_rows(copy)?;
        let left = self.database.interruptible_snapshot(structure::check)?;
        if left.needs_rebuild || !left.indexes.is_empty() { Err(Error::Corrupt.into()) } else { Ok(repaired) }
    }

    /// Builds an index again. [`Error::Corrupt`] if a record has two rows: an index with both could show the one that
    /// was hidden, in place of the one that users see.
    fn reindex(&self, index: &str) -> Outcome<()> {
        let sql = format!("REINDEX \"{}\"", index.replace('"', "\"\""));
        let _leader = self.database.commit_queue.lead_alone().ok_or(Error::Busy)?;
        self.database.with_writer(|writer| {
            writer.interruptible_transact(Commit::Many, |connection| match scan::has_doubles_in_table(connection)? {
                true => Err(Error::Corrupt.into()),
                false => Ok(connection.execute_batch(&sql)?),
            })
        })
    }

    /// Replaces the damaged rows by records of the copy. [`Error::Corrupt`] if the tables are not readable.
    pub(super) fn repair_rows(self: &Arc<Self>, copy: &dyn Storage) -> Outcome<Repaired> {
        let (mut repaired, mut is_whole) = (Repaired::default(), true);
        self.each_damaged_row(|damaged| {
            match self.restore(copy, damaged)? {
                Some(locator) => repaired.restored.push(locator),
                None => is_whole = false,
            }
            Ok(())
        })?;
        // Segments of a row that is still damaged may be needed later.
        if is_whole {
            self.remove_orphans()?;
        }
        Ok(repaired)
    }

    /// Calls `visit` for each damaged row.
    fn each_damaged_row(&self, mut visit: impl FnMut(DamagedRow) -> Outcome<()>) -> Outcome<()> {
        let mut last = None;
        let mut next = Some(self.database.read(|connection| Ok(RowPosition::first(connection)))?);
        while let Some(at) = next {
            let (damaged, end) = self.database.interruptible_snapshot(|connection| {
                let step = verify::check_rows(connection, at, usize::MAX)?;
                let mut damaged = Vec::new();
                for found in step.found.iter().filter(|found| found.damage.kind != DamageKind::Unsupported) {
                    let id = found.row.ok_or(Error::Corrupt)?;
                    if last != Some(id) {
                        damaged.extend(DamagedRow::read(connection, id, found.damage.place != verify::row::PLACE)?);
                    }
                    last = Some(id);
                }
                Ok((damaged, step.next))
            })?;
            damaged.into_iter().try_for_each(&mut visit)?;
            next = end;
        }
        Ok(())
    }

    /// Replaces a damaged row by the record of the copy.
    fn restore(self: &Arc<Self>, copy: &dyn Storage, damaged: DamagedRow) -> Outcome<Option<Locator>> {
        let Some((locator, info)) = find_intact(copy, damaged.locator().as_ref(), damaged.prefix())? else {
            return Ok(None);
        };
        let upload = SqliteUpload::instead_of(Arc::clone(self), locator, damaged)?;
        Ok(write_copy(copy, &locator, &info, upload)?.then_some(locator))
    }

    /// Writes a lost record, of which only the prefix is known.
    pub(super) fn restore_lost(self: &Arc<Self>, copy: &dyn Storage, prefix: i64) -> Outcome<Option<Locator>> {
        let Some((locator, info)) = find_intact(copy, None, Some(prefix))? else { return Ok(None) };
        let upload = SqliteUpload::new(Arc::clone(self), locator, PutMode::Create)?;
        Ok(write_copy(copy, &locator, &info, upload)?.then_some(locator))
    }

    fn remove_orphans(&self) -> Outcome<()> {
        // Each check finds a limited number of them.
        loop {
            let orphans = self.database.interruptible_snapshot(structure::find_orphans)?;
            if orphans.is_empty() {
                return Ok(());
            }
            orphans.into_iter().try_for_each(|object| self.remove_orphan(object))?;
        }
    }

    /// Removes the segments of an object that belongs to no record.
    pub(super) fn remove_orphan(&self, object: i64) -> Outcome<()> {
        self.database.write(|connection| garbage::add_dead(connection, object))?;
        self.database.reclaim(object, is_interrupted)?;
        check_interrupt()
    }
}

/// The intact record of the copy for a damaged row. If the row's locator is damaged, its prefix identifies the record.
fn find_intact(copy: &dyn Storage, locator: Option<&Locator>, wanted: Option<i64>) -> Outcome<Option<(Locator, Info)>> {
    if let Some(locator) = locator
        && let Some(info) = intact_info(copy, locator)?
    {
        return Ok(Some((*locator, info)));
    }
    let Some(wanted) = wanted else { return Ok(None) };
    let mut first = [0; LOCATOR_LEN];
    first.iter_mut().zip((wanted.cast_unsigned() ^ (1 << 63)).to_be_bytes()).for_each(|(to, from)| *to = from);
    let list = match copy.list(Some(&Locator::from_bytes(first)), 1) {
        Err(error) if error.is_of_record() => return Ok(None),
        list => list?,
    };
    let Some(entry) = list.first().filter(|entry| prefix(&entry.locator) == wanted) else { return Ok(None) };
    Ok(intact_info(copy, &entry.locator)?.map(|info| (entry.locator, info)))
}

/// Writes one version of a record of the copy. `false` if it or its place was changed concurrently.
fn write_copy(copy: &dyn Storage, locator: &Locator, info: &Info, mut upload: SqliteUpload) -> Outcome<bool> {
    let mut write = || {
        let mut buffer = vec![0; SEGMENT_LEN];
        let mut offset = 0;
        while offset < info.len {
            check_interrupt()?;
            let left = usize::try_from(info.len - offset).unwrap_or(usize::MAX);
            let part = buffer.get_mut(..left.min(SEGMENT_LEN)).unwrap_or_default();
            copy.read_at(locator, &info.head, offset, part)?;
            upload.write(part)?;
            offset += part.len() as u64;
        }
        Ok(())
    };
    match write().and_then(|()| Ok(Box::new(upload).commit()?)) {
        Ok(()) => Ok(true),
        Err(Fault(Error::Conflict | Error::AlreadyExists)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{add_row, locator, record, storage};
    use super::*;
    use crate::util::interrupt::Cancellation;

    /// The second row may be as new as this: another process may have created it after the check of the structure.
    #[test]
    fn no_index_of_two_rows_of_a_record_is_built_again() {
        let (_folder, storage) = storage();
        storage.put(&locator(1), &record(100), PutMode::Create).unwrap();
        storage.reindex("record_prefix").unwrap();
        add_row(storage.path(), 1, 5);
        let outcome = storage.reindex("record_prefix");
        assert!(matches!(outcome, Err(Fault(Error::Corrupt))), "{outcome:?}");
    }

    #[test]
    fn an_interrupt_ends_the_work_on_an_index() {
        let (_folder, storage) = storage();
        let records: Vec<_> = (0..5000_u32)
            .map(|n| {
                let mut locator = [1; LOCATOR_LEN];
                locator[..4].copy_from_slice(&n.to_be_bytes());
                (Locator::from_bytes(locator), record(100))
            })
            .collect();
        let records: Vec<_> = records.iter().map(|(locator, record)| (*locator, &**record)).collect();
        storage.create_many(&records).unwrap();
        let interrupted = Cancellation::default();
        interrupted.cancel();
        let outcome = interrupted.run(|| storage.reindex("record_prefix"));
        assert!(matches!(outcome, Err(Fault(Error::Busy))), "{outcome:?}");
        storage.reindex("record_prefix").unwrap();
        assert_eq!(storage.list(None, 10_000).unwrap().len(), 5000);
    }
}
