//! TLS 1.3 with the files of the configuration, which can be reloaded while the service runs.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;
use x509_cert::der::Decode;

use crate::certificate_expiry;
use crate::config::document::Tls;
use crate::files::checked::{check, read};
use crate::files::kind::FileKind;
use crate::start_error::StartError;
use crate::tokens::bound_namespace::BoundNamespace;

/// The current certificates: those of the last reload.
#[derive(Clone)]
pub(crate) struct Certificates(Arc<State>);

struct State {
    acceptor: RwLock<TlsAcceptor>,
    /// The namespaces of clients, by the DNS names in their certificates.
    namespaces: BTreeMap<String, BoundNamespace>,
    replaced: watch::Sender<()>,
}

impl Certificates {
    /// Also returns the end of the server's certificate, as [`acceptor`] does.
    pub(crate) fn new(tls: &Tls) -> Result<(Self, u64), StartError> {
        let (acceptor, certificate_end) = acceptor(tls)?;
        let (acceptor, namespaces) = (RwLock::new(acceptor), namespaces(tls)?);
        Ok((Self(Arc::new(State { acceptor, namespaces, replaced: watch::Sender::new(()) })), certificate_end))
    }

    /// New connections use `acceptor`; open ones close after their running requests.
    pub(crate) fn replace(&self, acceptor: TlsAcceptor) {
        *self.0.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        self.0.replaced.send_replace(());
    }

    /// Whether and when they are replaced from now on.
    pub(crate) fn replaced(&self) -> Replaced {
        Replaced(Some(self.0.replaced.subscribe()))
    }

    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let acceptor = self.0.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        acceptor.accept(stream).await
    }

    /// The namespace to which the client is bound by its certificate; `None` if certificates bind no client.
    pub(crate) fn namespace<S>(&self, stream: &TlsStream<S>) -> Option<CertificateNamespace> {
        if self.0.namespaces.is_empty() {
            return None;
        }
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        Some(CertificateNamespace(certificate.and_then(|certificate| self.namespace_of(certificate))))
    }

    fn namespace_of(&self, certificate: &CertificateDer<'_>) -> Option<BoundNamespace> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let mut found = certificate.valid_dns_names().filter_map(|name| {
            self.0
                .namespaces
                .iter()
                .find_map(|(known, namespace)| known.eq_ignore_ascii_case(name).then_some(namespace))
        });
        let first = found.next()?;
        found.all(|other| other == first).then(|| first.clone())
    }
}

/// Whether the certificates of a connection are replaced; never, if it has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replaced(Option<watch::Receiver<()>>);

impl Replaced {
    pub(crate) fn is_replaced(&self) -> bool {
        // An error means that the service stops, which has its own signal for connections.
        self.0.as_ref().is_some_and(|replaced| replaced.has_changed().unwrap_or(false))
    }

