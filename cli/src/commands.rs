//! The commands. The order of their steps ensures that no failure loses data or keys.

use std::io::{Read, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::path::Path;

use serde_json::{Value, json};
use strongroom::interrupt::interruptible;
use strongroom::{Error, IndexKey, RecordKey, RecordReader, RecordWriter, Stats, WriteOptions};
use zeroize::Zeroizing;

use crate::args::{Cli, Command, Data, Key, KeyCommand, Options};
use crate::failure::Failure;
use crate::in_use::InUse;
use crate::input::Input;
use crate::interrupt::is_signalled;
use crate::kept_keys::{self, KeptKeys, with_each};
use crate::keys::{self, NamedKeyFile, NewKeyFile};
use crate::output::Output;
use crate::progress::{copy, progress_bar};
use crate::streams::{self, is_stdin, is_stream};
use crate::terminal;
use crate::values::{ByteRange, Id};
use crate::{hardening, ids, index_key, open, pages, retain, tree, tree_args};

pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    // Except for the manual: it is for all users, but hardening makes new files private.
    if !matches!(cli.command, Command::Man { .. }) {
        hardening::harden()?;
    }
    if cli.command.prints(cli.options.json, cli.options.keyring.keyring.is_some()) {
        terminal::require_stdout()?;
    }
    let inputs = cli.command.inputs();
    if inputs.iter().filter(|input| is_stdin(Some(input))).count() > 1 {
        return Err(Failure::Usage(
            "only one of the id, the key and the data can come from stdin: name a file for the others".into(),
        ));
    }
    let in_use = InUse::new(&cli.options, &inputs);
    in_use.check()?;
    let options = &cli.options;
    match cli.command {
        Command::Store { record, tree, mirror, data, version, .. } if record.recursive => {
            tree::store(options, &tree, mirror, tree_args::folder(&data)?, version.options(), &in_use)
        }
        Command::Store { record, data, version, .. } if options.keyring.keyring.is_some() => {
            let id = if record.is_given() { Some(ids::get(record.into())?) } else { None };
            kept_keys::store(options, id.as_ref(), &data, version.options())
        }
        Command::Store { record, data, version, key_file: Some(key), .. } => {
            store_under_key(options, &ids::get(record.into())?, &data, version.options(), &key)
        }
        Command::Store { record, data, version, key_out, .. } => {
            store(options, &ids::get(record.into())?, &data, version.options(), key_out.path.as_deref(), &in_use)
        }
        Command::Retrieve { record, tree, output, .. } if record.recursive => {
            tree::restore(options, &tree, tree_args::output(output.as_deref())?, &in_use)
        }
        Command::Retrieve { record, key, range, output, .. } => {
            retrieve(options, &ids::get(record.into())?, &key, range.as_ref(), output.as_deref(), &in_use)
        }
        Command::Replace { record, data, version, key, key_out } => {
            let id = ids::get(record)?;
            if let Some(mut kept) = KeptKeys::open(options)? {
                return kept_keys::replace(options, &mut kept, &id, &data, version.options());
            }
            replace(options, &id, &data, version.options(), &key, key_out.path.as_deref(), &in_use)
        }
        Command::Take { record, key, output } => take(options, &ids::get(record)?, &key, output.as_deref(), &in_use),
        Command::Rekey { record, version, key, key_out } => {
            let id = ids::get(record)?;
            if let Some(mut kept) = KeptKeys::open(options)? {
                return kept_keys::rekey(options, &mut kept, &id, version.options());
            }
            rekey(options, &id, version.options(), &key, key_out.path.as_deref(), &in_use)
        }
        Command::Contains { record } => contains(options, &ids::get(record)?),
        Command::Delete { record, key } => delete(options, &ids::get(record)?, &key),
        Command::Erase { record, yes } => erase(options, &ids::get(record)?, yes),
        Command::Retain { ids, format, yes, allow_all } => retain::retain(options, &ids, format, yes, allow_all),
        Command::Purge { limit } => purge(options, limit),
        Command::Compact => compact(options),
        Command::Verify(verify) => crate::verify::run(options, &verify),
        Command::Copy(transfer) => crate::transfer::transfer(options, &transfer, &in_use),
        Command::Migrate { role } => open::migrate(options, role.as_deref()),
        Command::Stats => stats(options),
        #[cfg(feature = "server")]
        Command::Key(KeyCommand::New { cluster: true, key_out, .. }) => {
            let key = strongroom_server::NewClusterKey::generate().map_err(|error| Error::Internal(error.into()))?;
            write_new_key(options, key.text(), key_out.path.as_deref(), &in_use)
        }
        Command::Key(KeyCommand::New { index, key_out, .. }) => {
            let text = if index { IndexKey::generate()?.to_text() } else { RecordKey::generate()?.to_text() };
            write_new_key(options, &text, key_out.path.as_deref(), &in_use)
        }
        Command::Keyring(command) => crate::keyring::run(options, command, &in_use),
        Command::IndexKey(command) => index_key::run(options, &command),
        #[cfg(feature = "server")]
        Command::Serve(serve) => crate::serve::serve(options, &serve),
        #[cfg(feature = "server")]
        Command::ServeStorage(serve) => crate::serve::serve_storage(options, &serve),
        #[cfg(feature = "server")]
        Command::Nodes => crate::nodes::nodes(options),
        #[cfg(feature = "server")]
        Command::Token(command) => {
            if let crate::serve_args::TokenCommand::New { tokens: Some(tokens), .. } = &command {
                in_use.refuse(tokens)?;
            }
            crate::token::token(options, &command)
        }
        Command::Health { url } => crate::health::health(options, &url),
        #[cfg(feature = "server")]
        Command::Certificate(command) => crate::certificate::certificate(options, &command, &in_use),
        Command::Completions { shell } => pages::print_completions(shell),
        Command::Man { folder } => pages::write_manual(&folder, &in_use),
    }
}

