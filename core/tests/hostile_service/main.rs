//! Hostile services, with invalid answers. Each call of their clients ends in time, with an error, and needs little
//! memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod beyond_the_request;
mod lost_writes;

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use strongroom::storage::{self, Head, Locator, MemoryStorage, PutMode, RemoteStorage, Storage};
use strongroom::{Endpoint, Error, IndexKey, RecordKey, RecordReader, Strongroom};

/// The limit of the process's peak memory, for the code and some answers, after any of these tests.
const MOST_MEMORY_KIB: u64 = 192 << 10;

type Sent = std::io::Result<()>;

/// The endpoint of a service that answers each request with `answer`, which gets the request's head in lower case. An
/// error ends the connection.
fn hostile(answer: impl Fn(&str, &mut TcpStream) -> Sent + Send + Sync + 'static) -> Endpoint {
    Endpoint::new(&start(answer)).unwrap().timeout(Duration::from_secs(1))
}

/// The URL of such a service.
fn start(answer: impl Fn(&str, &mut TcpStream) -> Sent + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            thread::spawn(
                move || while read_request(&mut stream).is_some_and(|head| answer(&head, &mut stream).is_ok()) {},
            );
        }
    });
    format!("http://{address}")
}

/// Reads a request with its body. Returns its head.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; len.map_or(0, |len| len.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    Some(head)
}

/// Sends an answer with the header of our services.
fn send(stream: &mut TcpStream, head: &str, body: &[u8]) -> Sent {
    send_foreign(stream, &format!("{head}\r\nstrongroom-request-id: 1"), body)
}

fn send_foreign(stream: &mut TcpStream, head: &str, body: &[u8]) -> Sent {
    stream.write_all(format!("HTTP/1.1 {head}\r\n\r\n").as_bytes())?;
    stream.write_all(body)
}

/// Sends an answer with the length of its body.
fn send_whole(stream: &mut TcpStream, head: &str, body: &[u8]) -> Sent {
    send(stream, &format!("{head}\r\ncontent-length: {}", body.len()), body)
}

/// Sends until the client closes the connection, at most 16 GiB.
fn flood(stream: &mut TcpStream) -> Sent {
    let piece = vec![0; 1 << 20];
    (0..16 << 10).try_for_each(|_| stream.write_all(&piece))
}

/// Sends one byte at a time, each before the idle timeout.
fn trickle(stream: &mut TcpStream, bytes: usize) -> Sent {
    (0..bytes).try_for_each(|_| {
        thread::sleep(Duration::from_millis(50));
        stream.write_all(b"0")
    })
}

/// The result of `call`, which must end in time.
#[track_caller]
fn in_time<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (outbox, outcome) = mpsc::channel();
    thread::spawn(move || outbox.send(call()));
    let outcome = outcome.recv_timeout(Duration::from_secs(120)).expect("the call ends");
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    assert!(peak.unwrap_or(0u64) < MOST_MEMORY_KIB, "{peak:?} KiB");
    outcome
}

fn locator() -> Locator {
    Locator::from_bytes([1; 32])
}

/// A version of a record.
fn head() -> Head {
    let storage = MemoryStorage::new();
    storage.put(&locator(), &[1; 100], PutMode::Create).unwrap();
    storage.info(&locator()).unwrap().unwrap().head
}

