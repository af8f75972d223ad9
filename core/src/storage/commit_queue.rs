//! The queue in which writers wait for each other's commit: in order of arrival, with one leader at a time.
//!
//! If no write is running, the caller becomes the leader immediately, on its own thread. Otherwise it adds its job to
//! the queue and waits. The next leader does its own job and those behind it in the queue, in one transaction with one
//! commit.
//!
//! Most callers write again as soon as their group is committed. If commits take long, the next leader waits for them:
//! otherwise two halves of the callers would take turns, with a commit for each half.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use std::{iter, mem};

use crate::util::interrupt::{self, is_interrupted};
use crate::util::sync::{Condvar, Instant, Mutex, MutexGuard};

/// The most jobs and bytes of one group, which bound the wait of a writer.
const MAX_JOBS: usize = 256;
const MAX_BYTES: usize = 1 << 20;
/// The time of a group from which on the next leader waits: for a quarter of that time, and for this time at most.
/// (PostgreSQL's manual, "WAL Configuration", recommends half of a sync for `commit_delay`.)
const LONG: Duration = Duration::from_millis(1);
const MAX_WAIT: Duration = Duration::from_millis(5);

/// A queue of jobs `J`, each with an outcome `O`.
pub(crate) struct CommitQueue<J, O> {
    queue: Mutex<Queue<J, O>>,
    /// Notified when as many jobs are in the queue as the leader waits for.
    gathered: Condvar,
    /// Makes the outcome of a job whose leader panicked.
    abandoned: fn() -> O,
}

struct Queue<J, O> {
    has_leader: bool,
    waiting: VecDeque<Arc<Waiter<J, O>>>,
    /// The time that the last group took; none after work with a transaction of its own.
    last: Duration,
    /// The number of jobs in the queue once the callers of the last group have written again.
    wanted: usize,
    /// Whether the leader waits for them.
    is_gathering: bool,
}

struct Waiter<J, O> {
    /// The job and its size in bytes; `None` for work that needs its own transaction.
    job: Option<(J, usize)>,
    stage: Mutex<Stage<O>>,
    changed: Condvar,
}

enum Stage<O> {
    Waiting,
    Leading,
    Done(O),
}

/// The result of a caller's wait.
pub(crate) enum Role<'q, J, O> {
    /// The caller leads the next group.
    Leader(Leader<'q, J, O>),
    /// Another leader has done the job.
    Follower(O),
    /// The wait was interrupted, or its time is over: the job will not be done.
    Interrupted,
}

impl<J, O> CommitQueue<J, O> {
    pub(crate) fn new(abandoned: fn() -> O) -> Self {
        let queue = Mutex::new(Queue {
            has_leader: false,
            waiting: VecDeque::new(),
            last: Duration::ZERO,
            wanted: 0,
            is_gathering: false,
        });
        Self { queue, gathered: Condvar::new(), abandoned }
    }

