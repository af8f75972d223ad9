//! The removal of segments that no record needs: a few at a time, the rest in a thread, so that the caller of a removal
//! need not wait for it.
//!
//! The thread runs while there are such segments, and ends when the storage is closed: the next one that opens the
//! database continues.

use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use super::connection_settings::Commit;
use super::database::Database;
use super::error::Outcome;
use super::garbage::{self, Garbage};
use super::{SqliteStorage, lock, upload_lock};
use crate::util::{interrupt, threads};

impl SqliteStorage {
    /// Reclaims the garbage of a successful write: a little at once, more in the background. A failure of this is not a
    /// failure of the write.
    pub(super) fn reclaim_after(&self, garbage: Garbage) {
        if let Some(object) = garbage
            && let Ok(false) = self.database.reclaim_some(object)
        {
            self.reclaimer.request(&self.database);
        }
    }
}

impl Database {
    /// Removes some segments of an object that no record needs. Returns whether that was all.
    fn reclaim_some(&self, object: i64) -> Outcome<bool> {
        self.write_with(Commit::Step, |connection| garbage::remove_some(connection, object))
    }

    /// Removes the segments of an object that no record needs, a few at a time, until `is_ended`. The next sweep
    /// removes the rest.
    pub(super) fn reclaim(&self, object: i64, is_ended: impl Fn() -> bool) -> Outcome<()> {
        loop {
            let start = Instant::now();
            if self.reclaim_some(object)? || is_ended() {
                return Ok(());
            }
            // Other writers poll the lock, and need time to get it.
            interrupt::sleep(start.elapsed() / 2);
        }
    }

    /// Removes the segments of all objects that are marked as dead, until `is_ended`.
    pub(super) fn reclaim_dead(&self, is_ended: impl Fn() -> bool) -> Outcome<()> {
        for object in self.read(|connection| garbage::dead(connection))? {
            self.reclaim(object, &is_ended)?;
            if is_ended() {
                break;
            }
        }
        Ok(())
    }

    /// Removes the leftovers of dead uploads and of removed records, until `is_ended`. Returns whether nothing is left.
    pub(super) fn sweep(&self, is_ended: impl Fn() -> bool) -> Outcome<bool> {
        if self.read(|connection| garbage::pending(connection))?.is_empty() {
            return Ok(true);
        }
        // Each upload holds this lock shared. An exclusive lock proves that no upload is running, and prevents new ones
        // until all pending objects are marked as dead.
        if let Some(lock) = upload_lock::try_exclusive(&self.path)? {
            self.write(garbage::mark_dead)?;
            drop(lock);
        }
        self.reclaim_dead(is_ended)?;
        Ok(self.read(|connection| garbage::dead(connection))?.is_empty())
    }
}

#[derive(Default)]
pub(super) struct Reclaimer(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    state: State,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Running,
    /// Running, with new garbage that it may not have seen.
    RunningAgain,
    Ended,
}

impl Reclaimer {
    /// Starts the thread unless it runs, because there is garbage.
    pub(super) fn request(&self, database: &Arc<Database>) {
        let mut shared = lock(&self.0);
        match shared.state {
            State::Idle => {}
            State::Running | State::RunningAgain => {
                shared.state = State::RunningAgain;
                return;
            }
            State::Ended => return,
        }
        if let Some(before) = shared.thread.take() {
            let _ = before.join(); // it has ended its loop
        }
        let (database, this) = (Arc::clone(database), Arc::clone(&self.0));
        let work = move || {
            loop {
                // After a failure, the next opening or maintenance continues.
                let _ = database.reclaim_dead(|| lock(&this).state == State::Ended);
                let mut shared = lock(&this);
                shared.state = match shared.state {
                    State::RunningAgain => State::Running,
                    State::Running => State::Idle,
                    other => other,
                };
                if shared.state != State::Running {
                    return;
                }
            }
        };
        shared.thread = threads::spawn("strongroom-free", work).ok();
        if shared.thread.is_some() {
            shared.state = State::Running;
        }
    }

    /// Ends the thread for good after its current step, and waits for its end.
    pub(super) fn end(&self) {
        let thread = {
            let mut shared = lock(&self.0);
            shared.state = State::Ended;
            shared.thread.take()
        };
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Discards the handle of the thread in a forked child, where the thread does not exist.
    pub(super) fn forget(&self) {
        let _ = ManuallyDrop::new(Arc::clone(&self.0));
    }
}