/// The answer with these records.
fn page(locators: impl IntoIterator<Item = [u8; 32]>) -> String {
    let head = "A".repeat(91);
    let line = |locator| {
        let locator = Locator::from_bytes(locator).to_hex();
        format!(r#"{{"locator":"{locator}","head":"{head}","bytes":100}}"#)
    };
    format!(r#"{{"records":[{}]}}"#, locators.into_iter().map(line).collect::<Vec<_>>().join(","))
}

/// Each call of the storage service's client except [`Storage::get`].
fn storage_calls(endpoint: &Endpoint) -> Vec<(&'static str, Result<(), storage::Error>)> {
    let storage = Arc::new(RemoteStorage::open(endpoint).unwrap());
    in_time(move || {
        vec![
            ("get_up_to", storage.get_up_to(&locator(), 1 << 20).map(drop)),
            ("read_at", storage.read_at(&locator(), &head(), 0, &mut [0; 1 << 16])),
            ("get_many", storage.get_many(&[locator(); 3], u64::MAX).map(drop)),
            ("list", storage.list(None, 10).map(drop)),
            ("stats", storage.stats(0).map(drop)),
            ("get_end", storage.get_end(&locator(), 1 << 16).map(drop)),
            ("rename", storage.rename(&locator(), &head(), &Locator::from_bytes([9; 32]))),
            ("list_expired", storage.list_expired(7, 10).map(drop)),
            ("purge", storage.purge(7, 10).map(drop)),
            ("compact", storage.compact(7).map(drop)),
            ("maintain", storage.maintain()),
            ("verify", storage.verify(None, 10).map(drop)),
            ("settings", storage.settings().map(drop)),
            ("swap_settings", storage.swap_settings(None, b"settings")),
            ("info", storage.info(&locator()).map(drop)),
            ("put", storage.put(&locator(), &[1; 100], PutMode::Create)),
            ("create_many", storage.create_many(&[(locator(), &[1; 100])])),
            ("delete", storage.delete(&locator(), Some(&head())).map(drop)),
            ("upload", Arc::clone(&storage).upload(&locator(), PutMode::Create).map(drop)),
        ]
    })
}

/// Each call of the encryption server's client except those that accept any length.
fn client_calls(endpoint: &Endpoint) -> Vec<(&'static str, Result<(), Error>)> {
    let (client, key) = (Strongroom::connect(endpoint).unwrap(), RecordKey::generate().unwrap());
    in_time(move || {
        vec![
            ("retrieve_range", client.retrieve_range("id", &key, 0..1000).map(drop)),
            ("retrieve_range of none", client.retrieve_range("id", &key, 5..5).map(drop)),
            ("store", client.store("id", b"data").map(drop)),
            ("replace", client.replace("id", &key, b"data").map(drop)),
            ("store_reader", client.store_reader("id", &b"data"[..]).map(drop)),
            ("replace_reader", client.replace_reader("id", &key, &b"data"[..]).map(drop)),
            ("delete", client.delete("id", &key)),
            ("rekey", client.rekey("id", &key).map(drop)),
            ("contains", client.contains("id").map(drop)),
            ("store_many", client.store_many(&[("id", b"data")]).map(drop)),
            ("purge", client.purge(10).map(drop)),
            ("erase", client.erase("id").map(drop)),
            ("stats", client.stats().map(drop)),
        ]
    })
}

/// The calls whose outcome is unknown after a success that is none.
const WRITES: [&str; 14] = [
    "swap_settings",
    "put",
    "create_many",
    "delete",
    "rename",
    "store",
    "replace",
    "store_reader",
    "store_many",
    "purge",
    "erase",
    "take",
    "take_record",
    "a long store",
];

/// Each of these calls.
fn all_calls(endpoint: &Endpoint) -> impl Iterator<Item = (&'static str, Result<(), Error>)> {
    let of_storage = storage_calls(endpoint).into_iter().map(|(call, outcome)| (call, outcome.map_err(Error::from)));
    of_storage.chain(client_calls(endpoint)).chain(unbounded_calls(endpoint))
}

/// Fails if a call was successful. `HEAD` may be, because its answer has no body.
fn all_fail<E>(calls: Vec<(&'static str, Result<(), E>)>, but: &[&str]) {
    for (name, outcome) in calls {
        assert!(outcome.is_err() || but.contains(&name), "{name}");
    }
}

#[test]
fn surplus_bytes_are_not_read() {
    for status in ["200 OK", "201 Created", "206 Partial Content\r\ncontent-range: bytes 0-99/100", "404 Not Found"] {
        for (length, start) in [
            ("content-length: 3221225472", ""),
            ("transfer-encoding: chunked", "40000000\r\n"),
            ("connection: close", ""),
        ] {
            let head = format!("{status}\r\n{length}");
            let endpoint = hostile(move |_, stream| send(stream, &head, start.as_bytes()).and_then(|()| flood(stream)));
            all_fail(storage_calls(&endpoint), &["info"]);
            all_fail(client_calls(&endpoint), &[]);
        }
    }
}

/// A service reports another version for each part, and floods a request for the whole record.
#[test]
fn an_ever_changing_record_ends_in_an_error() {
    let local = Arc::new(MemoryStorage::new());
    let index_key = || IndexKey::from_bytes(&[7; 32]).unwrap();
    let open =
        |storage: Arc<dyn Storage>| Strongroom::builder().storage(storage).index_key(index_key()).open().unwrap();
    let key = open(local.clone()).store("id", vec![1; 9_000_000]).unwrap();
    let record = local.get(&local.list(None, 1).unwrap()[0].locator).unwrap().unwrap();
    let settings = local.settings().unwrap().unwrap();
    let endpoint = hostile(move |request, stream| {
        if request.contains("/v1/settings") {
            return send_whole(stream, "200 OK", &settings);
        }
        if request.starts_with("head ") {
            let etag = Base64UrlUnpadded::encode_string(&record[..68]);
            return send(stream, &format!("200 OK\r\netag: \"{etag}\"\r\ncontent-length: {}", record.len()), b"");
        }
        if request.contains("if-match:") {
            return send_whole(stream, "412 Precondition Failed\r\nstrongroom-code: 11", b"");
        }
        let range = request.lines().find_map(|line| line.strip_prefix("range: bytes="));
        let number = |text: &str| text.parse::<usize>().ok();
        let part = match range.and_then(|range| range.split_once('-')) {
            Some(("0", last)) => number(last).map(|last| 0..record.len().min(last + 1)),
            Some(("", len)) => number(len).map(|len| record.len() - len..record.len()),
            _ => None,
        };
        let Some(part) = part else {
            send(stream, &format!("200 OK\r\ncontent-length: {}", 16u64 << 30), b"")?;
            return flood(stream);
        };
        let etag = Base64UrlUnpadded::encode_string(&record[..68]);
        let head = format!("206 Partial Content\r\netag: \"{etag}\"\r\ncontent-length: {}", part.len());
        let place = format!("content-range: bytes {}-{}/{}", part.start, part.end - 1, record.len());
        send(stream, &format!("{head}\r\n{place}"), &record[part])
    });
    let store = open(Arc::new(RemoteStorage::open(&endpoint.timeout(Duration::from_secs(20))).unwrap()));
    let (outcomes, read) = in_time(move || {
        let mut buffer = vec![0; 10_000_000];
        let into = store.retrieve_into("id", &key, &mut buffer).map(drop);
        let mut read = Vec::new();
        let end = store
            .open_record("id", &key)
            .unwrap()
            .read_to_end(&mut read)
            .map(drop)
            .map_err(|error| error.downcast().unwrap());
        (vec![store.retrieve("id", &key).map(drop), into, end], read)
    });
    for outcome in outcomes {
        assert!(matches!(outcome, Err(Error::Conflict)), "{outcome:?}");
    }
    assert_eq!(read.len(), 0);
}

/// The whole answer has a deadline, not only each of its bytes.
#[test]
fn a_trickling_answer_times_out() {
    let endpoint = hostile(|_, stream| {
        send(stream, "206 Partial Content\r\ncontent-range: bytes 0-999/1000\r\ncontent-length: 1000", b"")?;
        trickle(stream, 1000)
    });
    // These request only one byte first, and do not wait for more.
    let one_byte = ["retrieve_range of none", "replace_reader", "rekey"];
    for (name, outcome) in client_calls(&endpoint).into_iter().filter(|(name, _)| !one_byte.contains(name)) {
        assert!(matches!(outcome, Err(Error::Busy | Error::Indeterminate(_))), "{name}: {outcome:?}");
    }
    for (name, outcome) in storage_calls(&endpoint).into_iter().filter(|(name, _)| !["info", "upload"].contains(name)) {
        assert!(matches!(outcome, Err(storage::Error::Busy | storage::Error::Indeterminate(_))), "{name}: {outcome:?}");
    }
    let (client, key) = (Strongroom::connect(&endpoint).unwrap(), RecordKey::generate().unwrap());
    let outcome = in_time(move || client.retrieve("id", &key));
    assert!(matches!(outcome, Err(Error::Busy)), "{outcome:?}");
    // An error answer, too.
    let endpoint = hostile(|_, stream| {
        send(stream, "404 Not Found\r\nstrongroom-code: 1\r\ncontent-length: 1000", b"")?;
        trickle(stream, 1000)
    });
    let (client, key) = (Strongroom::connect(&endpoint).unwrap(), RecordKey::generate().unwrap());
    assert!(matches!(in_time(move || client.retrieve("id", &key)), Err(Error::NotFound)));
}

/// A read that runs out of time fails for the reason of the last answer, a write with an unknown outcome.
#[test]
fn the_last_answer_is_the_reason() {
    let answers = Arc::new(AtomicUsize::new(0));
    let endpoint = hostile(move |_, stream| {
        if answers.fetch_add(1, Ordering::Relaxed) > 0 {
            thread::sleep(Duration::from_secs(2));
            return Err(std::io::ErrorKind::Other.into());
        }
        let body = br#"{"detail":"the storage cannot be reached","code":14}"#;
        let head = "503 Service Unavailable\r\nstrongroom-code: 14\r\ncontent-type: application/problem+json";
        send_whole(stream, head, body)
    });
    let (client, key) = (Strongroom::connect(&endpoint).unwrap(), RecordKey::generate().unwrap());
    let (read, written) = in_time(move || {
        let read = client.retrieve("id", &key);
        (read, client.erase("id"))
    });
    let message = read.unwrap_err().full_message();
    assert!(message.contains("the storage cannot be reached"), "{message}");
    assert!(matches!(written, Err(Error::Indeterminate(_))), "{written:?}");
}

/// The same if the caller reads the answer in pieces, on one connection or on many.
#[test]
fn a_trickling_stream_times_out() {
    for bytes in [100_000, 3] {
        let endpoint = hostile(move |request, stream| {
            let first = request.lines().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-'));
            let (status, first) = first.map_or(("200 OK", 0), |first| ("206 Partial Content", first.parse().unwrap()));
            let range = format!("content-range: bytes {first}-999999/1000000\r\ncontent-length: {}", 1_000_000 - first);
            send(stream, &format!("{status}\r\n{range}"), b"")?;
            trickle(stream, bytes)?;
            Err(std::io::ErrorKind::Other.into())
        });
        let (client, key) = (Strongroom::connect(&endpoint).unwrap(), RecordKey::generate().unwrap());
        let (error, read) = in_time(move || {
            let mut read = Vec::new();
            let error = client.open_record("id", &key).unwrap().read_to_end(&mut read).unwrap_err();
            (error.downcast::<Error>().unwrap(), read.len())
        });
        assert!(matches!(error, Error::Busy), "{error:?}");
        assert!((1..1000).contains(&read), "{read}");
    }
}

#[test]
fn endless_headers_are_an_error() {
    let endless: [fn(&mut TcpStream) -> Sent; 4] = [
        |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
            flood(stream)
        },
        |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            (0..1 << 24).try_for_each(|n| stream.write_all(format!("x-{n}: y\r\n").as_bytes()))
        },
        // Only the deadline ends it. In few pieces with pauses, because the client would use a core until then.
        |stream| {
            let hints = format!("HTTP/1.1 103 Early Hints\r\nlink: {}\r\n\r\n", "x".repeat(8000));
            (0..1 << 24).try_for_each(|_| {
                thread::sleep(Duration::from_millis(1));
                stream.write_all(hints.as_bytes())
            })
        },
        |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
            trickle(stream, 10_000)
        },
    ];
    for head in endless {
        let endpoint = hostile(move |_, stream| head(stream));
        let storage = RemoteStorage::open(&endpoint).unwrap();
        let outcomes =
            in_time(move || [storage.stats(0).map(drop), storage.put(&locator(), &[1; 100], PutMode::Create)]);
        assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    }
}

