//! The commands of keyrings.

use std::io::{self, IsTerminal};
use std::path::Path;

use serde_json::json;
use strongroom::{Keyring, KeyringProtection, KeyringSecret};
use zeroize::Zeroizing;

use crate::args::IdFormat;
use crate::failure::{Failure, escape_controls};
use crate::in_use::InUse;
use crate::kept_keys::{KeptKeys, given_passphrase, passphrase};
use crate::keyring_args::KeyringCommand;
use crate::keys::NewKeyFile;
use crate::options::Options;
use crate::reply::{json_line, json_path, json_text, reply, write_new_key};
use crate::{ids, keys, streams, terminal};

pub(crate) fn run(options: &Options, command: KeyringCommand, in_use: &InUse) -> Result<(), Failure> {
    match command {
        KeyringCommand::New { recipients, new_identity } => new(options, recipients, new_identity.as_deref(), in_use),
        KeyringCommand::List { format } => list(options, format),
        KeyringCommand::Add { record, key_file } => {
            let id = ids::get(record)?;
            let mut kept = KeptKeys::required(options)?;
            kept.insert(&id, &keys::get(key_file.as_deref())?)?;
            reply(options, &json!({"added": true}), "")
        }
        KeyringCommand::Remove { record, yes } => {
            let id = ids::get(record)?;
            let mut kept = KeptKeys::required(options)?;
            if !yes {
                terminal::confirm("Remove the keys of the record permanently? [y/N] ")?;
            }
            let removed = kept.remove(&id)?;
            reply(options, &json!({"removed": removed}), if removed { "removed" } else { "there was no such id" })
        }
        KeyringCommand::Export { record, key_out } => {
            let id = ids::get(record)?;
            let keys = KeptKeys::required(options)?.keys(&id)?;
            keys.first().map_or(Ok(()), |key| write_new_key(options, &key.to_text(), key_out.path.as_deref(), in_use))
        }
        KeyringCommand::Rotate { recipients, new_passphrase_file, new_passphrase_command } => {
            let mut keyring = KeptKeys::required(options)?.keyring();
            let given = passphrase(new_passphrase_file.as_deref(), new_passphrase_command.as_deref())?;
            keyring.rotate(protection(&recipients, given)?)?;
            reply(options, &json!({"rotated": true}), "")
        }
    }
}

/// Makes the identity first, so that no keyring is without it.
fn new(
    options: &Options,
    mut recipients: Vec<String>,
    new_identity: Option<&Path>,
    in_use: &InUse,
) -> Result<(), Failure> {
    let path = options.keyring.keyring.as_deref();
    let path = path.ok_or_else(|| Failure::Usage("name the new keyring with --keyring".into()))?;
    if path.symlink_metadata().is_ok() {
        return Err(Failure::argument("the file of --keyring exists: a keyring is never overwritten"));
    }
    let mut identity = None;
    if let Some(file) = new_identity {
        let (text, recipient) = KeyringSecret::generate_identity();
        identity = NewKeyFile::create("--new-identity", Some(file), in_use, text.trim_end())?
            .map(NewKeyFile::name)
            .transpose()?;
        if identity.is_none() {
            return Err(Failure::Usage("--new-identity needs the name of a file".into()));
        }
        recipients.push(recipient);
    }
    let given = if recipients.is_empty() { given_passphrase(&options.keyring)? } else { None };
    Keyring::create(path, protection(&recipients, given)?)?;
    if let Some(file) = &mut identity {
        file.keep();
    }
    reply(options, &json!({"keyring": json_path(path)}), "")
}

/// The recipients, the given passphrase, or one that the user types twice.
fn protection(recipients: &[String], given: Option<Zeroizing<String>>) -> Result<KeyringProtection, Failure> {
    if !recipients.is_empty() {
        return Ok(KeyringProtection::recipients(recipients)?);
    }
    let passphrase = match given {
        Some(passphrase) => passphrase,
        None => {
            let typed = keys::ask_passphrase("New passphrase of the keyring (not shown): ")?;
            if keys::ask_passphrase("The same again: ")? != typed {
                return Err(Failure::argument("the two passphrases differ"));
            }
            typed
        }
    };
    Ok(KeyringProtection::passphrase(&passphrase)?)
}

/// Prints the ids as they are, but on a terminal with escapes for control characters.
fn list(options: &Options, format: IdFormat) -> Result<(), Failure> {
    let kept = KeptKeys::required(options)?;
    let ids = kept.entries().iter().filter(|(namespace, ..)| *namespace == kept.namespace()).map(|(_, id, _)| id);
    let mut list = Zeroizing::new(Vec::new());
    if options.json || format == IdFormat::Json {
        let ids: Vec<_> = ids.map(|id| json_text(id)).collect();
        if !options.json && ids.iter().any(|id| !id.is_string()) {
            return Err(Failure::argument("an id is not text: use --format nul"));
        }
        list.extend_from_slice(json_line(&json!(ids)).as_bytes());
        list.push(b'\n');
    } else {
        let is_on_terminal = io::stdout().is_terminal();
        for id in ids {
            if format == IdFormat::Lines && id.contains(&b'\n') {
                return Err(Failure::argument("an id has several lines: use --format nul"));
            }
            match is_on_terminal {
                true => list.extend_from_slice(escape_controls(&String::from_utf8_lossy(id)).as_bytes()),
                false => list.extend_from_slice(id),
            }
            list.push(if format == IdFormat::Nul { 0 } else { b'\n' });
        }
    }
    streams::print(&list).map_err(Failure::stdout)
}
