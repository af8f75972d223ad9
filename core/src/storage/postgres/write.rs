//! Writes: one leader merges those that wait into one statement ([`commit_queue`](crate::storage::commit_queue)).
//!
//! A statement locks the rows that it changes in the order of their locators, so that two of them never wait for each
//! other. If the connection is lost, the outcome is settled by the heads that are stored afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::time::Instant;

use super::change::{CREATE_ALL, Change, Changed, NewRow, is_simple, new_upload, with_rows};
use super::error::Failure;
use super::statement::{column, head, locator};
use super::{ATTEMPTS, BATCH_BYTES, PostgresStorage, SEGMENT_LEN};
use crate::storage::checksum;
use crate::storage::commit_queue::Role;
use crate::storage::error::again;
use crate::storage::operation::{MAX_SHARED_BYTES, Operation};
use crate::storage::{Error, Head, Locator, PutMode};
use crate::util::interrupt::Cancellation;

/// The most operations and bytes of one statement.
const MAX_ROWS: usize = 1000;
const MAX_BYTES: usize = 8 << 20;
/// How often an operation meets a record that another writer creates at the same moment, before it is given up.
const MAX_ROUNDS: usize = 1000;

/// The outcome of an operation whose leader panicked.
pub(super) fn abandoned() -> Result<bool, Error> {
    Err(Error::Indeterminate("the thread that committed this write for another panicked".into()))
}

impl PostgresStorage {
    /// Applies an operation, in its own statement or in one that it shares with waiting writers. `false` if there was
    /// no record to delete.
    pub(super) fn apply(&self, operation: &Operation<'_>) -> Result<bool, Error> {
        self.check_usable()?;
        let end = self.end();
        if operation.size() > MAX_SHARED_BYTES {
            return only(self.apply_all(&[operation], end));
        }
        // A leader needs the time of one attempt. Its followers came later, so that their calls end later.
        let wait = self.timeout / ATTEMPTS * (ATTEMPTS - 1);
        match self.queue.join_within(Some(wait), || Some(operation.to_job())) {
            Role::Follower(outcome) => outcome,
            Role::Interrupted => Err(Error::Busy),
            Role::Leader(mut leader) => {
                leader.wait_for_last_group();
                leader.gather();
                let all: Vec<&Operation<'_>> = iter::once(operation).chain(leader.jobs().map(shorter)).collect();
                let mut outcomes = match all.len() {
                    1 => self.apply_all(&all, end),
                    // An interrupt of this thread must not make the outcome of the others unknown.
                    _ => Cancellation::default().run(|| self.apply_all(&all, end)),
                };
                drop(all);
                let followers = outcomes.split_off(1.min(outcomes.len()));
                leader.finish(followers);
                only(outcomes)
            }
        }
    }

