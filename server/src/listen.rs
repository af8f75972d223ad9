//! Listeners: TCP, TLS over TCP, and Unix sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use crate::config::address::ListenAddress;
use crate::config::document::Config;
use crate::connection::{Client, Connection};
use crate::host::Hosts;
use crate::monitored_stream::MonitoredStream;
use crate::start_error::StartError;
use crate::tls::{self, CertificateNamespace, Certificates, Replaced};
#[cfg(unix)]
use crate::unix_socket::{self, Access, SocketFile};

pub(crate) struct Listener {
    socket: Socket,
    tls: Option<Certificates>,
    hosts: Hosts,
    pub(crate) address: ListenAddress,
}

enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: UnixListener,
        /// The socket's file, removed on drop.
        _file: SocketFile,
    },
}

/// An accepted connection, before anything is read from it.
pub(crate) struct Accepted {
    stream: Accept,
    pub(crate) hosts: Hosts,
    pub(crate) replaced: Replaced,
    peer: Option<SocketAddr>,
}

/// A connection that is ready for requests.
pub(crate) struct Established {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) client: Client,
    /// The namespace to which the client is bound by its certificate.
    pub(crate) namespace: Option<CertificateNamespace>,
}

enum Accept {
    Tcp(TcpStream, Option<Certificates>),
    #[cfg(unix)]
    Unix(UnixStream),
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Listens on all addresses, if each is safe.
pub(crate) async fn listen(
    addresses: &[ListenAddress],
    config: &Config,
    tls: Option<&Certificates>,
) -> Result<Vec<Listener>, StartError> {
    addresses.iter().try_for_each(|address| check(address, config))?;
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(open(address, Hosts::new(address, config), config, tls).await?);
    }
    Ok(listeners)
}

/// Listens for operators, if the address is safe. On this machine, neither TLS nor a token is needed: the service's
/// certificate names other hosts, and a browser would refuse it.
pub(crate) async fn listen_for_operators(
    address: &ListenAddress,
    config: &Config,
    tls: Option<&Certificates>,
) -> Result<Listener, StartError> {
    if address.is_local() {
        return open(address, Hosts::without_tls(address, config), config, None).await;
    }
    check(address, config)?;
    open(address, Hosts::new(address, config), config, tls).await
}

/// Listens for probes, without TLS: on an address that other machines can reach, only if the configuration allows it.
pub(crate) async fn listen_for_probes(address: &ListenAddress, config: &Config) -> Result<Listener, StartError> {
    if !address.is_local() && !config.insecure_health {
        return Err(StartError::HealthIsPublic(address.clone().into()));
    }
    // Elsewhere, probes name the address of a container, which the configuration does not know.
    let hosts = if address.is_local() { Hosts::without_tls(address, config) } else { Hosts::Any };
    open(address, hosts, config, None).await
}

async fn open(
    address: &ListenAddress,
    hosts: Hosts,
    config: &Config,
    tls: Option<&Certificates>,
) -> Result<Listener, StartError> {
    #[cfg(unix)]
    let bound = bind(address, &Access::new(config)?).await;
    #[cfg(not(unix))]
    let bound = bind(address).await;
    let (socket, address) = bound.map_err(|source| StartError::Listen { address: address.clone().into(), source })?;
    Ok(Listener { socket, tls: tls.cloned(), hosts, address })
}

/// Traffic between machines is always encrypted. Clients must authenticate themselves, unless file permissions restrict
/// the connections.
fn check(address: &ListenAddress, config: &Config) -> Result<(), StartError> {
    let certificates = config.tls.as_ref().and_then(|tls| tls.client_authorities.as_ref());
    let proven = config.tokens.is_some() || certificates.is_some();
    match address {
        ListenAddress::Tcp(tcp) if address.is_local() => {
            if proven || config.insecure_loopback {
                Ok(())
            } else {
                Err(StartError::NeedsTokens(tcp.to_string()))
            }
        }
        ListenAddress::Tcp(tcp) if config.tls.is_none() => Err(StartError::NeedsTls(tcp.to_string())),
        ListenAddress::Tcp(tcp) if !proven => Err(StartError::NeedsClients(tcp.to_string())),
        ListenAddress::Unix(_)
            if config.socket_mode.is_for_all() && config.tokens.is_none() && !config.insecure_loopback =>
        {
            Err(StartError::NeedsTokens("a Unix socket of this mode".into()))
        }
        _ => Ok(()),
    }
}

async fn bind(address: &ListenAddress, #[cfg(unix)] access: &Access) -> io::Result<(Socket, ListenAddress)> {
    match address {
        ListenAddress::Tcp(address) => {
            let listener = TcpListener::bind(address).await?;
            let address = ListenAddress::Tcp(listener.local_addr()?);
            Ok((Socket::Tcp(listener), address))
        }
        #[cfg(unix)]
        ListenAddress::Unix(path) => {
            let (listener, _file) = unix_socket::bind(path, access).await?;
            Ok((Socket::Unix { listener, _file }, address.clone()))
        }
        #[cfg(not(unix))]
        ListenAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        let (stream, peer) = match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                (Accept::Tcp(stream, self.tls.clone()), Some(peer))
            }
            #[cfg(unix)]
            Socket::Unix { listener, .. } => (Accept::Unix(listener.accept().await?.0), None),
        };
        let replaced = match &stream {
            Accept::Tcp(_, Some(tls)) => tls.replaced(),
            _ => Replaced::default(),
        };
        Ok(Accepted { stream, hosts: self.hosts.clone(), replaced, peer })
    }
}

impl Accepted {
    /// The stream after the TLS handshake. It records in `connection` whether its writes make progress.
    pub(crate) async fn establish(self, connection: &Arc<Connection>) -> io::Result<Established> {
        let peer = self.peer.map_or("unix".to_owned(), |peer| peer.to_string());
        let plain =
            |stream| Established { stream, client: Client { peer: peer.clone(), certificate: None }, namespace: None };
        match self.stream {
            Accept::Tcp(stream, Some(tls)) => {
                // Below TLS, whose buffer takes bytes before they are sent.
                let stream = tls.accept(MonitoredStream::new(stream, connection)).await?;
                let namespace = tls.namespace(&stream);
                let client = Client { peer, certificate: tls::client_name(&stream) };
                Ok(Established { stream: Box::new(stream), client, namespace })
            }
            Accept::Tcp(stream, None) => Ok(plain(Box::new(MonitoredStream::new(stream, connection)))),
            #[cfg(unix)]
            Accept::Unix(stream) => Ok(plain(Box::new(MonitoredStream::new(stream, connection)))),
        }
    }
}
