//! Answers that come at a time of their own. A thread sleeps to the microsecond; Tokio's timer wakes whole milliseconds
//! after its own thread went to sleep, and so would show again how long the work before took.

use std::thread;
use std::time::{Duration, Instant};

/// So long after its start, or a multiple of it, something ends.
const STEP: Duration = Duration::from_millis(5);

/// Waits for the end of the step that this moment is in.
pub(super) async fn end_of_step(start: Instant) {
    let mut end = start + STEP;
    while end <= Instant::now() {
        end += STEP;
    }
    let sleep = move || thread::sleep(end.saturating_duration_since(Instant::now()));
    let _ = tokio::task::spawn_blocking(sleep).await; // sleeping does not fail
}
