//! What each command does, in the order that loses nothing when it fails half way.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::{Value, json};
use strongroom::{Error, IndexKey, RecordKey};
use zeroize::Zeroizing;

use crate::args::{ByteRange, Cli, Command, Id, Key, KeyCommand, Options};
use crate::copy::copy;
use crate::failure::Failure;
use crate::files::{self, Input, Output, is_stream};
use crate::keys::{self, NewKeyFile};
use crate::store::Writer;
use crate::{hardening, open, pages};

pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    // The manual is for all to read, and new files become private.
    if !matches!(cli.command, Command::Man { .. }) {
        hardening::harden()?;
    }
    let options = &cli.options;
    match cli.command {
        Command::Store { record, data, key_file: Some(key), .. } => {
            store_under_key(options, &record.id, data.file.as_deref(), &key)
        }
        Command::Store { record, data, key_out, .. } => {
            store(options, &record.id, data.file.as_deref(), key_out.path.as_deref())
        }
        Command::Retrieve { record, key, range, output } => {
            retrieve(options, &record.id, &key, range.as_ref(), output.as_deref())
        }
        Command::Replace { record, data, key, key_out } => {
            replace(options, &record.id, data.file.as_deref(), &key, key_out.path.as_deref())
        }
        Command::Delete { record, key } => delete(options, &record.id, &key),
        Command::Erase { record, yes } => erase(options, &record.id, yes),
        Command::Stats => stats(options),
        Command::Key(KeyCommand::New { index, key_out }) => new_key(options, index, key_out.path.as_deref()),
        #[cfg(feature = "server")]
        Command::Serve(serve) => crate::serve::serve(options, &serve),
        #[cfg(feature = "server")]
        Command::ServeStorage(serve) => crate::serve::serve_storage(options, &serve),
        #[cfg(feature = "server")]
        Command::Token(command) => crate::serve::token(options, &command),
        Command::Completions { shell } => pages::print_completions(shell),
        Command::Man { folder } => pages::write_manual(&folder),
    }
}

/// Stores under a new key. A key file is on the disk before the record is.
fn store(options: &Options, id: &Id, data: Option<&Path>, key_out: Option<&Path>) -> Result<(), Failure> {
    let mut input = Input::open(data)?;
    let store = open::or_create(options)?;
    let writer = store.create_record(id)?;
    let (text, key_file) = write_key_first(&writer, key_out)?;
    let outcome = write_record(writer, &mut input);
    hand_out_key(options, outcome, &text, key_file, key_out, |source| {
        // Rather no record than one that nobody can open.
        let deleted = RecordKey::from_text(&text).map_err(Error::from).and_then(|key| store.delete(id, &key));
        let what = match deleted {
            Ok(()) => "cannot print the key, so nothing was stored",
            Err(_) => "cannot print the key of the record that was stored: erase it, and store the data again",
        };
        Failure::io(what)(source)
    })
}

fn store_under_key(options: &Options, id: &Id, data: Option<&Path>, key: &Path) -> Result<(), Failure> {
    refuse_stdin_twice(data, Some(key))?;
    let input = Input::open(data)?;
    let key = keys::get(Some(key))?;
    let store = open::or_create(options)?;
    store.store_reader_with_key(id, &key, input)?;
    reply(options, &json!({"stored": true}), "")
}

fn retrieve(
    options: &Options,
    id: &Id,
    key: &Key,
    range: Option<&ByteRange>,
    output: Option<&Path>,
) -> Result<(), Failure> {
    let to_file = output.filter(|path| !is_stream(Some(path)));
    if options.json && to_file.is_none() {
        return Err(Failure::Usage("--json needs --output: the data itself is no JSON".into()));
    }
    let store = open::existing(options)?;
    let key = keys::get(key.path.as_deref())?;
    let mut reader = store.open_record(id, &key)?;
    let len = reader.len()?; // proved before a byte is written
    let (start, end) = range.map_or((0, len), |range| range.within(len));
    let failed = Failure::stream("cannot read the record");
    reader.seek(SeekFrom::Start(start)).map_err(&failed)?;
    let mut reader = reader.take(end - start);

    let mut output = Output::open(output)?;
    let bytes = copy(Some(end - start), |buffer| reader.read(buffer).map_err(&failed), |data| output.write(data))?;
    output.finish()?;
    match to_file {
        Some(path) => reply(options, &json!({"bytes": bytes, "output": path.to_string_lossy()}), ""),
        None => Ok(()),
    }
}

