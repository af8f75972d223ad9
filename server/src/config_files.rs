//! The files that a configuration names, checked before the service opens or connects to anything.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use strongroom::protocol::secret_text::SecretKind;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::secret_kind::{self, Kind};
use crate::start::StartError;
use crate::tls;
use crate::token::TokenHashes;

/// More than this is none of the files in question, and need not be read.
const MOST: u64 = 16 << 20;

impl Config {
    /// Checks that each file that the configuration names is there and holds what its name says: an index key, a token,
    /// hashes of tokens, certificates, a private key. Nothing is opened or connected to before that, so that no secret goes
    /// to the wrong place. Pipes are not checked here, since they can be read once only.
    ///
    /// # Errors
    ///
    /// [`StartError::WrongFile`] names both kinds, never the content; [`StartError::SecretAsPath`]; [`StartError::File`];
    /// [`StartError::Tokens`]; [`StartError::Tls`].
    pub fn check_files(&self) -> Result<(), StartError> {
        let (remote, tls) = (&self.remote, self.tls.as_ref());
        if self.store.as_deref().is_some_and(secret_kind::in_path) {
            return Err(StartError::SecretAsPath { name: "store" });
        }
        let files = [
            ("index_key_file", &self.index_key_file, Kind::Secret(SecretKind::IndexKey)),
            ("tokens", &self.tokens, Kind::TokenHashes),
            ("remote.token_file", &remote.token_file, Kind::Secret(SecretKind::Token)),
            ("remote.authorities", &remote.authorities, Kind::Certificates),
            ("remote.client_certificate", &remote.client_certificate, Kind::Certificates),
            ("remote.client_key", &remote.client_key, Kind::PrivateKey),
            ("remote.revocations", &remote.revocations, Kind::RevocationLists),
        ];
        for (name, path, expected) in
            files.into_iter().filter_map(|(name, path, kind)| Some((name, path.as_ref()?, kind)))
        {
            if secret_kind::in_path(path) {
                return Err(StartError::SecretAsPath { name });
            }
            // The index key file that is not there yet is told about by the store.
            match is_regular(path) {
                Ok(true) => check(&read(path, name)?, name, expected)?,
                Ok(false) => {}
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && expected == Kind::Secret(SecretKind::IndexKey) => {}
                Err(source) => return Err(StartError::File { name, source }),
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

/// Fails where the content is not what `name` is for.
pub(crate) fn check(content: &[u8], name: &'static str, expected: Kind) -> Result<(), StartError> {
    if expected.is_in(content) {
        return Ok(());
    }
    match Kind::of(content) {
        Some(found) if found != expected => {
            Err(StartError::WrongFile { name, found: found.name(), expected: expected.name() })
        }
        // Its own error says more: which line, or that the checksum does not match.
        _ if expected == Kind::TokenHashes => {
            TokenHashes::parse(str::from_utf8(content).unwrap_or("?"))?;
            Ok(())
        }
        _ => Err(StartError::WrongFile { name, found: "something else, or a part of it", expected: expected.name() }),
    }
}

/// The content of a file of the configuration.
pub(crate) fn read(path: &Path, name: &'static str) -> Result<Zeroizing<Vec<u8>>, StartError> {
    if secret_kind::in_path(path) {
        return Err(StartError::SecretAsPath { name });
    }
    let read = || {
        let file = File::open(path)?;
        // Room for all at once, so that no copy is left behind by growth.
        let len = file.metadata()?.len().min(MOST) + 1;
        let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(len).unwrap_or(0)));
        file.take(MOST).read_to_end(&mut content)?;
        Ok(content)
    };
    read().map_err(StartError::file(name))
}

/// Whether the file can be read a second time.
pub(crate) fn is_regular(path: &Path) -> io::Result<bool> {
    Ok(std::fs::metadata(path)?.is_file())
}
