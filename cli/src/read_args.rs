//! Reading the command line and the environment: which option overrides which, and which ones exclude each other.

use std::iter;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};

use crate::args::{Cli, Command};
use crate::bootstrap;
use crate::keyring_args::{KeyringCommand, KeyringOptions};

impl Cli {
    /// Reads the command line. A store, a server or a cluster on it overrides all three in the environment.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let mut command = without_empty_variables(Self::command());
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        let mut cli = Self::from_arg_matches(&matches)?;
        if !cli.command.is_in_namespace() {
            if matches.value_source("namespace") == Some(ValueSource::CommandLine) {
                return Err(conflict(&command, "--namespace", &subcommand(&matches)));
            }
            cli.options.namespace = None; // the variable is meant for other commands
        }
        cli.check_keyring(&command, matches.value_source("keyring"))?;
        cli.check_keyring_secret(&command, &matches)?;
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
        let is_from_environment = |name: &str| matches.value_source(name) == Some(ValueSource::EnvVariable);
        options.from_environment = matches.ids().filter(|id| is_from_environment(id.as_str())).cloned().collect();
        #[cfg(feature = "server")]
        {
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

/// Options that exclude each other: one secret opens a keyring.
const KEYRING_SECRETS: [&str; 3] = ["identity", "passphrase_file", "passphrase_command"];

impl Cli {
    /// A keyring is opened by one secret, and a new one is encrypted to recipients or under one passphrase.
    fn check_keyring_secret(&mut self, command: &clap::Command, matches: &ArgMatches) -> Result<(), clap::Error> {
        let KeyringOptions { keyring: Some(_), .. } = &self.options.keyring else { return Ok(()) };
        let is_given = |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let [identity, passphrases @ ..] = KEYRING_SECRETS;
        let mut ignored = match &self.command {
            Command::Keyring(KeyringCommand::New { recipients, new_identity }) => {
                let recipient = if recipients.is_empty() {
                    new_identity.as_ref().map(|_| "--new-identity")
                } else {
                    Some("--recipient")
                };
                match (recipient, passphrases.iter().find(|name| is_given(name))) {
                    _ if is_given(&identity) => return Err(conflict(command, "--identity", "keyring new")),
                    (Some(recipient), Some(passphrase)) => return Err(conflict(command, recipient, &long(passphrase))),
                    (Some(_), None) => passphrases.to_vec(), // those of other keyrings
                    (None, _) => overridden(command, matches, &passphrases)?,
                }
            }
            _ => overridden(command, matches, &KEYRING_SECRETS)?,
        };
        let keyring = &mut self.options.keyring;
        for name in ignored.drain(..) {
            match name {
                "identity" => keyring.identity = None,
                "passphrase_file" => keyring.passphrase_file = None,
                _ => keyring.passphrase_command = None,
            }
        }
        Ok(())
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

/// The options in the environment, if one that excludes them is on the command line. Two in the same place are an
/// error.
fn overridden<'n>(
    command: &clap::Command,
    matches: &ArgMatches,
    names: &[&'n str],
) -> Result<Vec<&'n str>, clap::Error> {
    let from = |source| names.iter().copied().filter(|name| matches.value_source(name) == Some(source)).collect();
    let (given, set): (Vec<_>, Vec<_>) = (from(ValueSource::CommandLine), from(ValueSource::EnvVariable));
    match (&*given, &*set) {
        ([name, other, ..], _) => Err(conflict(command, &long(name), &long(other))),
        ([], [name, other, ..]) => Err(conflict(command, &variable(command, name), &variable(command, other))),
        ([_], _) => Ok(set),
        _ => Ok(Vec::new()),
    }
}

/// The command's full name, such as `token list`.
fn subcommand(matches: &ArgMatches) -> String {
    let names = iter::successors(matches.subcommand(), |(_, matches)| matches.subcommand()).map(|(name, _)| name);
    Vec::from_iter(names).join(" ")
}

/// The option with this id.
fn long(id: &str) -> String {
    format!("--{}", id.replace('_', "-"))
}

/// The variable of the option with this id.
fn variable(command: &clap::Command, id: &str) -> String {
    let name = command.get_arguments().find(|arg| arg.get_id() == id).and_then(Arg::get_env);
    name.unwrap_or_default().to_string_lossy().into_owned()
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
