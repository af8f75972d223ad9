//! TLS 1.3 to a service: the trusted authorities, the revocations, and the client's certificate.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs as tls_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, version};
use zeroize::Zeroizing;

use super::invalid_endpoint::InvalidEndpoint;
use crate::util::system_authorities;
use crate::util::trusted_file::{Readers, read_pem};

/// The files that TLS needs, in PEM.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) authorities: Option<PathBuf>,
    pub(super) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(super) revocations: Option<PathBuf>,
}

/// The configuration of new connections.
pub(super) struct Tls {
    /// `None`: the system's.
    authorities: Option<Arc<RootCertStore>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    revocations: Option<PathBuf>,
    current: Mutex<Option<(Stamp, Arc<ClientConfig>)>>,
}

/// The properties of a file that change when it is written or replaced.
#[derive(PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl Tls {
    pub(super) fn open(files: &Files) -> Result<Self, InvalidEndpoint> {
        let authorities = files.authorities.as_ref().map(|path| -> Result<_, InvalidEndpoint> {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, "authorities")? {
                roots.add(certificate).map_err(unusable)?;
            }
            Ok(Arc::new(roots))
        });
        let client = files.client_certificate.as_ref().map(|(certificate, key)| -> Result<_, InvalidEndpoint> {
            let chain = certificates(certificate, "client certificate")?;
            const KEY: &str = "client certificate's key";
            let key = PrivateKeyDer::from_pem_slice(&read(key, KEY, Readers::Owner)?).map_err(not_pem(KEY))?;
            Ok((chain, key))
        });
        let tls = Self {
            authorities: authorities.transpose()?,
            client: client.transpose()?,
            revocations: files.revocations.clone(),
            current: Mutex::new(None),
        };
        match tls.config() {
            // Perhaps no service needs TLS: otherwise, each connection has this error.
            Err(InvalidEndpoint::NoAuthorities(_)) => {}
            config => drop(config?),
        }
        Ok(tls)
    }

    /// The configuration for a connection that begins now: a changed file of revocations applies to each new one.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, InvalidEndpoint> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.revocations.as_deref().map_or(Ok(Stamp { modified: None, len: 0, inode: 0 }), stamp)?;
        match &*current {
            Some((before, config)) if *before == stamp => Ok(Arc::clone(config)),
            _ => {
                let config = Arc::new(self.build()?);
                *current = Some((stamp, Arc::clone(&config)));
                Ok(config)
            }
        }
    }

    fn build(&self) -> Result<ClientConfig, InvalidEndpoint> {
        let roots = match &self.authorities {
            Some(authorities) => Arc::clone(authorities),
            None => Arc::new(system_authorities::load().map_err(InvalidEndpoint::NoAuthorities)?),
        };
        let provider = Arc::new(tls_provider::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&[&version::TLS13]).map_err(unusable)?;
        let builder = match &self.revocations {
            Some(path) => {
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider);
                // By default it also rejects a certificate that no list covers.
                let verifier = verifier.with_crls(revocations(path)?).enforce_revocation_expiration().build();
                builder.with_webpki_verifier(verifier.map_err(|error| InvalidEndpoint::Tls(error.into()))?)
            }
            None => builder.with_root_certificates(roots),
        };
        let mut config = match &self.client {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(unusable)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A resumed session skips the certificate: one that has expired meanwhile, or whose revocation list has, would
        // still be accepted. Short requests share connections; an upload, which does not, pays for a full handshake.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn stamp(path: &Path) -> Result<Stamp, InvalidEndpoint> {
    let file = fs::metadata(path).map_err(unreadable(path, "revocations"))?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&file);
    #[cfg(not(unix))]
    let inode = 0;
    Ok(Stamp { modified: file.modified().ok(), len: file.len(), inode })
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, InvalidEndpoint> {
    let content = read(path, what, Readers::All)?;
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(&content).collect::<Result<_, _>>().map_err(not_pem(what))?;
    if certificates.is_empty() {
        return Err(InvalidEndpoint::Tls(format!("the file of the {what} has no certificate in PEM").into()));
    }
    Ok(certificates)
}

/// A file without a list is an error, because nothing would be checked.
fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, InvalidEndpoint> {
    let content = read(path, "revocations", Readers::All)?;
    let lists = CertificateRevocationListDer::pem_slice_iter(&content);
    let lists: Vec<_> = lists.collect::<Result<_, _>>().map_err(not_pem("revocations"))?;
    if lists.is_empty() {
        let text = "the file of the revocations has no certificate revocation list (X509 CRL) in PEM";
        return Err(InvalidEndpoint::Tls(text.into()));
    }
    Ok(lists)
}

fn unusable(error: rustls::Error) -> InvalidEndpoint {
    InvalidEndpoint::Tls(error.into())
}

fn read(path: &Path, what: &'static str, readers: Readers) -> Result<Zeroizing<Vec<u8>>, InvalidEndpoint> {
    read_pem("the file", path, readers).map_err(unreadable(path, what))
}

fn unreadable(path: &Path, what: &'static str) -> impl Fn(io::Error) -> InvalidEndpoint {
    move |source| InvalidEndpoint::File { what, path: path.to_owned(), source }
}

/// The cause is not shown, because it can contain a line of the file, which may be part of a key.
fn not_pem(what: &'static str) -> impl Fn(pem::Error) -> InvalidEndpoint {
    move |_| InvalidEndpoint::Tls(format!("the file of the {what} is not PEM, or has the wrong content").into())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::{ClientConnection, Connection, HandshakeKind, ServerConfig, ServerConnection};

    use super::*;

    /// Passes all waiting bytes. Returns whether there were any.
    fn pass(from: &mut Connection, to: &mut Connection) -> bool {
        let mut bytes = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            to.read_tls(&mut rest).unwrap();
            to.process_new_packets().unwrap();
        }
        !bytes.is_empty()
    }

    /// The server offers to resume the session, which would skip the certificate.
    #[test]
    fn each_connection_checks_the_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let authorities = folder.path().join("authority.pem");
        fs::write(&authorities, certificate.pem()).unwrap();
        let tls = Tls::open(&Files { authorities: Some(authorities), ..Files::default() }).unwrap();
        let builder = ServerConfig::builder_with_provider(tls_provider::default_provider().into());
        let builder = builder.with_protocol_versions(&[&version::TLS13]).unwrap().with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap());
        for _ in 0..2 {
            let client = ClientConnection::new(tls.config().unwrap(), "localhost".try_into().unwrap()).unwrap();
            let mut client = Connection::from(client);
            let mut server = Connection::from(ServerConnection::new(Arc::clone(&server)).unwrap());
            while pass(&mut client, &mut server) | pass(&mut server, &mut client) {}
            assert!(!client.is_handshaking());
            assert_ne!(client.handshake_kind(), Some(HandshakeKind::Resumed));
        }
    }
}
