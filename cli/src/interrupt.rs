//! Ctrl-C and its like while a file is written: the half file goes, then the program ends as it would have.

use std::io;
use std::path::Path;
#[cfg(unix)]
use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, Ordering},
};

/// While this is true, a prompt's own handler ends the program at Ctrl-C, as if there were none.
#[cfg(unix)]
pub(crate) static ENDS_AT_ONCE: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on, the signals that end the program remove this file first.
#[cfg(unix)]
pub(crate) fn remove_at_signal(path: &Path) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::{iterator::Signals, low_level};

    let path = path.to_path_buf();
    let ends_the_program = [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(ends_the_program)?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _ = std::fs::remove_file(path);
            let _ = low_level::emulate_default_handler(signal);
        }
    })?;
    ENDS_AT_ONCE.store(false, Ordering::SeqCst);
    Ok(())
}

/// Whether the program was started so that this signal does nothing, as `nohup` does. Known on Linux alone.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|ignored| ignored >> (signal - 1) & 1 == 1)
}

#[cfg(not(unix))]
pub(crate) fn remove_at_signal(_path: &Path) -> io::Result<()> {
    Ok(())
}
