//! The commands on one record. The order of their steps ensures that no failure loses data or keys.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::json;
use strongroom::interrupt::interruptible;
use strongroom::{Error, RecordKey, RecordReader, RecordWriter, WriteOptions};

use crate::args::Data;
use crate::failure::{Failure, printable};
use crate::in_use::InUse;
use crate::input::Input;
use crate::interrupt::is_signalled;
use crate::kept_keys::{KeptKeys, with_each};
use crate::key_args::Key;
use crate::keys::{self, NamedKeyFile, NewKeyFile};
use crate::open;
use crate::options::Options;
use crate::output::Output;
use crate::progress::copy;
use crate::reply::{json_path, reply, reply_key, reply_key_file};
use crate::streams::is_stream;
use crate::terminal;
use crate::values::{ByteRange, Id};

/// Stores under a new key. A key file is written to the disk before the record.
pub(crate) fn store(
    options: &Options,
    id: &Id,
    data: &Data,
    write_options: WriteOptions<'_>,
    key_out: Option<&Path>,
    in_use: &InUse,
) -> Result<(), Failure> {
    let mut input = Input::open(data)?;
    let store = open::or_create(options)?;
    let mut writer = store.create_record_with(id, write_options)?;
    let key = writer.key().to_text();
    let key_file = NewKeyFile::create("--key-out", key_out, in_use, &key)?;
    write_data(&mut writer, &mut input)?;
    let key_file = key_file.map(NewKeyFile::name).transpose()?;
    let outcome = writer.finish();
    if !may_be_written(&outcome) {
        return Ok(outcome.map(drop)?); // the drop removes the key's file
    }
    let replied = match key_file {
        Some(mut file) => {
            file.keep();
            reply_key_file(options, key_out)
        }
        None => reply_key(options, &key).map_err(|source| {
            // A record that nobody can open is useless.
            let deleted = RecordKey::from_text(&key).map_err(Error::from).and_then(|key| store.delete(id, &key));
            let what = match deleted {
                Ok(()) => "cannot print the key, so nothing was stored",
                Err(_) => "cannot print the key of the record that was stored: erase it, and store the data again",
            };
            Failure::io(what)(source)
        }),
    };
    outcome?; // the more important error
    replied
}

pub(crate) fn store_under_key(
    options: &Options,
    id: &Id,
    data: &Data,
    write_options: WriteOptions<'_>,
    key: &Path,
) -> Result<(), Failure> {
    let mut input = Input::open(data)?;
    let key = keys::get(Some(key))?;
    let store = open::or_create(options)?;
    let outcome = store.store_reader_with(id, &mut input, write_options.key(&key));
    input.outcome(outcome.map(drop))?;
    reply(options, &json!({"stored": true}), "")
}

pub(crate) fn retrieve(
    options: &Options,
    id: &Id,
    key: &Key,
    range: Option<&ByteRange>,
    output: Option<&Path>,
    in_use: &InUse,
) -> Result<(), Failure> {
    let to_file = check_output(options, output, in_use)?;
    let store = open::existing(options)?;
    let (keys, _) = keys_of(options, id, key)?;
    let (mut reader, _) = with_each(&keys, |key| store.open_record(id, key))?;
    let len = reader.len()?; // authenticated before a byte is written
    let (start, end) = range.map_or((0, len), |range| range.within(len));
    let failed = Failure::stream("cannot read the record");
    reader.seek(SeekFrom::Start(start)).map_err(&failed)?;
    let mut output = Output::open(output)?;
    let written = write_out(reader, end - start, &mut output)?;
    output.finish()?;
    to_file.map_or(Ok(()), |path| reply_written(options, written, path))
}

