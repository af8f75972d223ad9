//! Records whose keys a keyring keeps. A new key is in the keyring before its record is stored, and an old key is
//! removed only when its record is gone: a failure leaves at most a key without a record.

use std::io::Write;
use std::path::Path;

use serde_json::json;
use strongroom::{Error, Keyring, KeyringEntries, KeyringSecret, RecordKey, Strongroom, WriteOptions};
use zeroize::Zeroizing;

use crate::args::Data;
use crate::failure::{Failure, printable};
use crate::input::Input;
use crate::keyring_args::KeyringOptions;
use crate::options::Options;
use crate::progress::progress_bar;
use crate::records::{may_be_written, write_data};
use crate::reply::{json_text, reply};
use crate::streams::{is_stdin, stderr};
use crate::values::Id;
use crate::version_args::Version;
use crate::{keys, open, secret_command};

/// The files whose keys are added to the keyring at once.
const FILES_AT_ONCE: usize = 1000;

const KEEP_EXPIRY: &str = "files that were stored before, and keep their expiry time if they have one";

/// The keyring of the options.
pub(crate) struct KeptKeys {
    keyring: Keyring,
    namespace: Vec<u8>,
}

impl KeptKeys {
    /// The keyring, if the options name one.
    pub(crate) fn open(options: &Options) -> Result<Option<Self>, Failure> {
        let Some(path) = &options.keyring.keyring else { return Ok(None) };
        let opened = secret(path, &options.keyring).and_then(|secret| Ok(Keyring::open(path, secret)?));
        let keyring = opened.map_err(|failure| match failure {
            Failure::Strongroom(Error::Corrupt) => Failure::DamagedKeyring { path: printable(path) },
            failure => failure,
        })?;
        let namespace = options.namespace.as_ref().map(|name| name.as_ref().to_vec()).unwrap_or_default();
        Ok(Some(Self { keyring, namespace }))
    }

    pub(crate) fn required(options: &Options) -> Result<Self, Failure> {
        Self::open(options)?.ok_or_else(|| Failure::Usage("name the keyring with --keyring".into()))
    }

    pub(crate) fn namespace(&self) -> &[u8] {
        &self.namespace
    }

    pub(crate) fn keyring(self) -> Keyring {
        self.keyring
    }

    pub(crate) fn entries(&self) -> &KeyringEntries {
        self.keyring.entries()
    }

    /// The keys of an id, the newest first.
    pub(crate) fn keys(&self, id: &Id) -> Result<Vec<RecordKey>, Failure> {
        let keys = self.newest_first(id.as_ref());
        if keys.is_empty() {
            return Err(Failure::argument(
                "the keyring has no key for this id: check the id and the namespace, or add the key with `keyring add`",
            ));
        }
        Ok(keys)
    }

    /// The keys of an id, the newest first; none if the keyring does not have the id.
    pub(crate) fn newest_first(&self, id: &[u8]) -> Vec<RecordKey> {
        self.entries().keys(&self.namespace, id).iter().rev().map(RecordKey::duplicate).collect()
    }

    #[cfg(test)]
    pub(crate) fn of(keyring: Keyring) -> Self {
        Self { keyring, namespace: Vec::new() }
    }

    /// Changes the keyring: many changes in one call cost as much as one. `change` gets the namespace of the ids, too.
    pub(crate) fn update<T>(
        &mut self,
        change: impl FnOnce(&mut KeyringEntries, &[u8]) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let namespace = &self.namespace;
        Ok(self.keyring.update(|entries| change(entries, namespace))?)
    }

    pub(crate) fn insert(&mut self, id: &Id, key: &RecordKey) -> Result<(), Failure> {
        Ok(self.keyring.insert(&self.namespace, id, key)?)
    }

    pub(crate) fn remove(&mut self, id: &Id) -> Result<bool, Failure> {
        Ok(self.keyring.remove(&self.namespace, id)?)
    }

    /// Removes the key of a record that is gone. Other keys of the id remain: they may open records of other stores.
    pub(crate) fn forget(&mut self, id: &Id, key: &RecordKey) -> Result<(), Failure> {
        const REMAINS: &str = "the record is removed, but its key is still in the keyring: `keyring remove` removes it";
        self.remove_key(id, key).map_err(Failure::after_change(REMAINS))
    }

