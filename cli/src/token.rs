//! Generates tokens, and adds them to a service's file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::json;
use strongroom::Error;
use strongroom_server::{NewToken, Scope, finished_lines};
use zeroize::Zeroizing;

use crate::args::Options;
use crate::failure::Failure;
use crate::new_file::sync_folder_of;
use crate::serve_args::TokenCommand;
use crate::streams;

pub(crate) fn token(options: &Options, command: &TokenCommand) -> Result<(), Failure> {
    let TokenCommand::New { scopes, tokens } = command;
    let token = match &options.namespace {
        Some(name) => new_token(scopes)?.bound_to(name.as_ref()),
        None => new_token(scopes)?,
    };
    let line = token.line();
    if let Some(path) = tokens {
        append(path, &line)?;
    }
    let text = match (options.json, tokens) {
        (true, None) => format!("{}\n", json!({"token": token.text(), "line": line})),
        (true, Some(_)) => format!("{}\n", json!({"token": token.text()})),
        (false, None) => format!("{}\n{line}\n", token.text()),
        (false, Some(_)) => format!("{}\n", token.text()),
    };
    streams::print(text.as_bytes()).map_err(Failure::stdout)
}

fn new_token(scopes: &[Scope]) -> Result<NewToken, Failure> {
    NewToken::generate(scopes.to_vec()).map_err(|error| Error::Internal(error.into()).into())
}

/// Adds a line to the file, durably. An unfinished line of an earlier run is removed, and a failed write leaves no part
/// of the new line. The file keeps its owner and its mode.
fn append(path: &Path, line: &str) -> Result<(), Failure> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed())?;
    file.lock().map_err(failed())?; // two programs add their lines one after the other
    let mut content = Zeroizing::new(Vec::new());
    (&mut file).take(MAX_FILE_BYTES).read_to_end(&mut content).map_err(failed())?;
    let lines = finished_lines(&content)?;
    let end = if lines.is_empty() || lines.ends_with('\n') { "" } else { "\n" };
    write_behind(&mut file, lines.len(), &format!("{end}{line}\n")).map_err(failed())?;
    // The token is printed even if the file system cannot make the name durable.
    let _ = sync_folder_of(path);
    Ok(())
}

/// The most bytes of a file of tokens.
const MAX_FILE_BYTES: u64 = 16 << 20;

fn failed() -> impl FnOnce(io::Error) -> Failure {
    Failure::io("cannot write the file of --tokens")
}

fn write_behind(file: &mut File, len: usize, text: &str) -> io::Result<()> {
    let len = u64::try_from(len).map_err(io::Error::other)?;
    file.set_len(len)?;
    file.seek(SeekFrom::Start(len))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.inspect_err(|_| drop(file.set_len(len)))
}
