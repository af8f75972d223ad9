//! Answers that are not those to the request: more than was requested, in disorder, or another part of the record.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use strongroom::storage::{Error, Locator, RemoteStorage, Storage, VerifyPosition};

use crate::{hostile, in_time, locator, page, send_whole};

type Call = fn(&RemoteStorage) -> Result<(), Error>;

/// Whether a call accepts an answer with this status and these headers. Every other one violates the protocol.
#[track_caller]
fn accepts(call: Call, head: &str, body: &str) -> bool {
    let answer = (head.to_owned(), body.to_owned());
    let endpoint = hostile(move |_, stream| send_whole(stream, &answer.0, answer.1.as_bytes()));
    let storage = RemoteStorage::open(&endpoint.timeout(Duration::from_secs(60))).unwrap();
    match in_time(move || call(&storage)) {
        Ok(()) => true,
        Err(error) => {
            let message = strongroom::Error::from(error).full_message();
            assert!(message.contains("not that of a storage service"), "{head} {body}: {message}");
            false
        }
    }
}

/// As much as was requested, in order, is accepted, and nothing more.
#[test]
fn an_answer_beyond_its_request_is_refused() {
    let list: Call = |storage| storage.list(Some(&locator()), 2).map(drop);
    let list_expired: Call = |storage| storage.list_expired(7, 2).map(drop);
    let one_expired: Call = |storage| storage.list_expired(7, 1).map(drop);
    let many_expired: Call = |storage| storage.list_expired(7, 1000).map(drop);
    let purge: Call = |storage| storage.purge(7, 2).map(drop);
    let compact: Call = |storage| storage.compact(7).map(drop);
    let verify: Call = |storage| storage.verify(Some(&VerifyPosition::After(locator())), 2).map(drop);
    let page = |bytes: &[u8]| page(bytes.iter().map(|byte| [*byte; 32]));
    let step = |records: u64, next: u8| {
        let next = Locator::from_bytes([next; 32]).to_hex();
        format!(r#"{{"records":{records},"bytes":1,"damage":[],"next":"{next}"}}"#)
    };
    let number = |name: &str, number: u64| format!(r#"{{"{name}":{number}}}"#);
    for (call, answer, is_valid) in [
        (list, page(&[]), true),
        (list, page(&[2]), true),
        (list, page(&[2, 3]), true),
        (list, page(&[2, 3, 4]), false),
        (list, page(&[1]), false),
        (list, page(&[2, 2]), false),
        (list, page(&[3, 2]), false),
        (list_expired, page(&[2, 1]), true),
        (list_expired, page(&[1, 2, 3]), false),
        (one_expired, page(&[1]), true),
        (many_expired, page(&[1; 1000]), true),
        (many_expired, page(&[1; 1001]), false),
        (purge, number("purged", 1), true),
        (purge, number("purged", 2), true),
        (purge, number("purged", 3), false),
        (compact, number("compacted", 6), true),
        (compact, number("compacted", 7), true),
        (compact, number("compacted", 8), false),
        (verify, step(2, 2), true),
        (verify, step(3, 2), false),
        (verify, step(2, 1), false),
    ] {
        assert_eq!(accepts(call, "200 OK", &answer), is_valid, "{answer}");
    }
}

/// A search that keeps to a rate would wait for them.
#[test]
fn a_false_number_of_checked_bytes_is_bounded() {
    let answer = format!(r#"{{"records":1,"bytes":{},"damage":[],"next":null}}"#, u64::MAX);
    let endpoint = hostile(move |_, stream| send_whole(stream, "200 OK", answer.as_bytes()));
    let storage = RemoteStorage::open(&endpoint.timeout(Duration::from_secs(60))).unwrap();
    assert_eq!(in_time(move || storage.verify(None, 1)).unwrap().bytes, 256 << 20);
}

#[test]
fn another_part_of_the_record_is_refused() {
    let start: Call = |storage| storage.get_up_to(&locator(), 10).map(drop);
    let end: Call = |storage| storage.get_end(&locator(), 10).map(drop);
    for (call, part, len, is_valid) in [
        (start, "0-9/100", 10, true),
        (start, "0-8/9", 9, true),
        (start, "0-8/100", 9, false),
        (start, "1-10/100", 10, false),
        (start, "0-9/100", 9, false),
        (end, "90-99/100", 10, true),
        (end, "0-8/9", 9, true),
        (end, "89-98/100", 10, false),
        (end, "91-99/100", 9, false),
        (end, "90-99/100", 9, false),
    ] {
        let head = format!("206 Partial Content\r\netag: \"{}\"\r\ncontent-range: bytes {part}", "A".repeat(91));
        assert_eq!(accepts(call, &head, &"1".repeat(len)), is_valid, "{part} {len}");
    }
}

#[test]
fn a_list_of_several_pages_ends_at_its_limit() {
    let listed = AtomicU32::new(0);
    let endpoint = hostile(move |request, stream| {
        let digits = request.split("limit=").nth(1).unwrap().split(|c: char| !c.is_ascii_digit()).next().unwrap();
        let count: u32 = digits.parse().unwrap();
        let first = listed.fetch_add(count, Ordering::Relaxed);
        let locator = |number: u32| {
            let mut locator = [0; 32];
            locator[..4].copy_from_slice(&number.to_be_bytes());
            locator
        };
        let body = page((first..first + count).map(locator));
        send_whole(stream, "200 OK", body.as_bytes())
    });
    let storage = RemoteStorage::open(&endpoint.timeout(Duration::from_secs(60))).unwrap();
    assert_eq!(in_time(move || storage.list(None, 2500)).unwrap().len(), 2500);
}