    fn remove_key(&mut self, id: &Id, key: &RecordKey) -> Result<(), Error> {
        let namespace = &self.namespace;
        self.keyring.update(|entries| Ok(entries.remove_key(namespace, id, key))).map(drop)
    }

    /// Replaces the record: `finish` writes it under `new`, which takes the place of the key that it returns.
    fn replace<'k>(
        &mut self,
        id: &Id,
        new: &RecordKey,
        finish: impl FnOnce() -> Result<&'k RecordKey, Failure>,
    ) -> Result<(), Failure> {
        const OLD_REMAINS: &str =
            "the record has its new key, which the keyring has, but the old one remains there, too";
        self.insert(id, new)?;
        match finish() {
            Ok(old) => self.remove_key(id, old).map_err(Failure::after_change(OLD_REMAINS)),
            Err(failure @ Failure::Strongroom(Error::Indeterminate(_))) => Err(failure),
            Err(failure) => {
                self.remove_key(id, new)?;
                Err(failure)
            }
        }
    }
}

/// The secret that opens the keyring at `path`.
fn secret(path: &Path, options: &KeyringOptions) -> Result<KeyringSecret, Failure> {
    if let Some(identity) = &options.identity {
        return Ok(KeyringSecret::identity_file(identity)?);
    }
    if let Some(passphrase) = given_passphrase(options)? {
        return Ok(KeyringSecret::passphrase(&passphrase)?);
    }
    if !Keyring::needs_passphrase(path)? {
        return Err(Failure::argument("the keyring opens with an identity: name its file with --identity"));
    }
    Ok(KeyringSecret::passphrase(&keys::ask_passphrase(
        "Passphrase of the keyring (not shown): ",
        "--passphrase-file",
    )?)?)
}

/// The passphrase of the file or the command of the options, if there is one.
pub(crate) fn given_passphrase(options: &KeyringOptions) -> Result<Option<Zeroizing<String>>, Failure> {
    passphrase(options.passphrase_file.as_deref(), options.passphrase_command.as_deref())
}

/// The one line in a file or in the output of a command.
pub(crate) fn passphrase(file: Option<&Path>, command: Option<&str>) -> Result<Option<Zeroizing<String>>, Failure> {
    let text = match (file, command) {
        (Some(file), _) => strongroom::read_secret("the passphrase's file", file)
            .map_err(Failure::io("cannot read the passphrase's file"))?,
        (None, Some(command)) => secret_command::run(secret_command::PASSPHRASE, command)?,
        (None, None) => return Ok(None),
    };
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains('\n') {
        return Err(Failure::argument("the passphrase has several lines: it must be one"));
    }
    Ok(Some(Zeroizing::new(line.to_owned())))
}

/// Calls `open` with each key until one opens the record, and returns this key, too. A server gives the same answer for
/// a wrong key and for a missing record.
pub(crate) fn with_each<T>(
    keys: &[RecordKey],
    mut open: impl FnMut(&RecordKey) -> Result<T, Error>,
) -> Result<(T, &RecordKey), Failure> {
    let mut outcome = Err(Error::NotFound);
    for key in keys {
        outcome = open(key).map(|opened| (opened, key));
        if !matches!(outcome, Err(Error::WrongKey | Error::NotFound)) {
            break;
        }
    }
    Ok(outcome?)
}

/// Stores one record, or a file under its name for each of several.
pub(crate) fn store(options: &Options, id: Option<&Id>, data: &Data, version: &Version) -> Result<(), Failure> {
    let mut kept = KeptKeys::required(options)?;
    match id {
        Some(_) if !data.from_command && !data.args.is_empty() => {
            Err(Failure::Usage("--id names one record: leave it out to store several files under their names".into()))
        }
        Some(id) => store_one(options, &mut kept, id, data, version.options()),
        None if data.from_command => Err(Failure::Usage("--from-command needs --id or --id-file".into())),
        None => store_files(options, &mut kept, data, version),
    }
}

