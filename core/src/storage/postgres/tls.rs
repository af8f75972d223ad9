//! TLS 1.3 to PostgreSQL: the certificate must be one of a trusted authority, and name the host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs as tls_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, version};
use tokio_postgres_rustls::MakeRustlsConnect;
use zeroize::Zeroizing;

use crate::storage::Error;
use crate::util::system_authorities;
use crate::util::trusted_file::{Readers, read_pem};

/// The files of TLS, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// The trusted authorities, instead of the system's.
    pub(super) authorities: Option<PathBuf>,
    /// The client's certificate and its private key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

pub(super) fn connector(files: &Files) -> Result<MakeRustlsConnect, Error> {
    let roots = match &files.authorities {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| unusable(path, &error.to_string()))?;
            }
            roots
        }
        None => system_authorities::load().map_err(|error| {
            Error::InvalidArgument(format!("PostgreSQL's certificate could not be verified: {error}").into())
        })?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(tls_provider::default_provider()));
    let builder = builder.with_protocol_versions(&[&version::TLS13]).map_err(|error| Error::Backend(error.into()))?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match &files.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            // The cause is not shown, because it can contain a line of the file.
            let private = read(key, Readers::Owner)?;
            let private =
                PrivateKeyDer::from_pem_slice(&private).map_err(|_| unusable(key, "it is no private key in PEM"))?;
            let config = builder.with_client_auth_cert(certificates(certificate)?, private);
            config.map_err(|error| unusable(certificate, &error.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let content = read(path, Readers::All)?;
    let found = CertificateDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| unusable(path, "it is no file with certificates in PEM"))?;
    if found.is_empty() { Err(unusable(path, "it has no certificate in PEM")) } else { Ok(found) }
}

fn read(path: &Path, readers: Readers) -> Result<Zeroizing<Vec<u8>>, Error> {
    read_pem("the file", path, readers).map_err(|error| unusable(path, &error.to_string()))
}

fn unusable(path: &Path, why: &str) -> Error {
    Error::InvalidArgument(format!("{} cannot be used: {why}", path.display()).into())
}
