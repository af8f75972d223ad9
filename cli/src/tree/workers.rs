//! Several threads that share a list of work.

use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use crate::failure::Failure;

/// Does `work` on all items, several at a time, and gives each outcome to `receive` on this thread. The first error
/// ends it, once the items in work are done.
pub(super) fn for_each<I: Send, O: Send>(
    workers: usize,
    items: impl IntoIterator<Item = I, IntoIter: Send>,
    work: impl Fn(I) -> Result<O, Failure> + Sync,
    mut receive: impl FnMut(O) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let items = Mutex::new(items.into_iter().fuse());
    let (sender, receiver) = mpsc::sync_channel(workers);
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next, work) = (sender.clone(), &next, &work);
            let thread = move || {
                while let Some(item) = next() {
                    if sender.send(work(item)).is_err() {
                        break; // an earlier outcome was an error
                    }
                }
            };
            thread::Builder::new().spawn_scoped(scope, thread).map_err(Failure::io("cannot start a thread"))?;
        }
        drop(sender);
        receiver.into_iter().try_for_each(|outcome| receive(outcome?))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_item_is_processed_once() {
        let mut seen = Vec::new();
        for_each(
            3,
            0..1000,
            |item| Ok(item * 2),
            |item| {
                seen.push(item);
                Ok(())
            },
        )
        .unwrap();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).map(|item| item * 2).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_ends_the_work() {
        let done = AtomicUsize::new(0);
        let work = |item| match item {
            5 => Err(Failure::NoRecord),
            _ => Ok(done.fetch_add(1, Ordering::Relaxed)),
        };
        assert!(for_each(2, 0..100_000, work, |_| Ok(())).is_err());
        assert!(done.load(Ordering::Relaxed) < 100_000);
    }
}