fn store_one(
    options: &Options,
    kept: &mut KeptKeys,
    id: &Id,
    data: &Data,
    write_options: WriteOptions<'_>,
) -> Result<(), Failure> {
    let mut input = Input::open(data)?;
    let store = open::or_create(options)?;
    let mut writer = store.create_record_with(id, write_options)?;
    write_data(&mut writer, &mut input)?;
    let key = writer.key().duplicate();
    kept.insert(id, &key)?;
    let outcome = writer.finish();
    if !may_be_written(&outcome) {
        kept.remove_key(id, &key)?;
    }
    outcome?;
    reply(options, &json!({"stored": true}), "")
}

/// Stores files under their names. If a run fails or is interrupted, the same command continues it: a record that was
/// stored before is compared with its file, and gets the expiry and the padding of the command line. Without an expiry,
/// it keeps its own: a server does not tell whether it has one.
fn store_files(options: &Options, kept: &mut KeptKeys, data: &Data, version: &Version) -> Result<(), Failure> {
    let files = data.inputs();
    let names: Vec<_> = files.iter().map(|file| id_of(file)).collect::<Result<_, _>>()?;
    let mut sorted: Vec<_> = names.iter().map(AsRef::<[u8]>::as_ref).collect();
    sorted.sort_unstable();
    if sorted.is_empty() {
        return Err(Failure::Usage("name the files to store, or the record with --id or --id-file".into()));
    }
    if sorted.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Failure::argument("two of the files have the same name: store them one by one with --id"));
    }
    let store = open::or_create(options)?;
    let write_options = version.options();
    let mut keep_expiry = 0;
    let bar = progress_bar(Some(files.len() as u64), "{wide_bar} {human_pos}/{human_len} files");
    for (files, names) in files.chunks(FILES_AT_ONCE).zip(names.chunks(FILES_AT_ONCE)) {
        let mut keys = kept.keys_of_files(&store, names)?;
        let outcome = files.iter().zip(names.iter().zip(&mut keys)).try_for_each(|(file, (name, key))| {
            let stored = key.store(kept, name, |key| {
                let mut input = Input::open(&data.only(file))?;
                let outcome = store.store_reader_with(name, &mut input, write_options.key(key));
                input.outcome(outcome.map(drop))
            });
            let renewed = stored.and_then(|earlier| {
                if let Some(earlier) = earlier.as_ref().filter(|_| version.is_given()) {
                    kept.renew(&store, name, earlier, write_options)?;
                }
                Ok(earlier.is_some())
            });
            let is_earlier =
                renewed.map_err(|source| Failure::File { path: printable(file), source: source.into() })?;
            keep_expiry += usize::from(is_earlier && !version.expires());
            bar.inc(1);
            let is_unchanged = is_earlier && !version.is_given();
            let object = json!({"id": json_text(name.as_ref()), "stored": true, "unchanged": is_unchanged});
            if options.json { reply(options, &object, "") } else { Ok(()) }
        });
        if outcome.is_err() {
            kept.remove_unused(names.iter().zip(&keys))?;
            return outcome;
        }
    }
    bar.finish_and_clear();
    if keep_expiry > 0 && !options.json {
        let text = format!("{KEEP_EXPIRY}: {keep_expiry}\n");
        let _ = stderr().and_then(|mut stderr| stderr.write_all(text.as_bytes())); // the files are stored in any case
    }
    Ok(())
}

/// The key under which a file is stored.
struct FileKey {
    key: RecordKey,
    /// It is new in the keyring, and certainly opens no record.
    is_unused: bool,
    /// The keyring does not have the new key, because it has too many of the id.
    refused: Option<Error>,
    /// Keys that may open a record which was stored before.
    unproved: Vec<RecordKey>,
}

impl FileKey {
    /// Stores the file of this id with `store_under`, if an earlier run has not stored it. Returns the key of the
    /// record that an earlier run has stored.
    fn store(
        &mut self,
        kept: &mut KeptKeys,
        id: &Id,
        store_under: impl Fn(&RecordKey) -> Result<(), Failure>,
    ) -> Result<Option<RecordKey>, Failure> {
        let mut was_stored = (!self.is_unused).then(|| self.key.duplicate());
        let mut outcome = match self.refused.take() {
            Some(refused) => Err(refused.into()),
            None => store_under(&self.key),
        };
        if matches!(outcome, Ok(()) | Err(Failure::Strongroom(Error::Indeterminate(_)))) {
            self.is_unused = false;
        }
        for earlier in &self.unproved {
            if !matches!(outcome, Err(Failure::Strongroom(Error::AlreadyExists))) {
                break;
            }
            outcome = store_under(earlier);
            if outcome.is_ok() {
                kept.remove_key(id, &self.key)?;
                self.is_unused = false;
                was_stored = Some(earlier.duplicate());
            }
        }
        outcome.map(|()| was_stored)
    }
}

