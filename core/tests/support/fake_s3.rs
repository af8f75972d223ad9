//! A small S3 server in this process, which can break the promises of conditional requests, as other servers do.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use strongroom::storage::BucketUrl;

pub(crate) const ACCESS_KEY: (&str, &str) = ("test", "hunter2hunter2");
pub(crate) const BUCKET: &str = "strongroom-test";

/// The URL of a store on a server.
pub(crate) fn url(address: SocketAddr, prefix: &str) -> BucketUrl {
    let url: BucketUrl = format!("s3://{BUCKET}/{prefix}?endpoint=http://{address}").parse().unwrap();
    url.access_key(ACCESS_KEY.0, ACCESS_KEY.1.to_owned())
}

/// How a server treats conditions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Server {
    /// Heeds all.
    Correct,
    /// Ignores all, as s3rver does.
    IgnoresAll,
    /// Checks and then writes, so that several concurrent writes succeed, as with s3s-fs.
    ChecksThenWrites,
    /// Heeds only `If-None-Match`.
    IgnoresIfMatch,
    /// Compares ETags without quotes and ignores the conditions of deletes, as older versions of Ceph do.
    OldCeph,
    /// Never finds a matching ETag.
    MatchesNothing,
    /// Ignores where a list begins, so that each page is the first.
    ListsFromTheStart,
    /// Answers the write of a record's first segment after those of four others.
    HoldsTheFirstSegment,
    /// Answers the delete of a segment with success and keeps it.
    KeepsSegments,
    /// Lists objects as if they were two days older than the server's clock shows.
    ListsAsOld,
    /// Denies everything, with this code.
    Denies(&'static str),
    /// Has no such bucket.
    HasNoBucket,
}

/// The objects of a server by their paths, and their ETags.
pub(crate) type Objects = Arc<Mutex<BTreeMap<String, (Vec<u8>, String)>>>;

/// All bytes of the requests: names, headers and bodies.
pub(crate) type Seen = Arc<Mutex<Vec<u8>>>;

/// Starts a server, which runs until the process ends.
pub(crate) fn start(server: Server) -> SocketAddr {
    start_recording(server).0
}

/// Starts a server that keeps what it receives.
pub(crate) fn start_recording(server: Server) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    (start_with(server, &seen, &Objects::default()), seen)
}

/// Starts a server with these objects.
pub(crate) fn start_with(server: Server, seen: &Seen, objects: &Objects) -> SocketAddr {
    start_losing(server, seen, objects, &LostAnswer::default())
}

/// An event after the server has written or removed a record. The connection then ends without the answer.
pub(crate) type LostAnswer = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Starts a server that loses an answer each time that there is an event.
pub(crate) fn start_losing(server: Server, seen: &Seen, objects: &Objects, lost: &LostAnswer) -> SocketAddr {
    let (recorded, objects, lost) = (Arc::clone(seen), Arc::clone(objects), Arc::clone(lost));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (objects, recorded, lost) = (Arc::clone(&objects), Arc::clone(&recorded), Arc::clone(&lost));
            thread::spawn(move || {
                let mut stream = BufReader::new(stream.unwrap());
                while serve(server, &mut stream, &objects, &recorded, &lost).is_some() {}
            });
        }
    });
    address
}

/// Serves one request; `None` at the end of the connection.
fn serve(
    server: Server,
    stream: &mut BufReader<TcpStream>,
    objects: &Objects,
    recorded: &Seen,
    lost: &LostAnswer,
) -> Option<()> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|len| *len > 0)?;
    recorded.lock().unwrap().extend_from_slice(line.as_bytes());
    let (method, target) = line.split_once(' ')?;
    let (method, target) = (method.to_owned(), target.split(' ').next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        recorded.lock().unwrap().extend_from_slice(line.as_bytes());
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let len = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    stream.read_exact(&mut body).ok()?;
    recorded.lock().unwrap().extend_from_slice(&body);
    let (status, header, body) = answer(server, &method, &target, &headers, body, objects);
    if ["PUT", "DELETE"].contains(&&*method) && status < 300 && target.contains("/r/") {
        let event = lost.lock().unwrap().take();
        if let Some(event) = event {
            event();
            return None;
        }
    }
    let len = body.len();
    let head = format!("HTTP/1.1 {status} -\r\ncontent-length: {len}\r\n{header}last-modified: {MODIFIED}\r\n\r\n");
    let body = if method == "HEAD" { Vec::new() } else { body };
    stream.get_mut().write_all(&[head.into_bytes(), body].concat()).ok()
}

