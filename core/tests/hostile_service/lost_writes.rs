//! Writes that the service refuses although it may have done them, and the requests that writes take.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use strongroom::storage::{Error, Locator, PutMode, RemoteStorage, Storage};

use crate::{Sent, head, hostile, in_time, locator, send, send_whole};

const NOT_FOUND: &str = "404 Not Found\r\nstrongroom-code: 1";
const ALREADY_EXISTS: &str = "409 Conflict\r\nstrongroom-code: 2";
const CONFLICT: &str = "412 Precondition Failed\r\nstrongroom-code: 11";
const DAMAGED: &str = "422 Unprocessable Content\r\nstrongroom-code: 4";
const FAILED: &str = "500 Internal Server Error\r\nstrongroom-code: 99";
const FULL: &str = "507 Insufficient Storage\r\nstrongroom-code: 13";

fn open(answer: impl Fn(&str, &mut TcpStream) -> Sent + Send + Sync + 'static) -> Arc<RemoteStorage> {
    Arc::new(RemoteStorage::open(&hostile(answer).timeout(Duration::from_secs(60))).unwrap())
}

/// The record, or the settings, that the client finds after its write.
#[derive(Clone, Copy, Debug)]
enum There {
    Own,
    Other,
    Nothing,
    /// The service does not tell.
    Unknown,
}

/// The answer to the question which record, or which settings, are there.
fn show(there: There, request: &str, stream: &mut TcpStream) -> Sent {
    let (etag, body) = match there {
        There::Own => (Base64UrlUnpadded::encode_string(head().as_bytes()), "own"),
        There::Other => ("A".repeat(91), "other"),
        There::Nothing => return send_whole(stream, NOT_FOUND, b""),
        There::Unknown => return send_whole(stream, FAILED, b""),
    };
    match request.starts_with("head") {
        true => send(stream, &format!("200 OK\r\netag: \"{etag}\"\r\ncontent-length: 100"), b""),
        false => send_whole(stream, "200 OK", body.as_bytes()),
    }
}

/// If an attempt was lost and another write is there, the attempt may have succeeded before it.
#[test]
fn a_refused_write_has_succeeded_if_it_is_there() {
    type Call = fn(&RemoteStorage) -> Result<(), Error>;
    let put: Call = |storage| storage.put(&locator(), &[1; 100], PutMode::Create);
    let swap: Call = |storage| storage.swap_settings(None, b"own");
    for (call, refusal) in [(put, ALREADY_EXISTS), (swap, CONFLICT)] {
        for (is_lost, there, expected) in [
            (false, There::Own, "done"),
            (true, There::Own, "done"),
            (false, There::Other, "refused"),
            (true, There::Other, "unknown"),
            (false, There::Nothing, "refused"),
            (true, There::Nothing, "unknown"),
            (false, There::Unknown, "refused"),
            (true, There::Unknown, "unknown"),
        ] {
            let is_first = AtomicBool::new(is_lost);
            let storage = open(move |request, stream| match request.split(' ').next() {
                Some("put" | "post") if is_first.swap(false, Ordering::Relaxed) => Err(ErrorKind::Other.into()),
                Some("put" | "post") => send_whole(stream, refusal, b""),
                _ => show(there, request, stream),
            });
            let outcome = match in_time(move || call(&storage)) {
                Ok(()) => "done",
                Err(Error::AlreadyExists | Error::Conflict) => "refused",
                Err(Error::Indeterminate(_)) => "unknown",
                Err(error) => panic!("{error:?}"),
            };
            assert_eq!(outcome, expected, "{refusal}: lost: {is_lost}, there: {there:?}");
        }
    }
}

