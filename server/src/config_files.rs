//! The check of the files that a configuration names, before the service opens or connects to anything.

use std::io;
use std::path::{Path, PathBuf};

use strongroom::protocol::secret_text::{self, SecretKind};
use strongroom::{Location, database_files, index_key_file, will_be_same_file, with_suffix};

use crate::audit;
use crate::config::address::ListenAddress;
use crate::config::document::Config;
use crate::files::checked::{check, is_regular, read};
use crate::files::kind::FileKind;
use crate::start_error::StartError;
use crate::tls;
use crate::tokens::uses;

impl Config {
    /// Checks that each file of the configuration exists and has the right kind of content: an index key, a token,
    /// hashes of tokens, certificates, a private key; and that the service writes to none but its own. Call it before
    /// anything is opened or connected to, so that no secret is sent to the wrong place. Pipes are skipped, because
    /// they can be read only once.
    ///
    /// # Errors
    ///
    /// [`StartError::WrongFile`] names both kinds, never the content; [`StartError::SecretAsPath`];
    /// [`StartError::File`]; [`StartError::FileInUse`]; [`StartError::Tokens`]; [`StartError::Tls`].
    pub fn check_files(&self) -> Result<(), StartError> {
        if self.store.as_deref().is_some_and(secret_text::is_in_path) {
            return Err(StartError::SecretAsPath { name: "store" });
        }
        self.check_outputs()?;
        for (name, path, expected) in self.inputs() {
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
        let all_regular = self.tls_files().all(|(_, path)| is_regular(path).unwrap_or(true));
        if let (Some(tls), true) = (&self.tls, all_regular) {
            tls::acceptor(tls)?;
        }
        Ok(())
    }

    /// Fails if a file that the service writes has other content, or is another file of the configuration.
    pub(crate) fn check_outputs(&self) -> Result<(), StartError> {
        let audit = self.audit.as_deref().filter(|path| !audit::is_journal(path));
        let outputs = [("token_uses", self.token_uses.as_deref()), ("audit", audit)];
        let outputs = outputs.into_iter().filter_map(|(name, path)| Some((name, path?)));
        let mut others: Vec<(&'static str, PathBuf)> = Vec::new();
        if let Some(Ok(Location::Database(store))) = self.store.as_ref().map(Location::parse) {
            let files = database_files(&store).into_iter().chain([index_key_file(&store)]);
            others.extend(files.map(|file| ("store", file)));
        }
        let files = self.inputs().map(|(name, path, _)| (name, path)).chain(self.tls_files());
        others.extend(files.map(|(name, path)| (name, path.to_path_buf())));
        let listeners = self.listen.iter().map(|address| ("listen", address));
        let listeners = listeners.chain(self.admin.iter().map(|address| ("admin", address)));
        for (name, address) in listeners.chain(self.health.iter().map(|address| ("health", address))) {
            if let ListenAddress::Unix(path) = address {
                others.extend(["", ".lock"].map(|suffix| (name, with_suffix(path, suffix))));
            }
        }
        for (name, path) in outputs {
            if secret_text::is_in_path(path) {
                return Err(StartError::SecretAsPath { name });
            }
            if let Some((other, _)) = others.iter().find(|(_, other)| will_be_same_file(path, other)) {
                return Err(StartError::FileInUse { name, other });
            }
            // Opened only now: closing a database's file would release SQLite's locks.
            let checked = if name == "audit" { audit::check(path) } else { uses::read_earlier(path).map(drop) };
            checked.map_err(StartError::file(name, path))?;
            others.push((name, path.to_path_buf()));
        }
        Ok(())
    }

    /// The files of secrets, hashes and certificates, without those of TLS.
    fn inputs(&self) -> impl Iterator<Item = (&'static str, &Path, FileKind)> {
        let remote = &self.remote;
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
            cluster_keys.map(|path| ("cluster.key_files", &**path, FileKind::Secret(SecretKind::ClusterKey)));
        files.into_iter().filter_map(|(name, path, kind)| Some((name, path.as_deref()?, kind))).chain(cluster_keys)
    }

    fn tls_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.tls.iter().flat_map(|tls| {
            let files = [
                ("tls.certificate", Some(&tls.certificate)),
                ("tls.key", Some(&tls.key)),
                ("tls.client_authorities", tls.client_authorities.as_ref()),
                ("tls.client_revocations", tls.client_revocations.as_ref()),
            ];
            files.into_iter().filter_map(|(name, path)| Some((name, path?.as_path())))
        })
    }
}
