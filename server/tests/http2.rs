//! HTTP/2: many requests on one connection, which do not block each other.

use std::time::Duration;

use crate::support::{Running, config, encryption};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::time::timeout;

async fn connect(server: &Running) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Request<Full<Bytes>> {
    let request = Request::post(format!("http://localhost{path}")).header("content-type", "application/octet-stream");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Full::new(body.into())).unwrap()
}

async fn body(response: Response<hyper::body::Incoming>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

#[test]
fn an_unread_body_blocks_no_other_stream() {
    let server = encryption(&config());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut sender = connect(&server).await;
        let data: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let stored = sender.send_request(request("/v1/store", &[("strongroom-id", "YQ")], data.clone())).await.unwrap();
        assert_eq!(stored.status(), 201);
        let stored: serde_json::Value = serde_json::from_slice(&body(stored).await).unwrap();
        let headers = [("strongroom-id", "YQ"), ("strongroom-key", stored["key"].as_str().unwrap())];
        let unread = sender.send_request(request("/v1/retrieve", &headers, Vec::new())).await.unwrap();
        let again = request("/v1/store", &[("strongroom-id", "YQ")], data.clone());
        let refused = timeout(Duration::from_secs(30), sender.send_request(again)).await.unwrap().unwrap();
        assert_eq!(refused.status(), 409);
        assert!(body(unread).await == data);
    });
}

/// Requests that are repeatedly begun and cancelled.
#[test]
fn cancelled_requests_leave_nothing() {
    let server = encryption(&config());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut sender = connect(&server).await;
        for _ in 0..10_000 {
            if sender.ready().await.is_err() {
                break; // the server may have closed the connection
            }
            let begun = sender.send_request(request("/v1/store", &[("strongroom-id", "YQ")], vec![0; 100_000]));
            let _ = timeout(Duration::from_micros(10), begun).await;
        }
        let mut other = connect(&server).await;
        let erased = other.send_request(request("/healthz", &[], Vec::new())).await.unwrap();
        assert_eq!(erased.status(), 405, "it is a POST, and answered");
    });
    server.wait_for_metric("strongroom_requests_in_flight", |requests| requests == 1);
    server.wait_for_metric("strongroom_connections", |open| open == 1);
}