impl KeptKeys {
    /// The keys for the records with these ids: that of a record which was stored before, and otherwise a new one,
    /// which is in the keyring.
    fn keys_of_files(&mut self, store: &Strongroom, ids: &[Id]) -> Result<Vec<FileKey>, Failure> {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            let keys = self.newest_first(id.as_ref());
            let (key, is_unused, unproved) = match with_each(&keys, |key| store.open_record(id, key)) {
                Ok((_, key)) => (key.duplicate(), false, Vec::new()),
                // A token may not have the scope `retrieve`. The store of the file reports damage, with its name.
                Err(Failure::Strongroom(Error::AccessDenied(_) | Error::Corrupt)) => {
                    (RecordKey::generate()?, true, keys)
                }
                Err(Failure::Strongroom(Error::NotFound | Error::WrongKey | Error::Expired)) => {
                    (RecordKey::generate()?, true, Vec::new())
                }
                Err(failure) => return Err(failure),
            };
            found.push(FileKey { key, is_unused, refused: None, unproved });
        }
        let namespace = &self.namespace;
        self.keyring.update(|entries| {
            for (id, key) in ids.iter().zip(&mut found).filter(|(_, key)| key.is_unused) {
                key.refused = entries.insert(namespace, id, &key.key).err();
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Encrypts the record again, with these options.
    fn renew(
        &mut self,
        store: &Strongroom,
        id: &Id,
        earlier: &RecordKey,
        options: WriteOptions<'_>,
    ) -> Result<(), Failure> {
        let new = RecordKey::generate()?;
        self.replace(id, &new, || {
            store.rekey_with(id, earlier, options.key(&new))?;
            Ok(earlier)
        })
    }

    /// Removes the new keys of records that were not stored.
    fn remove_unused<'i>(&mut self, keys: impl Iterator<Item = (&'i Id, &'i FileKey)>) -> Result<(), Failure> {
        let namespace = &self.namespace;
        self.keyring.update(|entries| {
            for (id, key) in keys.filter(|(_, key)| key.is_unused) {
                entries.remove_key(namespace, id, &key.key);
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// The id of a file: the last part of its path.
fn id_of(file: &Path) -> Result<Id, Failure> {
    if is_stdin(Some(file)) {
        return Err(Failure::Usage("stdin has no name: name its record with --id".into()));
    }
    let name = file.file_name().ok_or_else(|| Failure::argument("a path ends without a file name"))?;
    Id::new(name.to_os_string()).map_err(Failure::argument)
}

/// Replaces a record.
pub(crate) fn replace(
    options: &Options,
    kept: &mut KeptKeys,
    id: &Id,
    data: &Data,
    write_options: WriteOptions<'_>,
) -> Result<(), Failure> {
    let mut input = Input::open(data)?;
    let store = open::existing(options)?;
    let keys = kept.keys(id)?;
    let (mut writer, old) = with_each(&keys, |old| store.replace_record_with(id, old, write_options))?;
    write_data(&mut writer, &mut input)?;
    let new = writer.key().duplicate();
    kept.replace(id, &new, || Ok(writer.finish().map(|_| old)?))?;
    reply(options, &json!({"replaced": true}), "")
}

/// Encrypts a record's data again.
pub(crate) fn rekey(
    options: &Options,
    kept: &mut KeptKeys,
    id: &Id,
    write_options: WriteOptions<'_>,
) -> Result<(), Failure> {
    let store = open::existing(options)?;
    let keys = kept.keys(id)?;
    let new = RecordKey::generate()?;
    let rekey = |old: &RecordKey| store.rekey_with(id, old, write_options.key(&new));
    kept.replace(id, &new, || Ok(with_each(&keys, rekey)?.1))?;
    reply(options, &json!({"rekeyed": true}), "")
}
