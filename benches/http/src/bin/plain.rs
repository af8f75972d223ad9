//! Servers for comparison: typical ones without Strongroom, and with the library but without protection against timing:
//! axum and SQLite, with the same requests and answers. `plain sqlite|strongroom|bytes:LEN ADDRESS PATH`.
//!
//! `sqlite` stores data unencrypted: one writing connection behind a lock, and as many readers as needed; WAL,
//! `synchronous=FULL`, one transaction for each store. `strongroom` is the control of the program `timing`: it answers
//! a request for a missing record without delay. `bytes:LEN` answers with LEN bytes from memory.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a benchmark")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use base64ct::{Base64, Encoding};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use serde_json::{Value, json};
use strongroom::{RecordKey, Strongroom};

trait Store: Send + Sync + 'static {
    /// The record's key.
    fn store(&self, id: &str, data: &[u8]) -> String;
    fn retrieve(&self, id: &str, key: &str) -> Option<Vec<u8>>;
}

struct Sqlite {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

impl Sqlite {
    fn connect(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        let settings = "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
            PRAGMA busy_timeout = 60000;
            CREATE TABLE IF NOT EXISTS record (id TEXT NOT NULL UNIQUE, data BLOB NOT NULL) STRICT";
        connection.execute_batch(settings).unwrap();
        connection
    }

    fn open(path: &Path) -> Self {
        Self { path: path.to_owned(), writer: Mutex::new(Self::connect(path)), readers: Mutex::default() }
    }
}

impl Store for Sqlite {
    fn store(&self, id: &str, data: &[u8]) -> String {
        let mut writer = self.writer.lock().unwrap();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let sql = "INSERT INTO record (id, data) VALUES (?1, ?2)";
        transaction.prepare_cached(sql).unwrap().execute((id, data)).unwrap();
        transaction.commit().unwrap();
        String::new()
    }

    fn retrieve(&self, id: &str, _key: &str) -> Option<Vec<u8>> {
        let reader = self.readers.lock().unwrap().pop();
        let reader = reader.unwrap_or_else(|| Self::connect(&self.path));
        let data = {
            let mut statement = reader.prepare_cached("SELECT data FROM record WHERE id = ?1").unwrap();
            statement.query_row([id], |row| row.get(0)).optional().unwrap()
        };
        self.readers.lock().unwrap().push(reader);
        data
    }
}

impl Store for Strongroom {
    fn store(&self, id: &str, data: &[u8]) -> String {
        self.store(id, data).unwrap().to_text().to_string()
    }

    fn retrieve(&self, id: &str, key: &str) -> Option<Vec<u8>> {
        self.retrieve(id, &RecordKey::from_text(key).unwrap()).ok()
    }
}

async fn answer(store: Arc<dyn Store>, body: Bytes, work: fn(&dyn Store, &Value) -> (StatusCode, Value)) -> Answer {
    let work = move || work(&*store, &serde_json::from_slice(&body).unwrap());
    let (status, body) = tokio::task::spawn_blocking(work).await.unwrap();
    (status, [("content-type", "application/json")], body.to_string())
}

type Answer = (StatusCode, [(&'static str, &'static str); 1], String);

fn store(store: &dyn Store, request: &Value) -> (StatusCode, Value) {
    let data = Base64::decode_vec(request["data"].as_str().unwrap()).unwrap();
    (StatusCode::CREATED, json!({"key": store.store(request["id"].as_str().unwrap(), &data)}))
}

fn retrieve(store: &dyn Store, request: &Value) -> (StatusCode, Value) {
    match store.retrieve(request["id"].as_str().unwrap(), request["key"].as_str().unwrap()) {
        Some(data) => (StatusCode::OK, json!({"data": Base64::encode_string(&data)})),
        None => (StatusCode::NOT_FOUND, json!({"title": "NotFound"})),
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let path = Path::new(&arguments[3]);
    if let Some(len) = arguments[1].strip_prefix("bytes:") {
        let bytes = Bytes::from(vec![7; len.parse().unwrap()]);
        return serve(&arguments[2], Router::new().route("/bytes", get(move || async { bytes }))).await;
    }
    let records: Arc<dyn Store> = match arguments[1].as_str() {
        "sqlite" => Arc::new(Sqlite::open(path)),
        "strongroom" => Arc::new(Strongroom::open(path).unwrap()),
        other => panic!("there is no {other}"),
    };
    let (to_store, to_retrieve) = (Arc::clone(&records), records);
    let router = Router::new()
        .route("/v1/store", post(move |body| answer(Arc::clone(&to_store), body, store)))
        .route("/v1/retrieve", post(move |body| answer(Arc::clone(&to_retrieve), body, retrieve)));
    serve(&arguments[2], router).await;
}

async fn serve(address: &str, router: Router) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
    axum::serve(listener, router).await.unwrap();
}