/// Takes the record. Everything that may fail without it comes first, because its data can be read only once. The
/// keyring keeps the key until the data is written: it opens the record in copies of the store.
pub(crate) fn take(
    options: &Options,
    id: &Id,
    key: &Key,
    output: Option<&Path>,
    in_use: &InUse,
) -> Result<(), Failure> {
    let to_file = check_output(options, output, in_use)?;
    let store = open::existing(options)?;
    let (keys, kept) = keys_of(options, id, key)?;
    let mut output = Output::open_once(output)?;
    let (mut reader, key) = with_each(&keys, |key| store.take_record(id, key))?;
    output.keep_at_signal();
    let written = reader.len().map_err(Failure::from).and_then(|len| write_out(reader, len, &mut output));
    let removed = match kept {
        Some(_) => "the record is removed (its key is still in the keyring)",
        None => "the record is removed",
    };
    let written = output.finish_once(written, removed)?;
    let forgotten = forget(kept, id, key);
    if let Some(path) = to_file {
        let what = format!("the record is removed, and its data is in {}", printable(path));
        reply_written(options, written, path).map_err(Failure::after_change(what))?;
    }
    forgotten
}

/// The keys that may open the record: that of the options, or those in the keyring.
fn keys_of(options: &Options, id: &Id, key: &Key) -> Result<(Vec<RecordKey>, Option<KeptKeys>), Failure> {
    match KeptKeys::open(options)? {
        Some(kept) => Ok((kept.keys(id)?, Some(kept))),
        None => Ok((vec![keys::get(key.path.as_deref())?], None)),
    }
}

/// Removes the key of a record that is gone.
fn forget(kept: Option<KeptKeys>, id: &Id, key: &RecordKey) -> Result<(), Failure> {
    kept.map_or(Ok(()), |mut kept| kept.forget(id, key))
}

/// The file for the data, which can be created; `None` if the data goes to stdout.
fn check_output<'p>(options: &Options, output: Option<&'p Path>, in_use: &InUse) -> Result<Option<&'p Path>, Failure> {
    let to_file = output.filter(|path| !is_stream(Some(path)));
    match to_file {
        Some(path) => Output::check(path, in_use)?,
        None if options.json => {
            return Err(Failure::Usage("--json needs --output: the data itself is not JSON".into()));
        }
        None => {}
    }
    Ok(to_file)
}

/// Writes `len` bytes from the reader's position to the output.
fn write_out(reader: RecordReader, len: u64, output: &mut Output) -> Result<u64, Failure> {
    let failed = Failure::stream("cannot read the record");
    let mut reader = reader.take(len);
    copy(Some(len), |buffer| reader.read(buffer).map_err(&failed), |data| output.write(data))
}

/// Reports the file with the data.
fn reply_written(options: &Options, bytes: u64, path: &Path) -> Result<(), Failure> {
    reply(options, &json!({"bytes": bytes, "output": json_path(path)}), "")
}

/// Replaces the record. The new key is written or printed first, because the old one opens nothing afterwards.
pub(crate) fn replace(
    options: &Options,
    id: &Id,
    data: &Data,
    write_options: WriteOptions<'_>,
    key: &Key,
    key_out: Option<&Path>,
    in_use: &InUse,
) -> Result<(), Failure> {
    let mut input = Input::open(data)?;
    let store = open::existing(options)?;
    let old = keys::get(key.path.as_deref())?;
    let mut writer = store.replace_record_with(id, &old, write_options)?;
    let new = writer.key().to_text();
    let key_file = NewKeyFile::create("--key-out", key_out, in_use, &new)?;
    write_data(&mut writer, &mut input)?;
    let key_file = give_key(options, &new, key_file)?;
    keep_key(options, writer.finish(), key_file, key_out)
}

