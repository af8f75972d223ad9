//! Whose turn it is to write, and one turn for many.
//!
//! Callers queue, first come, first served. Who finds nobody writing begins at once, without a thread's help. Those who
//! wait leave their jobs with the queue; the one whose turn comes does its own and those of the callers behind it, in one
//! transaction, so that one commit serves them all.
//!
//! The locks are those of the parent module, so that a test can check every order of events with locks of its own.

use std::collections::VecDeque;
use std::{iter, mem};

use super::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, is_interrupted, wait};

/// The most jobs of one turn, and the most bytes, so that nobody waits for a very long one.
const MOST_JOBS: usize = 256;
const MOST_BYTES: usize = 1 << 20;

/// The queue of jobs `J`, each with an outcome `O`.
pub(super) struct Turns<J, O> {
    queue: Mutex<Queue<J, O>>,
    /// The outcome where the caller whose turn it was gave up half way, by a panic.
    abandoned: fn() -> O,
}

struct Queue<J, O> {
    /// It is somebody's turn.
    busy: bool,
    waiting: VecDeque<Arc<Waiter<J, O>>>,
}

struct Waiter<J, O> {
    /// With its size in bytes; `None` for what needs a turn of its own.
    job: Option<(J, usize)>,
    stage: Mutex<Stage<O>>,
    changed: Condvar,
}

enum Stage<O> {
    Waiting,
    Turn,
    Done(O),
}

/// What came of waiting.
pub(super) enum Entry<'t, J, O> {
    /// It is the caller's turn.
    Turn(Turn<'t, J, O>),
    /// Another's turn has done the job.
    Done(O),
    /// The wait was interrupted, and nobody has done the job, or will.
    Interrupted,
}

impl<J, O> Turns<J, O> {
    pub(super) fn new(abandoned: fn() -> O) -> Self {
        Self { queue: Mutex::new(Queue { busy: false, waiting: VecDeque::new() }), abandoned }
    }

    /// Waits for a turn, or until another's turn has done `job`, which is made only if there is a wait.
    pub(super) fn enter(&self, job: impl FnOnce() -> Option<(J, usize)>) -> Entry<'_, J, O> {
        if let Some(turn) = self.begin(&mut lock(&self.queue)) {
            return Entry::Turn(turn);
        }
        let waiter = Arc::new(Waiter { job: job(), stage: Mutex::new(Stage::Waiting), changed: Condvar::new() });
        {
            let mut queue = lock(&self.queue);
            if let Some(turn) = self.begin(&mut queue) {
                return Entry::Turn(turn);
            }
            queue.waiting.push_back(Arc::clone(&waiter));
        }
        let mut stage = lock(&waiter.stage);
        while let Stage::Waiting = *stage {
            stage = wait(&waiter.changed, stage);
            if let Stage::Waiting = *stage {
                drop(stage); // asking may take a while, and the queue's lock comes before this one
                if is_interrupted() && self.withdraw(&waiter) {
                    return Entry::Interrupted;
                }
                stage = lock(&waiter.stage);
            }
        }
        match mem::replace(&mut *stage, Stage::Turn) {
            Stage::Done(outcome) => Entry::Done(outcome),
            Stage::Turn | Stage::Waiting => Entry::Turn(self.turn()),
        }
    }

    /// Waits for a turn that is the caller's alone; `None` where the wait was interrupted.
    pub(super) fn enter_alone(&self) -> Option<Turn<'_, J, O>> {
        match self.enter(|| None) {
            Entry::Turn(turn) => Some(turn),
            // Nobody does a job that is none.
            Entry::Done(_) => Some(self.turn()),
            Entry::Interrupted => None,
        }
    }

    /// Takes a waiter out of the queue. Where it is not there any more, somebody does its job, or it is its turn.
    fn withdraw(&self, waiter: &Arc<Waiter<J, O>>) -> bool {
        let mut queue = lock(&self.queue);
        let place = queue.waiting.iter().position(|other| Arc::ptr_eq(other, waiter));
        place.and_then(|place| queue.waiting.remove(place)).is_some()
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.queue).waiting.len()
    }

    fn begin(&self, queue: &mut Queue<J, O>) -> Option<Turn<'_, J, O>> {
        let free = !mem::replace(&mut queue.busy, true);
        free.then(|| self.turn())
    }

    fn turn(&self) -> Turn<'_, J, O> {
        Turn { turns: self, taken: Vec::new(), bytes: 0 }
    }
}

/// A caller's turn; it ends, and the next one's begins, when this is dropped.
pub(super) struct Turn<'t, J, O> {
    turns: &'t Turns<J, O>,
    /// The callers whose jobs this turn does.
    taken: Vec<Arc<Waiter<J, O>>>,
    bytes: usize,
}

impl<J, O> Turn<'_, J, O> {
    /// Takes the jobs over that wait at the front of the queue, as many as one turn may do.
    pub(super) fn gather(&mut self) {
        let mut queue = lock(&self.turns.queue);
        while self.taken.len() < MOST_JOBS
            && let Some((_, size)) = queue.waiting.front().and_then(|next| next.job.as_ref())
            && self.bytes.saturating_add(*size) <= MOST_BYTES
        {
            self.bytes = self.bytes.saturating_add(*size);
            self.taken.extend(queue.waiting.pop_front());
        }
    }

    /// The jobs that were taken over.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &J> {
        self.taken.iter().filter_map(|waiter| waiter.job.as_ref()).map(|(job, _)| job)
    }

    /// Ends the turn, with an outcome for each job that was taken over.
    pub(super) fn finish(mut self, outcomes: impl IntoIterator<Item = O>) {
        let outcomes = outcomes.into_iter().chain(iter::repeat_with(self.turns.abandoned));
        let outcomes: Vec<_> = outcomes.take(self.taken.len()).collect(); // a panic comes here, while all can be told
        for (waiter, outcome) in self.taken.drain(..).zip(outcomes) {
            waiter.set(Stage::Done(outcome));
        }
    }
}

impl<J, O> Drop for Turn<'_, J, O> {
    fn drop(&mut self) {
        for waiter in self.taken.drain(..) {
            waiter.set(Stage::Done((self.turns.abandoned)()));
        }
        let next = {
            let mut queue = lock(&self.turns.queue);
            let next = queue.waiting.pop_front();
            queue.busy = next.is_some();
            next
        };
        if let Some(next) = next {
            next.set(Stage::Turn);
        }
    }
}

impl<J, O> Waiter<J, O> {
    fn set(&self, stage: Stage<O>) {
        *lock(&self.stage) = stage;
        self.changed.notify_one();
    }
}

/// No panic comes while one of these is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
