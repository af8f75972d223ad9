//! Parallel work on the machine's cores.
//!
//! The standard library's scoped threads are not used: they allocate a thread handle for the waiting thread (see
//! `util::handoff`).

use std::panic::resume_unwind;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crate::util::cores::Cores;
use crate::util::handoff::handoff;
use crate::util::interrupt::{Cancellation, is_interrupted};
use crate::util::threads::BlockedSignals;

/// The cores that this process may use.
fn cores() -> &'static Cores {
    static CORES: OnceLock<Cores> = OnceLock::new();
    CORES.get_or_init(|| Cores::new(thread::available_parallelism().map_or(1, usize::from)))
}

/// The minimum bytes whose encryption by `aes-gcm` is worth sharing: below, another thread costs more than it saves.
pub(crate) const WORTH_SHARING: usize = 256 << 10;

/// How many threads `len` bytes justify, if work is worth sharing from `worth_sharing` bytes on.
pub(crate) fn for_bytes(len: usize, worth_sharing: usize) -> usize {
    if len < worth_sharing { 1 } else { cores().count().min(len / (worth_sharing / 2)) }
}

/// How long the caller's thread waits for others before it checks for an interrupt.
const MOMENT: Duration = Duration::from_millis(20);

/// Does `work` on each of `parts`, with at most `threads` threads and no more than free cores. The caller's thread is
/// one of them, and the only one if no other can be started. After the first error, which it returns, no part begins.
/// That and an interrupt of the caller's thread also end the waits of the other threads.
pub(crate) fn for_each<T: Send, E: Send>(
    threads: usize,
    parts: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let share = (threads > 1).then(|| cores().take(threads));
    wait_for_each(share.as_ref().map_or(1, |share| share.cores), parts, work)
}

