//! The threads of async calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::thread;

use super::check;
use crate::pool::Pool;
use crate::sync::allow_timeouts;

fn call(pool: &Pool, number: u32) {
    assert_eq!(block_on(pool.clone().run(move || Ok(number))).unwrap(), number);
}

/// The threads end with the pool.
pub fn every_call_has_its_outcome() {
    for most_threads in [1, 2] {
        check(2, move || {
            let pool = Pool::new(most_threads);
            let other = pool.clone();
            let calls = thread::spawn(move || call(&other, 2));
            call(&pool, 1);
            calls.join().unwrap();
        });
    }
}

pub fn a_thread_that_ends_leaves_no_call() {
    check(2, || {
        allow_timeouts(1);
        let pool = Pool::new(1);
        call(&pool, 1);
        call(&pool, 2);
    });
}

pub fn a_call_that_is_given_up_leaves_the_others() {
    check(2, || {
        let pool = Pool::new(1);
        let begun = Arc::new(AtomicUsize::new(0));
        let inner = Arc::clone(&begun);
        let mut given_up = Box::pin(pool.clone().run(move || Ok(inner.fetch_add(1, Ordering::SeqCst))));
        let polled = given_up.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending | Poll::Ready(Ok(0))));
        drop(given_up);
        let before = begun.load(Ordering::SeqCst);
        call(&pool, 1);
        assert_eq!(begun.load(Ordering::SeqCst), before, "it begins after it was given up");
    });
}

pub fn a_value_is_dropped_with_the_last_handle() {
    check(2, || {
        let value = Arc::new(());
        let pool = Pool::new(1);
        let owned = pool.own(Arc::clone(&value));
        let other = thread::spawn(move || drop(pool));
        drop(owned);
        other.join().unwrap();
        // Its thread has ended when the last owner is this one.
        while Arc::strong_count(&value) > 1 {
            thread::yield_now();
        }
    });
}
