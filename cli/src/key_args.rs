//! The command line of keys: the commands on keys and index keys, and the options for the files of keys.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use crate::arg_path::path;
use crate::args::IdFormat;
use crate::examples;

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a record key, an index key or a cluster key, and store nothing
    #[command(after_help = examples::KEY_NEW_EXAMPLES)]
    New {
        /// Make an index key, which hides the ids of a store
        #[arg(long)]
        index: bool,
        /// Make a cluster key, which encrypts the messages between the services of a cluster
        #[cfg(feature = "server")]
        #[arg(long, conflicts_with = "index")]
        cluster: bool,
        #[command(flatten)]
        key_out: KeyOut,
    },
}

#[derive(Subcommand)]
pub(crate) enum IndexKeyCommand {
    /// Move records to a new index key, for example because the old one was stolen
    ///
    /// It needs the ids of the records, but no record key. It moves the records of --ids, in the namespace of
    /// --namespace. Repeat the command for each namespace and list; it may be interrupted. When no record remains under
    /// the old key, the rotation is finished: from then on, use the new key's file as --index-key-file. An empty list
    /// is an error, because the program that made it may have failed.
    ///
    /// Before the first run, which begins the rotation, restart all services and programs one by one with both keys:
    /// the new one (--index-key-file) and the old one (--previous-index-key-file). They continue to work during the
    /// rotation. A program that has only the old key then fails with IndexKeyMismatch (exit status 9). If it starts
    /// during the rotation, it fails with InvalidArgument (19), which asks for both keys.
    #[command(after_help = examples::INDEX_KEY_ROTATE_EXAMPLES)]
    Rotate {
        /// The file with the new index key, made by `key new --index`
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        new: PathBuf,
        /// The file with the ids of records to move ("-" is stdin)
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        ids: Option<PathBuf>,
        /// How the ids are written: one on each line, each ended by a zero byte, or as JSON texts or lists of texts
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t = IdFormat::Lines)]
        format: IdFormat,
        /// Then remove the records that remain, in all namespaces, because their ids are unknown; refused if no id of
        /// --ids has a record
        #[arg(long)]
        erase_unknown: bool,
        /// Do not ask for confirmation of --erase-unknown, nor of the beginning of a rotation without --ids; required
        /// without a terminal
        #[arg(long)]
        yes: bool,
    },
    /// Print how many records remain under the previous index key
    #[command(after_help = examples::INDEX_KEY_STATUS_EXAMPLES)]
    Status {
        /// Print the locators of the remaining records
        #[arg(long)]
        list: bool,
    },
}

#[derive(Args)]
pub(crate) struct Key {
    /// The file with the record's key ("-" is stdin); without it, the program prompts on the terminal
    #[arg(id = "key_file", long = "key-file", value_name = "PATH")]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct KeyOut {
    /// Write the new key to this new file, readable only by you, instead of printing it
    #[arg(id = "key_out", long = "key-out", value_name = "PATH")]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) path: Option<PathBuf>,
}