/// As [`for_each`], for work that waits most of the time: even if no core is free.
pub(crate) fn wait_for_each<T: Send, E: Send>(
    threads: usize,
    mut parts: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    if threads < 2 {
        return parts.try_for_each(work);
    }
    let parts = Mutex::new(parts.fuse());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let (first_error, cancellation) = (Mutex::new(None), Cancellation::default());
    let run = || {
        while !cancellation.is_cancelled()
            && let Some(part) = next()
        {
            if let Err(error) = work(part) {
                // Before the others are cancelled, whose errors are consequences.
                first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                cancellation.cancel();
            }
        }
    };
    let shared = crossbeam_utils::thread::scope(|scope| {
        let start = |_| {
            let (running, end) = handoff::<()>();
            let (run, cancellation) = (&run, cancellation.clone());
            let work = move |_: &_| {
                let _running = running; // dropped at the end, also after a panic
                cancellation.run(run);
            };
            Some((scope.builder().name("strongroom-core".into()).spawn(work).ok()?, end))
        };
        let blocked = BlockedSignals::new();
        let others: Vec<_> = (1..threads).filter_map(start).collect();
        drop(blocked);
        run();
        for (other, end) in others {
            while !end.has_ended_within(MOMENT) {
                if is_interrupted() {
                    cancellation.cancel();
                }
            }
            other.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    shared.unwrap_or_else(|panic| resume_unwind(panic));
    first_error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Runs `other` on another core during `own`, and returns both results. `own` gets a function that waits for a moment,
/// and returns whether `other` has ended; it may cancel `other`. If no core is free, `other` runs after `own`, and
/// heeds the interrupts of this thread.
pub(crate) fn beside<A, B: Send>(
    cancellation: &Cancellation,
    other: impl Fn() -> B + Sync,
    own: impl FnOnce(&dyn Fn() -> bool) -> A,
) -> (A, B) {
    let cancellable = || cancellation.clone().run(&other);
    let afterwards = || if cancellation.is_cancelled() { cancellable() } else { other() };
    let share = cores().take(2);
    if share.cores < 2 {
        return (own(&|| true), afterwards());
    }
    let (running, end) = handoff::<()>();
    let both = crossbeam_utils::thread::scope(|scope| {
        let blocked = BlockedSignals::new();
        let work = |_: &_| {
            let _running = running; // dropped at the end, also after a panic
            cancellable()
        };
        let thread = scope.builder().name("strongroom-core".into()).spawn(work);
        drop(blocked);
        let own = own(&|| end.has_ended_within(MOMENT));
        let other = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => afterwards(),
        };
        (own, other)
    });
    both.unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::util::interrupt;

    /// Far longer than any of these tests takes.
    const DEADLINE: Duration = Duration::from_secs(60);

    #[test]
    fn each_part_is_worked_on_once() {
        for threads in [0, 1, 2, 7] {
            let sum = AtomicU64::new(0);
            let outcome = for_each(threads, 1..=1000, |part| {
                sum.fetch_add(part, Ordering::Relaxed);
                Ok::<_, ()>(())
            });
            assert_eq!((outcome, sum.into_inner()), (Ok(()), 500_500));
        }
    }

    #[test]
    fn work_beside_other_work_has_two_results() {
        let cancellation = Cancellation::default();
        let (own, other) = beside(&cancellation, || 2, |has_ended| while !has_ended() {});
        assert_eq!((own, other), ((), 2));
        assert_eq!(beside(&cancellation, || 2, |_| 1), (1, 2));
    }

    #[test]
    fn work_after_other_work_is_interrupted_and_cancelled() {
        let _all = cores().take(cores().count());
        let wait = || {
            let begin = Instant::now();
            interrupt::sleep(DEADLINE);
            begin.elapsed()
        };
        let cancellation = Cancellation::default();
        let interrupted = interrupt::interruptible(|| true, || beside(&cancellation, wait, |_| ()).1);
        let cancelled = beside(&cancellation, wait, |_| cancellation.cancel()).1;
        assert!(interrupted < DEADLINE && cancelled < DEADLINE);
    }

    #[test]
    fn no_core_is_assigned_twice() {
        let shares: Vec<_> = (0..cores().count()).map(|_| cores().take(2)).collect();
        assert!(shares.iter().all(|share| (1..=2).contains(&share.cores)));
        assert_eq!(cores().take(5).cores, 1, "all are taken, and the caller has its own thread");
    }

    /// Each of two threads waits in its first part, until the caller's is interrupted or one of them fails.
    #[test]
    fn an_error_and_an_interrupt_end_the_other_threads() {
        for fails in [false, true] {
            let (begun, caller) = (AtomicU64::new(0), thread::current().id());
            let begin = Instant::now();
            let work = |part: u64| {
                begun.fetch_add(1, Ordering::Relaxed);
                while fails && begun.load(Ordering::Relaxed) < 2 && begin.elapsed() < DEADLINE {
                    thread::yield_now();
                }
                if fails && thread::current().id() == caller {
                    return Err(part);
                }
                interrupt::sleep(DEADLINE);
                if begin.elapsed() < DEADLINE { Err(u64::MAX) } else { Ok(()) }
            };
            let each = || wait_for_each(2, 1..=1000, work);
            let outcome = if fails { each() } else { interrupt::interruptible(|| true, each) };
            assert_eq!(outcome.is_err_and(|part| part < u64::MAX), fails, "the first error counts");
            assert!(begin.elapsed() < DEADLINE && begun.into_inner() <= 2, "no other part begins");
        }
    }

    /// The caller has no part of its own.
    #[test]
    fn an_interrupt_ends_the_wait_for_the_last_part() {
        let caller = thread::current().id();
        let (begin, is_taken) = (Instant::now(), AtomicU64::new(0));
        let work = |_| {
            let is_callers = thread::current().id() == caller;
            is_taken.fetch_add(u64::from(!is_callers), Ordering::Relaxed);
            while is_callers && is_taken.load(Ordering::Relaxed) == 0 && begin.elapsed() < DEADLINE {
                thread::yield_now();
            }
            if is_callers {
                return Ok(());
            }
            interrupt::sleep(DEADLINE);
            if begin.elapsed() < DEADLINE { Err(()) } else { Ok(()) }
        };
        assert_eq!(interrupt::interruptible(|| true, || wait_for_each(2, 1..=2, work)), Err(()));
    }

    #[test]
    fn an_error_of_any_part_is_the_outcome() {
        for threads in [1, 2, 7] {
            for bad in [1, 500, 1000] {
                assert_eq!(for_each(threads, 1..=1000, |part| if part == bad { Err(part) } else { Ok(()) }), Err(bad));
            }
        }
    }
}