/// Replaces the record. Its new key is written before the record is, or printed as soon as it is.
fn replace(options: &Options, id: &Id, data: Option<&Path>, key: &Key, key_out: Option<&Path>) -> Result<(), Failure> {
    refuse_stdin_twice(data, key.path.as_deref())?;
    let mut input = Input::open(data)?;
    let store = open::existing(options)?;
    let old = keys::get(key.path.as_deref())?;
    let writer = store.replace_record(id, &old)?;
    let (text, key_file) = write_key_first(&writer, key_out)?;
    let outcome = write_record(writer, &mut input);
    let lost = "cannot print the new key: the record opens no more. Erase it, and store the data again";
    hand_out_key(options, outcome, &text, key_file, key_out, Failure::io(lost))
}

/// The key of a record that is about to be written, as text, and in its file if there is to be one.
fn write_key_first(
    writer: &Writer,
    key_out: Option<&Path>,
) -> Result<(Zeroizing<String>, Option<NewKeyFile>), Failure> {
    let text = writer.key().to_text();
    let mut key_file = NewKeyFile::create(key_out)?;
    if let Some(file) = &mut key_file {
        file.write(&text)?;
    }
    Ok((text, key_file))
}

/// Gives out the key of a record that was written, or may have been; where it was not, removes the key's file.
fn hand_out_key(
    options: &Options,
    outcome: Result<(), Failure>,
    text: &str,
    key_file: Option<NewKeyFile>,
    key_out: Option<&Path>,
    not_printed: impl FnOnce(std::io::Error) -> Failure,
) -> Result<(), Failure> {
    if !matches!(outcome, Ok(()) | Err(Failure::Strongroom(Error::Indeterminate(_)))) {
        return outcome;
    }
    let replied = match key_file {
        Some(file) => {
            file.keep();
            reply_key_file(options, key_out)
        }
        None => reply_key(options, text).map_err(not_printed),
    };
    outcome?; // matters more
    replied
}

fn write_record(mut writer: Writer, input: &mut Input) -> Result<(), Failure> {
    let failed = Failure::stream("cannot write the record");
    copy(input.len, |buffer| input.read_some(buffer), |data| writer.write_all(data).map_err(&failed))?;
    writer.finish()?;
    Ok(())
}

fn delete(options: &Options, id: &Id, key: &Key) -> Result<(), Failure> {
    let store = open::existing(options)?;
    store.delete(id, &keys::get(key.path.as_deref())?)?;
    reply(options, &json!({"deleted": true}), "")
}

fn erase(options: &Options, id: &Id, yes: bool) -> Result<(), Failure> {
    let store = open::existing(options)?;
    if !yes {
        files::confirm("Erase the record for ever? [y/N] ")?;
    }
    let erased = store.erase(id)?;
    reply(options, &json!({"erased": erased}), if erased { "erased" } else { "there was no record" })
}

fn stats(options: &Options) -> Result<(), Failure> {
    let stats = open::existing(options)?.stats()?;
    let text = format!("records: {}\nbytes: {}", stats.records, stats.bytes);
    reply(options, &json!({"records": stats.records, "bytes": stats.bytes}), &text)
}

fn new_key(options: &Options, index: bool, key_out: Option<&Path>) -> Result<(), Failure> {
    let text = if index { IndexKey::generate()?.to_text() } else { RecordKey::generate()?.to_text() };
    match NewKeyFile::create(key_out)? {
        Some(mut file) => {
            file.write(&text)?;
            file.keep();
            reply_key_file(options, key_out)
        }
        None => reply_key(options, &text).map_err(Failure::stdout),
    }
}

fn refuse_stdin_twice(data: Option<&Path>, key: Option<&Path>) -> Result<(), Failure> {
    if is_stream(data) && key.is_some_and(|key| is_stream(Some(key))) {
        return Err(Failure::Usage("the key and the data cannot both come from stdin: name a file for one".into()));
    }
    Ok(())
}

/// Tells what was done: as JSON, or in words if there are any.
fn reply(options: &Options, object: &Value, words: &str) -> Result<(), Failure> {
    let text = match words {
        _ if options.json => format!("{object}\n"),
        "" => return Ok(()),
        words => format!("{words}\n"),
    };
    files::print(text.as_bytes()).map_err(Failure::stdout)
}

fn reply_key_file(options: &Options, path: Option<&Path>) -> Result<(), Failure> {
    reply(options, &json!({"key_file": path.map(Path::to_string_lossy)}), "")
}

/// Prints a new key. Its text is in no buffer that is not wiped.
fn reply_key(options: &Options, key: &str) -> std::io::Result<()> {
    let mut line = Zeroizing::new(Vec::with_capacity(128));
    if options.json {
        serde_json::to_writer(&mut *line, &std::collections::BTreeMap::from([("key", key)]))?;
    } else {
        line.extend_from_slice(key.as_bytes());
    }
    line.push(b'\n');
    files::print(&line)
}
