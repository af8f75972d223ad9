//! Facts about a command that other modules need before it runs: the files that it reads, and whether it prints.

use std::iter;
use std::path::{Path, PathBuf};

use crate::args::{Command, Data};
use crate::key_args::{IndexKeyCommand, KeyCommand, KeyOut};
use crate::keyring_args::KeyringCommand;
#[cfg(feature = "server")]
use crate::serve_args::TokenCommand;
use crate::streams::is_stream;

impl Command {
    /// Whether there are more arguments than the command has use for.
    pub(crate) fn has_surplus(&self, has_keyring: bool) -> bool {
        match self {
            Self::Store { data, .. } => data.has_surplus(has_keyring),
            Self::Replace { data, .. } => data.has_surplus(false),
            _ => false,
        }
    }

    /// Whether the command concerns a namespace, not the whole store or none.
    pub(crate) fn is_in_namespace(&self) -> bool {
        match self {
            Self::Store { .. } | Self::Retrieve { .. } | Self::Take { .. } | Self::Replace { .. } => true,
            Self::Rekey { .. } | Self::Contains { .. } | Self::Delete { .. } | Self::Erase { .. } => true,
            Self::IndexKey(IndexKeyCommand::Rotate { .. }) => true,
            Self::Keyring(KeyringCommand::New { .. } | KeyringCommand::Rotate { .. }) => false,
            Self::Keyring(_) => true,
            Self::Retain { .. }
            | Self::Purge { .. }
            | Self::Maintain
            | Self::Compact
            | Self::Copy(_)
            | Self::Migrate { .. }
            | Self::Verify(_) => false,
            Self::Stats | Self::Key(_) => false,
            Self::IndexKey(_) => false,
            Self::Health { .. } | Self::Completions { .. } | Self::Man { .. } => false,
            #[cfg(feature = "server")]
            Self::Token(command) => matches!(command, TokenCommand::New { .. }),
            #[cfg(feature = "server")]
            Self::Serve(_) | Self::ServeStorage(_) | Self::Nodes | Self::Certificate(_) => false,
        }
    }

    /// The files that the command reads. "-" is stdin.
    pub(crate) fn inputs(&self) -> Vec<&Path> {
        let (record, data, key) = match self {
            Self::Store { record, data, key_file, .. } => {
                let mut inputs = data.inputs();
                inputs.extend([record.id_file.as_deref(), key_file.as_deref()].into_iter().flatten());
                return inputs;
            }
            Self::Retrieve { record, key, .. } => {
                return [record.id_file.as_deref(), key.path.as_deref()].into_iter().flatten().collect();
            }
            Self::Replace { record, data, key, .. } => (record, Some(data), key.path.as_deref()),
            Self::Take { record, key, .. } | Self::Rekey { record, key, .. } | Self::Delete { record, key } => {
                (record, None, key.path.as_deref())
            }
            Self::Contains { record } | Self::Erase { record, .. } => (record, None, None),
            Self::Keyring(KeyringCommand::Add { record, key_file }) => (record, None, key_file.as_deref()),
            Self::Keyring(KeyringCommand::Remove { record, .. } | KeyringCommand::Export { record, .. }) => {
                (record, None, None)
            }
            Self::IndexKey(IndexKeyCommand::Rotate { new, ids, .. }) => {
                return [Some(new), ids.as_ref()].into_iter().flatten().map(PathBuf::as_path).collect();
            }
            Self::Retain { ids, .. } => return vec![ids],
            Self::Copy(transfer) => return transfer.to_token_file.iter().map(PathBuf::as_path).collect(),
            #[cfg(feature = "server")]
            Self::Serve(serve) | Self::ServeStorage(serve) => {
                return serve.config.iter().map(PathBuf::as_path).collect();
            }
            _ => return Vec::new(),
        };
        let mut inputs = data.map(Data::inputs).unwrap_or_default();
        inputs.extend([record.id_file.as_deref(), key].into_iter().flatten());
        inputs
    }

    /// Whether the command prints something when it succeeds.
    pub(crate) fn prints(&self, json: bool, keyring: bool) -> bool {
        let new_key = |key_out: &KeyOut| json || is_stream(key_out.path.as_deref());
        match self {
            Self::Store { record, .. } if record.recursive => true,
            Self::Retrieve { record, .. } if record.recursive => true,
            Self::Store { key_file: Some(_), .. } | Self::Delete { .. } => json,
            Self::Store { .. } | Self::Replace { .. } | Self::Rekey { .. } if keyring => json,
            Self::Keyring(KeyringCommand::List { .. } | KeyringCommand::Remove { .. }) => true,
            Self::Keyring(KeyringCommand::Export { key_out, .. }) => new_key(key_out),
            Self::Keyring(_) => json,
            Self::Store { key_out, .. } | Self::Replace { key_out, .. } | Self::Rekey { key_out, .. } => {
                new_key(key_out)
            }
            Self::Key(KeyCommand::New { key_out, .. }) => new_key(key_out),
            Self::Retrieve { output, .. } | Self::Take { output, .. } => json || is_stream(output.as_deref()),
            Self::Contains { .. } | Self::Erase { .. } | Self::Purge { .. } | Self::Verify(_) => true,
            Self::IndexKey(_) | Self::Retain { .. } | Self::Maintain | Self::Compact => true,
            Self::Copy(_) | Self::Stats | Self::Health { .. } | Self::Completions { .. } => true,
            #[cfg(feature = "server")]
            Self::Serve(serve) | Self::ServeStorage(serve) => serve.print_config,
            #[cfg(feature = "server")]
            Self::Token(TokenCommand::New { tokens: Some(_), token_out: Some(_), .. }) => json,
            #[cfg(feature = "server")]
            Self::Token(_) | Self::Nodes => true,
            #[cfg(feature = "server")]
            Self::Certificate(_) => json,
            Self::Man { .. } | Self::Migrate { .. } => false,
        }
    }
}

impl Data {
    /// The files with data, of which there are several in a keyring; "-" is stdin.
    pub(crate) fn inputs(&self) -> Vec<&Path> {
        if self.from_command {
            return Vec::new();
        }
        let first = self.file.as_deref().unwrap_or(Path::new("-"));
        iter::once(first).chain(self.args.iter().map(Path::new)).collect()
    }

    /// One of the files.
    pub(crate) fn only(&self, file: &Path) -> Self {
        Self { file: Some(file.to_path_buf()), args: Vec::new(), ..*self }
    }

    /// Whether there are more arguments than the command has use for.
    fn has_surplus(&self, has_keyring: bool) -> bool {
        !self.from_command && !self.args.is_empty() && !has_keyring
    }
}
