//! Interruption of waits: for languages whose signal handlers run between the steps of a program, and for threads whose
//! result is no longer needed.

use std::cell::{Cell, RefCell};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The interval at which a wait checks for an interrupt.
const INTERVAL: Duration = Duration::from_millis(50);

/// The source of interrupts for the waits of a thread.
enum InterruptSource {
    /// `asked` is `None` until the first wait, so that calls without a wait do not read the clock.
    Poll {
        poll: fn() -> bool,
        asked: Option<Instant>,
        answered: bool,
    },
    Owner(Cancellation),
}

thread_local! {
    static SOURCE: RefCell<Option<InterruptSource>> = const { RefCell::new(None) };
    /// The end of the time in which interrupts have no effect.
    static POSTPONED_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs `call`. While this thread waits in it, for a lock, a thread or a service, it calls `poll` every 50 ms. After
/// the first `true`, each of its waits ends immediately, as if its deadline had passed. So the call ends soon, with
/// [`Error::Busy`](crate::Error::Busy) or another error of an operation that did nothing, or with
/// [`Error::Indeterminate`](crate::Error::Indeterminate) for a write that a service may have received. A call that has
/// done its work still returns its result.
///
/// `poll` must not use a store, because this thread may hold its locks.
pub fn interruptible<R>(poll: fn() -> bool, call: impl FnOnce() -> R) -> R {
    with(InterruptSource::Poll { poll, asked: None, answered: false }, call)
}

/// Whether the call of [`interruptible`] on this thread must end. Calls `poll` at most every 50 ms.
#[must_use]
pub fn is_interrupted() -> bool {
    if is_postponed() {
        return false;
    }
    let poll = SOURCE.with_borrow_mut(|source| match source {
        Some(InterruptSource::Poll { poll, asked, answered: false }) => {
            let is_due = asked.get_or_insert_with(Instant::now).elapsed() >= INTERVAL;
            if is_due {
                *asked = Some(Instant::now());
            }
            is_due.then_some(*poll)
        }
        _ => None,
    });
    // Called while `SOURCE` is not borrowed: `poll` may do anything.
    if poll.is_some_and(|poll| poll()) {
        SOURCE.with_borrow_mut(|source| {
            if let Some(InterruptSource::Poll { answered, .. }) = source {
                *answered = true;
            }
        });
    }
    was_interrupted()
}

/// Whether [`is_interrupted`] returned `true` before. Does not call `poll`.
pub(crate) fn was_interrupted() -> bool {
    let is_answered = || {
        SOURCE.with_borrow(|source| match source {
            Some(InterruptSource::Poll { answered, .. }) => *answered,
            Some(InterruptSource::Owner(cancellation)) => cancellation.is_cancelled(),
            None => false,
        })
    };
    !is_postponed() && is_answered()
}

fn is_postponed() -> bool {
    POSTPONED_UNTIL.get().is_some_and(|end| Instant::now() < end)
}

/// Runs `work`, whose waits an interrupt of this thread ends only after this time.
pub(crate) fn postponed<R>(time: Duration, work: impl FnOnce() -> R) -> R {
    struct Restore(Option<Instant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            POSTPONED_UNTIL.set(self.0);
        }
    }
    let _restore = Restore(POSTPONED_UNTIL.replace(Instant::now().checked_add(time)));
    work()
}

/// Runs `work`, whose waits no interrupt of this thread ends.
#[cfg(feature = "sqlite")]
pub(crate) fn uninterrupted<R>(work: impl FnOnce() -> R) -> R {
    Cancellation::default().run(work)
}

/// How long this thread may wait before it must call [`is_interrupted`]; `None` if its waits cannot be interrupted.
pub(crate) fn interval() -> Option<Duration> {
    SOURCE.with_borrow(|source| source.as_ref().map(|_| INTERVAL))
}

/// Sleeps for `time`, or until it is interrupted.
#[cfg_attr(not(any(feature = "remote", feature = "sqlite")), allow(dead_code, reason = "these storages sleep"))]
pub(crate) fn sleep(time: Duration) {
    let end = Instant::now() + time;
    while !is_interrupted() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        thread::sleep(interval().map_or(left, |interval| left.min(interval)));
    }
}

/// Ends the waits of another thread.
#[derive(Clone, Default)]
pub(crate) struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    pub(crate) fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Runs `work`, whose waits end once this is cancelled.
    pub(crate) fn run<R>(self, work: impl FnOnce() -> R) -> R {
        with(InterruptSource::Owner(self), work)
    }
}

fn with<R>(source: InterruptSource, call: impl FnOnce() -> R) -> R {
    /// Restores the outer source and its time, also after a panic.
    struct Restore(Option<InterruptSource>, Option<Instant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            SOURCE.with_borrow_mut(|source| mem::swap(source, &mut self.0));
            POSTPONED_UNTIL.set(self.1);
        }
    }
    let _restore = Restore(SOURCE.replace(Some(source)), POSTPONED_UNTIL.take());
    call()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_polls_and_later_ones_end_at_once() {
        thread_local! {
            static ASKED: RefCell<u32> = const { RefCell::new(0) };
        }
        fn third_time() -> bool {
            ASKED.with_borrow_mut(|asked| *asked += 1);
            ASKED.with_borrow(|asked| *asked >= 3)
        }
        interruptible(third_time, || {
            assert!(!is_interrupted(), "it is not asked before the first interval is over");
            sleep(Duration::from_secs(3600));
            assert!(was_interrupted());
            sleep(Duration::from_secs(3600));
        });
        assert_eq!(ASKED.take(), 3, "nobody is asked again after a yes");
        assert!(!was_interrupted() && interval().is_none());
    }

    #[test]
    fn an_interrupt_may_be_postponed() {
        let hour = Duration::from_secs(3600);
        let [cancellation, inner] = [(); 2].map(|()| Cancellation::default());
        cancellation.cancel();
        inner.cancel();
        cancellation.run(|| {
            postponed(hour, || {
                assert!(!is_interrupted() && !was_interrupted());
                inner.run(|| assert!(is_interrupted()));
                assert!(!is_interrupted());
            });
            assert!(was_interrupted());
            postponed(Duration::from_millis(20), || sleep(hour));
        });
    }

    #[test]
    fn an_owner_ends_the_waits_of_its_thread() {
        let cancellation = Cancellation::default();
        let owned = cancellation.clone();
        let thread = thread::spawn(move || owned.run(|| sleep(Duration::from_secs(3600))));
        cancellation.cancel();
        thread.join().unwrap();
    }

    #[test]
    fn calls_may_be_nested() {
        interruptible(
            || true,
            || {
                interruptible(|| false, || sleep(Duration::from_millis(60)));
                assert!(!was_interrupted());
                sleep(Duration::from_secs(3600));
                assert!(was_interrupted());
            },
        );
    }
}
