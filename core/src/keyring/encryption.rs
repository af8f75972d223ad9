//! The encryption of a keyring's document: the format age v1, to recipients or under a passphrase.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::iter;
use std::path::Path;

use age::secrecy::{ExposeSecret, SecretString};
use age::{DecryptError, Decryptor, Encryptor, scrypt, x25519};
use zeroize::Zeroizing;

use super::document::MAX_RECIPIENTS;
use crate::error::Error;
use crate::util::secret_text;
use crate::util::trusted_file::{Refused, read_checked};
use crate::util::wiped::Wiped;

/// The start of an age file of version 1.
const START: &[u8] = b"age-encryption.org/v1\n";

/// The work that a new passphrase costs: 2^18 rounds of scrypt, with 256 MiB of memory. It is what the program `age`
/// uses.
const WORK: u8 = 18;
/// The most work that a file may demand.
const MAX_WORK: u8 = 20;

/// The most lines and bytes of a header: more than twice those for 255 recipients. The time that the crate `age` takes
/// grows with the product of both.
const MAX_HEADER_LINES: usize = 1200;
const MAX_HEADER_LEN: usize = 64 << 10;

/// The maximum length of a file with identities.
const MAX_IDENTITIES_LEN: usize = 64 << 10;

/// The readers of a keyring: recipients, or the holders of a passphrase.
#[derive(Clone)]
pub struct KeyringProtection(Protection);

#[derive(Clone)]
pub(super) enum Protection {
    Recipients(Vec<x25519::Recipient>),
    Passphrase(SecretString),
}

/// The secret that opens a keyring: identities, which are the private keys of recipients, or its passphrase. It is
/// wiped on drop.
pub struct KeyringSecret(Secret);

enum Secret {
    Identities(Vec<x25519::Identity>),
    Passphrase(SecretString),
}

impl KeyringProtection {
    /// Encrypts to these recipients of age, `age1...` (X25519): each of their identities opens the keyring.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there is none, or more than 255, or if one is not such a recipient.
    pub fn recipients<T: AsRef<str>>(recipients: impl IntoIterator<Item = T>) -> Result<Self, Error> {
        let parse = |text: T| {
            let recipient = secret_text::trim(text.as_ref()).parse::<x25519::Recipient>();
            recipient
                .map_err(|_| Error::InvalidArgument("a recipient is not valid: it is age1 and 58 more letters".into()))
        };
        let recipients = recipients.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        if recipients.is_empty() || recipients.len() > MAX_RECIPIENTS {
            return Err(Error::InvalidArgument("a keyring has 1 to 255 recipients".into()));
        }
        Ok(Self(Protection::Recipients(recipients)))
    }

    /// Encrypts under a passphrase. Each opening and each change then cost about a second and 256 MiB of memory, which
    /// slows down guesses; the passphrase should be hard to guess nevertheless.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it is empty.
    pub fn passphrase(passphrase: &str) -> Result<Self, Error> {
        Ok(Self(Protection::Passphrase(to_passphrase(passphrase)?)))
    }

    pub(super) fn inner(&self) -> &Protection {
        &self.0
    }

    /// The passphrase, which also opens the keyring.
    pub(super) fn secret(&self) -> Option<KeyringSecret> {
        match &self.0 {
            Protection::Recipients(_) => None,
            Protection::Passphrase(passphrase) => Some(KeyringSecret(Secret::Passphrase(passphrase.clone()))),
        }
    }
}

impl KeyringSecret {
    /// The identities in the text of a file of `age-keygen`: a line `AGE-SECRET-KEY-1...` each. Empty lines, those that
    /// begin with `#` and a byte order mark are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there is no identity, or another line.
    pub fn identities(text: &str) -> Result<Self, Error> {
        let mut identities = Vec::new();
        for line in
            secret_text::trim(text).lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let identity = line.parse::<x25519::Identity>();
            identities.push(identity.map_err(|_| {
                Error::InvalidArgument(
                    "the identity is not valid: a line is AGE-SECRET-KEY-1 and 58 more letters, as age-keygen prints it"
                        .into(),
                )
            })?);
        }
        if identities.is_empty() {
            return Err(Error::InvalidArgument("there is no identity: AGE-SECRET-KEY-1... by age-keygen".into()));
        }
        Ok(Self(Secret::Identities(identities)))
    }

    /// A new identity, as the text of a file that [`identity_file`](Self::identity_file) and the program `age` read,
    /// and its recipient.
    #[must_use]
    pub fn generate_identity() -> (Zeroizing<String>, String) {
        let identity = x25519::Identity::generate();
        let recipient = identity.to_public().to_string();
        // Full capacity from the start: growth would leave a copy in memory.
        let mut text = Zeroizing::new(String::with_capacity(256));
        text.push_str("# public key: ");
        text.push_str(&recipient);
        text.push('\n');
        text.push_str(identity.to_string().expose_secret());
        text.push('\n');
        (text, recipient)
    }

    /// The identities in the file at `path`. It is refused if another user, except root, can change or read it; a file
    /// of root may be readable by all.
    ///
    /// # Errors
    ///
    /// As [`identities`](Self::identities); [`Error::InvalidArgument`] also if the file is missing or refused;
    /// [`Error::Storage`].
    pub fn identity_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::InvalidArgument(format!("there is no file {}", path.display()).into()),
            _ => Error::Storage(error.into()),
        })?;
        let text =
            read_checked("the identity's file", path, file, None, MAX_IDENTITIES_LEN).map_err(|error| match error {
                Refused::Unsafe(text) => Error::InvalidArgument(text.into()),
                Refused::Io(error) => Error::Storage(error.into()),
            })?;
        let text = str::from_utf8(&text);
        Self::identities(text.map_err(|_| Error::InvalidArgument("the identity's file is not text".into()))?)
    }

    /// The passphrase.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it is empty.
    pub fn passphrase(passphrase: &str) -> Result<Self, Error> {
        Ok(Self(Secret::Passphrase(to_passphrase(passphrase)?)))
    }

    /// The protection of a file that this secret has opened, whose document lists `recipients`.
    pub(super) fn protection(&self, recipients: &[String]) -> Result<KeyringProtection, Error> {
        match &self.0 {
            Secret::Identities(_) => KeyringProtection::recipients(recipients).map_err(|_| Error::Corrupt),
            Secret::Passphrase(_) if !recipients.is_empty() => Err(Error::Corrupt),
            Secret::Passphrase(passphrase) => Ok(KeyringProtection(Protection::Passphrase(passphrase.clone()))),
        }
    }
}

