//! Both services, on a socket: the input is all that a client sends on one connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use strongroom::storage::MemoryStorage;
use strongroom::{IndexKey, Strongroom};
use strongroom_server::{Config, ListenAddress, Server, Service};
use tokio::runtime::Runtime;

/// The most time for an answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// The encryption server.
pub fn encryption_server(data: &[u8]) {
    static SERVER: LazyLock<Running> = LazyLock::new(|| {
        start(|config| {
            let storage = Arc::new(MemoryStorage::new());
            let store = Strongroom::builder().storage(storage).index_key(IndexKey::from_bytes(&[1; 32]).unwrap());
            Service::encryption(Arc::new(store.open().unwrap()), config).unwrap()
        })
    });
    SERVER.send(data);
}

/// The storage service.
pub fn storage_service(data: &[u8]) {
    static SERVER: LazyLock<Running> =
        LazyLock::new(|| start(|config| Service::storage(Arc::new(MemoryStorage::new()), config).unwrap()));
    SERVER.send(data);
}

struct Running {
    address: SocketAddr,
    _runtime: Runtime,
}

/// Starts a service, which runs until the process ends.
fn start(service: impl FnOnce(&Config) -> Service) -> Running {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = Config::from_toml("listen = [\"127.0.0.1:0\"]\ninsecure_loopback = true").unwrap();
    let address = runtime.block_on(async {
        let server = Server::bind(service(&config), &config).await.unwrap();
        let address = server.addresses().into_iter().find_map(|address| match address {
            ListenAddress::Tcp(address) => Some(address),
            _ => None,
        });
        tokio::spawn(server.serve(std::future::pending()));
        address.unwrap()
    });
    Running { address, _runtime: runtime }
}

impl Running {
    /// Sends the bytes, and reads all answers. A panic of the service closes the connection without one, and reaches
    /// the process's panic hook.
    fn send(&self, data: &[u8]) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        let _ = stream.write_all(data); // the service may have closed the connection
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "no end within {DEADLINE:?}");
        }
    }
}
