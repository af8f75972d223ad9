//! What clap finds wrong with a command line, in words that leave the values out: clap itself repeats them, and one may
//! be a key.

use std::ffi::OsStr;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::looks_like_key;
use crate::failure::Failure;

/// Prints help, or what is wrong, and gives the exit status.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    // The command line could not be parsed, so this is a guess.
    let json = std::env::args_os().any(|arg| arg == "--json");
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(source) => Failure::stdout(source).report(json),
        },
        _ => Failure::Usage(message(error).into()).report(json),
    }
}

fn message(error: &clap::Error) -> String {
    let arg = text(error, ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let did_you_mean = did_you_mean(error, ContextKind::SuggestedArg);
            if arg == "--key" || looks_like_key(OsStr::new(&arg)) {
                format!("a key itself is never an argument: others can see it there. Put it in a file{did_you_mean}")
            } else {
                format!("an argument is not known, and not repeated here because it may be secret{did_you_mean}")
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
            format!("{arg} needs a value")
        }
        ErrorKind::InvalidValue => {
            format!("{arg} is none of: {}", text(error, ContextKind::ValidValue))
        }
        ErrorKind::TooManyValues => format!("{arg} takes no value"),
        // Our own parsers' words, which hold no value.
        ErrorKind::ValueValidation => match std::error::Error::source(error) {
            Some(source) => format!("{arg}: {source}"),
            None => format!("{arg} has a wrong value"),
        },
        ErrorKind::ArgumentConflict => match text(error, ContextKind::PriorArg) {
            prior if prior.is_empty() || prior == arg => format!("{arg} is given twice"),
            prior => format!("{arg} cannot be used together with {prior}"),
        },
        kind => kind.as_str().unwrap_or("the command line is not understood").to_owned(),
    }
}

fn did_you_mean(error: &clap::Error, kind: ContextKind) -> String {
    match text(error, kind) {
        known if known.is_empty() => known,
        known => format!("; did you mean {known}?"),
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    error.get(kind).map(ContextValue::to_string).unwrap_or_default()
}
