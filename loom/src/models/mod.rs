//! The models: each function panics at a fault.

pub mod background_thread;
pub mod cores;
pub mod driver;
pub mod group_commit;
pub mod handoff;
pub mod pool;

use std::time::Duration;

use crate::sync::{allow_timeouts, let_time_pass};

/// Runs `model` in every order of events that needs at most so many preemptions: switches away from a thread that could
/// continue.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        allow_timeouts(0);
        let_time_pass(Duration::ZERO);
        model();
    });
}
