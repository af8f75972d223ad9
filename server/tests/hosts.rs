//! Requests with another host name, as a web page sends them through DNS rebinding.

use std::io::{Read, Write};

use crate::support::{Running, config, encryption};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

/// The status of a raw request.
fn status(server: &Running, request: &str) -> String {
    let mut client = server.connect();
    client.stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = client.stream.read_to_string(&mut answer);
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn requests_for_another_host_are_refused() {
    let mut config = config();
    config.names = vec!["strongroom.internal".into()];
    let server = encryption(&config);
    assert_eq!(server.json("/v1/store", &json!({"id": "a", "data": "AAAA"})).status, 201);
    let erase = |host: &str| {
        let body = r#"{"id":"a"}"#;
        format!(
            "POST /v1/erase HTTP/1.1\r\n{host}connection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    assert_eq!(status(&server, &erase("host: evil.example\r\n")), "421");
    assert_eq!(status(&server, &erase("host: evil.example:80\r\n")), "421");
    assert_eq!(status(&server, &erase("")), "400");
    assert_eq!(status(&server, &erase("host: localhost\r\nhost: evil.example\r\n")), "400");
    let absolute = erase("host: localhost\r\n").replace("/v1/erase", "http://evil.example/v1/erase");
    assert_eq!(status(&server, &absolute), "421");
    // Also for paths without authorization, and unknown paths.
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json", "/nothing", "/v1/store"] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
        assert_eq!(status(&server, &request), "421", "{path}");
    }
    // The record still exists: the control is the same request with the service's own name.
    for (host, erased) in [("strongroom.internal:8420", true), ("127.0.0.1:1", false)] {
        assert_eq!(status(&server, &erase(&format!("host: {host}\r\n"))), "200", "{erased}");
    }
    let answer = server.json("/v1/erase", &json!({"id": "a"})).json();
    assert_eq!(answer["erased"], false);
}

#[test]
fn http_2_checks_the_authority() {
    let server = encryption(&config());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let (mut sender, connection) =
            http2::handshake::<_, _, String>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for (authority, expected) in [("evil.example", 421), ("localhost:1", 200), ("[::1]", 200)] {
            let request = hyper::Request::get(format!("http://{authority}/healthz")).body(String::new()).unwrap();
            assert_eq!(sender.send_request(request).await.unwrap().status(), expected, "{authority}");
        }
    });
}
