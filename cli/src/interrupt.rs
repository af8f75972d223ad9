//! Ctrl-C and its like while a file is written: the half file goes, then the program ends as it would have.

use std::io;
use std::path::Path;

/// From now on, the signals that end the program remove this file first.
#[cfg(unix)]
pub(crate) fn remove_at_signal(path: &Path) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::{iterator::Signals, low_level};

    let path = path.to_path_buf();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _ = std::fs::remove_file(path);
            let _ = low_level::emulate_default_handler(signal);
        }
    })?;
    Ok(())
}

#[cfg(not(unix))]
pub(crate) fn remove_at_signal(_path: &Path) -> io::Result<()> {
    Ok(())
}
