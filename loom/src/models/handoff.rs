//! The channel with room for one value.

use std::time::Duration;

use loom::thread;

use super::check;
use crate::util::handoff::handoff;

pub fn values_come_in_order_until_the_sender_is_dropped() {
    check(3, || {
        let (sender, receiver) = handoff();
        let send = thread::spawn(move || [1, 2].map(|value| sender.send(value).unwrap()));
        assert_eq!([receiver.receive(), receiver.receive(), receiver.receive()], [Some(1), Some(2), None]);
        send.join().unwrap();
    });
}

pub fn a_dropped_receiver_ends_a_send() {
    check(3, || {
        let (sender, receiver) = handoff();
        let send = thread::spawn(move || [1, 2, 3].map(|value| sender.send(value)));
        let received = receiver.take();
        drop(receiver);
        let sent = send.join().unwrap();
        assert_eq!(sent[2], Err(3), "there is room for one of the other two");
        assert!(received.is_none_or(|value| value == 1 && sent[0] == Ok(())));
    });
}

pub fn an_offer_wakes_the_receiver() {
    check(3, || {
        let (sender, receiver) = handoff();
        let offer = thread::spawn(move || {
            sender.offer(1);
            sender
        });
        assert_eq!(receiver.receive(), Some(1));
        drop(offer.join().unwrap());
        assert_eq!(receiver.receive(), None);
    });
}

pub fn the_end_is_seen_with_and_without_a_timeout() {
    for timeouts in [0, 1] {
        check(3, move || {
            crate::sync::allow_timeouts(timeouts);
            let (sender, receiver) = handoff::<()>();
            let end = thread::spawn(move || drop(sender));
            let has_ended = receiver.has_ended_within(Duration::from_secs(1));
            assert!(has_ended || timeouts > 0);
            end.join().unwrap();
            assert!(receiver.has_ended_within(Duration::ZERO));
        });
    }
}
