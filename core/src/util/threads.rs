//! The library's own threads. They block signals, so that the host program's handlers run only on its own threads, and
//! a write to a closed connection is an error instead of SIGPIPE, which would end the process.

use std::io;
use std::thread::{self, JoinHandle};

/// Starts a thread with this name.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let _blocked = BlockedSignals::new();
    thread::Builder::new().name(name.into()).spawn(work)
}

#[cfg(all(unix, feature = "_runtime"))]
pub(crate) use unix::BlockedPipeSignal;
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

    /// Blocks SIGPIPE in the calling thread until it is dropped, and consumes one that was raised meanwhile.
    #[cfg(feature = "_runtime")]
    pub(crate) struct BlockedPipeSignal(Option<SigSet>);

    #[cfg(feature = "_runtime")]
    impl BlockedPipeSignal {
        pub(crate) fn new() -> Self {
            Self(pipe_signal().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok())
        }
    }

    #[cfg(feature = "_runtime")]
    impl Drop for BlockedPipeSignal {
        fn drop(&mut self) {
            let Some(before) = self.0 else { return };
            // There is no safe interface to ask for pending signals. One more is the same as one, because signals do not
            // queue, so the wait ends at once.
            if nix::sys::signal::raise(Signal::SIGPIPE).is_ok() {
                let _ = pipe_signal().wait();
            }
            let _ = before.thread_set_mask(); // it was the mask before, so it is valid
        }
    }

    #[cfg(feature = "_runtime")]
    fn pipe_signal() -> SigSet {
        SigSet::from(Signal::SIGPIPE)
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
}
