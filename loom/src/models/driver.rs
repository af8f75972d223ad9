//! The thread and the callers that drive a runtime.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use loom::future::block_on;
use loom::sync::{Mutex, MutexGuard};
use loom::thread;
use tokio::sync::oneshot;

use super::check;
use crate::sync::let_time_pass;
use crate::util::driver::{Driver, Turn};
use crate::util::handoff::{Receiver, handoff};

/// As tokio's runtime of one thread: of those that drive it, one at a time does the work of all, and the others wait
/// for its end, or for their own outcome.
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

    /// Waits until nobody drives.
    fn until_idle(&self) {
        block_on(poll_fn(|context| {
            let mut state = self.state();
            state.wakers.push(context.waker().clone());
            if state.is_driven { Poll::Pending } else { Poll::Ready(()) }
        }));
    }

    /// A whole call. Returns whether the caller had the right to drive.
    fn call(&self) -> bool {
        match self.driver.begin() {
            Turn::Caller(_turn) => {
                let (outbox, outcome) = oneshot::channel();
                self.spawn(move || outbox.send(()).unwrap());
                self.drive(outcome).unwrap();
                true
            }
            Turn::Thread(_turn) => {
                self.start().receive().unwrap();
                false
            }
        }
    }

    /// Starts work, which sends its outcome.
    fn start(&self) -> Receiver<()> {
        let (outbox, outcome) = handoff();
        self.spawn(move || outbox.send(()).unwrap());
        outcome
    }

    /// A part of a stream.
    fn wait(&self) {
        self.driver.need_thread();
        self.start().receive().unwrap();
    }

    /// A task whose caller awaits it.
    fn task(&self) {
        let outcome = self.start();
        self.driver.begin_wait();
        outcome.receive().unwrap();
        self.driver.end_wait();
    }
}

/// Runs the thread, a call and `other`, all at the same time, and then `after`. `pause` is the time between events.
fn run(preemptions: usize, pause: Duration, other: fn(&Runtime), after: fn(&Runtime)) {
    check(preemptions, move || {
        let_time_pass(pause);
        let runtime = Arc::new(Runtime::default());
        let [for_thread, for_other] = [(); 2].map(|()| Arc::clone(&runtime));
        let serve = thread::spawn(move || for_thread.driver.serve(|turn| for_thread.drive(turn)));
        let other = thread::spawn(move || other(&for_other));
        runtime.call();
        other.join().unwrap();
        after(&runtime);
        runtime.driver.stop();
        serve.join().unwrap();
    });
}

const OTHERS: [fn(&Runtime); 3] = [|runtime| _ = runtime.call(), Runtime::wait, Runtime::task];

/// Also if each comes long after the last one.
pub fn every_call_has_its_outcome() {
    for pause in [Duration::ZERO, Duration::from_secs(1)] {
        for other in OTHERS {
            run(2, pause, other, |_| {});
        }
    }
}

pub fn the_thread_leaves_a_caller_alone() {
    run(
        1,
        Duration::ZERO,
        |_| {},
        |runtime| {
            assert!((0..10).any(|_| runtime.call()), "calls that come alone get the right");
            runtime.until_idle();
        },
    );
}

pub fn a_caller_and_the_thread_do_not_both_have_the_right() {
    for other in OTHERS {
        run(2, Duration::ZERO, other, |runtime| {
            if let Turn::Caller(_turn) = runtime.driver.begin() {
                runtime.until_idle();
            }
        });
    }
}
