//! Servers that would lose records are refused at opening, and their errors are clear.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use strongroom::storage::{Error, ObjectStorage, PutMode, Storage};

use super::{head, locator, open, record, with_timeout};
use crate::support::fake_s3::{ACCESS_KEY, BUCKET, Server, start, url};
use crate::support::object_store::{ObjectServer, hash};

fn refusal(server: Server) -> Error {
    ObjectStorage::open(&url(start(server), "store")).unwrap_err()
}

#[test]
fn a_server_that_ignores_conditions_is_refused() {
    for (server, promise) in [
        (Server::IgnoresAll, "If-None-Match"),
        (Server::IgnoresIfMatch, "another ETag in If-Match must fail"),
        (Server::MatchesNothing, "the right ETag in If-Match must succeed"),
        (Server::ChecksThenWrites, "of concurrent creates"),
    ] {
        let error = refusal(server);
        assert!(matches!(error, Error::Unsupported(_)), "{server:?}: {error:?}");
        assert!(error.to_string().contains(promise), "{server:?}: {error}");
    }
    open(&url(start(Server::Correct), "store"));
}

/// Without the check of the order, each of these calls would never end.
#[test]
fn a_server_that_lists_from_the_start_is_an_error() {
    let storage = open(&url(start(Server::ListsFromTheStart), "store"));
    for n in 1..=3 {
        storage.put(&locator(n), &record(n, 100), PutMode::Create).unwrap();
    }
    let outcomes = [
        storage.list(None, 10).map(drop),
        storage.list(Some(&locator(2)), 1).map(drop),
        storage.stats(0).map(drop),
        storage.maintain(),
    ];
    for (n, outcome) in outcomes.into_iter().enumerate() {
        assert!(matches!(outcome, Err(Error::Backend(_))), "{n}: {outcome:?}");
    }
}

/// Servers that compare ETags without quotes, or delete without a condition, are used in another way.
#[test]
fn an_old_server_gets_tombstones() {
    let url = url(start(Server::OldCeph), "store");
    let storage = open(&url);
    let (first, second) = (record(1, 100), record(2, 100));
    storage.put(&locator(1), &first, PutMode::Create).unwrap();
    assert!(matches!(storage.put(&locator(1), &second, PutMode::Create), Err(Error::AlreadyExists)));
    storage.put(&locator(1), &second, PutMode::ReplaceIf(head(&first))).unwrap();
    assert!(storage.delete(&locator(1), Some(&head(&second))).unwrap());
    assert!(!storage.delete(&locator(1), None).unwrap());
    assert_eq!(storage.get(&locator(1)).unwrap(), None);
    storage.put(&locator(1), &first, PutMode::Create).unwrap();
    storage.rename(&locator(1), &head(&first), &locator(2)).unwrap();
    storage.maintain().unwrap();
    assert_eq!(open(&url).get(&locator(2)).unwrap(), Some(first));
    assert_eq!(storage.list(None, 10).unwrap().len(), 1);
    assert_eq!(storage.stats(0).unwrap().records, 1);
}

#[test]
fn errors_say_what_to_do_and_show_no_secret() {
    let [denied, skewed, expired, unknown] =
        ["AccessDenied", "RequestTimeTooSkewed", "ExpiredToken", "InvalidAccessKeyId"].map(|code| {
            let refusal = refusal(Server::Denies(code));
            assert!(matches!(refusal, Error::AccessDenied(_)), "{refusal:?}");
            refusal
        });
    let no_bucket = refusal(Server::HasNoBucket);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let begun = Instant::now();
    let late = ObjectStorage::open(&with_timeout(url(silent.local_addr().unwrap(), "p"), Duration::from_secs(1)));
    assert!(begun.elapsed() < Duration::from_secs(60), "a call has an end");
    let late = late.unwrap_err();
    assert!(matches!(late, Error::Busy), "{late:?}");
    let nobody = {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        ObjectStorage::open(&with_timeout(url(address, "p"), Duration::from_secs(1))).unwrap_err()
    };
    for (error, text) in [
        (denied, "policy"),
        (skewed, "set this machine's clock"),
        (expired, "session token"),
        (unknown, "check the access key"),
        (no_bucket, "create it"),
        (nobody, "cannot be reached"),
    ] {
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(text), "{cause}");
        let shown = format!("{error} {error:?} {cause}");
        for secret in [ACCESS_KEY.1, "Signature=", "X-Amz"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    let shown = format!("{:?}", open(&url(start(Server::Correct), "p")));
    assert!(shown.contains(BUCKET) && !shown.contains(ACCESS_KEY.1), "{shown}");
}

/// The server that `STRONGROOM_TEST_OBJECT_STORE` names: s3rver ignores conditions, s3s-fs checks them before it
/// writes.
#[test]
#[ignore = "`make test-backends` runs it on a server that must be refused"]
fn a_real_server_that_breaks_conditions_is_refused() {
    let url = ObjectServer::shared().url(&hash(&std::process::id()));
    let error = ObjectStorage::open(&url).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
    println!("{error}");
}