    /// Waits until the caller is the leader, or a leader has done its job. Calls `job` only if it must wait.
    pub(crate) fn join(&self, job: impl FnOnce() -> Option<(J, usize)>) -> Role<'_, J, O> {
        self.join_within(None, job)
    }

    /// As [`join`](Self::join). A time limit ends the wait, unless a leader has taken over the job by then.
    pub(crate) fn join_within(
        &self,
        mut limit: Option<Duration>,
        job: impl FnOnce() -> Option<(J, usize)>,
    ) -> Role<'_, J, O> {
        let begin = Instant::now();
        if let Some(leader) = self.try_lead(&mut lock(&self.queue)) {
            return Role::Leader(leader);
        }
        let waiter = Arc::new(Waiter { job: job(), stage: Mutex::new(Stage::Waiting), changed: Condvar::new() });
        {
            let mut queue = lock(&self.queue);
            if let Some(leader) = self.try_lead(&mut queue) {
                return Role::Leader(leader);
            }
            queue.waiting.push_back(Arc::clone(&waiter));
            if queue.is_gathering && queue.waiting.len() >= queue.wanted {
                self.gathered.notify_one();
            }
        }
        let mut stage = lock(&waiter.stage);
        while let Stage::Waiting = *stage {
            stage = wait(&waiter.changed, stage, limit.map(|limit| limit.saturating_sub(begin.elapsed())));
            if let Stage::Waiting = *stage {
                drop(stage); // the check may take a while, and the queue's lock must be taken before this one
                let is_late = limit.is_some_and(|limit| begin.elapsed() >= limit);
                if (is_late || is_interrupted()) && self.withdraw(&waiter) {
                    return Role::Interrupted;
                }
                limit = limit.filter(|_| !is_late); // the leader's outcome is to come
                stage = lock(&waiter.stage);
            }
        }
        match mem::replace(&mut *stage, Stage::Leading) {
            Stage::Done(outcome) => Role::Follower(outcome),
            Stage::Leading | Stage::Waiting => Role::Leader(self.lead()),
        }
    }

    /// Waits until the caller is the leader, for work that needs its own transaction; `None` if the wait was
    /// interrupted.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "PostgreSQL has its own locks"))]
    pub(crate) fn lead_alone(&self) -> Option<Leader<'_, J, O>> {
        match self.join(|| None) {
            Role::Leader(leader) => Some(leader),
            // Unreachable: no leader takes over a waiter without a job.
            Role::Follower(_) => Some(self.lead()),
            Role::Interrupted => None,
        }
    }

    /// Removes a waiter from the queue. Returns `false` if a leader has taken over its job, or if it is the leader
    /// itself.
    fn withdraw(&self, waiter: &Arc<Waiter<J, O>>) -> bool {
        let mut queue = lock(&self.queue);
        let place = queue.waiting.iter().position(|other| Arc::ptr_eq(other, waiter));
        place.and_then(|place| queue.waiting.remove(place)).is_some()
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.queue).waiting.len()
    }

    fn try_lead(&self, queue: &mut Queue<J, O>) -> Option<Leader<'_, J, O>> {
        let free = !mem::replace(&mut queue.has_leader, true);
        free.then(|| self.lead())
    }

    fn lead(&self) -> Leader<'_, J, O> {
        let (followers, begin) = (Vec::new(), Instant::now());
        Leader { queue: self, followers, bytes: 0, begin, callers: 0, time: Duration::ZERO }
    }
}

/// The exclusive right to write. Dropping it passes the right to the next waiter.
pub(crate) struct Leader<'q, J, O> {
    queue: &'q CommitQueue<J, O>,
    /// The waiters whose jobs this leader does.
    followers: Vec<Arc<Waiter<J, O>>>,
    bytes: usize,
    begin: Instant,
    /// The number of the leader and its followers, and the time of their group, once it is committed.
    callers: usize,
    time: Duration,
}

impl<J, O> Leader<'_, J, O> {
    /// If the last group took long, waits for a short time until its callers have written again.
    pub(crate) fn wait_for_last_group(&mut self) {
        let mut queue = lock(&self.queue.queue);
        if queue.last >= LONG {
            queue.is_gathering = true;
            let time = MAX_WAIT.min(queue.last / 4);
            let waits = |queue: &mut Queue<J, O>| queue.waiting.len() < queue.wanted;
            let waited = self.queue.gathered.wait_timeout_while(queue, time, waits);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            queue.is_gathering = false;
            drop(queue);
            self.begin = Instant::now();
        }
    }

    /// Takes over the jobs at the front of the queue, up to the limits of a group.
    pub(crate) fn gather(&mut self) {
        let mut queue = lock(&self.queue.queue);
        while self.followers.len() < MAX_JOBS
            && let Some((_, size)) = queue.waiting.front().and_then(|next| next.job.as_ref())
            && self.bytes.saturating_add(*size) <= MAX_BYTES
        {
            self.bytes = self.bytes.saturating_add(*size);
            self.followers.extend(queue.waiting.pop_front());
        }
    }

    /// The jobs of the followers.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = &J> {
        self.followers.iter().filter_map(|waiter| waiter.job.as_ref()).map(|(job, _)| job)
    }

    /// Ends the leadership, and passes each follower its outcome.
    pub(crate) fn finish(mut self, outcomes: impl IntoIterator<Item = O>) {
        let outcomes = outcomes.into_iter().chain(iter::repeat_with(self.queue.abandoned));
        (self.callers, self.time) = (self.followers.len().saturating_add(1), self.begin.elapsed());
        // Collected first: if the iterator panics, no follower has an outcome yet, and the drop passes one to all of
        // them.
        let outcomes: Vec<_> = outcomes.take(self.followers.len()).collect();
        let followers = mem::take(&mut self.followers);
        drop(self); // before they can write again, because the next leader waits for them
        for (waiter, outcome) in followers.into_iter().zip(outcomes) {
            waiter.set(Stage::Done(outcome));
        }
    }
}

