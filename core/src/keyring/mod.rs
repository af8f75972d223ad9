//! A keyring: one file that keeps record keys under their ids, encrypted with age.

mod document;
mod encryption;
mod entries;
mod file;

use std::path::{Path, PathBuf};

pub use encryption::{KeyringProtection, KeyringSecret};
pub use entries::KeyringEntries;

use crate::error::Error;
use crate::key::RecordKey;
use encryption::Protection;

/// One file that keeps record keys under their ids, encrypted with [age](https://age-encryption.org) to recipients or
/// under a passphrase.
///
/// Put the key into the keyring before the record is stored: a failure then leaves at most a key without a record. It
/// opens nothing, but counts towards the 255 keys that an id may have. Each change replaces the file as a whole,
/// durably; of several processes, one changes it at a time, and each begins with the changes of the others. One keyring
/// may serve several stores: remove the key that opened a record ([`KeyringEntries::remove_key`]), because other keys
/// of its id may open records of other stores.
///
/// ```
/// use strongroom::{Keyring, KeyringProtection, KeyringSecret, RecordKey, Strongroom, WriteOptions};
///
/// # let folder = tempfile::tempdir()?;
/// # let (path, database) = (folder.path().join("keys"), folder.path().join("records.db"));
/// // By `age-keygen`: the recipient is public, the identity opens the keyring.
/// let recipient = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
/// let identity = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
/// Keyring::create(&path, KeyringProtection::recipients([recipient])?)?;
///
/// let store = Strongroom::open(database)?;
/// let mut keyring = Keyring::open(&path, KeyringSecret::identities(identity)?)?;
/// let key = RecordKey::generate()?;
/// keyring.insert("", "report", &key)?; // before the record, so that no record is without its key
/// store.store_with("report", b"scanned pages", WriteOptions::new().key(&key))?;
///
/// let key = keyring.get("", "report").ok_or("no key")?;
/// assert_eq!(store.retrieve("report", key)?, b"scanned pages");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Keyring {
    path: PathBuf,
    secret: KeyringSecret,
    /// The first bytes of the file that `entries` were read from, or written to.
    start: Vec<u8>,
    entries: KeyringEntries,
    protection: KeyringProtection,
}

impl Keyring {
    /// Makes an empty keyring in a new file, readable only by its owner.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the file exists, or if its name begins with `.strongroom-unfinished-`;
    /// [`Error::StorageFull`]; [`Error::Storage`].
    pub fn create(path: impl AsRef<Path>, protection: KeyringProtection) -> Result<(), Error> {
        file::create(path.as_ref(), &encrypt(&KeyringEntries::default(), protection.inner())?)
    }

    /// Opens a keyring. 100,000 keys take a fraction of a second; a passphrase takes about one more.
    ///
    /// # Errors
    ///
    /// [`Error::AccessDenied`] if the secret does not open it; [`Error::InvalidArgument`] if there is no file, or it is
    /// not encrypted with age, or other users can read or change it; [`Error::Corrupt`]; [`Error::Unsupported`] for a
    /// later format; [`Error::TooLarge`] for more than 256 MiB; [`Error::Storage`].
    pub fn open(path: impl AsRef<Path>, secret: KeyringSecret) -> Result<Self, Error> {
        let path = file::resolve(path.as_ref())?;
        let contents = file::read(&path)?;
        let (protection, entries) = decrypt(&contents, &secret)?;
        Ok(Self { path, secret, start: start(&contents), entries, protection })
    }

