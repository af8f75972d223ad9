//! Long records over loopback: `transfer [MIB]`. A library retrieves one from a storage service and opens it; for
//! comparison, hyper's client gets as many bytes from hyper's server (axum), which has them in memory, and a library
//! opens a record in memory. All by turns, with the processor time of both sides.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark")]
#![allow(clippy::cast_precision_loss, reason = "a benchmark")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use strongroom::storage::MemoryStorage;
use strongroom::{Endpoint, IndexKey, Strongroom};
use strongroom_http_benches::{Server, processor_time};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

const ROUNDS: usize = 5;

fn main() {
    let mib: usize = std::env::args().nth(1).map_or(10, |count| count.parse().unwrap());
    let len = mib << 20;
    let service = Server::storage_service();
    let endpoint = Endpoint::new(&format!("http://{}", service.address)).unwrap();
    let store = Strongroom::builder().endpoint(endpoint).index_key(IndexKey::generate().unwrap()).open().unwrap();
    let key = store.store("id", vec![7; len]).unwrap();

    let server = Server::plain(&format!("bytes:{len}"));
    let runtime = Runtime::new().unwrap();
    let mut connection = runtime.block_on(connect(&server));

    let memory = Strongroom::builder().storage(Arc::new(MemoryStorage::new()));
    let memory = memory.index_key(IndexKey::generate().unwrap()).open().unwrap();
    let key_in_memory = memory.store("id", vec![7; len]).unwrap();

    let mut rounds = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let read = || assert_eq!(store.retrieve("id", &key).unwrap().len(), len);
        rounds[0].push(round(|| service.processor_time(), read));
        let read = || assert_eq!(runtime.block_on(get(&mut connection)).len(), len);
        rounds[1].push(round(|| server.processor_time(), read));
        let read = || assert_eq!(memory.retrieve("id", &key_in_memory).unwrap().len(), len);
        rounds[2].push(round(|| Duration::ZERO, read));
    }
    let [strongroom, plain, opening] = rounds.map(|mut rounds| {
        rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        rounds.swap_remove(ROUNDS / 2)
    });
    println!("| {mib} MiB, median of {ROUNDS} | Strongroom | hyper | Strongroom / hyper | opening alone |");
    println!("|---|---|---|---|---|");
    let rate = |round: (f64, f64)| mib as f64 * 1e3 / round.0;
    let [ours, hyper, opened] = [strongroom, plain, opening].map(rate);
    println!("| retrieve | {ours:.0} MiB/s | {hyper:.0} MiB/s | {:.2} | {opened:.0} MiB/s |", ours / hyper);
    let [ours, hyper, opened] = [strongroom.1, plain.1, opening.1];
    println!("| ... processor time | {ours:.1} ms | {hyper:.1} ms | {:.2} | {opened:.1} ms |", hyper / ours);
}

/// The milliseconds of a call in a second of calls, and the processor time of both sides, for which `server` has that
/// of the server.
fn round(server: impl Fn() -> Duration, mut call: impl FnMut()) -> (f64, f64) {
    let used = || server() + processor_time("self");
    let (start, before, mut calls) = (Instant::now(), used(), 0.0);
    while start.elapsed() < Duration::from_secs(1) {
        call();
        calls += 1.0;
    }
    (start.elapsed().as_secs_f64() * 1e3 / calls, (used() - before).as_secs_f64() * 1e3 / calls)
}

async fn connect(server: &Server) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// The body, in one piece.
async fn get(sender: &mut SendRequest<Empty<Bytes>>) -> Bytes {
    let request = Request::get("/bytes").header("host", "localhost").body(Empty::new()).unwrap();
    sender.ready().await.unwrap();
    sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes()
}
