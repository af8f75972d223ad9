//! A client ends after each request of a rename. The record is then under one of the two locators for all others,
//! whole.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use strongroom::storage::{Error, ObjectStorage, PutMode, Storage};

use super::proxy::{Fault, Plan, Proxy};
use super::{head, locator, open, record, with_timeout};
use crate::support::fake_s3::{Server, start, url};
use crate::support::wait::{DEADLINE, Join};

/// Long enough for a server in this process.
const TIMEOUT: Duration = Duration::from_millis(400);

/// Runs `test` for each cut: it gets a storage whose connection ends, and one whose does not. `last` is the fault of
/// the last request that the server may get.
fn at_each_cut(server: Server, last: Fault, test: impl Fn(&ObjectStorage, &ObjectStorage, u8, &dyn Fn())) {
    let address = start(server);
    let proxy = Proxy::new(address);
    let through = proxy.url().strip_prefix("http://").unwrap().parse().unwrap();
    let dying = open(&with_timeout(url(through, "store"), TIMEOUT));
    let other = open(&url(address, "store"));
    for before in 0..40 {
        let cut = || {
            let plan = (0..before).map(|_| Fault::None).chain([last.clone()]);
            proxy.plan(Plan::next(plan).always(Fault::CutRequest(0)));
        };
        test(&dying, &other, before, &cut);
        let is_over = !proxy.has_done_all();
        proxy.plan(Plan::next([]));
        if is_over {
            assert!(before > 4, "the plan began");
            return;
        }
    }
    panic!("an operation without an end");
}

fn check_moved(dying: &ObjectStorage, other: &ObjectStorage, number: u8, len: usize, cut: &dyn Fn()) {
    let record = record(number, len);
    let (from, to) = (locator(number), locator(number ^ 0x80));
    other.put(&from, &record, PutMode::Create).unwrap();
    cut();
    let outcome = dying.rename(&from, &head(&record), &to);
    // Half of the readers look first where it was.
    let found = if number.is_multiple_of(2) {
        let first = other.get(&from).unwrap();
        (first, other.get(&to).unwrap())
    } else {
        let second = other.get(&to).unwrap();
        (other.get(&from).unwrap(), second)
    };
    match found {
        (Some(found), None) => {
            assert!(outcome.is_err() && found == record);
            other.rename(&from, &head(&record), &to).unwrap();
        }
        (None, Some(found)) => {
            assert!(matches!(outcome, Ok(()) | Err(Error::Indeterminate(_))) && found == record, "{outcome:?}");
        }
        (from, to) => panic!("under from: {}, under to: {}", from.is_some(), to.is_some()),
    }
    assert_eq!(other.list(None, 10).unwrap().len(), 1);
    // The remains of the move do not bring the record back, or keep its place.
    assert!(other.delete(&to, None).unwrap());
    assert_eq!((other.get(&from).unwrap(), other.get(&to).unwrap()), (None, None));
    for locator in [from, to] {
        other.put(&locator, &record, PutMode::Create).unwrap();
        assert!(other.delete(&locator, None).unwrap());
    }
    other.maintain().unwrap();
    assert_eq!(other.list(None, 10).unwrap(), []);
}

#[test]
fn a_short_record_is_under_one_locator() {
    for server in [Server::Correct, Server::OldCeph] {
        for last in [Fault::CutRequest(0), Fault::CutAnswer(0)] {
            at_each_cut(server, last, |dying, other, number, cut| check_moved(dying, other, number, 100, cut));
        }
    }
}

#[test]
fn a_long_record_is_under_one_locator() {
    at_each_cut(Server::Correct, Fault::CutAnswer(0), |dying, other, number, cut| {
        check_moved(dying, other, number, (1 << 20) + 1, cut);
    });
}

/// An unfinished move to a locator does not keep it, and can no longer happen once it is taken.
#[test]
fn a_reservation_gives_way_to_a_create() {
    at_each_cut(Server::Correct, Fault::CutAnswer(0), |dying, other, number, cut| {
        let (moved, created) = (record(number, 100), record(number ^ 0x40, 100));
        let (from, to) = (locator(number), locator(number ^ 0x80));
        other.put(&from, &moved, PutMode::Create).unwrap();
        cut();
        let outcome = dying.rename(&from, &head(&moved), &to);
        match other.put(&to, &created, PutMode::Create) {
            Ok(()) => {
                assert!(outcome.is_err());
                assert_eq!(other.get(&from).unwrap().as_ref(), Some(&moved));
                assert!(matches!(other.rename(&from, &head(&moved), &to), Err(Error::AlreadyExists)));
                assert!(other.delete(&from, None).unwrap());
            }
            Err(Error::AlreadyExists) => assert_eq!(other.get(&to).unwrap().as_ref(), Some(&moved)),
            Err(other) => panic!("{other}"),
        }
        assert!(other.delete(&to, None).unwrap());
        assert_eq!(other.list(None, 10).unwrap(), []);
    });
}

/// One of many concurrent renames of a record wins, and readers always find it under one locator.
#[test]
fn of_concurrent_renames_one_wins() {
    for server in [Server::Correct, Server::OldCeph] {
        let storage = Arc::new(open(&url(start(server), "store")));
        for round in 0..10 {
            let record = record(round, 100);
            storage.put(&locator(200), &record, PutMode::Create).unwrap();
            let outcomes: Vec<_> = thread::scope(|scope| {
                let rename = |n| storage.rename(&locator(200), &head(&record), &locator(n));
                let threads: Vec<_> = (1..7).map(|n| scope.spawn(move || (n, rename(n)))).collect();
                threads.into_iter().map(|thread| thread.join_within(DEADLINE)).collect()
            });
            let winners: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(n, _)| *n).collect();
            assert_eq!(winners.len(), 1, "{outcomes:?}");
            for (_, outcome) in &outcomes {
                assert!(matches!(outcome, Ok(()) | Err(Error::Conflict)), "{outcome:?}");
            }
            assert_eq!(storage.get(&locator(winners[0])).unwrap().as_ref(), Some(&record));
            assert_eq!(storage.list(None, 10).unwrap().len(), 1);
            assert!(storage.delete(&locator(winners[0]), None).unwrap());
        }
    }
}

/// The segments of a moved record are not taken for leftovers, even after many moves; those of a dead upload are.
#[test]
fn maintenance_finds_the_segments_of_moved_records() {
    let address = start(Server::Correct);
    let storage = Arc::new(open(&url(address, "store")));
    let record = record(7, (1 << 20) + 1);
    storage.put(&locator(1), &record, PutMode::Create).unwrap();
    for (from, to) in [(1, 2), (2, 3), (3, 1), (1, 4), (4, 2)] {
        storage.rename(&locator(from), &head(&record), &locator(to)).unwrap();
        storage.maintain().unwrap();
        assert!(storage.get(&locator(to)).unwrap().as_ref() == Some(&record));
        assert!(storage.verify(None, 10).unwrap().damage.is_empty());
    }
}
