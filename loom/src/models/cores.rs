//! The reservations of cores.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::check;
use crate::util::cores::Cores;

pub fn no_core_is_reserved_twice() {
    const COUNT: usize = 3;
    check(3, || {
        let all = Arc::new((Cores::new(COUNT), AtomicUsize::new(0)));
        let work = || {
            let all = Arc::clone(&all);
            move || {
                let (cores, reserved) = &*all;
                let share = cores.take(2);
                // A caller without a free core works alone, on its own thread.
                let others = share.cores - 1;
                assert!(reserved.fetch_add(others, Ordering::SeqCst) + others < COUNT);
                reserved.fetch_sub(others, Ordering::SeqCst);
            }
        };
        let threads = [thread::spawn(work()), thread::spawn(work())];
        work()();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(all.0.take(COUNT).cores, COUNT, "all are free again");
    });
}
