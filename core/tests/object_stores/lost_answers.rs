//! Each request of each operation fails once: before the server gets it, after it, or twice. The operation then still
//! does what it reports.

use std::sync::Arc;
use std::time::Duration;

use strongroom::storage::{Error, PutMode, Storage};

use super::proxy::{Fault, Plan, Proxy};
use super::{head, locator, open, record, with_timeout};
use crate::support::fake_s3::{LostAnswer, Objects, Seen, Server, start_losing, url};
use crate::support::object_store::{ObjectServer, hash};

const FAILURE: &str = "HTTP/1.1 500 -\r\ncontent-length: 0\r\n\r\n";
const OVERLAP: &str = "HTTP/1.1 409 -\r\ncontent-length: 0\r\n\r\n";
const MISSING: &str = "HTTP/1.1 404 -\r\ncontent-length: 0\r\n\r\n";
const DENIED: &str = "HTTP/1.1 403 -\r\ncontent-length: 0\r\n\r\n";
const SLOW_DOWN: &str = "HTTP/1.1 503 -\r\ncontent-length: 0\r\n\r\n";

/// As S3 answers a request that it did not receive in time.
const TIMEOUT: &str = "HTTP/1.1 400 -\r\ncontent-length: 42\r\n\r\n<Error><Code>RequestTimeout</Code></Error>";
const FULL: &str = "HTTP/1.1 507 -\r\ncontent-length: 0\r\n\r\n";
const NOT_IMPLEMENTED: &str = "HTTP/1.1 501 -\r\ncontent-length: 0\r\n\r\n";

fn faults() -> [Fault; 10] {
    [
        Fault::CutRequest(0),
        Fault::CutRequest(200),
        Fault::CutAnswer(0),
        Fault::CutAnswer(20),
        Fault::Answer(FAILURE),
        Fault::OtherAnswer(FAILURE),
        Fault::Answer(OVERLAP),
        Fault::Answer(SLOW_DOWN),
        Fault::Answer(TIMEOUT),
        Fault::Late(Duration::from_millis(20)),
    ]
}

/// Runs `test` with each fault at each request. `test` returns whether all is well.
fn at_each_request(name: &str, faults: &[Fault], test: impl Fn(&Arc<dyn Storage>, u8)) {
    let server = ObjectServer::shared();
    let proxy = Proxy::new(server.address());
    let address = proxy.url().strip_prefix("http://").unwrap().parse().unwrap();
    let process = std::process::id();
    let storage: Arc<dyn Storage> = Arc::new(open(&url(address, &hash(&(name, process)))));
    let mut number = 0;
    for fault in faults {
        for before in 0.. {
            let plan = (0..before).map(|_| Fault::None).chain([fault.clone()]);
            proxy.plan(Plan::next(plan));
            number += 1;
            test(&storage, number);
            let all_done = proxy.has_done_all();
            proxy.plan(Plan::next([]));
            if !all_done {
                break; // the operation has fewer requests
            }
            assert!(before < 60, "{name}: an operation without an end");
        }
    }
}

#[test]
fn a_create_reports_what_happened() {
    at_each_request("create", &faults(), |storage, number| {
        let record = record(number, 100);
        storage.put(&locator(number), &record, PutMode::Create).unwrap();
        assert_eq!(storage.get(&locator(number)).unwrap(), Some(record));
    });
}

#[test]
fn a_refusal_leaves_no_doubt() {
    type IsExpected = fn(&Error) -> bool;
    let server = ObjectServer::shared();
    let proxy = Proxy::new(server.address());
    let address = proxy.url().strip_prefix("http://").unwrap().parse().unwrap();
    let storage = open(&url(address, &hash(&("refusal", std::process::id()))));
    let cases: [(&str, IsExpected); 2] =
        [(FULL, |error| matches!(error, Error::Full)), (NOT_IMPLEMENTED, |error| matches!(error, Error::Backend(_)))];
    for (number, (answer, is_expected)) in (0..).zip(cases) {
        proxy.plan(Plan::from_write([], Fault::Answer(answer)));
        let error = storage.put(&locator(number), &record(number, 100), PutMode::Create).unwrap_err();
        assert!(is_expected(&error), "{answer}: {error:?}");
        proxy.plan(Plan::next([]));
        assert_eq!(storage.get(&locator(number)).unwrap(), None);
    }
}

/// The requests of a call share its time: each is answered in time, but all together take longer.
#[test]
fn a_call_of_late_requests_ends() {
    let server = ObjectServer::shared();
    let proxy = Proxy::new(server.address());
    let address = proxy.url().strip_prefix("http://").unwrap().parse().unwrap();
    let name = hash(&("late", std::process::id()));
    let direct = open(&server.url(&name));
    let time = Duration::from_secs(10);
    let storage = open(&with_timeout(url(address, &name), time));
    let record = record(1, 100);
    direct.put(&locator(1), &record, PutMode::Create).unwrap();
    proxy.plan(Plan::next([]).always(Fault::Late(time * 3 / 10)));
    let outcome = storage.rename(&locator(1), &head(&record), &locator(2));
    assert!(matches!(outcome, Err(Error::Busy | Error::Indeterminate(_))), "{outcome:?}");
}

