//! Clients that read no answers, or keep connections open without requests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Ping, RecvStream};
use hyper::Request;
use strongroom_http_benches::{Connection, retrieve_body};
use tokio::time::{sleep, timeout};

const STREAMS: usize = 60;
const LONG: usize = 32 << 20;

fn block_on<T>(attack: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(attack)
}

/// A connection whose flow-control window admits no byte of an answer's body.
async fn connect(address: SocketAddr) -> Option<SendRequest<Bytes>> {
    let stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let builder = &mut Builder::new();
    let (sender, connection) = builder.initial_window_size(0).handshake::<_, Bytes>(stream).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

async fn ask(sender: SendRequest<Bytes>, request: Request<()>, body: &Bytes) -> Option<ResponseFuture> {
    let mut sender = timeout(Duration::from_secs(1), sender.ready()).await.ok()?.ok()?;
    let (response, mut stream) = sender.send_request(request, body.is_empty()).ok()?;
    if !body.is_empty() {
        stream.send_data(body.clone(), true).ok()?;
    }
    Some(response)
}

/// Sends requests on several concurrent connections, and again after an answer or a connection was aborted.
fn leave_unread(
    address: SocketAddr,
    connections: usize,
    request: impl Fn() -> Request<()>,
    body: &Bytes,
    stop: &AtomicBool,
    done: &AtomicU64,
) {
    block_on(async {
        let mut open: Vec<(Option<SendRequest<Bytes>>, Vec<RecvStream>)> = Vec::new();
        open.resize_with(connections, || (None, Vec::new()));
        while !stop.load(Ordering::Relaxed) {
            for (sender, bodies) in &mut open {
                let Some(there) = sender else {
                    bodies.clear();
                    *sender = connect(address).await;
                    continue;
                };
                let mut asked = Vec::new();
                for _ in bodies.len()..STREAMS {
                    asked.extend(ask(there.clone(), request(), body).await);
                }
                if asked.is_empty() && bodies.is_empty() {
                    *sender = None;
                }
                for response in asked {
                    if let Ok(Ok(response)) = timeout(Duration::from_millis(100), response).await {
                        done.fetch_add(response.status().is_success().into(), Ordering::Relaxed);
                        bodies.push(response.into_body());
                    }
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
    });
}

/// Leaves answers unread, with a token.
pub(super) fn answers(address: SocketAddr, token: &str, stop: &AtomicBool, done: &AtomicU64) {
    let id = new_id();
    let key = Connection::new(address, Some(token)).store(&id, 1 << 20);
    let body = Bytes::from(retrieve_body(&id, &key));
    let request = || {
        let request = Request::post("http://localhost/v1/retrieve").header("content-type", "application/json");
        request.header("authorization", format!("Bearer {token}")).body(()).unwrap()
    };
    leave_unread(address, 12, request, &body, stop, done);
}

/// Leaves metrics unread, without a token.
pub(super) fn metrics(address: SocketAddr, _: &str, stop: &AtomicBool, done: &AtomicU64) {
    let request = || Request::get("http://localhost/metrics").body(()).unwrap();
    leave_unread(address, 400, request, &Bytes::new(), stop, done);
}

pub(super) fn pings(address: SocketAddr, _: &str, stop: &AtomicBool, done: &AtomicU64) {
    block_on(async {
        for _ in 0..500 {
            let Ok(stream) = tokio::net::TcpStream::connect(address).await else { continue };
            let Ok((sender, mut connection)) = h2::client::handshake(stream).await else { continue };
            let pings = connection.ping_pong();
            tokio::spawn(connection);
            done.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let (_sender, Some(mut pings)) = (sender, pings) else { return };
                while pings.ping(Ping::opaque()).await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
            });
        }
        while !stop.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(100)).await;
        }
    });
}

pub(super) fn slow_readers(address: SocketAddr, token: &str, stop: &AtomicBool, done: &AtomicU64) {
    let id = Base64UrlUnpadded::encode_string(new_id().as_bytes());
    let common = format!(
        "Host: localhost\r\nAuthorization: Bearer {token}\r\nStrongroom-Id: {id}\r\nContent-Type: application/octet-stream\r\n"
    );
    let mut stream = TcpStream::connect(address).unwrap();
    let store = format!("POST /v1/store HTTP/1.1\r\n{common}Connection: close\r\nContent-Length: {LONG}\r\n\r\n");
    stream.write_all(store.as_bytes()).unwrap();
    stream.write_all(&vec![0x5a; LONG]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let Some(key) = answer.rsplit('"').nth(1).filter(|key| key.starts_with("srk1")) else { return };
    let retrieve = format!("POST /v1/retrieve HTTP/1.1\r\n{common}Strongroom-Key: {key}\r\nContent-Length: 0\r\n\r\n");
    let mut readers: Vec<Option<TcpStream>> = (0..64).map(|_| None).collect();
    while !stop.load(Ordering::Relaxed) {
        for reader in &mut readers {
            let read = reader.as_mut().map(|stream| stream.read(&mut [0; 4096]));
            if !matches!(read, Some(Ok(1..))) {
                *reader = TcpStream::connect(address).ok().filter(|mut stream| {
                    let _ = stream.set_read_timeout(Some(Duration::from_millis(10)));
                    stream.write_all(retrieve.as_bytes()).is_ok()
                });
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// An id that no earlier run used.
fn new_id() -> String {
    format!(
        "unread {}",
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos()
    )
}
