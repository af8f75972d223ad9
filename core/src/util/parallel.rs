//! Parallel work on the machine's cores.
//!
//! The standard library's scoped threads are not used: they allocate a thread handle for the waiting thread (see
//! `util::handoff`).

use std::panic::resume_unwind;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_utils::thread::ScopedJoinHandle;

use crate::util::cores::Cores;
use crate::util::handoff::handoff;
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

/// Does `work` on each of `parts`, with at most `threads` threads and no more than free cores. The caller's thread is
/// one of them, and the only one if no other can be started. If several parts fail, it returns one of the errors.
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
    parts: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let parts = Mutex::new(parts.fuse());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        while let Some(part) = next() {
            work(part)?;
        }
        Ok(())
    };
    if threads < 2 {
        return run();
    }
    let shared = crossbeam_utils::thread::scope(|scope| {
        let start = |_| scope.builder().name("strongroom-core".into()).spawn(|_| run()).ok();
        let blocked = BlockedSignals::new();
        let others: Vec<_> = (1..threads).filter_map(start).collect();
        drop(blocked);
        let own = run();
        let join = |other: ScopedJoinHandle<'_, _>| other.join().unwrap_or_else(|panic| resume_unwind(panic));
        others.into_iter().map(join).fold(own, Result::and)
    });
    shared.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs `other` on another core during `own`, and returns both results. `own` gets a function that waits for a moment,
/// and returns whether `other` has ended. If no core is free, `other` runs after `own`.
pub(crate) fn beside<A, B: Send>(other: impl Fn() -> B + Sync, own: impl FnOnce(&dyn Fn() -> bool) -> A) -> (A, B) {
    /// How long the function waits.
    const MOMENT: Duration = Duration::from_millis(20);

    let share = cores().take(2);
    if share.cores < 2 {
        return (own(&|| true), other());
    }
    let (running, end) = handoff::<()>();
    let both = crossbeam_utils::thread::scope(|scope| {
        let blocked = BlockedSignals::new();
        let work = |_: &_| {
            let _running = running; // dropped at the end, also after a panic
            other()
        };
        let thread = scope.builder().name("strongroom-core".into()).spawn(work);
        drop(blocked);
        let own = own(&|| end.has_ended_within(MOMENT));
        let other = match thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => other(),
        };
        (own, other)
    });
    both.unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

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
        let (own, other) = beside(|| 2, |has_ended| while !has_ended() {});
        assert_eq!((own, other), ((), 2));
        assert_eq!(beside(|| 2, |_| 1), (1, 2));
    }

    #[test]
    fn no_core_is_assigned_twice() {
        let shares: Vec<_> = (0..cores().count()).map(|_| cores().take(2)).collect();
        assert!(shares.iter().all(|share| (1..=2).contains(&share.cores)));
        assert_eq!(cores().take(5).cores, 1, "all are taken, and the caller has its own thread");
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
