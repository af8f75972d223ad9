//! Reloading of tokens and certificates while the service runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::audit::Audit;
use crate::certificate_expiry;
use crate::config::document::{Config, Tls};
use crate::files::checked::is_regular;
use crate::shared::Shared;
use crate::start_error::StartError;
use crate::tls::{self, Certificates};
use crate::token_file;

/// Reloads the files of tokens, certificates and revocation lists, and opens the audit log again.
#[derive(Clone)]
pub struct Reloader {
    shared: Arc<Shared>,
    tls: Option<(Tls, Certificates)>,
    tokens: Option<PathBuf>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}

impl Reloader {
    pub(crate) fn new(shared: Arc<Shared>, config: &Config, tls: Option<Certificates>) -> Self {
        Self { shared, tls: config.tls.clone().zip(tls), tokens: config.tokens.clone() }
    }

    /// Reads all files, and then uses their contents. After this, a removed token is rejected, a revoked client cannot
    /// connect, and earlier TLS connections end after their running requests.
    ///
    /// # Errors
    ///
    /// As for the start; the old contents then stay in use. The outcome is logged.
    pub fn reload(&self) -> Result<(), StartError> {
        let outcome = self.read_and_replace();
        match &outcome {
            Ok(()) => tracing::info!(target: "strongroom", "tokens and certificates are reloaded"),
            Err(error) => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                let error = error.to_string();
                tracing::error!(target: "strongroom", error, cause, "tokens and certificates are not reloaded");
            }
        }
        outcome
    }

    fn read_and_replace(&self) -> Result<(), StartError> {
        let files = self.tls.iter().flat_map(|(tls, _)| {
            let clients = [
                ("tls.client_authorities", tls.client_authorities.as_ref()),
                ("tls.client_revocations", tls.client_revocations.as_ref()),
            ];
            [("tls.certificate", Some(&tls.certificate)), ("tls.key", Some(&tls.key))].into_iter().chain(clients)
        });
        for (name, path) in files.chain([("tokens", self.tokens.as_ref())]) {
            path.map_or(Ok(()), |path| reloadable(path, name))?;
        }
        let acceptor = self.tls.as_ref().map(|(tls, _)| tls::acceptor(tls)).transpose()?;
        let tokens = self.tokens.as_ref().map(|path| token_file::read(path)).transpose()?;
        let audit = self.shared.audit.as_ref().map(Audit::reopen).transpose()?.flatten();
        if let (Some(tokens), Some(known)) = (tokens, &self.shared.authentication) {
            known.replace(tokens);
        }
        if let (Some((acceptor, end)), Some((_, certificates))) = (acceptor, &self.tls) {
            self.shared.metrics.certificate_end.store(end, Ordering::Relaxed);
            certificate_expiry::warn(&self.shared);
            certificates.replace(acceptor);
        }
        if let (Some(file), Some(audit)) = (audit, &self.shared.audit) {
            audit.switch_to(file);
        }
        Ok(())
    }
}

fn reloadable(path: &Path, name: &'static str) -> Result<(), StartError> {
    match is_regular(path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StartError::NotReloadable { name }),
        Err(source) => Err(StartError::file(name, path)(source)),
    }
}