    /// Applies operations of records that fit in a row each, and returns the outcomes in the same order.
    fn apply_all(&self, operations: &[&Operation<'_>], end: Instant) -> Vec<Result<bool, Error>> {
        let mut outcomes: BTreeMap<usize, Result<bool, Error>> = BTreeMap::new();
        let mut left: Vec<(usize, Change<'_>)> = Vec::new();
        for (place, operation) in operations.iter().enumerate() {
            match Change::of(operation) {
                Ok(change) => left.push((place, change)),
                Err(error) => drop(outcomes.insert(place, Err(error))),
            }
        }
        left.sort_by_key(|(_, change)| change.locator);
        for _ in 0..MAX_ROUNDS {
            if left.is_empty() || Instant::now() >= end {
                break;
            }
            let (round, later) = one_of_each_locator(left);
            left = later;
            let (places, changes): (Vec<_>, Vec<_>) = round.into_iter().unzip();
            let results = self.change(&changes, end);
            for ((place, change), result) in places.into_iter().zip(changes).zip(results) {
                match result {
                    Some(outcome) => drop(outcomes.insert(place, outcome)),
                    None => left.push((place, change)),
                }
            }
            left.sort_by_key(|(place, change)| (change.locator, *place));
        }
        (0..operations.len()).map(|place| outcomes.remove(&place).unwrap_or(Err(Error::Busy))).collect()
    }

    /// Makes changes to different records, in the order of their locators. `None` for one that must be repeated.
    pub(super) fn change(&self, changes: &[Change<'_>], end: Instant) -> Vec<Option<Result<bool, Error>>> {
        let statement = self.change_statement(changes);
        match self.attempts(false, end, || self.attempt(&statement, end)).0 {
            Ok(rows) => self.outcomes(changes, &rows).unwrap_or_else(|error| all(changes, &error)),
            Err(Failure::Lost(source)) => self.settle(changes, &Error::Indeterminate(source), end),
            Err(failure) => all(changes, &failure.of_write(false)),
        }
    }

    fn outcomes(
        &self,
        changes: &[Change<'_>],
        rows: &[tokio_postgres::Row],
    ) -> Result<Vec<Option<Result<bool, Error>>>, Error> {
        if is_simple(changes) {
            let created = rows.iter().map(|row| locator(row, 0)).collect::<Result<BTreeSet<_>, _>>()?;
            let outcome = |change: &Change<'_>| match created.contains(&change.locator) {
                true => Some(Ok(true)),
                false => Some(Err(Error::AlreadyExists)),
            };
            return Ok(changes.iter().map(outcome).collect());
        }
        let mut changed = BTreeMap::new();
        let mut freed = Vec::new();
        for row in rows {
            let result = Changed { done: column(row, 1)?, existed: column(row, 2)?, has_segments: column(row, 3)? };
            let old_upload: Option<i64> = column(row, 4)?;
            freed.extend(old_upload.filter(|_| result.done));
            changed.insert(locator(row, 0)?, result);
        }
        // Segments that were written between the statement's snapshot and its lock are not in the snapshot.
        self.free(freed);
        Ok(changes
            .iter()
            .map(|change| {
                changed.get(&change.locator).map_or(Some(Err(Error::Corrupt)), |result| change.outcome(result))
            })
            .collect())
    }

    /// Finds out the outcome of changes whose reply was lost: repeats those that may be repeated, and compares heads. A
    /// repetition waits for the lost transaction, if that still runs.
    fn settle(&self, changes: &[Change<'_>], lost: &Error, end: Instant) -> Vec<Option<Result<bool, Error>>> {
        let (repeatable, others): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.is_repeatable());
        let mut outcomes: BTreeMap<Locator, Result<bool, Error>> = BTreeMap::new();
        for (group, repeat) in [(repeatable, true), (others, false)] {
            let settled = self.settle_group(&group, repeat, end);
            for change in &group {
                let outcome = match &settled {
                    Ok((done, _)) if done.contains(&change.locator) => Ok(true),
                    Ok((_, heads)) => change.settled(heads.get(&change.locator).copied(), lost),
                    Err(_) => Err(again(lost)),
                };
                outcomes.insert(change.locator, outcome);
            }
        }
        changes
            .iter()
            .map(|change| Some(outcomes.remove(&change.locator).unwrap_or_else(|| Err(again(lost)))))
            .collect()
    }

    /// The changes that a repetition has made, and the heads that are there now.
    #[allow(clippy::type_complexity, reason = "it is used once")]
    fn settle_group(
        &self,
        group: &[&Change<'_>],
        repeat: bool,
        end: Instant,
    ) -> Result<(BTreeSet<Locator>, BTreeMap<Locator, Head>), Error> {
        let mut done = BTreeSet::new();
        if group.is_empty() {
            return Ok((done, BTreeMap::new()));
        }
        if repeat {
            let changes: Vec<Change<'_>> = group.iter().map(|change| change.again()).collect();
            let rows = self.write(&self.change_statement(&changes), end).0?;
            for (change, outcome) in changes.iter().zip(self.outcomes(&changes, &rows)?) {
                if matches!(outcome, Some(Ok(true))) {
                    done.insert(change.locator);
                }
            }
        }
        let sql = "SELECT locator, head FROM @.records WHERE locator = ANY ($1) ORDER BY locator FOR UPDATE";
        let statement = self.statement(sql).locators(group.iter().map(|change| &change.locator));
        let rows = self.write(&statement, end).0?;
        let heads = rows.iter().map(|row| Ok((locator(row, 0)?, head(row, 1)?))).collect::<Result<_, Error>>()?;
        Ok((done, heads))
    }

    /// Removes segments that belong to no record any more. A failure leaves them to [`sweep`](Self::sweep).
    pub(super) fn free(&self, uploads: Vec<i64>) {
        if !uploads.is_empty() {
            let sql = "DELETE FROM @.segments WHERE upload = ANY ($1)";
            let _ = self.write(&self.statement(sql).ints(uploads.into_iter().map(Some)), self.end());
        }
    }

    pub(super) fn put_in_groups(&self, records: &[(Locator, &[u8], PutMode)]) -> Vec<Result<(), Error>> {
        let mut outcomes: BTreeMap<usize, Result<(), Error>> = BTreeMap::new();
        let mut group: Vec<(usize, Operation<'_>)> = Vec::new();
        let mut bytes = 0;
        let flush = |group: &mut Vec<(usize, Operation<'_>)>, outcomes: &mut BTreeMap<usize, Result<(), Error>>| {
            let operations: Vec<_> = group.iter().map(|(_, operation)| operation).collect();
            let results = self.apply_all(&operations, self.end());
            outcomes.extend(group.drain(..).zip(results).map(|((place, _), result)| (place, result.map(drop))));
        };
        for (place, (locator, record, mode)) in records.iter().enumerate() {
            if record.len() > SEGMENT_LEN {
                outcomes.insert(place, self.put_long(locator, record, *mode));
                continue;
            }
            if group.len() >= MAX_ROWS || bytes + record.len() > MAX_BYTES {
                flush(&mut group, &mut outcomes);
                bytes = 0;
            }
            bytes += record.len();
            group.push((place, Operation::Put { locator: *locator, record: (*record).into(), mode: *mode }));
        }
        flush(&mut group, &mut outcomes);
        (0..records.len()).map(|place| outcomes.remove(&place).unwrap_or(Err(Error::Busy))).collect()
    }

    pub(super) fn create_together(&self, records: &[(Locator, &[u8])]) -> Result<(), Error> {
        self.check_usable()?;
        let mut bytes = 0_u64;
        let (mut changes, mut segments) = (Vec::new(), Vec::new());
        for (locator, record) in records {
            bytes = bytes.saturating_add(record.len() as u64);
            let row = if record.len() > SEGMENT_LEN {
                let (upload, len) = (new_upload()?, i64::try_from(record.len()).map_err(|_| Error::TooLarge)?);
                segments.extend((0..).zip(record.chunks(SEGMENT_LEN)).map(|(n, bytes)| (upload, n, bytes)));
                NewRow { head: Head::require(record)?, len, upload: Some(upload), body: None }
            } else {
                NewRow::short(record)?
            };
            changes.push(Change::put(*locator, PutMode::Create, row));
        }
        if bytes > BATCH_BYTES {
            return Err(Error::TooLarge);
        }
        changes.sort_by_key(|change| change.locator);
        let statement = with_rows(self.statement(CREATE_ALL), &changes)
            .ints(segments.iter().map(|(upload, ..)| Some(*upload)))
            .ints(segments.iter().map(|(_, n, _)| Some(*n)))
            .ints(segments.iter().map(|(upload, n, bytes)| Some(checksum::of_segment(*upload, *n, bytes).into())))
            .byte_arrays(segments.iter().map(|(.., bytes)| Some(*bytes)));
        if changes.is_empty() {
            return Ok(());
        }
        let end = self.end();
        match self.write(&statement, end) {
            (Ok(_), _) => Ok(()),
            // All or none were written, so any of them tells that the lost attempt has succeeded. Others may have been
            // replaced since.
            (Err(error), true) => {
                let group: Vec<_> = changes.iter().collect();
                let there = self.settle_group(&group, false, end).map_or_else(|_| BTreeMap::new(), |(_, heads)| heads);
                let is_there =
                    |change: &Change<'_>| change.settled(there.get(&change.locator).copied(), &error).is_ok();
                if changes.iter().any(is_there) { Ok(()) } else { Err(error) }
            }
            (Err(error), false) => Err(error),
        }
    }
}

/// The shorter lifetime, for a list with others.
fn shorter<'a>(operation: &'a Operation<'static>) -> &'a Operation<'a> {
    operation
}

fn only(outcomes: Vec<Result<bool, Error>>) -> Result<bool, Error> {
    outcomes.into_iter().next().unwrap_or_else(abandoned)
}

fn all(changes: &[Change<'_>], error: &Error) -> Vec<Option<Result<bool, Error>>> {
    changes.iter().map(|_| Some(Err(again(error)))).collect()
}

/// The first change of each locator, and the others. `changes` is sorted.
#[allow(clippy::type_complexity, reason = "it is used once")]
fn one_of_each_locator<'r>(changes: Vec<(usize, Change<'r>)>) -> (Vec<(usize, Change<'r>)>, Vec<(usize, Change<'r>)>) {
    let mut last = None;
    changes.into_iter().partition(|(_, change)| last.replace(change.locator) != Some(change.locator))
}
