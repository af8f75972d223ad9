//! Messages for errors of the command line that clap detects. They have no values: clap's own messages quote values,
//! and one may be a key.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};

use crate::arg_path::looks_like_key;
use crate::args::Cli;
use crate::failure::Failure;
use crate::streams;

/// Prints help or the error, and returns the exit status.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    // A guess, because the command line could not be parsed.
    let json = std::env::args_os().any(|arg| arg == "--json");
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match print(error) {
            Ok(()) => ExitCode::SUCCESS,
            Err(source) => Failure::stdout(source).report(json),
        },
        _ => Failure::Usage(message(error).into()).report(json),
    }
}

/// Prints with colours on a terminal.
fn print(error: &clap::Error) -> io::Result<()> {
    if io::stdout().is_terminal() { error.print() } else { streams::print(error.render().to_string().as_bytes()) }
}

fn message(error: &clap::Error) -> String {
    let arg = text(error, ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let did_you_mean = match &*arg {
                "--key" => "; did you mean --key-file?".into(),
                _ => did_you_mean(error, ContextKind::SuggestedArg),
            };
            if let Some(option) = option_before(&arg) {
                format!("{option} needs a value; join a value that begins with \"-\" to the option: {option}=-5")
            } else if arg == "--key" || looks_like_key(OsStr::new(&arg)) {
                format!(
                    "a key is never an argument, because other users can read it there: put it in a file{did_you_mean}"
                )
            } else {
                format!("an argument is unknown, and not shown here because it may be secret{did_you_mean}")
            }
        }
        ErrorKind::InvalidSubcommand => {
            format!("there is no such command{}", did_you_mean(error, ContextKind::SuggestedSubcommand))
        }
        ErrorKind::MissingSubcommand => {
            format!("a command is missing: {}", text(error, ContextKind::ValidSubcommand))
        }
        ErrorKind::MissingRequiredArgument => format!("an argument is missing: {arg}"),
        ErrorKind::InvalidValue if text(error, ContextKind::InvalidValue).is_empty() => {
            format!("{arg} needs a value; join a value that begins with \"-\" to the option: --id=-5")
        }
        ErrorKind::InvalidValue => {
            format!("{arg} must be one of: {}", text(error, ContextKind::ValidValue))
        }
        ErrorKind::TooManyValues => format!("{arg} takes no value"),
        // The message of our own parser, which contains no value.
        ErrorKind::ValueValidation => match std::error::Error::source(error) {
            Some(source) => format!("{arg}: {source}"),
            None => format!("{arg} has an invalid value"),
        },
        ErrorKind::ArgumentConflict => match text(error, ContextKind::PriorArg) {
            prior if prior.is_empty() || prior == arg => format!("{arg} is given twice"),
            prior => format!("{arg} cannot be used together with {prior}"),
        },
        kind => kind.as_str().unwrap_or("the command line is invalid").to_owned(),
    }
}

/// The option before `arg` that needs a value.
fn option_before(arg: &str) -> Option<String> {
    let words: Vec<_> = std::env::args_os().collect();
    let mut root = Cli::command();
    root.build(); // gives each command the global options
    let mut command = &root;
    for (before, word) in words.iter().zip(words.iter().skip(1)) {
        let option = before.to_str().filter(|before| needs_value(command, before));
        if word.to_str().is_some_and(|word| word.starts_with(arg)) {
            return option.map(str::to_owned);
        }
        if option.is_none() {
            command = command.find_subcommand(word).unwrap_or(command);
        }
    }
    None
}

/// Whether this is an option of the command, and not one whose value may be missing.
fn needs_value(command: &Command, option: &str) -> bool {
    let Some(long) = option.strip_prefix("--") else { return false };
    let mut args = command.get_arguments().filter(|arg| arg.get_long() == Some(long));
    args.any(|arg| arg.get_num_args().is_some_and(|count| count.min_values() > 0))
}

/// The most similar name, which clap gives last.
fn did_you_mean(error: &clap::Error, kind: ContextKind) -> String {
    let name = match error.get(kind) {
        Some(ContextValue::Strings(names)) => names.last().cloned().unwrap_or_default(),
        _ => text(error, kind),
    };
    if name.is_empty() { name } else { format!("; did you mean {name}?") }
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    error.get(kind).map(ContextValue::to_string).unwrap_or_default()
}
