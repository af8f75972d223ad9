//! Connections to one target, with TLS 1.3, over loopback or over a Unix socket.

use std::io;
use std::net::{IpAddr, SocketAddr};
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
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

#[cfg(feature = "object-store")]
use super::address::without_brackets;
use super::failure::full_message;
use super::resolver::{KnownNames, Resolver};
use super::tls::Tls;

/// The target of connections.
#[derive(Clone)]
pub(super) enum Target {
    Tls {
        host: Host,
        port: u16,
        name: ServerName<'static>,
        tls: Arc<Tls>,
    },
    /// The host and the port. The host must resolve to a loopback address.
    Loopback(Host, u16),
    Unix(PathBuf),
    /// The host of each request's URL: with TLS, or over loopback, or over plain HTTP to one of these hosts.
    #[cfg(feature = "object-store")]
    Any(Arc<Tls>, &'static [&'static str]),
}

/// The host of a service.
#[derive(Clone)]
pub(super) enum Host {
    Address(SocketAddr),
    /// A name or an address as text. The addresses of the name are kept in the names, if there are any.
    Name(String, Option<Arc<KnownNames>>),
}

impl Host {
    async fn addresses(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Address(address) => Ok(vec![*address]),
            Self::Name(host, Some(names)) if host.parse::<IpAddr>().is_err() => names.addresses(host, port).await,
            Self::Name(host, _) => Resolver::default().addresses(host, port).await,
        }
    }
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
                let stream = TcpStream::connect(&*host.addresses(*port).await?).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(connector.connect(name.clone(), stream).await?))
            }
            Self::Loopback(host, port) => {
                let mut addresses = host.addresses(*port).await?;
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
                return Self::Tls { host: Host::Name(host, None), port, name, tls }.connect().await;
            }
            let port = uri.port_u16().unwrap_or(80);
            if plain.contains(&host.as_str()) {
                return Ok(Box::new(TcpStream::connect(&*Resolver::default().addresses(&host, port).await?).await?));
            }
            return Self::Loopback(Host::Name(host, None), port).connect().await;
        }
        let _ = uri;
        self.connect().await
    }
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
