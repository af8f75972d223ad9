//! The threads of async calls.

use std::sync::Arc;
use std::task::{Context, Waker};

use loom::future::block_on;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::check;
use crate::pool::Pool;
use crate::sync::allow_timeouts;
use crate::util::handoff::handoff;
use crate::util::interrupt;

fn call(pool: &Pool, number: u32) {
    assert_eq!(block_on(pool.clone().run(move || Ok(number))).unwrap(), number);
}

/// The threads end with the pool.
pub fn every_call_has_its_outcome() {
    check(2, move || {
        let pool = Pool::new(1);
        let other = pool.clone();
        let calls = thread::spawn(move || call(&other, 2));
        call(&pool, 1);
        calls.join().unwrap();
    });
}

/// One of them waits for the other.
pub fn two_calls_run_at_the_same_time() {
    check(1, || {
        let pool = Pool::new(2);
        let (sender, receiver) = handoff();
        let other = pool.clone();
        let send = thread::spawn(move || block_on(other.run(move || Ok(sender.send(1)))).unwrap());
        assert_eq!(block_on(pool.run(move || Ok(receiver.receive()))).unwrap(), Some(1));
        send.join().unwrap().unwrap();
    });
}

pub fn a_thread_that_ends_leaves_no_call() {
    check(2, || {
        allow_timeouts(1);
        let pool = Pool::new(1);
        call(&pool, 1);
        call(&pool, 2);
    });
}

/// If it has begun nevertheless, its waits end.
pub fn a_call_that_is_given_up_leaves_the_others() {
    check(3, || {
        let pool = Pool::new(1);
        let [is_given_up, is_late] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let inner = [&is_given_up, &is_late].map(Arc::clone);
        let mut given_up = Box::pin(pool.clone().run(move || {
            let is_late = inner[0].load(Ordering::SeqCst) && !interrupt::was_interrupted();
            inner[1].store(is_late, Ordering::SeqCst); // a panic would only end the call
            Ok(())
        }));
        let _ = given_up.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        drop(given_up);
        is_given_up.store(true, Ordering::SeqCst);
        call(&pool, 1);
        assert!(!is_late.load(Ordering::SeqCst));
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
