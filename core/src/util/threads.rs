//! The library's own threads. They block signals, so that the host program's handlers run only on its own threads, and
//! a write to a closed connection is an error instead of SIGPIPE, which would end the process.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
pub(crate) use std::thread::JoinHandle;

/// Whether the threads of callers may have small stacks.
static ARE_CALLERS_SMALL: AtomicBool = AtomicBool::new(false);

/// Keeps work that needs much stack, such as TLS, off the threads of callers, from now on in this process.
pub fn assume_small_callers() {
    ARE_CALLERS_SMALL.store(true, Ordering::Relaxed);
}

/// Whether [`assume_small_callers`] was called.
#[cfg(feature = "_runtime")]
pub(crate) fn are_callers_small() -> bool {
    ARE_CALLERS_SMALL.load(Ordering::Relaxed)
}

/// Starts a thread with this name.
///
/// # Errors
///
/// The system's, such as for lack of memory.
pub fn spawn<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    let _blocked = BlockedSignals::new();
    thread::Builder::new().name(name.into()).spawn(work)
}

#[cfg(unix)]
pub(crate) use unix::BlockedSignals;

#[cfg(unix)]
mod unix {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal};

    /// Signals that a fault of the thread itself raises: if they are blocked, the system ends the process without
    /// calling their handlers, such as those of sanitizers and virtual machines.
    const FAULTS: [Signal; 7] = [
        Signal::SIGABRT,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGSEGV,
        Signal::SIGSYS,
        Signal::SIGTRAP,
    ];

    /// Blocks the calling thread's signals until it is dropped. Threads that are started in the meantime inherit this
    /// permanently.
    pub(crate) struct BlockedSignals(Option<SigSet>);

    impl BlockedSignals {
        pub(crate) fn new() -> Self {
            let mut signals = SigSet::all();
            FAULTS.into_iter().for_each(|fault| signals.remove(fault));
            Self(signals.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok())
        }
    }

    impl Drop for BlockedSignals {
        fn drop(&mut self) {
            if let Some(before) = self.0 {
                let _ = before.thread_set_mask(); // it was the mask before, so it is valid
            }
        }
    }
}

#[cfg(not(unix))]
pub(crate) struct BlockedSignals;

#[cfg(not(unix))]
impl BlockedSignals {
    pub(crate) fn new() -> Self {
        Self
    }
}

#[cfg(feature = "_runtime")]
pub(crate) use pipe_signal::BlockedPipeSignal;

#[cfg(all(feature = "_runtime", target_os = "linux"))]
mod pipe_signal {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};

    /// Blocks SIGPIPE in the calling thread until it is dropped, and consumes one that was raised meanwhile.
    pub(crate) struct BlockedPipeSignal(Option<SigSet>);

    impl BlockedPipeSignal {
        pub(crate) fn new() -> Self {
            Self(SigSet::from(Signal::SIGPIPE).thread_swap_mask(SigmaskHow::SIG_BLOCK).ok())
        }
    }

    impl Drop for BlockedPipeSignal {
        fn drop(&mut self) {
            let Some(before) = self.0 else { return };
            // There is no safe interface to ask for a pending signal. Signals do not queue, so one more is the same as
            // one, and the wait ends at once: a blocked signal stays pending even if the process ignores it.
            if raise(Signal::SIGPIPE).is_ok() {
                let _ = SigSet::from(Signal::SIGPIPE).wait();
            }
            let _ = before.thread_set_mask(); // it was the mask before, so it is valid
        }
    }
}

/// Other systems have an option of sockets for this.
#[cfg(all(feature = "_runtime", not(target_os = "linux")))]
mod pipe_signal {
    pub(crate) struct BlockedPipeSignal;

    impl BlockedPipeSignal {
        pub(crate) fn new() -> Self {
            Self
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use nix::sys::signal::{SigSet, Signal};

    use super::*;

    #[test]
    fn a_thread_blocks_all_asynchronous_signals() {
        let before = SigSet::thread_get_mask().unwrap();
        let mask = spawn("strongroom-test", || SigSet::thread_get_mask().unwrap()).unwrap().join().unwrap();
        for signal in
            [Signal::SIGPIPE, Signal::SIGINT, Signal::SIGTERM, Signal::SIGALRM, Signal::SIGCHLD, Signal::SIGUSR1]
        {
            assert!(mask.contains(signal), "{signal}");
        }
        assert!(!mask.contains(Signal::SIGSEGV));
        assert!(SigSet::thread_get_mask().unwrap() == before, "the caller's own mask is as it was");
    }

    #[cfg(all(feature = "_runtime", target_os = "linux"))]
    #[test]
    fn a_pipe_signal_is_consumed() {
        use nix::sys::signal::{SigmaskHow, raise};

        let pending = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigPnd:")).unwrap();
            u64::from_str_radix(mask.trim(), 16).unwrap() & 1 << (Signal::SIGPIPE as u32 - 1) != 0
        };
        // Blocked all the time, so that a signal that is left stays pending.
        let pipe = SigSet::from(Signal::SIGPIPE);
        let before = pipe.thread_swap_mask(SigmaskHow::SIG_BLOCK).unwrap();
        for raised in [0, 1, 2] {
            let blocked = BlockedPipeSignal::new();
            (0..raised).for_each(|_| raise(Signal::SIGPIPE).unwrap());
            assert_eq!(pending(), raised > 0);
            drop(blocked);
            assert!(!pending(), "{raised}");
        }
        before.thread_set_mask().unwrap();
    }
}
