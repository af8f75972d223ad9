//! The work of one worker: comparing a range of locators at both ends, skipping equal records, and copying the others.

use std::sync::Arc;

use super::check::{SourceCheck, altered, at_destination, check_interrupt};
use super::cursor::Cursor;
use super::range::Range;
use super::{Mode, State};
use crate::error::Error;
use crate::locator::Locator;
use crate::storage::{self, Entry, Head, Info, PutMode, Storage};

/// The records and bytes that are read and written together.
const BATCH_RECORDS: usize = 8192;
const BATCH_BYTES: u64 = 8 << 20;
/// The maximum length of a record that is copied as a whole.
pub(super) const SHORT: u64 = 1 << 20;
/// Changes the shared state.
pub(super) type Report<'r> = &'r dyn Fn(&mut dyn FnMut(&mut State));

/// A record to copy, as both storages list it.
struct Item {
    locator: Locator,
    info: Info,
    there: Option<Head>,
}

#[derive(Default)]
struct Batch {
    items: Vec<Item>,
    bytes: u64,
}

/// Copies ranges from one storage to another.
pub(super) struct RangeCopy {
    pub(super) from: Arc<dyn Storage>,
    pub(super) to: Arc<dyn Storage>,
    /// Whether to delete what the source does not have.
    pub(super) delete: bool,
    pub(super) mode: Mode,
    pub(super) check: Arc<SourceCheck>,
}

impl RangeCopy {
    /// Copies what differs in `range`, and deletes other records.
    pub(super) fn run(&self, range: Range, report: Report<'_>) -> Result<(), Error> {
        let (after, last) = (Some(range.after), range.last);
        let mut here = Cursor::new(&*self.from, after, last).skipping_damage();
        let mut there = Cursor::new(&*self.to, after, last);
        let mut batch = Batch::default();
        let (mut unchanged, mut unchanged_bytes) = (0, 0);
        loop {
            let (source, destination) = (here.peek()?, there.peek().map_err(at_destination)?);
            let damaged = here.take_damage();
            if !damaged.is_empty() {
                report(&mut |state| state.copied.damaged.extend(&damaged));
            }
            match (source, destination) {
                (None, None) => break,
                (Some(source), destination) if destination.is_none_or(|other| source.locator <= other.locator) => {
                    let same = destination.filter(|other| other.locator == source.locator);
                    here.advance();
                    if same.is_some() {
                        there.advance();
                    }
                    if same.is_some_and(|same| same.info == source.info) {
                        unchanged += 1;
                        unchanged_bytes = source.info.len.saturating_add(unchanged_bytes);
                    } else if source.info.len > SHORT {
                        self.copy_one(&source.locator, report)?;
                    } else {
                        batch.push(&source, same.map(|same| same.info.head));
                    }
                }
                (_, Some(extra)) => {
                    there.advance();
                    self.remove(&extra, report)?;
                }
                (Some(_), None) => {} // the first case has it
            }
            if batch.is_full() {
                self.flush(std::mem::take(&mut batch), report)?;
            }
            if unchanged >= BATCH_RECORDS as u64 {
                self.report_unchanged(&mut unchanged, &mut unchanged_bytes, report);
                check_interrupt()?;
            }
        }
        self.flush(batch, report)?;
        self.report_unchanged(&mut unchanged, &mut unchanged_bytes, report);
        Ok(())
    }

    fn report_unchanged(&self, records: &mut u64, bytes: &mut u64, report: Report<'_>) {
        let (records, bytes) = (std::mem::take(records), std::mem::take(bytes));
        report(&mut |state| {
            if self.mode.has_pages {
                state.copied.records += records;
                state.copied.bytes += bytes;
            } else {
                state.copied.unchanged += records;
            }
        });
    }

