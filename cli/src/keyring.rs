//! The commands of keyrings.

use std::io::{self, IsTerminal};
use std::path::Path;

use serde_json::{Value, json};
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
        KeyringCommand::List { format, all_namespaces } => list(options, format, all_namespaces),
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
            keyring.rotate(protection(&recipients, given, "--new-passphrase-file or --recipient")?)?;
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
    let instead = "--new-identity, --recipient or --passphrase-file";
    Keyring::create(path, protection(&recipients, given, instead)?)?;
    if let Some(file) = &mut identity {
        file.keep();
    }
    reply(options, &json!({"keyring": json_path(path)}), "")
}

/// The recipients, the given passphrase, or one that the user types twice; `instead` are the options of the others.
fn protection(
    recipients: &[String],
    given: Option<Zeroizing<String>>,
    instead: &str,
) -> Result<KeyringProtection, Failure> {
    if !recipients.is_empty() {
        return Ok(KeyringProtection::recipients(recipients)?);
    }
    let passphrase = match given {
        Some(passphrase) => passphrase,
        None => {
            let typed = keys::ask_passphrase("New passphrase of the keyring (not shown): ", instead)?;
            if keys::ask_passphrase("The same again: ", instead)? != typed {
                return Err(Failure::argument("the two passphrases differ"));
            }
            typed
        }
    };
    Ok(KeyringProtection::passphrase(&passphrase)?)
}

/// Prints the ids as they are, but on a terminal with escapes for control characters.
fn list(options: &Options, format: IdFormat, all_namespaces: bool) -> Result<(), Failure> {
    if all_namespaces && options.namespace.is_some() && !options.is_from_environment("namespace") {
        return Err(Failure::Usage("give --namespace or --all-namespaces, not both".into()));
    }
    let kept = KeptKeys::required(options)?;
    let entries = || kept.entries().iter();
    let ids = || entries().filter(|(namespace, ..)| *namespace == kept.namespace()).map(|(_, id, _)| id);
    let list = if all_namespaces {
        json_list(entries().map(|(namespace, id, _)| json!({"namespace": json_text(namespace), "id": json_text(id)})))
    } else if options.json || format == IdFormat::Json {
        json_list(ids().map(json_text))
    } else {
        let (end, is_on_terminal) = (if format == IdFormat::Nul { 0 } else { b'\n' }, io::stdout().is_terminal());
        let mut list = Zeroizing::new(Vec::new());
        for id in ids() {
            if id.contains(&end) {
                let text = match format {
                    IdFormat::Nul => "an id has a zero byte: use --format json",
                    _ => "an id has several lines: use --format json or nul",
                };
                return Err(Failure::argument(text));
            }
            match is_on_terminal {
                true => list.extend_from_slice(escape_controls(&String::from_utf8_lossy(id)).as_bytes()),
                false => list.extend_from_slice(id),
            }
            list.push(end);
        }
        list
    };
    streams::print(&list).map_err(Failure::stdout)
}

fn json_list(ids: impl Iterator<Item = Value>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(format!("{}\n", json_line(&ids.collect())).into_bytes())
}
