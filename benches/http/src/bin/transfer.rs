//! Long records over loopback: `transfer [MIB]`. A library retrieves one from a storage service and opens it; for
//! comparison, hyper's client gets as many bytes from hyper's server (axum), which has them in memory. Both by turns.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark")]
#![allow(clippy::cast_precision_loss, reason = "a benchmark")]

use std::time::{Duration, Instant};

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use strongroom::{Endpoint, IndexKey, Strongroom};
use strongroom_http_benches::Server;
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

    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        rates[0].push(mib as f64 * rate(|| assert_eq!(store.retrieve("id", &key).unwrap().len(), len)));
        rates[1].push(mib as f64 * rate(|| assert_eq!(runtime.block_on(get(&mut connection)).len(), len)));
    }
    let [strongroom, plain] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates.swap_remove(ROUNDS / 2)
    });
    println!("| {mib} MiB, median of {ROUNDS} | Strongroom | hyper | Strongroom / hyper |");
    println!("|---|---|---|---|");
    println!("| retrieve | {strongroom:.0} MiB/s | {plain:.0} MiB/s | {:.2} |", strongroom / plain);
}

/// The number of calls in a second.
fn rate(mut call: impl FnMut()) -> f64 {
    let (start, mut calls) = (Instant::now(), 0.0);
    while start.elapsed() < Duration::from_secs(1) {
        call();
        calls += 1.0;
    }
    calls / start.elapsed().as_secs_f64()
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
