//! Generates tokens, and adds them to a service's file; lists and revokes them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use strongroom::{Error, read_all, sync_folder_of};
use strongroom_server::{ListedToken, NewToken, Scope, StartError, list_tokens, read_token_uses, tokens_text};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::in_use::InUse;
use crate::keys::{NamedKeyFile, NewKeyFile};
use crate::options::Options;
use crate::reply::{columns, json_line, json_path, json_text, reply};
use crate::serve_args::TokenCommand;
use crate::{streams, times};

pub(crate) fn token(options: &Options, command: &TokenCommand, in_use: &InUse) -> Result<(), Failure> {
    match command {
        TokenCommand::New { scopes, tokens, token_out, name, expires_in, expires_at } => {
            let expires_at = match (expires_in, expires_at) {
                (Some(duration), _) => SystemTime::now().checked_add(*duration),
                (None, time) => *time,
            };
            let token = new_token(options, scopes, name.as_deref(), expires_at)?;
            give(options, &token, name.as_deref(), tokens.as_deref(), token_out.as_deref(), in_use)
        }
        TokenCommand::List { tokens, uses } => list(options, tokens, uses.as_deref()),
        TokenCommand::Revoke { name, tokens } => revoke(options, tokens, name),
    }
}

/// Adds the token's line to the tokens file, or prints it, and prints the token, or writes it to a file of its own.
fn give(
    options: &Options,
    token: &NewToken,
    name: Option<&str>,
    tokens: Option<&Path>,
    token_out: Option<&Path>,
    in_use: &InUse,
) -> Result<(), Failure> {
    let (line, text) = (token.line(), token.text());
    let file = NewKeyFile::create("--token-out", token_out, in_use, text)?;
    let give = || {
        let path = token_out.filter(|_| file.is_some()).map(json_path);
        let shown = file.is_none().then_some(text);
        let unlisted = tokens.is_none().then_some(&*line);
        let mut named = file.map(NewKeyFile::name).transpose()?;
        let printed = if options.json {
            let fields = [("token", shown.map(Value::from)), ("token_file", path), ("line", unlisted.map(Value::from))];
            let fields: BTreeMap<_, _> = fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            json_line(&json!(fields))
        } else {
            Vec::from_iter([shown, unlisted].into_iter().flatten()).join("\n")
        };
        if !printed.is_empty() {
            streams::print(format!("{printed}\n").as_bytes()).map_err(Failure::stdout)?;
        }
        named.iter_mut().for_each(NamedKeyFile::keep);
        Ok(())
    };
    match tokens {
        Some(path) => append(path, &line, name, give),
        None => give(),
    }
}

fn new_token(
    options: &Options,
    scopes: &[Scope],
    name: Option<&str>,
    expires_at: Option<SystemTime>,
) -> Result<NewToken, Failure> {
    if let (Some(_), Some(scope)) = (&options.namespace, scopes.iter().find(|scope| !has_namespaces(**scope))) {
        let given = if options.is_from_environment("namespace") { "STRONGROOM_NAMESPACE" } else { "--namespace" };
        let text = format!("the scope {scope} is for the whole store: make such a token without {given}");
        return Err(Failure::Usage(text.into()));
    }
    let mut token = NewToken::generate(scopes.to_vec()).map_err(|error| Error::Internal(error.into()))?;
    if let Some(name) = name {
        const INVALID: &str = "a token's name has 1 to 64 letters, digits, \".\", \"_\" and \"-\"";
        token = token.named(name).ok_or_else(|| Failure::argument(INVALID))?;
    }
    if let Some(time) = expires_at {
        let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        if time <= SystemTime::now() {
            return Err(Failure::argument("the token's expiry time is past"));
        }
        token = token.expires_at(seconds);
    }
    Ok(match &options.namespace {
        Some(name) => token.bound_to(name.as_ref()),
        None => token,
    })
}

/// Whether a token with this scope can be bound to a namespace: the storage service and the page for operators refuse
/// bound tokens.
fn has_namespaces(scope: Scope) -> bool {
    !matches!(scope, Scope::Storage | Scope::Monitor)
}