#[test]
fn a_create_of_another_writer_is_reported() {
    let server = ObjectServer::shared();
    let other = open(&server.url(&hash(&("other", std::process::id()))));
    at_each_request("other", &faults(), |storage, number| {
        let theirs = record(number, 100);
        other.put(&locator(number), &theirs, PutMode::Create).unwrap();
        let outcome = storage.put(&locator(number), &record(number ^ 0x80, 100), PutMode::Create);
        // After a lost answer, the record could have been stored and replaced.
        assert!(matches!(outcome, Err(Error::AlreadyExists | Error::Indeterminate(_))), "{outcome:?}");
        assert_eq!(storage.get(&locator(number)).unwrap(), Some(theirs));
    });
}

#[test]
fn a_replace_and_a_delete_report_what_happened() {
    at_each_request("replace", &faults(), |storage, number| {
        let (first, second) = (record(number, 100), record(number, 2 << 20));
        let second = [&record(number ^ 0x80, 68)[..], &second[68..]].concat();
        storage.put(&locator(number), &first, PutMode::Overwrite).unwrap();
        storage.put(&locator(number), &second, PutMode::ReplaceIf(head(&first))).unwrap();
        assert!(storage.get(&locator(number)).unwrap().as_ref() == Some(&second));
        assert!(storage.delete(&locator(number), Some(&head(&second))).unwrap());
        assert!(!storage.delete(&locator(number), None).unwrap());
    });
}

#[test]
fn a_rename_reports_what_happened() {
    at_each_request("rename", &faults(), |storage, number| {
        let record = record(number, 100);
        let (from, to) = (locator(number), locator(number ^ 0x80));
        storage.put(&from, &record, PutMode::Create).unwrap();
        storage.rename(&from, &head(&record), &to).unwrap();
        assert_eq!(storage.get(&from).unwrap(), None);
        assert_eq!(storage.get(&to).unwrap(), Some(record));
        assert!(storage.delete(&to, None).unwrap());
    });
}

/// The answer to a write is lost, and another client removes or replaces the record, and its segments, before the write
/// would be repeated: the record that is there is whole.
#[test]
fn a_lost_record_is_not_written_again_without_its_segments() {
    type Event = fn(&dyn Storage, u8);
    let events: [Event; 2] = [
        |other, number| assert!(other.delete(&locator(number), None).unwrap()),
        |other, number| other.put(&locator(number), &record(number ^ 0x40, 100), PutMode::Overwrite).unwrap(),
    ];
    // The second one has tombstones.
    for server in [Server::Correct, Server::OldCeph] {
        let lost = LostAnswer::default();
        let url = url(start_losing(server, &Seen::default(), &Objects::default(), &lost), "store");
        let (storage, other) = (open(&url), Arc::new(open(&url)));
        let mut number = 0;
        for (event, len) in events.into_iter().flat_map(|event| [(event, 100), (event, 2 << 20)]) {
            for (mode, exists) in [(PutMode::Create, false), (PutMode::Overwrite, false), (PutMode::Overwrite, true)] {
                number += 1;
                let (case, new) = (format!("{server:?} {number} {mode:?} {exists}"), record(number, len));
                if exists {
                    storage.put(&locator(number), &record(number ^ 0x80, 100), PutMode::Create).unwrap();
                }
                let client = Arc::clone(&other);
                *lost.lock().unwrap() = Some(Box::new(move || event(&*client, number)));
                match storage.put(&locator(number), &new, mode) {
                    Ok(()) => assert!(storage.get(&locator(number)).unwrap() == Some(new), "{case}"),
                    Err(Error::Indeterminate(_)) => drop(storage.get(&locator(number)).unwrap()),
                    Err(error) => panic!("{case}: {error:?}"),
                }
                assert!(lost.lock().unwrap().is_none(), "{case}: no answer was lost");
            }
        }
    }
}

