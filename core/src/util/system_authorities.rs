//! The authorities that the system trusts.

use std::io;

use rustls::RootCertStore;

/// Without any, no certificate could be verified, which is an error.
pub(crate) fn load() -> io::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let cause = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
    let text = format!(
        "this system has no trusted authorities{cause}: install them, such as Debian's package ca-certificates, or give \
         a file of authorities"
    );
    Err(io::Error::new(io::ErrorKind::NotFound, text))
}
