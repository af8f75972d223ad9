//! Prints what a command has to say, as words or as JSON.

use std::io;
use std::path::Path;

use serde_json::{Value, json};
use strongroom::protocol::base64url;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::in_use::InUse;
use crate::keys::NewKeyFile;
use crate::options::Options;
use crate::streams;

/// Prints the outcome: as JSON, or as `words` unless they are empty.
pub(crate) fn reply(options: &Options, object: &Value, words: &str) -> Result<(), Failure> {
    let text = match words {
        _ if options.json => format!("{}\n", json_line(object)),
        "" => return Ok(()),
        words => format!("{words}\n"),
    };
    streams::print(text.as_bytes()).map_err(Failure::stdout)
}

/// A JSON document in one line. It may have some control characters, but a terminal would obey them: all are escaped.
pub(crate) fn json_line(document: &Value) -> String {
    let escape = |char: char| match char.is_control() {
        true => format!("\\u{:04x}", u32::from(char)),
        false => char.to_string(),
    };
    document.to_string().chars().map(escape).collect()
}

/// Rows of cells in aligned columns: a line for each.
#[cfg(feature = "server")]
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |n: usize| rows.iter().filter_map(|row| row.get(n)).map(|text| text.chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A name in JSON: its text, or `{"base64url": ...}` if it is not UTF-8.
pub(crate) fn json_text(name: &[u8]) -> Value {
    match str::from_utf8(name) {
        Ok(text) => text.into(),
        Err(_) => json!({"base64url": base64url::encode(name)}),
    }
}

/// The name of [`json_text`].
pub(crate) fn name_in_json(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        object => base64url::decode(object.get("base64url")?.as_str()?),
    }
}

pub(crate) fn json_path(path: &Path) -> Value {
    json_text(path.as_os_str().as_encoded_bytes())
}

pub(crate) fn reply_key_file(options: &Options, path: Option<&Path>) -> Result<(), Failure> {
    reply(options, &json!({"key_file": path.map(json_path)}), "")
}

/// Prints a new key. Every buffer that holds its text is wiped.
pub(crate) fn reply_key(options: &Options, key: &str) -> io::Result<()> {
    let mut line = Zeroizing::new(Vec::with_capacity(128));
    if options.json {
        serde_json::to_writer(&mut *line, &std::collections::BTreeMap::from([("key", key)]))?;
    } else {
        line.extend_from_slice(key.as_bytes());
    }
    line.push(b'\n');
    streams::print(&line)
}

/// Writes a new key to a file, or prints it.
pub(crate) fn write_new_key(
    options: &Options,
    text: &str,
    key_out: Option<&Path>,
    in_use: &InUse,
) -> Result<(), Failure> {
    match NewKeyFile::create("--key-out", key_out, in_use, text)? {
        Some(file) => {
            file.name()?.keep();
            reply_key_file(options, key_out)
        }
        None => reply_key(options, text).map_err(Failure::stdout),
    }
}