const MODIFIED: &str = "Thu, 26 Nov 2026 12:00:00 GMT";

type Answer = (u16, String, Vec<u8>);

fn refusal(status: u16, code: &str) -> Answer {
    (status, String::new(), format!("<Error><Code>{code}</Code></Error>").into_bytes())
}

fn answer(
    server: Server,
    method: &str,
    target: &str,
    headers: &BTreeMap<String, String>,
    body: Vec<u8>,
    objects: &Objects,
) -> Answer {
    match server {
        Server::Denies(code) => return refusal(403, code),
        Server::HasNoBucket => return refusal(404, "NoSuchBucket"),
        _ => {}
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (_, key) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    if query.contains("list-type=2") {
        return list(server, query, &objects.lock().unwrap());
    }
    let mut locked = objects.lock().unwrap();
    let found = locked.get(key).map(|(_, etag)| etag.clone());
    let is_free = headers.get("if-none-match").is_none() || found.is_none();
    let matches = headers.get("if-match").is_none_or(|wanted| match server {
        Server::MatchesNothing => false,
        Server::OldCeph => found.as_deref().is_some_and(|found| found.trim_matches('"') == wanted),
        _ => found.as_ref() == Some(wanted),
    });
    let ignored = match server {
        Server::IgnoresAll => true,
        Server::IgnoresIfMatch => headers.contains_key("if-match"),
        Server::OldCeph => method == "DELETE",
        _ => false,
    };
    if !(ignored || is_free && matches) {
        return refusal(412, "PreconditionFailed");
    }
    match method {
        "PUT" => {
            if server == Server::HoldsTheFirstSegment && key.ends_with("/00000000") {
                let is_segment = |key: &&String| key.contains("/s/");
                for _ in 0..1000 {
                    if locked.keys().filter(is_segment).count() >= 4 {
                        break;
                    }
                    drop(locked);
                    thread::sleep(Duration::from_millis(10));
                    locked = objects.lock().unwrap();
                }
                if locked.keys().filter(is_segment).count() < 4 {
                    return refusal(503, "SlowDown");
                }
            }
            if server == Server::ChecksThenWrites {
                drop(locked);
                thread::sleep(Duration::from_millis(30));
                locked = objects.lock().unwrap();
            }
            // A digest of the content, as in S3.
            let etag = format!("\"{:032x}\"", u128::from(hash(&body)));
            locked.insert(key.to_owned(), (body, etag.clone()));
            (200, format!("etag: {etag}\r\n"), Vec::new())
        }
        "DELETE" => {
            if server != Server::KeepsSegments || !key.contains("/s/") {
                locked.remove(key);
            }
            (204, String::new(), Vec::new())
        }
        _ => match locked.get(key) {
            None => refusal(404, "NoSuchKey"),
            Some((bytes, etag)) => match headers.get("range").and_then(|range| range.strip_prefix("bytes=")) {
                None => (200, format!("etag: {etag}\r\n"), bytes.clone()),
                Some(range) => {
                    let (start, end) = range.split_once('-').unwrap();
                    let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
                    if start >= bytes.len() {
                        return refusal(416, "InvalidRange");
                    }
                    let end = (end + 1).min(bytes.len());
                    let range = format!("etag: {etag}\r\ncontent-range: bytes {start}-{}/{}\r\n", end - 1, bytes.len());
                    (206, range, bytes[start..end].to_vec())
                }
            },
        },
    }
}

/// A page of all objects that match.
fn list(server: Server, query: &str, objects: &BTreeMap<String, (Vec<u8>, String)>) -> Answer {
    let option = |name: &str| {
        let value = query.split('&').find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().replace("%2F", "/").replace("%7E", "~")
    };
    let prefix = option("prefix");
    let after = if server == Server::ListsFromTheStart { String::new() } else { option("start-after") };
    let day = if server == Server::ListsAsOld { 24 } else { 26 };
    let mut page = String::from("<ListBucketResult><IsTruncated>false</IsTruncated>");
    for (key, (bytes, etag)) in objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after) {
        let etag = etag.replace('"', "&quot;");
        page += &format!(
            "<Contents><Key>{key}</Key><LastModified>2026-11-{day}T12:00:00.000Z</LastModified>\
             <ETag>{etag}</ETag><Size>{}</Size></Contents>",
            bytes.len()
        );
    }
    (200, String::new(), (page + "</ListBucketResult>").into_bytes())
}

/// Any hash of the content will do.
fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
