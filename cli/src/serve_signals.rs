//! Signals of a service: SIGTERM and Ctrl-C stop it gracefully, a second Ctrl-C immediately; SIGHUP reloads its files.

use std::io;

use strongroom_server::Reloader;

use crate::systemd;

/// Completes when the service must stop.
#[cfg(unix)]
pub(crate) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag::{register, register_conditional_default};
    use tokio::signal::unix::{SignalKind, signal};

    // The signal's handler itself ends the process at the second Ctrl-C, even if all threads of the service are busy.
    let stopping = Arc::new(AtomicBool::new(false));
    register_conditional_default(SIGINT, Arc::clone(&stopping))?;
    register(SIGINT, Arc::clone(&stopping))?;
    register(SIGTERM, stopping)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        systemd::notify(systemd::STOPPING);
    })
}

#[cfg(not(unix))]
pub(crate) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}

/// A stream of SIGHUP, which then no longer ends the program.
#[cfg(unix)]
pub(crate) type Hangup = tokio::signal::unix::Signal;

#[cfg(unix)]
pub(crate) fn hangup() -> io::Result<Hangup> {
    use tokio::signal::unix::{SignalKind, signal};

    signal(SignalKind::hangup())
}

/// Reloads at each SIGHUP, sequentially.
#[cfg(unix)]
pub(crate) fn reload_at(mut hangup: Hangup, reloader: Reloader) {
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            systemd::notify(&systemd::reloading());
            let reloader = reloader.clone();
            // Failures are logged.
            let _ = tokio::task::spawn_blocking(move || reloader.reload()).await;
            systemd::notify(systemd::READY);
        }
    });
}

#[cfg(not(unix))]
pub(crate) struct Hangup;

#[cfg(not(unix))]
pub(crate) fn hangup() -> io::Result<Hangup> {
    Ok(Hangup)
}

#[cfg(not(unix))]
pub(crate) fn reload_at(_hangup: Hangup, _reloader: Reloader) {}