/// Each call that reads all of the data or the record, and each that sends it piece by piece.
fn unbounded_calls(endpoint: &Endpoint) -> Vec<(&'static str, Result<(), Error>)> {
    let storage = Arc::new(RemoteStorage::open(endpoint).unwrap());
    let (client, key) = (Strongroom::connect(endpoint).unwrap(), RecordKey::generate().unwrap());
    let long = vec![7; 3 << 20];
    in_time(move || {
        vec![
            ("retrieve", client.retrieve("id", &key).map(drop)),
            ("retrieve_into", client.retrieve_into("id", &key, &mut [0; 1000]).map(drop)),
            ("open_record", client.open_record("id", &key).map(drop)),
            ("take", client.take("id", &key).map(drop)),
            ("take_record", client.take_record("id", &key).map(drop)),
            ("retrieve_many", client.retrieve_many(&[("id", &key)]).map(drop)),
            ("a long store", client.store_reader("id", &*long).map(drop)),
            ("get", storage.get(&locator()).map(drop).map_err(Error::from)),
            ("settings", storage.settings().map(drop).map_err(Error::from)),
        ]
    })
}

/// A success proves something only if it is from one of our services. Any web server, a proxy or a login page could
/// answer.
#[test]
fn the_success_of_a_foreign_server_is_an_error() {
    let etag = "A".repeat(91);
    let document = r#"{"contains":true,"erased":true,"purged":0,"compacted":0,"records":[],"bytes":0,"damage":[]}"#;
    for (status, body) in [
        ("200 OK", "<html>please log in</html>".to_owned()),
        ("200 OK", document.to_owned()),
        ("201 Created", String::new()),
        ("204 No Content", String::new()),
        ("206 Partial Content\r\ncontent-range: bytes 0-9/10", "0123456789".to_owned()),
    ] {
        for is_chunked in [false, true] {
            let (head, body) = match is_chunked {
                _ if status.starts_with("204") => (status.to_owned(), String::new()),
                false => (format!("{status}\r\ncontent-length: {}", body.len()), body.clone()),
                true if body.is_empty() => (format!("{status}\r\ntransfer-encoding: chunked"), "0\r\n\r\n".into()),
                true => {
                    let body = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                    (format!("{status}\r\ntransfer-encoding: chunked"), body)
                }
            };
            let name = head.clone();
            let head = format!("{head}\r\netag: \"{etag}\"");
            let endpoint = hostile(move |request, stream| {
                let has_body = !request.starts_with("head ");
                send_foreign(stream, &head, if has_body { body.as_bytes() } else { b"" })
            });
            let endpoint = endpoint.timeout(Duration::from_secs(60));
            for (call, outcome) in all_calls(&endpoint).chain([("ready", strongroom::ready(&endpoint))]) {
                let error = outcome.expect_err(&format!("{name}: {call}"));
                is_violation(call, &error, WRITES.contains(&call));
            }
        }
    }
}