fn list(options: &Options, path: &Path, uses: Option<&Path>) -> Result<(), Failure> {
    let failed = || Failure::io_at("cannot read the file of --tokens", path);
    let content = read(&File::open(path).map_err(failed())?, failed())?;
    let listed = list_tokens(tokens_text(&content)?).map_err(StartError::from)?;
    let read_uses = |path| read_token_uses(path).map_err(Failure::io_at("cannot read the file of --uses", path));
    let uses = uses.map(read_uses).transpose()?.unwrap_or_default();
    let mut rows = vec![["name", "scopes", "namespace", "expires", "last use"].map(str::to_owned)];
    let mut objects = Vec::new();
    for token in listed {
        let scopes: Vec<_> = token.scopes.iter().map(ToString::to_string).collect();
        let in_json = token.namespace.as_ref().map(|name| json_text(name));
        let namespace = token.namespace.as_ref().map(|name| String::from_utf8_lossy(name).escape_debug().to_string());
        let (expires, last) = (token.expires_at.map(times::utc), uses.get(&token.hash).copied().map(times::utc));
        objects.push(json!({
            "name": token.name.as_deref(), "hash": token.hash, "scopes": scopes, "namespace": in_json,
            "expires": expires, "last_use": last,
        }));
        let name = token.name.as_deref().unwrap_or(&token.hash).to_owned();
        let none = || "-".to_owned();
        let [namespace, expires, last] = [namespace, expires, last].map(|text| text.unwrap_or_else(none));
        rows.push([name, scopes.join(","), namespace, expires, last]);
    }
    reply(options, &objects.into(), &columns(&rows).join("\n"))
}

/// Makes the token's line a comment by one byte, so that a crash leaves the line or the comment.
fn revoke(options: &Options, path: &Path, name: &str) -> Result<(), Failure> {
    let mut file = open_to_change(path, OpenOptions::new().read(true).write(true))?;
    let content = read(&file, failed(path))?;
    let listed = list_tokens(tokens_text(&content)?).map_err(StartError::from)?;
    let is_it = |token: &&ListedToken| token.name.as_deref() == Some(name) || token.hash == name;
    let found: Vec<_> = listed.iter().filter(is_it).collect();
    if found.is_empty() {
        return Err(Failure::argument("the tokens file has no such token: see `strongroom token list`"));
    }
    for token in &found {
        let comment_out = |position: u64| {
            file.seek(SeekFrom::Start(position))?;
            file.write_all(b"#")
        };
        u64::try_from(token.position).map_err(io::Error::other).and_then(comment_out).map_err(failed(path))?;
    }
    file.sync_all().map_err(failed(path))?;
    reply(
        options,
        &json!({"revoked": found.len()}),
        "revoked: the service refuses the token once it has read this file again (SIGHUP)",
    )
}

/// Opens and locks the file: two programs change it one after the other.
fn open_to_change(path: &Path, options: &OpenOptions) -> Result<File, Failure> {
    let file = options.open(path).map_err(failed(path))?;
    // A pipe keeps no line, and a read would wait.
    if !file.metadata().map_err(failed(path))?.is_file() {
        return Err(Failure::argument("the file of --tokens is not a regular file"));
    }
    file.lock().map_err(failed(path))?;
    Ok(file)
}

fn read(file: &File, failed: impl FnOnce(io::Error) -> Failure) -> Result<Zeroizing<Vec<u8>>, Failure> {
    read_all(file).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => too_long(),
        _ => failed(error),
    })
}

/// Adds a line to the file, durably, and then gives the token to the user by `give`. A failure leaves no part of the new
/// line. The file keeps its owner and its mode.
fn append(
    path: &Path,
    line: &str,
    name: Option<&str>,
    give: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut file = open_to_change(path, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
    let content = read(&file, failed(path))?;
    let text = tokens_text(&content)?;
    let listed = list_tokens(text).map_err(StartError::from)?;
    if name.is_some() && listed.iter().any(|token| token.name.as_deref() == name) {
        return Err(Failure::argument("the tokens file has a token of this name: revoke it first"));
    }
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    if (text.len() + end.len() + line.len() + 1) as u64 > MAX_FILE_BYTES {
        return Err(too_long());
    }
    let len = text.len() as u64;
    let added = add_line(&mut file, len, end, line).inspect_err(|_| drop(file.set_len(len)));
    added.map_err(failed(path))?;
    // The token is printed even if the file system cannot make the name durable.
    let _ = sync_folder_of(path);
    give().inspect_err(|_| drop(file.set_len(len)))
}

/// The most bytes of a file of tokens.
const MAX_FILE_BYTES: u64 = 16 << 20;

fn too_long() -> Failure {
    Failure::argument("the tokens file has more than 16 MiB: remove the lines of revoked tokens, which begin with #")
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    Failure::io_at("cannot change the file of --tokens", path)
}

/// Adds the line behind `len` bytes and `end`: first as a comment, because a crash can cut it, and then by one byte.
fn add_line(file: &mut File, len: u64, end: &str, line: &str) -> io::Result<()> {
    let (first, rest) = line.split_at_checked(1).unwrap_or_default();
    file.set_len(len)?;
    file.seek(SeekFrom::Start(len))?;
    file.write_all(format!("{end}#{rest}\n").as_bytes())?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(len + end.len() as u64))?;
    file.write_all(first.as_bytes())?;
    file.sync_all()
}
