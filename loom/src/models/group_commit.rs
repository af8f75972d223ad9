//! The queue of writers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::check;
use crate::commit_queue::{CommitQueue, Role};
use crate::sync::{Mutex, let_time_pass};

const ABANDONED: u32 = u32::MAX;

/// The behaviour of a leader.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// It does its own job and those of others.
    Shared,
    /// It does work that needs its own transaction.
    Alone,
    /// It panics halfway.
    Panics,
    /// It panics while it passes the outcomes to the followers.
    PanicsReporting,
}

/// The queue, and the jobs that were done.
struct Store {
    queue: CommitQueue<u32, u32>,
    done: Mutex<Vec<u32>>,
}

impl Store {
    fn write(&self, job: u32, kind: Kind) -> u32 {
        if kind == Kind::Alone {
            let _leader = self.queue.lead_alone().expect("nothing interrupts it");
            let mut done = self.done.try_lock().expect("two leaders at once");
            loom::thread::yield_now();
            done.push(job);
            return outcome(job);
        }
        match self.queue.join(|| Some((job, 1))) {
            Role::Follower(outcome) => outcome,
            Role::Interrupted => panic!("nothing interrupts it"),
            Role::Leader(mut leader) => {
                leader.gather();
                assert!(kind != Kind::Panics, "half way");
                {
                    let mut done = self.done.try_lock().expect("two leaders at once");
                    loom::thread::yield_now(); // lets other threads run
                    done.push(job);
                    done.extend(leader.jobs());
                }
                let outcomes: Vec<_> = leader.jobs().map(|job| outcome(*job)).collect();
                leader.finish(outcomes.into_iter().inspect(|_| assert!(kind != Kind::PanicsReporting, "reporting")));
                outcome(job)
            }
        }
    }
}

fn outcome(job: u32) -> u32 {
    job * 10
}

/// Runs each of `kinds` in its own thread, in every order. All end, each with its own outcome, and each job is done
/// once.
fn write_all(kinds: &'static [Kind]) {
    check(3, move || {
        let store = Arc::new(Store { queue: CommitQueue::new(|| ABANDONED), done: Mutex::new(Vec::new()) });
        let write = |(job, kind): (u32, &'static Kind)| {
            let store = Arc::clone(&store);
            move || catch_unwind(AssertUnwindSafe(|| store.write(job, *kind))).ok()
        };
        let mut writes: Vec<_> = (1..).zip(kinds).map(write).collect();
        let first = writes.remove(0);
        let threads: Vec<_> = writes.into_iter().map(loom::thread::spawn).collect();
        let mut reported = vec![first()];
        reported.extend(threads.into_iter().map(|thread| thread.join().unwrap()));

        let mut done = store.done.lock().unwrap().clone();
        done.sort_unstable();
        let succeeded: Vec<_> = (1..)
            .zip(&reported)
            .filter(|(job, reported)| **reported == Some(outcome(*job)))
            .map(|(job, _)| job)
            .collect();
        let reporting = kinds.contains(&Kind::PanicsReporting);
        assert!(done == succeeded || reporting, "the jobs that were done are those that report success");
        let panics = kinds.contains(&Kind::Panics) || reporting;
        assert!(panics || done.len() == kinds.len(), "all was done");
        for ((job, kind), reported) in (1..).zip(kinds).zip(reported) {
            match reported {
                // The leader with its job panicked.
                Some(ABANDONED) => assert!(panics),
                Some(reported) => assert_eq!(reported, outcome(job)),
                None => assert!(matches!(kind, Kind::Panics | Kind::PanicsReporting)),
            }
        }
    });
}

pub fn every_job_runs_once_and_reports_to_its_caller() {
    write_all(&[Kind::Shared, Kind::Shared, Kind::Shared]);
}

pub fn exclusive_work_runs_between_groups() {
    write_all(&[Kind::Shared, Kind::Alone, Kind::Shared]);
    write_all(&[Kind::Alone, Kind::Alone, Kind::Shared]);
}

/// The callers of a group that took long: one leads the next group, and waits for the other.
pub fn a_leader_waits_for_the_last_group() {
    check(3, || {
        let_time_pass(Duration::from_secs(1));
        let queue = Arc::new(CommitQueue::<u32, u32>::new(|| ABANDONED));
        let write = |queue: &CommitQueue<u32, u32>, job, followers| match queue.join(|| Some((job, 1))) {
            Role::Leader(mut leader) => {
                leader.wait_for_last_group();
                leader.gather();
                assert_eq!(leader.jobs().count(), followers);
                leader.finish([5; 2]);
                5
            }
            Role::Follower(outcome) => outcome,
            Role::Interrupted => panic!("nothing interrupts it"),
        };
        let Role::Leader(mut leader) = queue.join(|| None) else { panic!("nobody else writes") };
        let for_other = Arc::clone(&queue);
        let other = loom::thread::spawn(move || (write(&for_other, 1, 0), write(&for_other, 2, 1)));
        while leader.jobs().next().is_none() {
            loom::thread::yield_now();
            leader.gather();
        }
        leader.finish([5]);
        assert_eq!(write(&queue, 3, 1), 5);
        assert_eq!(other.join().unwrap(), (5, 5));
    });
}

pub fn a_panicking_leader_blocks_nobody() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {})); // the panics are expected
    let outcome = catch_unwind(|| {
        write_all(&[Kind::Panics, Kind::Shared, Kind::Shared]);
        write_all(&[Kind::PanicsReporting, Kind::Shared, Kind::Shared]);
    });
    std::panic::set_hook(hook);
    outcome.unwrap();
}
