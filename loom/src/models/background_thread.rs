//! The thread that works while it is requested.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::check;
use crate::sync::allow_timeouts;
use crate::util::background_thread::BackgroundThread;

const TICK: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Work {
    thread: BackgroundThread,
    running: AtomicUsize,
    begun: AtomicUsize,
}

impl Work {
    /// Requests a thread that ends after a tick without a request.
    fn request(self: &Arc<Self>) {
        let work = Arc::clone(self);
        self.thread.request("work", move |requests| {
            assert_eq!(work.running.fetch_add(1, Ordering::SeqCst), 0, "two threads at once");
            work.begun.fetch_add(1, Ordering::SeqCst);
            while requests.take() && !requests.wait(TICK) {}
            work.running.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// Requests at the same time, and after the thread has ended by itself.
pub fn one_thread_runs_at_a_time() {
    check(2, || {
        allow_timeouts(1);
        let work = Arc::new(Work::default());
        let other = Arc::clone(&work);
        let request = thread::spawn(move || other.request());
        work.request();
        request.join().unwrap();
        work.thread.end();
        assert_eq!(work.running.load(Ordering::SeqCst), 0);
        assert!((1..=2).contains(&work.begun.load(Ordering::SeqCst)));
    });
}

/// A request during the end, which waits for the thread if it has started.
pub fn no_thread_runs_after_the_end() {
    check(3, || {
        let work = Arc::new(Work::default());
        let other = Arc::clone(&work);
        let request = thread::spawn(move || other.request());
        work.thread.end();
        let begun = work.begun.load(Ordering::SeqCst);
        assert_eq!(work.running.load(Ordering::SeqCst), 0);
        request.join().unwrap();
        work.request();
        assert_eq!(work.begun.load(Ordering::SeqCst), begun, "a thread begins after the end");
    });
}