    /// Handles a record that the source did not list.
    fn remove(&self, extra: &Entry, report: Report<'_>) -> Result<(), Error> {
        report(&mut |state| state.extra = true);
        if !self.delete || self.from.info(&extra.locator)?.is_some() {
            return Ok(());
        }
        match self.to.delete(&extra.locator, Some(&extra.info.head)) {
            Ok(deleted) => report(&mut |state| state.copied.deleted += u64::from(deleted)),
            Err(storage::Error::Conflict) => {} // it was replaced concurrently
            Err(error) => return Err(at_destination(error.into())),
        }
        Ok(())
    }

    /// Copies short records together. Records whose outcome is not clear are copied again, one by one.
    fn flush(&self, batch: Batch, report: Report<'_>) -> Result<(), Error> {
        if batch.items.is_empty() {
            return Ok(());
        }
        let locators: Vec<_> = batch.items.iter().map(|item| item.locator).collect();
        let damaged = self.check.damaged(&*self.from, &locators)?;
        let items: Vec<_> = batch.items.into_iter().filter(|item| !damaged.contains(&item.locator)).collect();
        report(&mut |state| state.copied.damaged.extend(&damaged));
        let locators: Vec<_> = items.iter().map(|item| item.locator).collect();
        let records = match storage::get_many(&*self.from, &locators, 2 * BATCH_BYTES) {
            Ok(records) => records,
            Err(storage::Error::Corrupt | storage::Error::TooLarge | storage::Error::Unsupported(_)) => {
                return locators.iter().try_for_each(|locator| self.copy_one(locator, report));
            }
            Err(error) => return Err(error.into()),
        };
        let (mut writes, mut again) = (Vec::with_capacity(items.len()), Vec::new());
        for (item, record) in items.iter().zip(&records) {
            match record {
                Some(record) if Head::of(record) == Some(item.info.head) => {
                    writes.push((item.locator, &**record, item.there.map_or(PutMode::Create, PutMode::ReplaceIf)));
                }
                // Another version than that which was checked, or none.
                _ => again.push(item.locator),
            }
        }
        let outcomes = self.to.put_each(&writes);
        if outcomes.len() != writes.len() {
            return Err(Error::Internal("the destination has lost outcomes".into()));
        }
        let mut written = Vec::with_capacity(writes.len());
        for ((locator, record, _), outcome) in writes.iter().zip(outcomes) {
            match outcome {
                Ok(()) => written.push((*locator, *record)),
                Err(storage::Error::TooLarge) => report(&mut |state| state.copied.too_large.push(*locator)),
                Err(storage::Error::AlreadyExists | storage::Error::Conflict) => again.push(*locator),
                Err(error) => return Err(at_destination(error.into())),
            }
        }
        self.compare(&written, &mut again, report)?;
        again.iter().try_for_each(|locator| self.copy_one(locator, report))
    }

    /// Compares what was written with what the destination returns. Records that are changed concurrently go to
    /// `again`.
    fn compare(&self, written: &[(Locator, &[u8])], again: &mut Vec<Locator>, report: Report<'_>) -> Result<(), Error> {
        let locators: Vec<_> = written.iter().map(|(locator, _)| *locator).collect();
        let found = match storage::get_many(&*self.to, &locators, 2 * BATCH_BYTES) {
            Err(storage::Error::TooLarge) => {
                again.extend(locators);
                return Ok(());
            }
            found => found.map_err(|error| at_destination(error.into()))?,
        };
        let (mut records, mut bytes) = (0, 0);
        for ((locator, record), found) in written.iter().zip(found) {
            if found.as_deref() == Some(*record) {
                (records, bytes) = (records + 1, bytes + record.len() as u64);
            } else if found.is_some_and(|found| Head::of(&found) == Head::of(record)) {
                return Err(altered());
            } else {
                again.push(*locator);
            }
        }
        report(&mut |state| {
            state.copied.records += records;
            state.copied.bytes += bytes;
        });
        Ok(())
    }
}

impl Batch {
    fn push(&mut self, entry: &Entry, there: Option<Head>) {
        self.bytes = self.bytes.saturating_add(entry.info.len);
        self.items.push(Item { locator: entry.locator, info: entry.info, there });
    }

    fn is_full(&self) -> bool {
        self.items.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }
}
