//! The command line of keyrings.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use crate::arg_path::path;
use crate::args::{IdFormat, Record};
use crate::examples;
use crate::key_args::KeyOut;

/// The keyring, and what opens it.
#[derive(Args, Default)]
#[command(next_help_heading = "Keyring options")]
pub(crate) struct KeyringOptions {
    /// Keep the keys of records in this keyring, made by `keyring new`: a new key is in the keyring before its record
    /// is stored, and no key is printed or asked for
    #[arg(long = "keyring", global = true, value_name = "PATH", env = "STRONGROOM_KEYRING", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) keyring: Option<PathBuf>,
    /// The file with the identity that opens the keyring, made by `keyring new --new-identity` or
    /// `age-keygen`, and readable only by you
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_IDENTITY", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) identity: Option<PathBuf>,
    /// The file with the passphrase of the keyring, one line; without it, the program prompts on the terminal
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_PASSPHRASE_FILE", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// A command that prints the passphrase of the keyring, such as "pass show records"; it is not run by a shell
    #[arg(long, global = true, value_name = "COMMAND", env = "STRONGROOM_PASSPHRASE_COMMAND", hide_env_values = true)]
    pub(crate) passphrase_command: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum KeyringCommand {
    /// Make an empty keyring in a new file
    ///
    /// It is encrypted to recipients, whose identities open it, or under a passphrase. Each use of a passphrase takes
    /// about a second and 256 MiB of memory, which slows down guesses.
    #[command(after_help = examples::KEYRING_NEW_EXAMPLES)]
    New {
        /// A recipient, age1...; may be repeated: each of their identities opens the keyring
        #[arg(long = "recipient", value_name = "RECIPIENT")]
        recipients: Vec<String>,
        /// Make an identity in this new file, readable only by you, and use its recipient, too
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        new_identity: Option<PathBuf>,
    },
    /// Print the ids in the keyring, in the namespace of --namespace
    ///
    /// They are printed as they are, but on a terminal, control characters are escaped. In JSON, an id that is not text
    /// is {"base64url": "..."}.
    #[command(after_help = examples::KEYRING_LIST_EXAMPLES)]
    List {
        /// How to print the ids: one on each line, each ended by a zero byte, or as a JSON list
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t = IdFormat::Lines)]
        format: IdFormat,
        /// Print the ids of all namespaces, as JSON objects such as {"namespace": "tenant", "id": "report"}
        #[arg(long, conflicts_with = "format")]
        all_namespaces: bool,
    },
    /// Add the key of a record
    ///
    /// Earlier keys of the same id remain.
    #[command(after_help = examples::KEYRING_ADD_EXAMPLES)]
    Add {
        #[command(flatten)]
        record: Record,
        /// The file with the record's key ("-" is stdin); without it, the program prompts on the terminal
        #[arg(id = "added_key_file", long = "key-file", value_name = "PATH")]
        #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
        key_file: Option<PathBuf>,
    },
    /// Remove an id and its keys, and nothing in the store
    ///
    /// Without its key, nobody can read a record.
    #[command(after_help = examples::KEYRING_REMOVE_EXAMPLES)]
    Remove {
        #[command(flatten)]
        record: Record,
        /// Do not ask for confirmation; required without a terminal
        #[arg(long)]
        yes: bool,
    },
    /// Print the newest key of an id
    #[command(after_help = examples::KEYRING_EXPORT_EXAMPLES)]
    Export {
        #[command(flatten)]
        record: Record,
        #[command(flatten)]
        key_out: KeyOut,
    },
    /// Encrypt the keyring to other recipients, or under another passphrase
    ///
    /// Copies of the earlier file still open with the earlier identities or passphrase. If one of them is known to
    /// others, also rekey the records.
    #[command(after_help = examples::KEYRING_ROTATE_EXAMPLES)]
    Rotate {
        /// A new recipient, age1...; may be repeated: only their identities open the keyring
        #[arg(long = "recipient", value_name = "RECIPIENT")]
        recipients: Vec<String>,
        /// The file with the new passphrase, one line; without it and without recipients, the program prompts
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        #[arg(conflicts_with = "recipients")]
        new_passphrase_file: Option<PathBuf>,
        /// A command that prints the new passphrase
        #[arg(long, value_name = "COMMAND", conflicts_with_all = ["recipients", "new_passphrase_file"])]
        new_passphrase_command: Option<String>,
    },
}
