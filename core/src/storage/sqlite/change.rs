//! A change of one record, small enough to share a transaction with others.

use std::borrow::Cow;
use std::iter;

use rusqlite::Connection;

use super::SqliteStorage;
use super::error::{Fault, Outcome, again};
use super::rows::{self, Garbage};
use super::turns::{Entry, Turn};
use super::writer::Commit;
use crate::storage::{Error, Head, Locator, PutMode};

/// The most bytes of a change that waits together with others: it is copied, for another thread to make it.
const MOST_SHARED: usize = 64 << 10;

#[derive(Clone)]
pub(super) enum Change<'r> {
    Put { locator: Locator, record: Cow<'r, [u8]>, mode: PutMode },
    Delete { locator: Locator, expected: Option<Head> },
}

/// What is left to be reclaimed; outside, `None` where there was no record to delete.
pub(super) type Changed = Option<Garbage>;

/// As [`Outcome`], from one thread to another.
pub(super) type Told = Result<Changed, Error>;

impl Change<'_> {
    fn size(&self) -> usize {
        match self {
            Self::Put { record, .. } => record.len(),
            Self::Delete { .. } => 0,
        }
    }

    /// The same with its own memory, and its size.
    fn to_job(&self) -> (Change<'static>, usize) {
        let job = match self {
            Self::Put { locator, record, mode } => {
                Change::Put { locator: *locator, record: Cow::Owned(record.to_vec()), mode: *mode }
            }
            Self::Delete { locator, expected } => Change::Delete { locator: *locator, expected: *expected },
        };
        (job, self.size())
    }

    /// Makes the change in a transaction of the caller's. [`Error::AlreadyExists`] and [`Error::Conflict`] come before
    /// anything is changed, if the record has one row.
    fn make(&self, connection: &Connection) -> Outcome<Changed> {
        match self {
            Self::Put { locator, record, mode } => rows::put(connection, locator, record, *mode).map(Some),
            Self::Delete { locator, expected } => rows::delete(connection, locator, expected.as_ref()),
        }
    }
}

impl SqliteStorage {
    /// Makes a change durable: in a transaction of its own, or together with those of others who wait.
    pub(super) fn change(&self, change: &Change<'_>) -> Outcome<Changed> {
        if change.size() > MOST_SHARED {
            return self.write(|connection| change.make(connection));
        }
        self.check_writable()?;
        match self.turns.enter(|| Some(change.to_job())) {
            Entry::Done(told) => Ok(told?),
            Entry::Turn(turn) => self.make_all(change, turn),
            Entry::Interrupted => Err(Error::Busy.into()),
        }
    }

    /// Makes the caller's own change and those that wait, in one transaction. Each has its own outcome; but where the
    /// transaction fails, it fails for all.
    fn make_all(&self, own: &Change<'_>, mut turn: Turn<'_, Change<'static>, Told>) -> Outcome<Changed> {
        turn.gather(); // who waits for another process together with this one is told so together
        let mut spoilt = false;
        let outcome = self.transact(Commit::Durable, |connection| {
            let made = make_each(connection, own, &mut turn);
            spoilt = made.is_err();
            made
        });
        let mut told: Vec<Told> = match outcome {
            Ok(made) => made,
            // One of them failed, and took the others with it: each by itself, so that it fails alone.
            Err(_) if spoilt && self.check_open().is_ok() && turn.jobs().next().is_some() => all(own, &turn)
                .map(|change| Ok(self.transact(Commit::Durable, |connection| change.make(connection))?))
                .collect(),
            Err(Fault(error)) => {
                turn.finish(iter::repeat_with(|| Err(again(&error))));
                return Err(error.into());
            }
        };
        let others = told.split_off(1);
        turn.finish(others);
        Ok(told.pop().unwrap_or_else(abandoned)?)
    }
}

/// Makes the caller's own change, and those that wait, until nobody waits: who comes while this is at work comes along.
fn make_each(
    connection: &Connection,
    own: &Change<'_>,
    turn: &mut Turn<'_, Change<'static>, Told>,
) -> Outcome<Vec<Told>> {
    let mut told = Vec::new();
    loop {
        turn.gather();
        let before = told.len();
        for change in all(own, turn).skip(before) {
            told.push(match change.make(connection) {
                Err(Fault(refusal @ (Error::AlreadyExists | Error::Conflict))) => Err(refusal),
                outcome => Ok(outcome?),
            });
        }
        if told.len() == before {
            return Ok(told);
        }
    }
}

/// The caller's own change, and those taken over.
fn all<'a>(own: &'a Change<'a>, turn: &'a Turn<'_, Change<'static>, Told>) -> impl Iterator<Item = &'a Change<'a>> {
    iter::once(own).chain(turn.jobs().map(|job| -> &Change<'_> { job }))
}

/// What those are told whose change was in the hands of a thread that panicked.
pub(super) fn abandoned() -> Told {
    Err(Error::Indeterminate("the thread that wrote for this one panicked".into()))
}