    pub(crate) async fn wait(self) {
        if let Some(mut replaced) = self.0
            && replaced.changed().await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// The longest name of a client in logs.
const MAX_NAME_LEN: usize = 200;

/// The name of the client for logs: the first DNS name of its certificate, or else its subject (RFC 4514).
pub(crate) fn client_name<S>(stream: &TlsStream<S>) -> Option<String> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let name = EndEntityCert::try_from(certificate).ok()?.valid_dns_names().next().map(str::to_owned);
    name.or_else(|| subject(certificate))
}

fn subject(certificate: &[u8]) -> Option<String> {
    let subject = x509_cert::Certificate::from_der(certificate).ok()?.tbs_certificate.subject.to_string();
    (!subject.is_empty() && subject.len() <= MAX_NAME_LEN && !subject.contains(char::is_control)).then_some(subject)
}

/// The namespace to which a client is bound by its certificate; `None` if the certificate has no configured name, or
/// those of several namespaces.
#[derive(Clone, Debug)]
pub(crate) struct CertificateNamespace(pub(crate) Option<BoundNamespace>);

fn namespaces(tls: &Tls) -> Result<BTreeMap<String, BoundNamespace>, StartError> {
    if !tls.client_namespaces.is_empty() && tls.client_authorities.is_none() {
        return Err(StartError::Tls("tls.client_namespaces needs tls.client_authorities".into()));
    }
    let bound = |(name, namespace): (&String, &String)| match BoundNamespace::new(namespace.as_bytes()) {
        Some(namespace) => Ok((name.clone(), namespace)),
        None => Err(StartError::Tls("a namespace in tls.client_namespaces has more than 255 bytes".into())),
    };
    tls.client_namespaces.iter().map(bound).collect()
}

/// TLS with these files, if they match each other, and the Unix time in seconds at which the server's certificate, or
/// one above it, expires; 0 if it is unknown. Reads each file once, because it may be a pipe.
pub(crate) fn acceptor(tls: &Tls) -> Result<(TlsAcceptor, u64), StartError> {
    let unusable = |error: rustls::Error| StartError::Tls(error.into());
    let chain = certificates(&read(&tls.certificate, "tls.certificate", FileKind::Certificates)?, "tls.certificate")?;
    let key = read(&tls.key, "tls.key", FileKind::PrivateKey)?;
    check(&key, "tls.key", FileKind::PrivateKey)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(pem("tls.key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&[&version::TLS13]).map_err(unusable)?;
    let builder = match &tls.client_authorities {
        Some(path) => {
            const NAME: &str = "tls.client_authorities";
            let mut authorities = RootCertStore::empty();
            for certificate in certificates(&read(path, NAME, FileKind::Certificates)?, NAME)? {
                authorities.add(certificate).map_err(unusable)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider);
            let verifier = verifier.with_crls(revocations(tls)?).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| StartError::Tls(error.into()))?)
        }
        None if tls.client_revocations.is_some() => {
            return Err(StartError::Tls("tls.client_revocations needs tls.client_authorities".into()));
        }
        None => builder.with_no_client_auth(),
    };
    let certificate_end = certificate_expiry::first_end(&chain).unwrap_or(0);
    let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if tls.client_authorities.is_some() {
        // A resumed session would skip the client's certificate, which may have expired meanwhile.
        config.send_tls13_tickets = 0;
    }
    Ok((TlsAcceptor::from(Arc::new(config)), certificate_end))
}

fn certificates(content: &[u8], name: &'static str) -> Result<Vec<CertificateDer<'static>>, StartError> {
    check(content, name, FileKind::Certificates)?;
    CertificateDer::pem_slice_iter(content).collect::<Result<_, _>>().map_err(pem(name))
}

fn revocations(tls: &Tls) -> Result<Vec<CertificateRevocationListDer<'static>>, StartError> {
    const NAME: &str = "tls.client_revocations";
    let Some(path) = &tls.client_revocations else { return Ok(Vec::new()) };
    let content = read(path, NAME, FileKind::RevocationLists)?;
    check(&content, NAME, FileKind::RevocationLists)?;
    CertificateRevocationListDer::pem_slice_iter(&content).collect::<Result<_, _>>().map_err(pem(NAME))
}

/// The cause is dropped, because it can quote a line of the file, possibly of a key.
fn pem(name: &'static str) -> impl Fn(rustls::pki_types::pem::Error) -> StartError {
    move |_| StartError::Tls(format!("the file of {name} is not PEM, or has the wrong content").into())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    #[test]
    fn a_subject_is_text_of_limited_length() {
        let subject_of = |name: &str| {
            let mut parameters = CertificateParams::default();
            parameters.distinguished_name = DistinguishedName::new();
            parameters.distinguished_name.push(DnType::OrganizationName, "one, \n");
            parameters.distinguished_name.push(DnType::CommonName, name);
            subject(parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
        };
        assert_eq!(subject_of("app").as_deref(), Some("CN=app,O=one\\, \\0a"));
        assert_eq!(subject_of(&"x".repeat(200)), None);
        assert_eq!(subject_of("\u{85}"), None);
        assert_eq!(subject(b"no certificate"), None);
    }
}
