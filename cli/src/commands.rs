//! The choice of the command, and those that concern the whole store. These need no key: only an encryption server or
//! the storage.

use std::num::NonZero;

use serde_json::json;
use strongroom::{Error, IndexKey, RecordKey, Stats, maintain_storage, purge_storage};

use crate::args::{Cli, Command};
use crate::failure::Failure;
use crate::in_use::InUse;
use crate::kept_keys::{self, KeptKeys};
use crate::key_args::KeyCommand;
use crate::options::Options;
use crate::progress::progress_bar;
use crate::reply::{reply, write_new_key};
use crate::streams::is_stdin;
use crate::{hardening, ids, index_key, open, pages, records, retain, terminal, times, tree, tree_args};

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
            kept_keys::store(options, id.as_ref(), &data, &version)
        }
        Command::Store { record, data, version, key_file: Some(key), .. } => {
            records::store_under_key(options, &ids::get(record.into())?, &data, version.options(), &key)
        }
        Command::Store { record, data, version, key_out, .. } => records::store(
            options,
            &ids::get(record.into())?,
            &data,
            version.options(),
            key_out.path.as_deref(),
            &in_use,
        ),
        Command::Retrieve { record, tree, output, .. } if record.recursive => {
            tree::restore(options, &tree, tree_args::output(output.as_deref())?, &in_use)
        }
        Command::Retrieve { record, key, range, output, .. } => {
            records::retrieve(options, &ids::get(record.into())?, &key, range.as_ref(), output.as_deref(), &in_use)
        }
        Command::Replace { record, data, version, key, key_out } => {
            let id = ids::get(record)?;
            if let Some(mut kept) = KeptKeys::open(options)? {
                return kept_keys::replace(options, &mut kept, &id, &data, version.options());
            }
            records::replace(options, &id, &data, version.options(), &key, key_out.path.as_deref(), &in_use)
        }
        Command::Take { record, key, output } => {
            records::take(options, &ids::get(record)?, &key, output.as_deref(), &in_use)
        }
        Command::Rekey { record, version, key, key_out } => {
            let id = ids::get(record)?;
            if let Some(mut kept) = KeptKeys::open(options)? {
                return kept_keys::rekey(options, &mut kept, &id, version.options());
            }
            records::rekey(options, &id, version.options(), &key, key_out.path.as_deref(), &in_use)
        }
        Command::Contains { record } => records::contains(options, &ids::get(record)?),
        Command::Delete { record, key } => records::delete(options, &ids::get(record)?, &key),
        Command::Erase { record, yes } => records::erase(options, &ids::get(record)?, yes),
        Command::Retain { ids, format, yes, allow_all } => retain::retain(options, &ids, format, yes, allow_all),
        Command::Purge { limit } => purge(options, limit),
        Command::Maintain => maintain(options),
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
            crate::token::token(options, &command, &in_use)
        }
        Command::Health { url } => crate::health::health(options, &url),
        #[cfg(feature = "server")]
        Command::Certificate(command) => crate::certificate::certificate(options, &command, &in_use),
        Command::Completions { shell } => pages::print_completions(shell),
        Command::Man { folder } => pages::write_manual(&folder, &in_use),
    }
}

/// Removes expired records in steps, to show progress.
fn purge(options: &Options, limit: Option<NonZero<usize>>) -> Result<(), Failure> {
    const STEP: usize = 10_000;

    let step: Box<dyn Fn(usize) -> Result<usize, Error>> = match open::connected(options)? {
        Some(server) => Box::new(move |limit| server.purge(limit)),
        None => {
            let storage = open::existing_storage(options)?;
            Box::new(move |limit| purge_storage(&*storage, times::now(), limit))
        }
    };
    let limit = limit.map_or(usize::MAX, NonZero::get);
    let bar = progress_bar(None, "{spinner} {human_pos} expired records removed");
    let mut purged = 0;
    while purged < limit {
        let removed = step(STEP.min(limit - purged))?;
        purged += removed;
        bar.set_position(purged as u64);
        if removed == 0 {
            break;
        }
    }
    bar.finish_and_clear();
    reply(options, &json!({"purged": purged}), &format!("purged: {purged}"))
}

fn maintain(options: &Options) -> Result<(), Failure> {
    maintain_storage(&*open::existing_storage(options)?, times::now())?;
    reply(options, &json!({"maintained": true}), "maintained")
}

/// Frees the space of what was removed, and returns it to the operating system in steps, to show progress.
fn compact(options: &Options) -> Result<(), Failure> {
    const STEP: u64 = 16 << 20;

    let storage = open::existing_storage(options)?;
    let bar = progress_bar(None, "{spinner} {bytes} returned");
    maintain_storage(&*storage, times::now())?;
    let mut compacted = 0;
    loop {
        let returned = storage.compact(STEP).map_err(Error::from)?;
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
    let stats = match open::connected(options)? {
        Some(server) => server.stats()?,
        None => open::existing_storage(options)?.stats(times::now()).map_err(Error::from)?,
    };
    let Stats { records, bytes, expired, free, .. } = stats;
    let text = format!("records: {records}\nbytes: {bytes}\nexpired: {expired}\nfree: {free}");
    reply(options, &json!({"records": records, "bytes": bytes, "expired": expired, "free": free}), &text)
}