impl<J, O> Drop for Leader<'_, J, O> {
    fn drop(&mut self) {
        for waiter in self.followers.drain(..) {
            waiter.set(Stage::Done((self.queue.abandoned)()));
        }
        let next = {
            let mut queue = lock(&self.queue.queue);
            let next = queue.waiting.pop_front();
            queue.has_leader = next.is_some();
            queue.last = self.time;
            // If nobody waits, one of the callers probably is the next leader.
            let returning = self.callers.saturating_sub(usize::from(next.is_none()));
            queue.wanted = queue.waiting.len().saturating_add(returning).min(MAX_JOBS);
            next
        };
        if let Some(next) = next {
            next.set(Stage::Leading);
        }
    }
}

impl<J, O> Waiter<J, O> {
    fn set(&self, stage: Stage<O>) {
        *lock(&self.stage) = stage;
        self.changed.notify_one();
    }
}

/// Waits until `changed` is notified, for `limit` at most, or until the wait must check for an interrupt.
fn wait<'g, T>(changed: &Condvar, guard: MutexGuard<'g, T>, limit: Option<Duration>) -> MutexGuard<'g, T> {
    match interrupt::interval().into_iter().chain(limit).min() {
        None => changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(time) => changed.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner).0,
    }
}

/// No code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_waits_in_vain_for_a_short_time_only() {
        let queue = CommitQueue::<(), ()>::new(|| ());
        (lock(&queue.queue).last, lock(&queue.queue).wanted) = (Duration::from_secs(3600), 1);
        let Role::Leader(mut leader) = queue.join(|| None) else { panic!("nobody else writes") };
        let begin = Instant::now();
        leader.wait_for_last_group();
        assert!(begin.elapsed() >= MAX_WAIT);
        leader.gather();
        assert_eq!(leader.jobs().count(), 0);
        leader.finish([]);
        assert_eq!(lock(&queue.queue).wanted, 0, "a caller that is alone waits for nobody");
    }

    #[test]
    fn a_time_limit_ends_the_wait_in_the_queue() {
        let queue = CommitQueue::<(), ()>::new(|| ());
        let limit = Duration::from_millis(20);
        let Role::Leader(mut leader) = queue.join(|| None) else { panic!("nobody else writes") };
        assert!(matches!(queue.join_within(Some(limit), || Some(((), 1))), Role::Interrupted));
        assert_eq!(queue.waiting(), 0);
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| queue.join_within(Some(Duration::from_secs(60)), || Some(((), 1))));
            while queue.waiting() == 0 {
                std::thread::yield_now();
            }
            let waiter = Arc::clone(lock(&queue.queue).waiting.front().unwrap());
            leader.gather();
            let late = scope.spawn(|| queue.join_within(Some(limit), || Some(((), 1))));
            assert!(matches!(late.join().unwrap(), Role::Interrupted));
            assert!(!queue.withdraw(&waiter), "its job is being done");
            leader.finish([()]);
            assert!(matches!(follower.join().unwrap(), Role::Follower(())));
        });
    }
}