/// Fails if the error is not that of an answer of somebody else.
#[track_caller]
fn is_violation(call: &str, error: &Error, is_unknown: bool) {
    let message = error.full_message();
    assert!(message.contains("the answer is not that of a"), "{call}: {message}");
    assert_eq!(matches!(error, Error::Indeterminate(_)), is_unknown, "{call}: {error:?}");
    assert!(is_unknown || matches!(error, Error::Storage(_)), "{call}: {error:?}");
}

/// Neither does an error prove anything: not that there is no record, and not that a range begins after its end, which
/// would be an empty read and the proof of a key.
#[test]
fn the_refusal_of_a_foreign_server_is_an_error() {
    for status in [
        "304 Not Modified",
        "400 Bad Request",
        "404 Not Found",
        "409 Conflict",
        "410 Gone",
        "412 Precondition Failed",
        "416 Range Not Satisfiable",
    ] {
        let endpoint = hostile(move |_, stream| send_foreign(stream, &format!("{status}\r\ncontent-length: 0"), b""));
        for (call, outcome) in all_calls(&endpoint.timeout(Duration::from_secs(60))) {
            let error = outcome.expect_err(&format!("{status}: {call}"));
            is_violation(&format!("{status}: {call}"), &error, false);
        }
    }
}

/// The service has done a write before it sent an answer that cannot be read.
#[test]
fn a_success_that_cannot_be_read_is_an_error() {
    let long = (r#"{"purged":11,"erased":"yes"}"#, "content-length: 28");
    let chunked = ("2\r\n{}\r\n0\r\n\r\n", "transfer-encoding: chunked");
    for (body, length) in [("{}", "content-length: 2"), ("", "content-length: 0"), long, chunked] {
        let endpoint = hostile(move |request, stream| {
            let body = if request.starts_with("head ") { "" } else { body };
            send(stream, &format!("200 OK\r\n{length}"), body.as_bytes())
        });
        for (call, outcome) in all_calls(&endpoint.timeout(Duration::from_secs(60))) {
            match outcome {
                // A body without a length has no known end; other calls have no document.
                Ok(()) => assert!(length != chunked.1 && !["purge", "erase", "contains", "stats"].contains(&call)),
                Err(error) => is_violation(&format!("{body}: {call}"), &error, WRITES.contains(&call)),
            }
        }
    }
}

/// Nothing tells an empty body from one that is missing.
#[test]
fn data_without_a_length_is_an_error() {
    for (head, body) in [
        ("200 OK\r\nconnection: close", ""),
        ("200 OK\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
        ("204 No Content", ""),
        ("206 Partial Content\r\ncontent-range: bytes 0-9/10\r\ntransfer-encoding: chunked", "0\r\n\r\n"),
    ] {
        let endpoint = hostile(move |_, stream| {
            send(stream, head, body.as_bytes())?;
            if head.contains("close") { Err(std::io::ErrorKind::Other.into()) } else { Ok(()) }
        });
        let calls = unbounded_calls(&endpoint.timeout(Duration::from_secs(60)));
        all_fail(calls, &["a long store"]);
    }
}

/// A part of the data is not all of it.
#[test]
fn data_of_another_length_is_an_error() {
    for (head, body) in [
        ("200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked", "2\r\nhi\r\n0\r\n\r\n"),
        ("200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked", "2\r\nhi\r\n0\r\n\r\n"),
        ("204 No Content\r\ncontent-length: 4", ""),
    ] {
        let endpoint = hostile(move |_, stream| send(stream, head, body.as_bytes()));
        let calls = unbounded_calls(&endpoint.timeout(Duration::from_secs(60)));
        all_fail(calls, &["open_record", "take_record", "a long store"]); // a reader finds out at the end
    }
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("http://{}", elsewhere.local_addr().unwrap());
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
        "300 Multiple Choices",
    ] {
        let head = format!("{status}\r\nlocation: {place}/v1/stats\r\ncontent-length: 0");
        let endpoint = hostile(move |_, stream| send(stream, &head, b""));
        all_fail(storage_calls(&endpoint), &[]);
        all_fail(client_calls(&endpoint), &[]);
    }
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err(), "nobody has come");
}

