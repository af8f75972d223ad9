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
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

#[cfg(feature = "object-store")]
use super::address::without_brackets;
use super::failure::full_message;
use super::invalid_endpoint::InvalidEndpoint;
use super::resolver::{KnownNames, Resolver};
use super::tls::Tls;

/// The time for an attempt to connect before another address is tried besides it (RFC 8305, section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

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
                let connector = TlsConnector::from(tls.config().map_err(|error| {
                    let is_lasting = matches!(error, InvalidEndpoint::NoAuthorities(_));
                    let kind = if is_lasting { io::ErrorKind::InvalidData } else { io::ErrorKind::Other };
                    io::Error::new(kind, full_message(&error))
                })?);
                let stream = connect_tcp(host.addresses(*port).await?).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(connector.connect(name.clone(), stream).await?))
            }
            Self::Loopback(host, port) => {
                let mut addresses = host.addresses(*port).await?;
                addresses.retain(|address| address.ip().to_canonical().is_loopback());
                if addresses.is_empty() {
                    return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "not a loopback address"));
                }
                let stream = connect_tcp(addresses).await?;
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
                return Ok(Box::new(connect_tcp(Resolver::default().addresses(&host, port).await?).await?));
            }
            return Self::Loopback(Host::Name(host, None), port).connect().await;
        }
        let _ = uri;
        self.connect().await
    }
}

/// The first connection to one of these addresses. The next one is tried after a failure, or besides the others if they
/// take long (RFC 8305), so that an address that does not answer does not use up the time.
async fn connect_tcp(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let (mut addresses, mut attempts) = (addresses.into_iter(), JoinSet::new());
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    loop {
        let outcome = match addresses.next() {
            Some(address) => {
                attempts.spawn(TcpStream::connect(address));
                let Ok(outcome) = timeout(ATTEMPT_DELAY, attempts.join_next()).await else { continue };
                outcome
            }
            None => attempts.join_next().await,
        };
        match outcome {
            None => return Err(last),
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => last = error,
            Some(Err(ended)) => last = io::Error::other(ended),
        }
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::iter;

    use tokio::net::TcpSocket;
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn an_address_without_an_answer_leaves_time_for_others() {
        Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listen = |backlog| {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
                socket.listen(backlog).unwrap()
            };
            let [full, there] = [listen(1), listen(100)];
            let [silent, address] = [&full, &there].map(|listener| listener.local_addr().unwrap());
            let connect = || std::net::TcpStream::connect_timeout(&silent, Duration::from_millis(200));
            let waiting: Vec<_> = iter::from_fn(|| connect().ok()).take(1000).collect();
            assert!(waiting.len() < 1000, "the queue is full");
            // The system would try for minutes.
            let time = Duration::from_secs(60);
            let stream = timeout(time, connect_tcp(vec![silent, silent, address])).await.unwrap().unwrap();
            assert_eq!(stream.peer_addr().unwrap(), address);
            drop((stream, there));
            let refused = timeout(time, connect_tcp(vec![address, address])).await.unwrap();
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(connect_tcp(Vec::new()).await.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        });
    }
}