/// Stores under a new key. A key file is written to the disk before the record.
fn store(
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
    let key_file = NewKeyFile::create(key_out, in_use, &key)?;
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

fn store_under_key(
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

fn retrieve(
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
    let mut reader = with_each(&keys, |key| store.open_record(id, key))?;
    let len = reader.len()?; // authenticated before a byte is written
    let (start, end) = range.map_or((0, len), |range| range.within(len));
    let failed = Failure::stream("cannot read the record");
    reader.seek(SeekFrom::Start(start)).map_err(&failed)?;
    write_out(options, reader, end - start, Output::open(output)?, to_file)
}

/// Takes the record. Everything that may fail without it comes first, because its data can be read only once.
fn take(options: &Options, id: &Id, key: &Key, output: Option<&Path>, in_use: &InUse) -> Result<(), Failure> {
    let to_file = check_output(options, output, in_use)?;
    let store = open::existing(options)?;
    let (keys, kept) = keys_of(options, id, key)?;
    let output = Output::open_once(output)?;
    let mut reader = with_each(&keys, |key| store.take_record(id, key))?;
    let len = reader.len()?;
    write_out(options, reader, len, output, to_file)?;
    forget(kept, id)
}

/// The keys that may open the record: that of the options, or those in the keyring.
fn keys_of(options: &Options, id: &Id, key: &Key) -> Result<(Vec<RecordKey>, Option<KeptKeys>), Failure> {
    match KeptKeys::open(options)? {
        Some(kept) => Ok((kept.keys(id)?, Some(kept))),
        None => Ok((vec![keys::get(key.path.as_deref())?], None)),
    }
}

/// Removes the keys of a record that is gone.
fn forget(kept: Option<KeptKeys>, id: &Id) -> Result<(), Failure> {
    kept.map_or(Ok(()), |mut kept| kept.remove(id).map(drop))
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

/// Writes `len` bytes from the reader's position to the output, and reports the file.
fn write_out(
    options: &Options,
    reader: RecordReader,
    len: u64,
    mut output: Output,
    to_file: Option<&Path>,
) -> Result<(), Failure> {
    let failed = Failure::stream("cannot read the record");
    let mut reader = reader.take(len);
    let bytes = copy(Some(len), |buffer| reader.read(buffer).map_err(&failed), |data| output.write(data))?;
    output.finish()?;
    match to_file {
        Some(path) => reply(options, &json!({"bytes": bytes, "output": path.to_string_lossy()}), ""),
        None => Ok(()),
    }
}

/// Replaces the record. The new key is written or printed first, because the old one opens nothing afterwards.
fn replace(
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
    let key_file = NewKeyFile::create(key_out, in_use, &new)?;
    write_data(&mut writer, &mut input)?;
    let key_file = give_key(options, &new, key_file)?;
    keep_key(options, writer.finish(), key_file, key_out)
}

/// Encrypts the record's data again. The new key is written or printed first, as by `replace`.
fn rekey(
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
    let key_file = NewKeyFile::create(key_out, in_use, &text)?;
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
pub(crate) fn may_be_written(outcome: &Result<RecordKey, Error>) -> bool {
    matches!(outcome, Ok(_) | Err(Error::Indeterminate(_)))
}

fn contains(options: &Options, id: &Id) -> Result<(), Failure> {
    let found = open::existing(options)?.contains(id)?;
    reply(options, &json!({"contains": found}), if found { "there is a record" } else { "there is no record" })?;
    if found { Ok(()) } else { Err(Failure::NoRecord) }
}

fn delete(options: &Options, id: &Id, key: &Key) -> Result<(), Failure> {
    let store = open::existing(options)?;
    let (keys, kept) = keys_of(options, id, key)?;
    with_each(&keys, |key| store.delete(id, key))?;
    forget(kept, id)?;
    reply(options, &json!({"deleted": true}), "")
}

fn erase(options: &Options, id: &Id, yes: bool) -> Result<(), Failure> {
    let store = open::existing(options)?;
    let kept = KeptKeys::open(options)?;
    if !yes {
        terminal::confirm("Erase the record permanently? [y/N] ")?;
    }
    let erased = store.erase(id)?;
    forget(kept, id)?;
    reply(options, &json!({"erased": erased}), if erased { "erased" } else { "there was no record" })
}

/// Removes expired records in steps, to show progress.
fn purge(options: &Options, limit: Option<NonZero<usize>>) -> Result<(), Failure> {
    const STEP: usize = 10_000;

    let store = open::existing(options)?;
    let limit = limit.map_or(usize::MAX, NonZero::get);
    let bar = progress_bar(None, "{spinner} {human_pos} expired records removed");
    let mut purged = 0;
    while purged < limit {
        let step = STEP.min(limit - purged);
        let removed = store.purge(step)?;
        purged += removed;
        bar.set_position(purged as u64);
        if removed < step {
            break;
        }
    }
    bar.finish_and_clear();
    reply(options, &json!({"purged": purged}), &format!("purged: {purged}"))
}

/// Frees the space of what was removed, and returns it to the operating system in steps, to show progress.
fn compact(options: &Options) -> Result<(), Failure> {
    const STEP: u64 = 16 << 20;

    let store = open::existing(options)?;
    let bar = progress_bar(None, "{spinner} {bytes} returned");
    store.maintain()?;
    let mut compacted = 0;
    loop {
        let returned = store.compact(STEP)?;
        compacted += returned;
        bar.set_position(compacted);
        if returned == 0 {
            break;
        }
    }
    bar.finish_and_clear();
    reply(options, &json!({"compacted": compacted}), &format!("compacted: {compacted}"))
}

fn stats(options: &Options) -> Result<(), Failure> {
    let Stats { records, bytes, expired, free, .. } = open::existing(options)?.stats()?;
    let text = format!("records: {records}\nbytes: {bytes}\nexpired: {expired}\nfree: {free}");
    reply(options, &json!({"records": records, "bytes": bytes, "expired": expired, "free": free}), &text)
}

pub(crate) fn write_new_key(
    options: &Options,
    text: &str,
    key_out: Option<&Path>,
    in_use: &InUse,
) -> Result<(), Failure> {
    match NewKeyFile::create(key_out, in_use, text)? {
        Some(file) => {
            file.name()?.keep();
            reply_key_file(options, key_out)
        }
        None => reply_key(options, text).map_err(Failure::stdout),
    }
}

/// Prints the outcome: as JSON, or as `words` unless they are empty.
pub(crate) fn reply(options: &Options, object: &Value, words: &str) -> Result<(), Failure> {
    let text = match words {
        _ if options.json => format!("{object}\n"),
        "" => return Ok(()),
        words => format!("{words}\n"),
    };
    streams::print(text.as_bytes()).map_err(Failure::stdout)
}

fn reply_key_file(options: &Options, path: Option<&Path>) -> Result<(), Failure> {
    reply(options, &json!({"key_file": path.map(Path::to_string_lossy)}), "")
}

/// Prints a new key. Every buffer that holds its text is wiped.
fn reply_key(options: &Options, key: &str) -> std::io::Result<()> {
    let mut line = Zeroizing::new(Vec::with_capacity(128));
    if options.json {
        serde_json::to_writer(&mut *line, &std::collections::BTreeMap::from([("key", key)]))?;
    } else {
        line.extend_from_slice(key.as_bytes());
    }
    line.push(b'\n');
    streams::print(&line)
}