/// Encrypts the record's data again. The new key is written or printed first, as by `replace`.
pub(crate) fn rekey(
    options: &Options,
    id: &Id,
    write_options: WriteOptions<'_>,
    key: &Key,
    key_out: Option<&Path>,
    in_use: &InUse,
) -> Result<(), Failure> {
    let store = open::existing(options)?;
    let old = keys::get(key.path.as_deref())?;
    match store.open_record(id, &old) {
        Ok(_) | Err(Error::AccessDenied(_)) => {} // a token may have the scope `store` without `retrieve`
        Err(error) => return Err(error.into()),   // before a new key is printed
    }
    let new = RecordKey::generate()?;
    let text = new.to_text();
    let key_file = NewKeyFile::create("--key-out", key_out, in_use, &text)?;
    let key_file = give_key(options, &text, key_file)?;
    let rekey = || store.rekey_with(id, &old, write_options.key(&new));
    // A signal waits while the key's file has its name, but not until a long record is encrypted.
    let outcome = if key_file.is_some() { interruptible(is_signalled, rekey) } else { rekey() };
    keep_key(options, outcome, key_file, key_out)
}

/// Gives the new key's file its name, or prints the key, before the record changes.
fn give_key(options: &Options, key: &str, file: Option<NewKeyFile>) -> Result<Option<NamedKeyFile>, Failure> {
    match file {
        Some(file) => file.name().map(Some),
        None => {
            reply_key(options, key).map_err(Failure::io("cannot print the new key, so the record was not changed"))?;
            Ok(None)
        }
    }
}

/// Keeps the new key's file if the record may be written under it.
fn keep_key(
    options: &Options,
    outcome: Result<RecordKey, Error>,
    key_file: Option<NamedKeyFile>,
    key_out: Option<&Path>,
) -> Result<(), Failure> {
    match key_file {
        Some(mut file) if may_be_written(&outcome) => {
            file.keep();
            let replied = reply_key_file(options, key_out);
            outcome?; // the more important error
            replied
        }
        None if !may_be_written(&outcome) => outcome.map_err(|source| Failure::NotReplaced { source }).map(drop),
        _ => Ok(outcome.map(drop)?),
    }
}

pub(crate) fn write_data(writer: &mut RecordWriter, input: &mut Input) -> Result<(), Failure> {
    let failed = Failure::stream("cannot write the record");
    copy(input.len, |buffer| input.read_some(buffer), |data| writer.write_all(data).map_err(&failed))?;
    Ok(())
}

/// Whether a record may be stored under the new key.
pub(crate) fn may_be_written<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Ok(_) | Err(Error::Indeterminate(_)))
}

pub(crate) fn contains(options: &Options, id: &Id) -> Result<(), Failure> {
    let found = open::existing(options)?.contains(id)?;
    reply(options, &json!({"contains": found}), if found { "there is a record" } else { "there is no record" })?;
    if found { Ok(()) } else { Err(Failure::NoRecord) }
}

pub(crate) fn delete(options: &Options, id: &Id, key: &Key) -> Result<(), Failure> {
    let store = open::existing(options)?;
    let (keys, kept) = keys_of(options, id, key)?;
    let ((), key) = with_each(&keys, |key| store.delete(id, key))?;
    forget(kept, id, key)?;
    reply(options, &json!({"deleted": true}), "")
}

pub(crate) fn erase(options: &Options, id: &Id, yes: bool) -> Result<(), Failure> {
    let store = open::existing(options)?;
    let kept = KeptKeys::open(options)?;
    if !yes {
        terminal::confirm("Erase the record permanently? [y/N] ")?;
    }
    // Only the key that opens the record is removed with it: the others may open records of other stores.
    let keys = kept.as_ref().map(|kept| kept.newest_first(id.as_ref())).unwrap_or_default();
    let key = keys.iter().find(|key| matches!(store.open_record(id, key), Ok(_) | Err(Error::Expired)));
    let erased = store.erase(id)?;
    if erased && let Some(key) = key {
        forget(kept, id, key)?;
    }
    if erased && !keys.is_empty() && key.is_none() {
        const REMAIN: &str = "erased; the keyring still has keys of this id, which did not open the record: unless \
                              they are another store's, remove them with `keyring remove`";
        return reply(options, &json!({"erased": true, "keys_remain": true}), REMAIN);
    }
    reply(options, &json!({"erased": erased}), if erased { "erased" } else { "there was no record" })
}
