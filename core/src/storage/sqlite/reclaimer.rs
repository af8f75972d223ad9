//! A thread that removes the segments of removed records, so that the caller of a removal need not wait.
//!
//! It runs while there are such segments, and ends when the storage is closed: the next one that opens the database
//! continues.

use std::mem;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::database::{Database, lock};
use crate::util::threads;

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
        mem::forget(Arc::clone(&self.0));
    }
}