fn to_passphrase(text: &str) -> Result<SecretString, Error> {
    if text.is_empty() {
        return Err(Error::InvalidArgument("the passphrase is empty".into()));
    }
    Ok(SecretString::from(text))
}

/// Shows no passphrase.
impl fmt::Debug for KeyringProtection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Protection::Recipients(recipients) => f.debug_tuple("Recipients").field(&recipients.len()).finish(),
            Protection::Passphrase(_) => f.write_str("Passphrase(..)"),
        }
    }
}

/// Shows no secret.
impl fmt::Debug for KeyringSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Secret::Identities(_) => "Identities(..)",
            Secret::Passphrase(_) => "Passphrase(..)",
        })
    }
}

impl Protection {
    /// The recipients as the document lists them; none for a passphrase.
    pub(super) fn recipients(&self) -> Vec<String> {
        match self {
            Self::Recipients(recipients) => recipients.iter().map(ToString::to_string).collect(),
            Self::Passphrase(_) => Vec::new(),
        }
    }
}

pub(super) fn encrypt(document: &[u8], protection: &Protection) -> Result<Vec<u8>, Error> {
    let encryptor = match protection {
        Protection::Recipients(recipients) => {
            Encryptor::with_recipients(recipients.iter().map(|recipient| -> &dyn age::Recipient { recipient }))
        }
        Protection::Passphrase(passphrase) => {
            let mut recipient = scrypt::Recipient::new(passphrase.clone());
            recipient.set_work_factor(WORK);
            Encryptor::with_recipients(iter::once::<&dyn age::Recipient>(&recipient))
        }
    };
    let mut file = Vec::with_capacity(document.len() + document.len() / 2048 + 65_536);
    let write = || {
        let mut writer = encryptor.map_err(|_| ErrorKind::Other)?.wrap_output(&mut file)?;
        writer.write_all(document)?;
        writer.finish().map(drop)
    };
    write().map_err(|error: std::io::Error| Error::Internal(error.into()))?;
    Ok(file)
}

pub(super) fn decrypt(file: &[u8], secret: &KeyringSecret) -> Result<Wiped, Error> {
    let decryptor = decryptor(file)?;
    let opened = match &secret.0 {
        Secret::Identities(identities) => {
            decryptor.decrypt(identities.iter().map(|identity| -> &dyn age::Identity { identity }))
        }
        Secret::Passphrase(passphrase) => {
            let mut identity = scrypt::Identity::new(passphrase.clone());
            identity.set_max_work_factor(MAX_WORK);
            decryptor.decrypt(iter::once::<&dyn age::Identity>(&identity))
        }
    };
    let mut reader = opened.map_err(|error| match error {
        DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed => {
            Error::AccessDenied(WrongSecret.into())
        }
        DecryptError::ExcessiveWork { .. } => {
            Error::Unsupported("the keyring's passphrase demands too much work".into())
        }
        _ => Error::Corrupt,
    })?;
    // Full capacity from the start: growth would leave a copy in memory.
    let mut document = Wiped::with_capacity(file.len());
    reader.read_to_end(&mut document).map_err(|_| Error::Corrupt)?;
    Ok(document)
}

/// Whether a passphrase opens the file that begins with these bytes.
pub(super) fn needs_passphrase(file: &[u8]) -> Result<bool, Error> {
    Ok(decryptor(file)?.is_scrypt())
}

fn decryptor(file: &[u8]) -> Result<Decryptor<&[u8]>, Error> {
    if !file.starts_with(START) {
        let text = if file.starts_with(b"-----BEGIN AGE") {
            "the keyring is an age file in ASCII: keyrings are binary"
        } else {
            "the file is not a keyring: it is not encrypted with age"
        };
        return Err(Error::InvalidArgument(text.into()));
    }
    if !has_short_header(file) {
        return Err(Error::Corrupt);
    }
    Decryptor::new_buffered(file).map_err(|_| Error::Corrupt)
}

/// Whether the header, whose last line begins with `--- `, is within its limits.
fn has_short_header(file: &[u8]) -> bool {
    let start = file.get(..MAX_HEADER_LEN).unwrap_or(file);
    start.split(|byte| *byte == b'\n').take(MAX_HEADER_LINES).any(|line| line.starts_with(b"--- "))
}

/// No identity is a recipient's, or the passphrase is wrong.
#[derive(Debug, thiserror::Error)]
#[error("the identity or the passphrase does not open the keyring")]
struct WrongSecret;