/// The answer to a write or removal without a condition is lost, and another client writes a newer record, or removes
/// the record, before it would be repeated: the newer record stays.
#[test]
fn a_lost_write_does_not_undo_a_newer_one() {
    type Event = fn(&dyn Storage, u8);
    type Operation = fn(&dyn Storage, u8) -> Result<bool, Error>;
    let newer = |number| record(number ^ 0x40, 100);
    let create: Event = |other, number| {
        let _ = other.delete(&locator(number), None).unwrap();
        other.put(&locator(number), &record(number ^ 0x40, 100), PutMode::Create).unwrap();
    };
    let replace: Event =
        |other, number| other.put(&locator(number), &record(number ^ 0x40, 100), PutMode::Overwrite).unwrap();
    let operations: [Operation; 3] = [
        |storage, number| storage.delete(&locator(number), None),
        |storage, number| storage.put(&locator(number), &record(number, 100), PutMode::Overwrite).map(|()| false),
        |storage, number| storage.put(&locator(number), &record(number, 2 << 20), PutMode::Overwrite).map(|()| false),
    ];
    // The second one has tombstones.
    for server in [Server::Correct, Server::OldCeph] {
        let lost = LostAnswer::default();
        let url = url(start_losing(server, &Seen::default(), &Objects::default(), &lost), "store");
        let (storage, other) = (open(&url), Arc::new(open(&url)));
        let mut number = 0;
        for operation in operations {
            for event in [create, replace] {
                number += 1;
                storage.put(&locator(number), &record(number ^ 0x80, 100), PutMode::Create).unwrap();
                let client = Arc::clone(&other);
                *lost.lock().unwrap() = Some(Box::new(move || event(&*client, number)));
                let outcome = operation(&storage, number);
                assert!(lost.lock().unwrap().is_none(), "{server:?} {number}: no answer was lost");
                assert!(matches!(outcome, Err(Error::Indeterminate(_))), "{server:?} {number}: {outcome:?}");
                assert_eq!(storage.get(&locator(number)).unwrap(), Some(newer(number)), "{server:?} {number}");
            }
        }
        // Without another client, the same operations succeed.
        for operation in operations {
            number += 1;
            storage.put(&locator(number), &record(number ^ 0x80, 100), PutMode::Create).unwrap();
            *lost.lock().unwrap() = Some(Box::new(|| ()));
            let is_removed = operation(&storage, number).unwrap();
            assert!(lost.lock().unwrap().is_none(), "{server:?} {number}: no answer was lost");
            assert_eq!(storage.info(&locator(number)).unwrap().is_none(), is_removed, "{server:?} {number}");
        }
    }
}

/// A request is done but its answer lost, and soon after that the server denies all requests: an operation with another
/// error than `Indeterminate` has changed nothing.
#[test]
fn a_write_that_cannot_go_on_reports_what_happened() {
    type Operation = fn(&dyn Storage, u8) -> Result<(), Error>;
    let first = |number| record(number, 100);
    let there = |number: u8| locator(number ^ 0x80);
    let operations: [Operation; 3] = [
        |storage, number| {
            let head = head(&record(number, 100));
            storage.put(&locator(number), &record(number ^ 0x80, 100), PutMode::ReplaceIf(head))
        },
        |storage, number| storage.delete(&locator(number), Some(&head(&record(number, 100)))).map(drop),
        |storage, number| storage.rename(&locator(number), &head(&record(number, 100)), &locator(number ^ 0x80)),
    ];
    let server = ObjectServer::shared();
    let proxy = Proxy::new(server.address());
    let address = proxy.url().strip_prefix("http://").unwrap().parse().unwrap();
    let name = hash(&("cannot go on", std::process::id()));
    let (storage, direct) = (open(&url(address, &name)), open(&server.url(&name)));
    let (mut number, mut unknown) = (0, 0);
    for operation in operations {
        for (before, tail) in (0..8).flat_map(|before| (0..3).map(move |tail| (before, tail))) {
            number += 1;
            direct.put(&locator(number), &first(number), PutMode::Create).unwrap();
            let tail = [Fault::OtherAnswer(FAILURE), Fault::None, Fault::Answer(MISSING)].into_iter().take(tail + 1);
            proxy.plan(Plan::next((0..before).map(|_| Fault::None).chain(tail)).always(Fault::Answer(DENIED)));
            let outcome = operation(&storage, number);
            proxy.plan(Plan::next([]));
            let is_unchanged = direct.get(&locator(number)).unwrap() == Some(first(number));
            match outcome {
                Ok(()) => assert!(!is_unchanged, "before {before}: nothing was done"),
                Err(Error::Indeterminate(_)) => unknown += 1,
                Err(error) => assert!(is_unchanged, "before {before}: {error:?}"),
            }
            direct.delete(&locator(number), None).unwrap();
            direct.delete(&there(number), None).unwrap();
        }
    }
    assert!(unknown > 3, "{unknown}");
}

#[test]
fn settings_are_swapped_once() {
    at_each_request("settings", &faults(), |storage, number| {
        let now = storage.settings().unwrap();
        storage.swap_settings(now.as_deref(), &[number; 40]).unwrap();
        assert_eq!(storage.settings().unwrap(), Some(vec![number; 40]));
        assert!(matches!(storage.swap_settings(None, b"x"), Err(Error::Conflict)));
    });
}

/// A network that repeats requests: at the same time, or later.
#[test]
fn repeated_requests_do_no_harm() {
    at_each_request("repeated", &[Fault::Twice, Fault::Again], |storage, number| {
        let (first, second) = (record(number, 100), record(number ^ 0x80, 100));
        storage.put(&locator(number), &first, PutMode::Create).unwrap();
        storage.put(&locator(number), &second, PutMode::ReplaceIf(head(&first))).unwrap();
        storage.rename(&locator(number), &head(&second), &locator(number ^ 0x80)).unwrap();
        assert_eq!(storage.get(&locator(number)).unwrap(), None);
        assert_eq!(storage.get(&locator(number ^ 0x80)).unwrap(), Some(second));
        // Either of two deletes may answer.
        storage.delete(&locator(number ^ 0x80), None).unwrap();
        assert_eq!(storage.get(&locator(number ^ 0x80)).unwrap(), None);
    });
}
