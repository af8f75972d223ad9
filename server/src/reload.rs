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

    /// Reads the files, and uses their contents. After this, a removed token is rejected, a revoked client cannot
    /// connect, and earlier TLS connections end after their running requests. Tokens, certificates (with revocation
    /// lists) and the audit log are independent: a removed token is rejected even if another file is invalid.
    ///
    /// # Errors
    ///
    /// As for the start, if one of the three fails: what it had stays in use. The outcomes are logged.
    pub fn reload(&self) -> Result<(), StartError> {
        let tokens = self.tokens.as_ref().map(|path| self.replace_tokens(path));
        let tokens = logged(tokens, "tokens are not reloaded");
        let certificates = self.tls.as_ref().map(|(files, used)| self.replace_certificates(files, used));
        let certificates = logged(certificates, "certificates are not reloaded");
        let audit = logged(self.shared.audit.as_ref().map(Audit::reopen), "the audit log is not opened again");
        tokens.and(certificates).and(audit)
    }

    fn replace_tokens(&self, path: &Path) -> Result<(), StartError> {
        reloadable(path, "tokens")?;
        let tokens = token_file::read(path)?;
        if let Some(known) = &self.shared.authentication {
            known.replace(tokens);
        }
        tracing::info!(target: "strongroom", "tokens are reloaded");
        Ok(())
    }

    fn replace_certificates(&self, files: &Tls, used: &Certificates) -> Result<(), StartError> {
        for (name, path) in [
            ("tls.certificate", Some(&files.certificate)),
            ("tls.key", Some(&files.key)),
            ("tls.client_authorities", files.client_authorities.as_ref()),
            ("tls.client_revocations", files.client_revocations.as_ref()),
        ] {
            path.map_or(Ok(()), |path| reloadable(path, name))?;
        }
        let (acceptor, end) = tls::acceptor(files)?;
        self.shared.metrics.certificate_end.store(end, Ordering::Relaxed);
        certificate_expiry::warn(&self.shared);
        used.replace(acceptor);
        tracing::info!(target: "strongroom", "certificates are reloaded");
        Ok(())
    }
}

/// The outcome for a part of the configuration, if the service has it. A failure is logged.
fn logged(outcome: Option<Result<(), StartError>>, failed: &str) -> Result<(), StartError> {
    let outcome = outcome.unwrap_or(Ok(()));
    if let Err(error) = &outcome {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let error = error.to_string();
        tracing::error!(target: "strongroom", error, cause, "{failed}");
    }
    outcome
}

fn reloadable(path: &Path, name: &'static str) -> Result<(), StartError> {
    match is_regular(path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StartError::NotReloadable { name }),
        Err(source) => Err(StartError::file(name, path)(source)),
    }
}