/// All or none were written, so one that is there tells the outcome. Others may have been replaced or removed since.
#[test]
fn a_refused_batch_has_been_written_if_one_of_its_records_is_there() {
    use There::{Nothing, Other, Own, Unknown};
    let locators = [1, 2, 3].map(|byte| Locator::from_bytes([byte; 32]));
    for (is_lost, there, expected) in [
        (false, [Own, Other, Other], "done"),
        (false, [Other, Own, Other], "done"),
        (false, [Other, Other, Own], "done"),
        (false, [Other, Other, Other], "refused"),
        (false, [Nothing, Nothing, Nothing], "refused"),
        (false, [Unknown, Unknown, Unknown], "refused"),
        (true, [Own, Other, Other], "done"),
        (true, [Other, Own, Other], "done"),
        (true, [Nothing, Other, Own], "done"),
        (true, [Other, Nothing, Other], "unknown"),
        (true, [Other, Unknown, Other], "unknown"),
    ] {
        let is_first = AtomicBool::new(is_lost);
        let storage = open(move |request, stream| match request.starts_with("post") {
            true if is_first.swap(false, Ordering::Relaxed) => Err(ErrorKind::Other.into()),
            true => send_whole(stream, ALREADY_EXISTS, b""),
            false => {
                let place = locators.iter().position(|locator| request.contains(&locator.to_hex())).unwrap();
                show(there[place], request, stream)
            }
        });
        let outcome = match in_time(move || storage.create_many(&locators.map(|locator| (locator, &[1; 100][..])))) {
            Ok(()) => "done",
            Err(Error::AlreadyExists) => "refused",
            Err(Error::Indeterminate(_)) => "unknown",
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(outcome, expected, "lost: {is_lost}, there: {there:?}");
    }
}

/// A large batch has too many records for a call. After a lost answer, any of them may tell the outcome.
#[test]
fn a_refused_batch_takes_few_requests_unless_an_answer_was_lost() {
    let locators: Vec<_> = (1..=100).map(|byte| Locator::from_bytes([byte; 32])).collect();
    for (is_lost, last, expected, most_lookups) in
        [(false, There::Other, "refused", 4), (true, There::Other, "unknown", 100), (true, There::Own, "done", 100)]
    {
        let (is_first, lookups) = (AtomicBool::new(is_lost), Arc::new(AtomicUsize::new(0)));
        let (seen, last_locator) = (Arc::clone(&lookups), locators[99].to_hex());
        let storage = open(move |request, stream| match request.starts_with("post") {
            true if is_first.swap(false, Ordering::Relaxed) => Err(ErrorKind::Other.into()),
            true => send_whole(stream, ALREADY_EXISTS, b""),
            false => {
                seen.fetch_add(1, Ordering::Relaxed);
                show(if request.contains(&last_locator) { last } else { There::Other }, request, stream)
            }
        });
        let records: Vec<_> = locators.iter().map(|locator| (*locator, &[1; 100][..])).collect();
        let outcome = match in_time(move || storage.create_many(&records)) {
            Ok(()) => "done",
            Err(Error::AlreadyExists) => "refused",
            Err(Error::Indeterminate(_)) => "unknown",
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(outcome, expected, "lost: {is_lost}, the last one: {last:?}");
        let lookups = lookups.load(Ordering::Relaxed);
        assert!(lookups <= most_lookups, "lost: {is_lost}, the last one: {last:?}: {lookups}");
    }
}

/// A damaged record shows no version. Only a write in any case needs none.
#[test]
fn a_damaged_record_is_overwritten_by_an_upload() {
    let damaged = || {
        open(|request, stream| match request.starts_with("put") {
            true => send_whole(stream, "204 No Content", b""),
            false => send_whole(stream, DAMAGED, b""),
        })
    };
    for mode in [PutMode::Create, PutMode::ReplaceIf(head())] {
        let storage = damaged();
        let refused = in_time(move || storage.upload(&locator(), mode).map(drop));
        assert!(matches!(refused, Err(Error::Corrupt)), "{mode:?}: {refused:?}");
    }
    let storage = damaged();
    let closed = in_time(move || {
        let mut upload = Arc::clone(&storage).upload(&locator(), PutMode::Overwrite).unwrap();
        upload.write(&[1; 100]).unwrap();
        upload.commit().unwrap();
        storage.close().unwrap();
        storage.upload(&locator(), PutMode::Overwrite).map(drop)
    });
    assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
}

/// A damaged record shows no version, so that only one request removes it, whatever its outcome.
#[test]
fn a_damaged_record_is_removed_by_one_request() {
    for (answer, expected) in [("204 No Content", "removed"), (NOT_FOUND, "none"), ("", "unknown")] {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let storage = open(move |request, stream| {
            if request.starts_with("head") {
                return send_whole(stream, DAMAGED, b"");
            }
            seen.lock().unwrap().push(request.to_owned());
            if answer.is_empty() { Err(ErrorKind::Other.into()) } else { send_whole(stream, answer, b"") }
        });
        let outcome = match in_time(move || storage.delete(&locator(), None)) {
            Ok(true) => "removed",
            Ok(false) => "none",
            Err(Error::Indeterminate(_)) => "unknown",
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(outcome, expected);
        let requests = requests.lock().unwrap();
        assert!(requests.len() == 1 && requests[0].starts_with("delete "), "{requests:?}");
        assert!(!requests[0].contains("if-match"), "{requests:?}");
    }
}

/// After a lost attempt, the version under the new locator shows that it has succeeded, whoever has written since. The
/// service's own answer tells the outcome of an attempt that was not lost.
#[test]
fn a_refused_move_has_succeeded_if_the_version_is_there() {
    for refusal in [CONFLICT, ALREADY_EXISTS] {
        for (is_lost, there, expected) in [
            (false, There::Own, "refused"),
            (true, There::Own, "done"),
            (true, There::Other, "unknown"),
            (true, There::Nothing, "unknown"),
            (true, There::Unknown, "unknown"),
        ] {
            let is_first = AtomicBool::new(is_lost);
            let storage = open(move |request, stream| match request.starts_with("post") {
                true if is_first.swap(false, Ordering::Relaxed) => Err(ErrorKind::Other.into()),
                true => send_whole(stream, refusal, b""),
                false => {
                    assert!(request.contains(&Locator::from_bytes([9; 32]).to_hex()), "{request}");
                    show(there, request, stream)
                }
            });
            let outcome = match in_time(move || storage.rename(&locator(), &head(), &Locator::from_bytes([9; 32]))) {
                Ok(()) => "done",
                Err(Error::AlreadyExists | Error::Conflict) => "refused",
                Err(Error::Indeterminate(_)) => "unknown",
                Err(error) => panic!("{error:?}"),
            };
            assert_eq!(outcome, expected, "{refusal}: lost: {is_lost}, there: {there:?}");
        }
    }
}

#[test]
fn several_new_records_take_one_request() {
    for (count, expected) in [(1, "put /v1/records/"), (2, "post /v1/create-many "), (3, "post /v1/create-many ")] {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let storage = open(move |request, stream| {
            seen.lock().unwrap().push(request.to_owned());
            send_whole(stream, "201 Created", b"")
        });
        let locators: Vec<_> = (0..count).map(|byte| Locator::from_bytes([byte; 32])).collect();
        let outcomes = in_time(move || {
            let records: Vec<_> = locators.iter().map(|locator| (*locator, &[1; 100][..], PutMode::Create)).collect();
            storage.put_each(&records)
        });
        assert!(outcomes.len() == usize::from(count) && outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        let requests = requests.lock().unwrap();
        assert!(requests.len() == 1 && requests[0].starts_with(expected), "{requests:?}");
    }
}

/// The bytes behind the failure would be taken for a record of their own.
#[test]
fn an_upload_that_failed_does_not_go_on() {
    let storage = open(|request, stream| match request.starts_with("put") {
        true => send_whole(stream, FULL, b""),
        false => send_whole(stream, NOT_FOUND, b""),
    });
    let (failed, again, commit) = in_time(move || {
        let mut upload = storage.upload(&locator(), PutMode::Overwrite).unwrap();
        let failed = (0..1000).find_map(|_| upload.write(&[1; 1 << 20]).err());
        (failed, upload.write(&[1; 100]), upload.commit())
    });
    assert!(matches!(failed, Some(Error::Full)), "{failed:?}");
    for outcome in [again, commit] {
        let Err(Error::InvalidArgument(message)) = outcome else { panic!("{outcome:?}") };
        assert!(message.contains("start it again"), "{message}");
    }
}