    /// Whether a passphrase opens the keyring at `path`, not an identity.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn needs_passphrase(path: impl AsRef<Path>) -> Result<bool, Error> {
        encryption::needs_passphrase(&file::read(&file::resolve(path.as_ref())?)?)
    }

    /// The keys as they were at the opening or at the last change of this handle, the later one.
    #[must_use]
    pub fn entries(&self) -> &KeyringEntries {
        &self.entries
    }

    /// The newest key of an id.
    #[must_use]
    pub fn get(&self, namespace: impl AsRef<[u8]>, id: impl AsRef<[u8]>) -> Option<&RecordKey> {
        self.entries.keys(namespace, id).last()
    }

    /// Adds the newest key of an id, durably. Its earlier keys remain.
    ///
    /// # Errors
    ///
    /// As [`KeyringEntries::insert`] and [`update`](Self::update).
    pub fn insert(&mut self, namespace: impl AsRef<[u8]>, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<(), Error> {
        self.update(|entries| entries.insert(namespace, id, key))
    }

    /// Removes an id with all of its keys, durably. Returns whether the keyring had it.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub fn remove(&mut self, namespace: impl AsRef<[u8]>, id: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.update(|entries| Ok(entries.remove(namespace, id)))
    }

    /// Changes the keyring: reads what others have changed since, calls `change`, and writes the file. The changes are
    /// durable when this returns; after an error, nothing is changed, except after [`Error::Indeterminate`]. Many
    /// changes in one call cost as much as one.
    ///
    /// # Errors
    ///
    /// That of `change`; [`Error::Busy`] if others change the file for 30 seconds; [`Error::StorageFull`];
    /// [`Error::Storage`]; those of [`open`](Self::open); [`Error::Indeterminate`] if the file is changed, but a power
    /// cut may undo this: repeat the call.
    pub fn update<T>(&mut self, change: impl FnOnce(&mut KeyringEntries) -> Result<T, Error>) -> Result<T, Error> {
        let mut locked = file::lock(&self.path)?;
        self.reload(&mut locked)?;
        let mut entries = self.entries.duplicate();
        let outcome = change(&mut entries)?;
        if !entries.is_same(&self.entries) {
            let contents = encrypt(&entries, self.protection.inner())?;
            locked.replace(&self.path, &contents)?;
            (self.start, self.entries) = (start(&contents), entries);
        }
        // Also without a change: the one that made it may have failed, or been killed, before its sync.
        locked.sync()?;
        Ok(outcome)
    }

    /// Encrypts the keyring to other recipients or under another passphrase. Copies of the earlier file still open with
    /// the earlier secrets: if one of them is known to others, also rekey the records. A handle whose secret does not
    /// open the new file fails once another one changes it.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update). Keep the earlier secret, too, until this succeeds: after [`Error::Indeterminate`],
    /// the new one opens the file, and after a power cut perhaps the earlier one.
    pub fn rotate(&mut self, protection: KeyringProtection) -> Result<(), Error> {
        let mut locked = file::lock(&self.path)?;
        self.reload(&mut locked)?;
        let contents = encrypt(&self.entries, protection.inner())?;
        locked.replace(&self.path, &contents)?;
        self.start = start(&contents);
        if let Some(secret) = protection.secret() {
            self.secret = secret;
        }
        self.protection = protection;
        locked.sync()
    }

    /// Reads the file again if another handle has changed it.
    fn reload(&mut self, locked: &mut file::Locked) -> Result<(), Error> {
        if locked.start()? == self.start {
            return Ok(());
        }
        let contents = locked.read()?;
        let (protection, entries) = decrypt(&contents, &self.secret)?;
        (self.start, self.entries, self.protection) = (start(&contents), entries, protection);
        Ok(())
    }
}

fn start(contents: &[u8]) -> Vec<u8> {
    contents.iter().take(file::START_LEN).copied().collect()
}

fn encrypt(entries: &KeyringEntries, protection: &Protection) -> Result<Vec<u8>, Error> {
    let document = document::encode(&protection.recipients(), entries).ok_or(Error::TooLarge)?;
    encryption::encrypt(&document, protection)
}

fn decrypt(contents: &[u8], secret: &KeyringSecret) -> Result<(KeyringProtection, KeyringEntries), Error> {
    let (recipients, entries) = document::decode(&encryption::decrypt(contents, secret)?)?;
    Ok((secret.protection(&recipients)?, entries))
}