/// The bytes of a coding that was not requested would be taken as the data.
#[test]
fn a_content_encoding_is_refused() {
    let endpoint = hostile(|_, stream| send(stream, "200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4", b"data"));
    let (client, key) = (Strongroom::connect(&endpoint).unwrap(), RecordKey::generate().unwrap());
    let (whole, reader) = in_time(move || (client.retrieve("id", &key), client.open_record("id", &key).map(drop)));
    assert!(matches!(whole, Err(Error::Storage(_))), "{whole:?}");
    assert!(matches!(reader, Err(Error::Storage(_))), "{reader:?}");
}

/// A mail server, or a port for TLS: the call fails at its first attempt, long before its time limit.
#[test]
fn a_service_without_http_is_asked_once() {
    for answer in [&b"220 mail.example ESMTP\r\n"[..], b"\x15\x03\x03\x00\x02\x02\x46"] {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let endpoint = hostile(move |_, stream| {
            counted.fetch_add(1, Ordering::Relaxed);
            stream.write_all(answer)
        });
        let endpoint = endpoint.timeout(Duration::from_secs(600));
        let storage = RemoteStorage::open(&endpoint).unwrap();
        let calls = move || (storage.stats(0), storage.put(&locator(), &[1; 100], PutMode::Create));
        let (Err(storage::Error::Backend(read)), Err(storage::Error::Indeterminate(written))) = in_time(calls) else {
            panic!("both fail");
        };
        for message in [read.to_string(), written.to_string()] {
            assert!(
                message.contains("does not answer in valid HTTP") && message.ends_with("is its address https://?"),
                "{message}"
            );
        }
        assert_eq!(requests.load(Ordering::Relaxed), 3, "the write looks for its record");
    }
}

