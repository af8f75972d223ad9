//! The work of an encryption server that joins no cluster, for callgrind: `without_join REQUESTS` stores and retrieves
//! so many records of 1 KiB, in memory, over one connection. Built with and without the feature `cluster`, it tells the
//! feature's cost for services that do not use it.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use strongroom::storage::MemoryStorage;
use strongroom::{IndexKey, Strongroom};
use strongroom_http_benches::{Connection, retrieve_body};
use strongroom_server::{Config, ListenAddress, Server, Service};
use tokio::sync::oneshot;

fn main() {
    let requests: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (bound, addresses) = mpsc::channel();
    let server = thread::spawn(move || {
        let config = Config::from_toml("listen = [\"127.0.0.1:0\"]\ninsecure_loopback = true").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let index_key = IndexKey::from_bytes(&[7; 32]).unwrap();
            let store = Strongroom::builder().storage(Arc::new(MemoryStorage::new())).index_key(index_key);
            let store = Arc::new(store.open().unwrap());
            let server = Server::bind(Service::encryption(store, &config).unwrap(), &config).await.unwrap();
            bound.send(server.addresses()).unwrap();
            server.serve(async { drop(stopped.await) }).await;
        });
    });
    let Some(ListenAddress::Tcp(address)) = addresses.recv().unwrap().pop() else { return };
    let mut connection = Connection::new(address, None);
    for number in 0..requests / 2 {
        let id = format!("record {number}");
        let key = connection.store(&id, 1024);
        let (status, _) = connection.post("/v1/retrieve", &retrieve_body(&id, &key)).unwrap();
        assert_eq!(status, 200);
    }
    drop(connection);
    stop.send(()).unwrap();
    server.join().unwrap();
}
