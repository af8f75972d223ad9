//! Where connections come from: TCP, TLS over it, and Unix sockets.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::config::{Address, Config, Tls};
use crate::start::StartError;

pub(crate) struct Listener {
    socket: Socket,
    tls: Option<TlsAcceptor>,
    pub(crate) address: Address,
}

enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: UnixListener,
        /// Removed with it.
        _file: SocketFile,
    },
}

/// A connection whose client has not said anything yet.
pub(crate) enum Accepted {
    Tcp(TcpStream, Option<TlsAcceptor>),
    #[cfg(unix)]
    Unix(UnixStream),
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Listens on all addresses, if each is safe.
pub(crate) async fn listen(config: &Config) -> Result<Vec<Listener>, StartError> {
    if config.listen.is_empty() {
        return Err(StartError::NoAddress);
    }
    config.listen.iter().try_for_each(|address| check(address, config))?;
    let tls = config.tls.as_ref().map(acceptor).transpose()?;
    let mut listeners = Vec::new();
    for address in &config.listen {
        let bound = bind(address).await;
        let (socket, address) =
            bound.map_err(|source| StartError::Listen { address: address.clone().into(), source })?;
        listeners.push(Listener { tls: tls.clone(), socket, address });
    }
    Ok(listeners)
}

/// Off this machine, all is encrypted, and clients prove who they are.
fn check(address: &Address, config: &Config) -> Result<(), StartError> {
    match address {
        Address::Tcp(tcp) if !tcp.ip().to_canonical().is_loopback() => match &config.tls {
            None => Err(StartError::NeedsTls(tcp.to_string())),
            Some(tls) if tls.client_authorities.is_none() && config.tokens.is_none() => {
                Err(StartError::NeedsClients(tcp.to_string()))
            }
            Some(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

async fn bind(address: &Address) -> io::Result<(Socket, Address)> {
    match address {
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address).await?;
            let address = Address::Tcp(listener.local_addr()?);
            Ok((Socket::Tcp(listener), address))
        }
        #[cfg(unix)]
        Address::Unix(path) => {
            let (listener, _file) = bind_unix(path)?;
            Ok((Socket::Unix { listener, _file }, address.clone()))
        }
        #[cfg(not(unix))]
        Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The socket is made under another name and for its owner alone, and gets its name then: nobody else can connect before.
#[cfg(unix)]
fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};

    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        _ => {}
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = SocketFile(temporary.into());
    let _ = std::fs::remove_file(&temporary.0);
    let listener = UnixListener::bind(&temporary.0)?;
    std::fs::set_permissions(&temporary.0, PermissionsExt::from_mode(0o600))?;
    std::fs::rename(&temporary.0, path)?;
    Ok((listener, SocketFile(path.to_path_buf())))
}

/// The name of a socket, which goes with it.
#[cfg(unix)]
struct SocketFile(std::path::PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream, self.tls.clone()))
            }
            #[cfg(unix)]
            Socket::Unix { listener, .. } => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

impl Accepted {
    /// The connection, once TLS is agreed on.
    pub(crate) async fn establish(self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(stream, Some(tls)) => Ok(Box::new(tls.accept(stream).await?)),
            Self::Tcp(stream, None) => Ok(Box::new(stream)),
            #[cfg(unix)]
            Self::Unix(stream) => Ok(Box::new(stream)),
        }
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, StartError> {
    let unusable = |error: rustls::Error| StartError::Tls(error.into());
    let chain = certificates(&tls.certificate, "tls.certificate")?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(pem("tls.key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&[&version::TLS13]).map_err(unusable)?;
    let builder = match &tls.client_authorities {
        Some(path) => {
            let mut authorities = RootCertStore::empty();
            for certificate in certificates(path, "tls.client_authorities")? {
                authorities.add(certificate).map_err(unusable)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| StartError::Tls(error.into()))?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path, name: &'static str) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let certificates = CertificateDer::pem_file_iter(path).map_err(pem(name))?;
    certificates.collect::<Result<_, _>>().map_err(pem(name))
}

/// The error itself is not told: it can have a line of the file, which may be a key's.
fn pem(name: &'static str) -> impl Fn(rustls::pki_types::pem::Error) -> StartError {
    move |error| match error {
        rustls::pki_types::pem::Error::Io(source) => StartError::File { name, source },
        _ => StartError::Tls(format!("the file of {name} is not in PEM, or has nothing of the kind").into()),
    }
}