/// A client asks each of several services first whether it is ready.
#[test]
fn several_services_without_http_are_asked_once() {
    let urls = [(); 2].map(|()| start(|_, stream| stream.write_all(b"220 mail.example ESMTP\r\n")));
    let endpoint = Endpoint::new(&urls.join(",")).unwrap().timeout(Duration::from_secs(600));
    let (client, long) = (Strongroom::connect(&endpoint).unwrap(), vec![7; 3 << 20]);
    let outcomes = in_time(move || {
        [
            client.contains("id").map(drop),
            client.store("id", b"data").map(drop),
            client.erase("id").map(drop),
            client.store_reader("id", &*long).map(drop),
        ]
    });
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Storage(_)), "{error:?}");
        assert!(error.full_message().contains("does not answer in valid HTTP"), "{error:?}");
    }
}

#[test]
fn retries_end() {
    let etag = "etag: \"".to_owned() + &"A".repeat(91) + "\"";
    let endpoint = hostile(move |request, stream| match request.split(' ').next() {
        Some("head") => send(stream, &format!("200 OK\r\n{etag}\r\ncontent-length: 100"), b""),
        Some("get") => {
            let body = page([[1; 32]; 1000]);
            send_whole(stream, "200 OK", body.as_bytes())
        }
        _ => send_whole(stream, "412 Precondition Failed\r\nstrongroom-code: 11", b""),
    });
    let storage = RemoteStorage::open(&endpoint).unwrap();
    let (info, deleted, listed) =
        in_time(move || (storage.info(&locator()), storage.delete(&locator(), None), storage.list(None, usize::MAX)));
    assert_eq!(info.unwrap().unwrap().len, 100, "the answers to HEAD are understood");
    assert!(matches!(deleted, Err(storage::Error::Busy | storage::Error::Indeterminate(_))), "{deleted:?}");
    assert!(matches!(listed, Err(storage::Error::Backend(_))), "a page out of order");
}

