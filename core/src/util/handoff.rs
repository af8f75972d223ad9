//! A channel between two threads with room for one value.
//!
//! The standard library's channels allocate a thread handle for a waiting thread. In the main thread of a C or Python
//! program the handle is never freed, and leak checkers report it as a leak of this library.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::util::interrupt;
use crate::util::sync::{Condvar, Mutex, MutexGuard};

/// The two ends of a new channel.
pub(crate) fn handoff<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { slot: Mutex::new(Slot { value: None, ended: false }), changed: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

pub(crate) struct Sender<T>(Arc<Shared<T>>);

pub(crate) struct Receiver<T>(Arc<Shared<T>>);

struct Shared<T> {
    slot: Mutex<Slot<T>>,
    changed: Condvar,
}

struct Slot<T> {
    value: Option<T>,
    /// Whether one of the ends was dropped.
    ended: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        // No code panics while it holds this lock.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the other end exists and `wait` returns `true`, unless it is interrupted.
    fn wait_while(&self, wait: impl Fn(&Slot<T>) -> bool) -> MutexGuard<'_, Slot<T>> {
        loop {
            let waits = |slot: &mut Slot<T>| !slot.ended && wait(slot);
            let Some(interval) = interrupt::interval() else {
                let waited = self.changed.wait_while(self.lock(), waits);
                return waited.unwrap_or_else(PoisonError::into_inner);
            };
            let waited = self.changed.wait_timeout_while(self.lock(), interval, waits);
            let (slot, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            if !waited.timed_out() {
                return slot;
            }
            drop(slot); // the check may take a while
            if interrupt::is_interrupted() {
                return self.lock();
            }
        }
    }

    fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }
}

impl<T> Sender<T> {
    /// Sends `value` once there is room. Returns it if the receiver is dropped, or the wait is interrupted.
    pub(crate) fn send(&self, value: T) -> Result<(), T> {
        let mut slot = self.0.wait_while(|slot| slot.value.is_some());
        if slot.ended || slot.value.is_some() {
            return Err(value);
        }
        slot.value = Some(value);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Sends `value` if there is room, or drops it.
    pub(crate) fn offer(&self, value: T) {
        self.0.lock().value.get_or_insert(value);
        self.0.changed.notify_one();
    }
}

impl<T> Receiver<T> {
    /// Waits for the next value; `None` if the sender is dropped and no value is left, or the wait is interrupted.
    pub(crate) fn receive(&self) -> Option<T> {
        let value = self.0.wait_while(|slot| slot.value.is_none()).value.take();
        self.0.changed.notify_one();
        value
    }

    /// Waits until the sender is dropped, for `time` at most. Returns whether it is.
    pub(crate) fn has_ended_within(&self, time: Duration) -> bool {
        let waited = self.0.changed.wait_timeout_while(self.0.lock(), time, |slot| !slot.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// The next value, without waiting.
    pub(crate) fn take(&self) -> Option<T> {
        let value = self.0.lock().value.take();
        self.0.changed.notify_one();
        value
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_values_come_in_order() {
        let (sender, receiver) = handoff();
        let receive = thread::spawn(move || std::iter::from_fn(|| receiver.receive()).collect::<Vec<_>>());
        for value in 0..100_000 {
            sender.send(value).unwrap();
        }
        drop(sender);
        assert!(receive.join().unwrap().into_iter().eq(0..100_000), "the last value comes after the sender is gone");
    }

    #[test]
    fn a_dropped_end_wakes_the_other() {
        let (sender, receiver) = handoff();
        sender.send(1).unwrap();
        let send = thread::spawn(move || sender.send(2)); // there is no room
        drop(receiver);
        assert_eq!(send.join().unwrap(), Err(2));

        let (sender, receiver) = handoff::<u8>();
        let receive = thread::spawn(move || receiver.receive());
        drop(sender);
        assert_eq!(receive.join().unwrap(), None);
    }

    #[test]
    fn a_value_without_room_is_dropped() {
        let (sender, receiver) = handoff();
        assert_eq!(receiver.take(), None);
        sender.offer(1);
        sender.offer(2);
        assert_eq!(receiver.take(), Some(1));
        assert_eq!(receiver.take(), None);
    }
}
