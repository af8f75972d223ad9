//! Delays the answer for a wrong key, and for a missing record, to the same time step. A thread sleeps with a precision
//! of microseconds. Tokio's timer wakes whole milliseconds after its own thread went to sleep, which would reveal the
//! duration of the earlier work.

use std::thread;
use std::time::{Duration, Instant};

/// An answer is sent at a multiple of this time after its request.
const STEP: Duration = Duration::from_millis(5);

/// Waits until the next multiple of [`STEP`] after `start`.
pub(super) async fn until_next_step(start: Instant) {
    let mut end = start + STEP;
    while end <= Instant::now() {
        end += STEP;
    }
    let sleep = move || thread::sleep(end.saturating_duration_since(Instant::now()));
    let _ = tokio::task::spawn_blocking(sleep).await; // sleeping does not fail
}