/// A server sends a taken record once. Each later read has the same failure: a caller may have dropped the first one.
#[test]
fn the_failure_of_the_only_answer_remains() {
    // Whether the server closes the connection in the middle, or sends nothing more.
    for (is_closed, code) in [(true, "Storage"), (false, "Busy")] {
        let endpoint = hostile(move |_, stream| {
            send(stream, "200 OK\r\ncontent-length: 100", &[7; 10])?;
            if is_closed { Err(std::io::ErrorKind::Other.into()) } else { Ok(()) }
        });
        in_time(move || {
            let (client, key) = (Strongroom::connect(&endpoint).unwrap(), RecordKey::generate().unwrap());
            let mut reader = client.take_record("id", &key).unwrap();
            assert_eq!(reader.read(&mut [0; 100]).unwrap(), 10);
            let fail = |reader: &mut RecordReader| {
                let error = reader.read(&mut [0; 100]).unwrap_err().downcast::<Error>().unwrap();
                (error.name(), error.full_message())
            };
            let first = fail(&mut reader);
            assert_eq!((first.0, fail(&mut reader)), (code, first.clone()));
            reader.seek(SeekFrom::Start(5)).unwrap();
            assert_eq!(fail(&mut reader).0, "Unsupported", "the data is never sent again");
            reader.seek(SeekFrom::Start(10)).unwrap();
            assert_eq!(fail(&mut reader), first);
        });
    }
}

/// The control: the same service with valid answers.
#[test]
fn a_valid_answer_is_accepted() {
    let endpoint = hostile(|request, stream| {
        assert!(request.starts_with("post /v1/retrieve "));
        send_whole(stream, "200 OK", &vec![7; 20 << 20])
    });
    let endpoint = endpoint.timeout(Duration::from_secs(60));
    let (client, key) = (Strongroom::connect(&endpoint).unwrap(), RecordKey::generate().unwrap());
    let data = in_time(move || client.retrieve("id", &key)).unwrap();
    assert!(data.len() == 20 << 20 && data.iter().all(|byte| *byte == 7));
}
