//! The check of the files that a configuration names, before the service opens or connects to anything.

use std::io;

use strongroom::protocol::secret_text::{self, SecretKind};

use crate::config::document::Config;
use crate::files::checked::{check, is_regular, read};
use crate::files::kind::FileKind;
use crate::start_error::StartError;
use crate::tls;

impl Config {
    /// Checks that each file of the configuration exists and has the right kind of content: an index key, a token,
    /// hashes of tokens, certificates, a private key. Call it before anything is opened or connected to, so that no
    /// secret is sent to the wrong place. Pipes are skipped, because they can be read only once.
    ///
    /// # Errors
    ///
    /// [`StartError::WrongFile`] names both kinds, never the content; [`StartError::SecretAsPath`];
    /// [`StartError::File`]; [`StartError::Tokens`]; [`StartError::Tls`].
    pub fn check_files(&self) -> Result<(), StartError> {
        let (remote, tls) = (&self.remote, self.tls.as_ref());
        if self.store.as_deref().is_some_and(secret_text::is_in_path) {
            return Err(StartError::SecretAsPath { name: "store" });
        }
        let files = [
            ("index_key_file", &self.index_key_file, FileKind::Secret(SecretKind::IndexKey)),
            ("previous_index_key_file", &self.previous_index_key_file, FileKind::Secret(SecretKind::IndexKey)),
            ("tokens", &self.tokens, FileKind::TokenHashes),
            ("remote.token_file", &remote.token_file, FileKind::Secret(SecretKind::Token)),
            ("remote.authorities", &remote.authorities, FileKind::Certificates),
            ("remote.client_certificate", &remote.client_certificate, FileKind::Certificates),
            ("remote.client_key", &remote.client_key, FileKind::PrivateKey),
            ("remote.revocations", &remote.revocations, FileKind::RevocationLists),
        ];
        let cluster_keys = self.cluster.key_files.iter();
        let cluster_keys =
            cluster_keys.map(|path| ("cluster.key_files", path, FileKind::Secret(SecretKind::ClusterKey)));
        let files = files.into_iter().filter_map(|(name, path, kind)| Some((name, path.as_ref()?, kind)));
        for (name, path, expected) in files.chain(cluster_keys) {
            if secret_text::is_in_path(path) {
                return Err(StartError::SecretAsPath { name });
            }
            // A missing index key file is reported when the store is opened.
            match is_regular(path) {
                Ok(true) => check(&read(path, name, expected)?, name, expected)?,
                Ok(false) => {}
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && expected == FileKind::Secret(SecretKind::IndexKey) => {}
                Err(source) => return Err(StartError::file(name, path)(source)),
            }
        }
        let tls_files = tls.map(|tls| [&tls.certificate, &tls.key].into_iter().chain(&tls.client_authorities));
        let all_regular = tls_files.is_some_and(|mut files| files.all(|path| is_regular(path).unwrap_or(true)));
        if let (Some(tls), true) = (tls, all_regular) {
            tls::acceptor(tls)?;
        }
        Ok(())
    }
}
