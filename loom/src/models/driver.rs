//! The thread and the callers that drive a runtime.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use loom::future::block_on;
use loom::thread;
use tokio::sync::oneshot;

use super::check;
use crate::sync::let_time_pass;
use crate::util::driver::{Driver, Turn};
use crate::util::handoff::handoff;

/// As tokio's runtime of one thread: of those that drive it, one at a time does the work of all, and the others wait for
/// its end, or for their own outcome.
#[derive(Default)]
struct Runtime {
    driver: Driver,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_driven: bool,
    tasks: Vec<Box<dyn FnOnce() + Send>>,
    /// Those that drive, or wait for that.
    wakers: Vec<Waker>,
}

impl Runtime {
    /// No event of the model happens while this is locked.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn spawn(&self, task: impl FnOnce() + Send + 'static) {
        self.state().tasks.push(Box::new(task));
        self.wake();
    }

    fn wake(&self) {
        let wakers = mem::take(&mut self.state().wakers);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn drive<T>(&self, future: impl Future<Output = T>) -> T {
        let (mut future, mut drives) = (pin!(future), false);
        let outcome = block_on(poll_fn(|context| {
            let tasks = {
                let mut state = self.state();
                state.wakers.push(context.waker().clone());
                drives |= !mem::replace(&mut state.is_driven, true);
                if drives { mem::take(&mut state.tasks) } else { Vec::new() }
            };
            tasks.into_iter().for_each(|task| task());
            future.as_mut().poll(context)
        }));
        if drives {
            self.state().is_driven = false;
            self.wake();
        }
        outcome
    }

    /// A whole call.
    fn call(&self) {
        match self.driver.begin() {
            Turn::Caller(_turn) => {
                let (outbox, outcome) = oneshot::channel();
                self.spawn(move || outbox.send(()).unwrap());
                self.drive(outcome).unwrap();
            }
            Turn::Thread(_turn) => self.wait_for_thread(),
        }
    }

    fn wait_for_thread(&self) {
        let (outbox, outcome) = handoff();
        self.spawn(move || outbox.send(()).unwrap());
        outcome.receive().unwrap();
    }

    /// A part of a stream.
    fn wait(&self) {
        self.driver.need_thread();
        self.wait_for_thread();
    }

    /// A task whose caller awaits it.
    fn task(&self) {
        self.driver.begin_wait();
        self.wait_for_thread();
        self.driver.end_wait();
    }
}

/// Runs the thread, `one` and `other`, all at the same time. `pause` is the time between events.
fn run(preemptions: usize, pause: Duration, one: fn(&Runtime), other: fn(&Runtime)) {
    check(preemptions, move || {
        let_time_pass(pause);
        let runtime = Arc::new(Runtime::default());
        let [for_thread, for_other] = [(); 2].map(|()| Arc::clone(&runtime));
        let serve = thread::spawn(move || for_thread.driver.serve(|turn| for_thread.drive(turn)));
        let other = thread::spawn(move || other(&for_other));
        one(&runtime);
        other.join().unwrap();
        runtime.driver.stop();
        serve.join().unwrap();
    });
}

pub fn every_call_has_its_outcome() {
    for pause in [Duration::ZERO, Duration::from_secs(1)] {
        run(2, pause, Runtime::call, Runtime::call);
        run(2, pause, Runtime::call, Runtime::wait);
        run(2, pause, Runtime::call, Runtime::task);
    }
}

/// So many calls in a row that the thread gives up its right.
pub fn callers_that_come_alone_drive() {
    let calls = |runtime: &Runtime| (0..6).for_each(|_| runtime.call());
    run(1, Duration::ZERO, calls, Runtime::wait);
    run(1, Duration::ZERO, calls, Runtime::call);
}
