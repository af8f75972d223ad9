//! Ctrl-C and all other signals that end the program: before the end, unfinished files are removed, the terminal's echo
//! is restored, and steps that must not be interrupted are finished. A second signal ends the program immediately.

#[cfg(not(unix))]
use std::io;
#[cfg(not(unix))]
use std::path::Path;

#[cfg(unix)]
pub(crate) use unix::{DEFAULT_ACTION, DeferredSignals, defer_signals, is_signalled, restore_terminal_at_signal};

#[cfg(unix)]
mod unix {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
    use std::thread;

    use rustix::fs::{AtFlags, CWD, Mode, OFlags, unlinkat};
    use rustix::process::getpgrp;
    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
    use signal_hook::iterator::Signals;
    use signal_hook::{consts, flag, low_level};

    /// While this is true, signals end the program immediately, as without a handler.
    pub(crate) static DEFAULT_ACTION: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

    static CLEANUP: Mutex<Cleanup> =
        Mutex::new(Cleanup { watching: false, temporary: BTreeMap::new(), terminal: None });

    struct Cleanup {
        /// Whether the handlers are installed.
        watching: bool,
        /// The unfinished files, each with the open folder that its path begins in, if there is one.
        temporary: BTreeMap<PathBuf, Option<OwnedFd>>,
        /// The terminal and its settings, while a prompt has changed them.
        terminal: Option<(OwnedFd, Termios)>,
    }

    /// Signals are deferred until this value is dropped.
    pub(crate) struct DeferredSignals(MutexGuard<'static, Cleanup>);

    impl DeferredSignals {
        /// Registers a file that a signal removes before it ends the program.
        pub(crate) fn remove_at_signal(mut self, path: &Path) {
            self.0.temporary.insert(path.to_path_buf(), None);
        }

        /// The same for a file in an open folder. Its name is unique in this process.
        pub(crate) fn remove_in_at_signal(mut self, folder: OwnedFd, name: &str) {
            self.0.temporary.insert(name.into(), Some(folder));
        }

        /// From now on, a signal does not remove this file.
        pub(crate) fn keep_at_signal(mut self, path: &Path) {
            self.0.temporary.remove(path);
        }
    }

    /// Defers signals.
    pub(crate) fn defer_signals() -> io::Result<DeferredSignals> {
        let mut cleanup = cleanup();
        if !cleanup.watching {
            watch()?;
            cleanup.watching = true;
        }
        Ok(DeferredSignals(cleanup))
    }

    /// A signal restores the terminal's settings until this value is dropped.
    pub(crate) struct SavedTerminal(());

    impl Drop for SavedTerminal {
        fn drop(&mut self) {
            cleanup().terminal = None;
        }
    }

    /// From now on, a signal restores the present settings of the terminal before it ends the program.
    pub(crate) fn restore_terminal_at_signal() -> io::Result<SavedTerminal> {
        let terminal = rustix::fs::open("/dev/tty", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        if !is_in_foreground(&terminal) {
            // The prompt stops a job in the background. Here, signals still end it.
            low_level::raise(consts::SIGTTOU)?;
        }
        let settings = tcgetattr(&terminal)?;
        defer_signals()?.0.terminal = Some((terminal, settings));
        Ok(SavedTerminal(()))
    }

    /// Otherwise the settings are those of another program, and a change would stop this one.
    fn is_in_foreground(terminal: &OwnedFd) -> bool {
        tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp())
    }

    /// Whether a signal waits until signals are no longer deferred.
    pub(crate) fn is_signalled() -> bool {
        DEFAULT_ACTION.load(Ordering::SeqCst)
    }

    fn cleanup() -> MutexGuard<'static, Cleanup> {
        CLEANUP.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch() -> io::Result<()> {
        DEFAULT_ACTION.store(true, Ordering::SeqCst); // nothing has to be finished yet
        let ends_the_program: Vec<_> = terminating().filter(|signal| !is_ignored(*signal)).collect();
        for signal in ends_the_program.iter().copied() {
            if low_level::signal_name(signal).is_some_and(|name| name != "SIGIO") {
                flag::register_conditional_default(signal, Arc::clone(&DEFAULT_ACTION))?;
            } else {
                flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&DEFAULT_ACTION))?;
            }
        }
        let mut signals = Signals::new(ends_the_program)?;
        let thread = thread::Builder::new().name("signals".into()).spawn(move || {
            let Some(signal) = signals.forever().next() else { return };
            DEFAULT_ACTION.store(true, Ordering::SeqCst);
            let cleanup = cleanup();
            for (path, folder) in &cleanup.temporary {
                let _ = unlinkat(folder.as_ref().map_or(CWD, OwnedFd::as_fd), path, AtFlags::empty());
            }
            if let Some((terminal, settings)) = &cleanup.terminal
                && is_in_foreground(terminal)
            {
                let _ = tcsetattr(terminal, OptionalActions::Now, settings);
            }
            let _ = low_level::emulate_default_handler(signal);
            low_level::exit(128 + signal); // for signals whose default action `signal-hook` does not know
        });
        let cannot_start = |error: io::Error| io::Error::new(error.kind(), format!("cannot start a thread: {error}"));
        thread.map_err(cannot_start)?;
        DEFAULT_ACTION.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// The signals that end a program and can be caught, except those for its own faults.
    fn terminating() -> impl Iterator<Item = i32> {
        use consts::{SIGABRT, SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPIPE, SIGPROF, SIGQUIT, SIGSYS, SIGTERM, SIGTRAP};
        use consts::{SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ};

        let everywhere = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF];
        let everywhere = everywhere.into_iter().chain([SIGXCPU, SIGXFSZ, SIGTRAP, SIGABRT, SIGSYS]);
        // On Linux also SIGSTKFLT, SIGIO, SIGPWR and the real-time signals; elsewhere, SIGIO does nothing.
        let on_linux = [16, SIGIO, 30].into_iter().chain(34..=64);
        everywhere.chain(on_linux.filter(|_| cfg!(target_os = "linux")))
    }

    /// Whether the program was started with this signal ignored, as `nohup` does. Known only on Linux.
    fn is_ignored(signal: i32) -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored =
            status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
        ignored.is_some_and(|ignored| ignored >> (signal - 1) & 1 == 1)
    }
}

#[cfg(not(unix))]
pub(crate) struct DeferredSignals;

#[cfg(not(unix))]
impl DeferredSignals {
    pub(crate) fn remove_at_signal(self, _path: &Path) {}

    pub(crate) fn keep_at_signal(self, _path: &Path) {}
}

#[cfg(not(unix))]
pub(crate) fn defer_signals() -> io::Result<DeferredSignals> {
    Ok(DeferredSignals)
}

#[cfg(not(unix))]
pub(crate) fn is_signalled() -> bool {
    false
}
