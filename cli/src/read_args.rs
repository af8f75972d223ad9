//! Reading the command line and the environment: which option overrides which, and which ones exclude each other.

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};

use crate::args::{Cli, Command};
use crate::bootstrap;
use crate::keyring_args::KeyringCommand;

/// The options that a service reads from the environment only if its configuration does not set them.
#[cfg(feature = "server")]
const SHARED_WITH_SERVICES: [&str; 11] = [
    "store",
    "index_key_file",
    "index_key_command",
    "previous_index_key_file",
    "token_file",
    "token_command",
    "authorities",
    "client_certificate",
    "client_key",
    "revocations",
    "timeout",
];

impl Cli {
    /// Reads the command line. A store, a server or a cluster on it overrides all three in the environment.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let mut command = without_empty_variables(Self::command());
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if !cli.command.is_on_record() {
            let is_given = matches.value_source("namespace") == Some(ValueSource::CommandLine);
            match matches.subcommand_name() {
                Some("token") if is_given => {}
                Some(name) if is_given => return Err(conflict(&command, "--namespace", name)),
                _ => cli.options.namespace = None, // the variable is meant for other commands
            }
        }
        cli.check_keyring(&command, matches.value_source("keyring"))?;
        let options = &mut cli.options;
        for name in overridden(&command, &matches, &["index_key_file", "index_key_command"])? {
            match name {
                "index_key_file" => options.index_key_file = None,
                _ => options.index_key_command = None,
            }
        }
        for name in overridden(&command, &matches, &["token_file", "token_command"])? {
            match name {
                "token_file" => options.remote.token_file = None,
                _ => options.remote.token_command = None,
            }
        }
        #[cfg(feature = "server")]
        {
            let is_from_environment = |name: &str| matches.value_source(name) == Some(ValueSource::EnvVariable);
            options.from_environment =
                SHARED_WITH_SERVICES.into_iter().filter(|name| is_from_environment(name)).collect();
            if matches!(cli.command, Command::Serve(_) | Command::ServeStorage(_)) {
                // These variables are meant for other commands.
                if is_from_environment("server") {
                    options.server = None;
                }
                if is_from_environment("bootstrap_nodes") {
                    options.bootstrap_nodes.clear();
                }
                if options.server.is_none() {
                    return Ok(cli);
                }
            }
        }
        for name in overridden(&command, &matches, &["store", "server", "bootstrap_nodes"])? {
            match name {
                "store" => options.store = None,
                "server" => options.server = None,
                _ => options.bootstrap_nodes.clear(),
            }
        }
        if !options.bootstrap_nodes.is_empty() {
            options.server = Some(match cli.command {
                #[cfg(feature = "server")]
                Command::Nodes => bootstrap::urls(&options.bootstrap_nodes), // any of them knows the others
                _ => bootstrap::endpoint(&options.bootstrap_nodes, options.remote.authorities.is_some()),
            });
        }
        Ok(cli)
    }

    /// A keyring in the environment is meant for the commands that use one and name no key themselves.
    fn check_keyring(&mut self, command: &clap::Command, source: Option<ValueSource>) -> Result<(), clap::Error> {
        if let Some(other) = self.command.own_key() {
            match source {
                Some(ValueSource::CommandLine) => return Err(conflict(command, "--keyring", other)),
                _ => self.options.keyring.keyring = None,
            }
        }
        let keyring = self.options.keyring.keyring.is_some();
        match &self.command {
            Command::Keyring(KeyringCommand::New { .. }) => {
                self.options.keyring.identity = None; // that of existing keyrings
                Ok(())
            }
            Command::Store { record, .. } if !keyring && record.recursive => Err(missing(command, "--keyring <PATH>")),
            Command::Retrieve { record, .. } if !keyring && record.recursive => {
                Err(missing(command, "--keyring <PATH>"))
            }
            Command::Store { record, .. } if !keyring && !record.is_given() => {
                Err(missing(command, "<--id <ID>|--id-file <PATH>>"))
            }
            own if own.has_surplus(keyring) => Err(missing(command, "--from-command")),
            _ => Ok(()),
        }
    }
}

impl Command {
    /// The option with which the user names the record's key, if there is one.
    fn own_key(&self) -> Option<&'static str> {
        match self {
            Self::Store { key_file: Some(_), .. } => Some("--key-file"),
            Self::Store { key_out, .. } | Self::Replace { key_out, .. } | Self::Rekey { key_out, .. }
                if key_out.path.is_some() =>
            {
                Some("--key-out")
            }
            Self::Retrieve { key, .. }
            | Self::Take { key, .. }
            | Self::Replace { key, .. }
            | Self::Rekey { key, .. }
            | Self::Delete { key, .. }
                if key.path.is_some() =>
            {
                Some("--key-file")
            }
            _ => None,
        }
    }
}

/// The options in the environment, if one that excludes them is on the command line. Two in the same place are an error.
fn overridden<'n>(
    command: &clap::Command,
    matches: &ArgMatches,
    names: &[&'n str],
) -> Result<Vec<&'n str>, clap::Error> {
    let from = |source| names.iter().copied().filter(|name| matches.value_source(name) == Some(source)).collect();
    let (given, set): (Vec<_>, Vec<_>) = (from(ValueSource::CommandLine), from(ValueSource::EnvVariable));
    match (&*given, &*set) {
        ([name, other, ..], _) | ([], [name, other, ..]) => Err(conflict(command, &long(name), &long(other))),
        ([_], _) => Ok(set),
        _ => Ok(Vec::new()),
    }
}

/// The option with this id.
fn long(id: &str) -> String {
    format!("--{}", id.replace('_', "-"))
}

fn missing(command: &clap::Command, arg: &str) -> clap::Error {
    let mut error = clap::Error::new(ErrorKind::MissingRequiredArgument).with_cmd(command);
    error.insert(ContextKind::InvalidArg, ContextValue::Strings(vec![arg.into()]));
    error
}

fn conflict(command: &clap::Command, arg: &str, other: &str) -> clap::Error {
    let mut error = clap::Error::new(ErrorKind::ArgumentConflict).with_cmd(command);
    error.insert(ContextKind::InvalidArg, ContextValue::String(arg.into()));
    error.insert(ContextKind::PriorArg, ContextValue::String(other.into()));
    error
}

/// Treats empty environment variables as unset.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let unset_if_empty = |arg: Arg| match arg.get_env().and_then(std::env::var_os) {
        Some(value) if value.is_empty() => arg.env(Resettable::Reset),
        _ => arg,
    };
    command.mut_args(unset_if_empty).mut_subcommands(without_empty_variables)
}
