//! Connections to one target, with TLS 1.3, over loopback or over a Unix socket.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

#[cfg(feature = "object-store")]
use super::address::without_brackets;
use super::failure::full_message;
use super::tls::Tls;
use crate::util::threads;

/// The target of connections.
#[derive(Clone)]
pub(super) enum Target {
    Tls {
        host: String,
        port: u16,
        name: ServerName<'static>,
        tls: Arc<Tls>,
    },
    /// The host and the port. The host must resolve to a loopback address.
    Loopback(String, u16),
    Unix(PathBuf),
    /// The host of each request's URL: with TLS, or over loopback, or over plain HTTP to one of these hosts.
    #[cfg(feature = "object-store")]
    Any(Arc<Tls>, &'static [&'static str]),
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Connection for Box<dyn Stream> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Target {
    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tls { host, port, name, tls } => {
                let connector =
                    TlsConnector::from(tls.config().map_err(|error| io::Error::other(full_message(&error)))?);
                let stream = TcpStream::connect(&*addresses(host, *port).await?).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(connector.connect(name.clone(), stream).await?))
            }
            Self::Loopback(host, port) => {
                let mut addresses = addresses(host, *port).await?;
                addresses.retain(|address| address.ip().to_canonical().is_loopback());
                if addresses.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "not a loopback address"));
                }
                let stream = TcpStream::connect(&*addresses).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            Self::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
            #[cfg(not(unix))]
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            #[cfg(feature = "object-store")]
            Self::Any(..) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The target of a request to this URL.
    async fn connect_to(&self, uri: &Uri) -> io::Result<Box<dyn Stream>> {
        #[cfg(feature = "object-store")]
        if let Self::Any(tls, plain) = self {
            let invalid = |text| io::Error::new(io::ErrorKind::InvalidInput, text);
            let host = without_brackets(uri.host().ok_or_else(|| invalid("the URL has no host"))?);
            if uri.scheme_str() == Some("https") {
                let name = ServerName::try_from(host.clone()).map_err(|_| invalid("the host's name is invalid"))?;
                let (port, tls) = (uri.port_u16().unwrap_or(443), Arc::clone(tls));
                return Self::Tls { host, port, name, tls }.connect().await;
            }
            let port = uri.port_u16().unwrap_or(80);
            if plain.contains(&host.as_str()) {
                return Ok(Box::new(TcpStream::connect(&*addresses(&host, port).await?).await?));
            }
            return Self::Loopback(host, port).connect().await;
        }
        let _ = uri;
        self.connect().await
    }
}

/// The addresses of a name. A thread of this library resolves it, because tokio would panic if the system could not
/// start one.
async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (outbox, found) = oneshot::channel();
    let host = host.to_owned();
    threads::spawn("strongroom-dns", move || {
        let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        let _ = outbox.send(addresses); // fails if the caller no longer waits
    })?;
    found.await.unwrap_or_else(|_| Err(io::Error::other("the thread for name lookups has ended")))
}

/// Connects to the target, regardless of the request's address if the target is fixed.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) target: Target,
    pub(super) time: Duration,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { target, time } = self.clone();
        Box::pin(async move {
            let connected = timeout(time, target.connect_to(&uri)).await;
            Ok(TokioIo::new(connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?))
        })
    }
}
