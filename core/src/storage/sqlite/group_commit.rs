//! Group commit: the leader of the waiting writers runs their operations in one transaction, with one sync of the disk.
//!
//! The queue elects a leader ([`commit_queue`](crate::storage::commit_queue)). The leader applies its own operation and
//! those of the waiting writers, commits once, and passes each writer its own outcome.

use std::iter;

use rusqlite::Connection;

use super::connection_settings::Commit;
use super::database::{Applied, Database, OperationOutcome};
use super::error::{Fault, Outcome};
use super::garbage::Garbage;
use super::rows;
use crate::storage::commit_queue::{Leader, Role};
use crate::storage::error::again;
use crate::storage::operation::{MAX_SHARED_BYTES, Operation};
use crate::storage::{Error, Locator, PutMode};
use crate::util::interrupt::uninterrupted;

/// Applies the operation inside the caller's transaction. If the record has one row, nothing has been changed on
/// [`Error::AlreadyExists`] and [`Error::Conflict`].
fn apply(operation: &Operation<'_>, connection: &Connection) -> Outcome<Applied> {
    match operation {
        Operation::Put { locator, record, mode } => rows::put(connection, locator, record, *mode).map(Some),
        Operation::Delete { locator, expected } => rows::delete(connection, locator, expected.as_ref()),
    }
}

impl Database {
    /// Applies an operation durably, in its own transaction or in one that it shares with waiting writers.
    pub(super) fn apply(&self, operation: &Operation<'_>) -> Outcome<Applied> {
        if operation.size() > MAX_SHARED_BYTES {
            return self.write_with(Commit::Long, |connection| apply(operation, connection));
        }
        self.check_writable()?;
        match self.commit_queue.join(|| Some(operation.to_job())) {
            Role::Follower(outcome) => Ok(outcome?),
            Role::Leader(leader) => self.commit_group(operation, leader),
            Role::Interrupted => Err(Error::Busy.into()),
        }
    }

    /// Writes many records in one transaction of their own, in the order of the index. Each has its own outcome, except
    /// that all fail if the transaction itself fails.
    pub(super) fn put_together(&self, records: &[(Locator, &[u8], PutMode)]) -> Outcome<Vec<Result<Garbage, Error>>> {
        let mut order: Vec<_> = records.iter().enumerate().collect();
        order.sort_by_key(|(_, (locator, ..))| *locator);
        let mut outcomes = self.write_with(Commit::Many, |connection| {
            let put = |(place, (locator, record, mode)): (usize, &(Locator, &[u8], PutMode))| match rows::put(
                connection, locator, record, *mode,
            ) {
                Err(Fault(refusal)) if changes_nothing(&refusal) => Ok((place, Err(refusal))),
                outcome => Ok((place, Ok(outcome?))),
            };
            order.into_iter().map(put).collect::<Outcome<Vec<_>>>()
        })?;
        outcomes.sort_by_key(|(place, _)| *place);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    /// Commits the leader's own operation and those of the waiting writers in one transaction. Each has its own
    /// outcome, except that all fail if the transaction itself fails.
    fn commit_group(
        &self,
        own: &Operation<'_>,
        mut leader: Leader<'_, Operation<'static>, OperationOutcome>,
    ) -> Outcome<Applied> {
        // Taken over before the transaction begins: if another process holds the lock, all of these fail together.
        leader.wait_for_last_group();
        leader.gather();
        let mut rolled_back = false;
        let has_followers = leader.jobs().next().is_some();
        let mut together = || {
            self.transact(Commit::Durable, |connection| {
                let applied = apply_each(connection, own, &mut leader);
                rolled_back = applied.is_err();
                applied
            })
        };
        // An interrupt of the leader alone must not end the work for several callers.
        let outcome = if has_followers { uninterrupted(together) } else { together() };
        let mut outcomes: Vec<OperationOutcome> = match outcome {
            Ok(outcomes) => outcomes,
            // One operation failed and rolled back the others: each is repeated alone, so that only that one fails.
            Err(_) if rolled_back && self.check_writable().is_ok() && leader.jobs().next().is_some() => {
                let alone = |operation: &Operation<'_>| -> OperationOutcome {
                    Ok(self.transact(Commit::Durable, |connection| apply(operation, connection))?)
                };
                uninterrupted(|| all(own, &leader).map(alone).collect())
            }
            Err(Fault(error)) => {
                leader.finish(iter::repeat_with(|| Err(again(&error))));
                return Err(error.into());
            }
        };
        let followers = outcomes.split_off(1);
        leader.finish(followers);
        Ok(outcomes.pop().unwrap_or_else(abandoned)?)
    }
}

/// Applies the leader's own operation and those of the waiting writers, until no writer waits: one that arrives in the
/// meantime joins the group.
fn apply_each(
    connection: &Connection,
    own: &Operation<'_>,
    leader: &mut Leader<'_, Operation<'static>, OperationOutcome>,
) -> Outcome<Vec<OperationOutcome>> {
    let mut outcomes = Vec::new();
    loop {
        leader.gather();
        let before = outcomes.len();
        for operation in all(own, leader).skip(before) {
            outcomes.push(match apply(operation, connection) {
                Err(Fault(refusal)) if changes_nothing(&refusal) => Err(refusal),
                outcome => Ok(outcome?),
            });
        }
        if outcomes.len() == before {
            return Ok(outcomes);
        }
    }
}

/// Whether this is the outcome of one operation, which has changed nothing.
fn changes_nothing(refusal: &Error) -> bool {
    matches!(refusal, Error::AlreadyExists | Error::Conflict | Error::InvalidArgument(_))
}

/// The leader's own operation, then those that it took over.
fn all<'a>(
    own: &'a Operation<'a>,
    leader: &'a Leader<'_, Operation<'static>, OperationOutcome>,
) -> impl Iterator<Item = &'a Operation<'a>> {
    iter::once(own).chain(leader.jobs().map(|job| -> &Operation<'_> { job }))
}

/// The outcome of an operation whose leader panicked.
pub(super) fn abandoned() -> OperationOutcome {
    Err(Error::Indeterminate("the thread that committed this write for another panicked".into()))
}
