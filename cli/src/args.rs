//! The command line: commands and their help. No type here has `Debug`, because ids must not be shown.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};

use crate::arg_path::path;
use crate::examples;
use crate::key_args::{IndexKeyCommand, Key, KeyCommand, KeyOut};
use crate::keyring_args::KeyringCommand;
use crate::options::Options;
use crate::sizes;
use crate::tree_args::{NewRecord, RetrievedRecord, TreeOptions};
use crate::values::{ByteRange, Id};
use crate::version_args::Version;

/// Keeps data under an id, encrypted, and hands back the only key that opens it.
///
/// Each record has its own key, which is returned once and never kept. The database holds neither ids nor data in the
/// clear. A key is never an argument, because other users of the machine can read arguments: it comes from a file, a
/// pipe or a prompt.
#[derive(Parser)]
#[command(name = "strongroom", version, max_term_width = 100, after_help = examples::EXAMPLES)]
#[command(arg_required_else_help = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Store data under a new id, and print the only key that opens it
    ///
    /// The key is printed on a line of its own, or written to a file; if that fails, nothing is stored. A missing store
    /// is made. A file that changes while it is read is not stored.
    ///
    /// With a keyring, the key is in the keyring before the data is stored. Several files are then stored without --id,
    /// each under its name without its folder. If that is interrupted, the same command continues it: files that were
    /// stored before are compared, and get the expiry and the padding of the command under a new key. Without
    /// --expires-in or --expires-at, they keep their expiry time if they have one, and a line on stderr says so:
    /// `replace` removes it.
    ///
    /// With --recursive, FILE is a folder. Each file in it is a record, and one more record keeps the folders, the
    /// links, the times and the permissions. The next run stores only what has changed since. Files that cannot be read
    /// are named, and the others are stored.
    #[command(after_help = examples::STORE_EXAMPLES)]
    Store {
        #[command(flatten)]
        record: NewRecord,
        #[command(flatten)]
        tree: TreeOptions,
        /// Also remove the records of earlier runs' files that are gone from the folder, and name them on stderr. If a
        /// file cannot be read, nothing is removed
        #[arg(long, requires = "recursive")]
        mirror: bool,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        version: Version,
        /// Use the key in this file, made by `key new`, and print none ("-" is stdin)
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        #[arg(conflicts_with = "key_out")]
        key_file: Option<PathBuf>,
        #[command(flatten)]
        key_out: KeyOut,
    },
    /// Write the data stored under an id to stdout or a file
    ///
    /// Only authenticated bytes are written to stdout, and an exit status of 0 says that the data is complete. A file
    /// is written only once all of the data is authenticated.
    ///
    /// With --recursive, write a folder that `store --recursive` stored into the folder of --output, which is made if
    /// it does not exist. A file with the same size and time is left as it is, another one is replaced, and a link is
    /// never followed.
    #[command(after_help = examples::RETRIEVE_EXAMPLES)]
    Retrieve {
        #[command(flatten)]
        record: RetrievedRecord,
        #[command(flatten)]
        tree: TreeOptions,
        #[command(flatten)]
        key: Key,
        /// Only these bytes, without byte END; the range is clipped at the end of the data
        #[arg(long, value_name = "START..END", value_parser = ByteRange::parse)]
        range: Option<ByteRange>,
        /// Write to this file, readable only by you; a failure leaves an existing file unchanged. With --recursive, the
        /// folder
        #[arg(short, long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Replace a record's data, and print its new key
    ///
    /// The command needs the old key, which opens nothing afterwards. The new key is printed, or written to its file,
    /// before the record is replaced; if that fails, nothing is replaced. If the replacement then fails, the old key
    /// stays valid. The new version expires only if this command says so.
    #[command(after_help = examples::REPLACE_EXAMPLES)]
    Replace {
        #[command(flatten)]
        record: Record,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        version: Version,
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        key_out: KeyOut,
    },
    /// Write a record's data to stdout or a file, and remove the record
    ///
    /// One of several callers gets the data, and the others find no record. The record is removed before its data is
    /// written: if the program, the disk or the connection then fails, the data that was not written is lost. To lose
    /// nothing, use `retrieve`, and then `delete`. On a terminal, data that is not plain text is escaped. A file gets
    /// its name once all of the data is authenticated and written; if it cannot be made, nothing is removed. Until
    /// then, its name in the same folder is strongroom-taken-...: it keeps this name if it cannot get its own, if the
    /// data cannot be read or written, or if the program is interrupted or killed.
    #[command(after_help = examples::TAKE_EXAMPLES)]
    Take {
        #[command(flatten)]
        record: Record,
        #[command(flatten)]
        key: Key,
        /// Write to this file, readable only by you
        #[arg(short, long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Encrypt a record's data again, and print its new key
    ///
    /// For a key that may be known to others: the command needs the old key, which opens nothing afterwards. The new
    /// key is printed, or written to its file, before the record changes; if that fails, nothing changes. The record
    /// keeps its expiry time unless this command gives another.
    #[command(after_help = examples::REKEY_EXAMPLES)]
    Rekey {
        #[command(flatten)]
        record: Record,
        #[command(flatten)]
        version: Version,
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        key_out: KeyOut,
    },
    /// Tell whether there is a record under an id
    ///
    /// The exit status is 0 if there is one, and 1 if not. An expired record counts as none.
    #[command(after_help = examples::CONTAINS_EXAMPLES)]
    Contains {
        #[command(flatten)]
        record: Record,
    },
    /// Remove a record, given its key
    #[command(after_help = examples::DELETE_EXAMPLES)]
    Delete {
        #[command(flatten)]
        record: Record,
        #[command(flatten)]
        key: Key,
    },
    /// Remove a record permanently, without its key
    ///
    /// The operator's command to fulfil a right to erasure. It prints whether the record existed; a missing record is
    /// not an error.
    #[command(after_help = examples::ERASE_EXAMPLES)]
    Erase {
        #[command(flatten)]
        record: Record,
        /// Do not ask for confirmation; required without a terminal
        #[arg(long)]
        yes: bool,
    },
    /// Erase all records except those of listed ids, for example those whose keys were lost
    ///
    /// Without --yes it erases nothing, and prints what it would do: the number of records with a listed id (kept), of
    /// listed ids without a record (missing), and of all other records, which --yes erases, in all namespaces. So the
    /// list must have the ids of each namespace, and nobody may store between the list and this command: a record that
    /// is not in the list is one of the others.
    #[command(after_help = examples::RETAIN_EXAMPLES)]
    Retain {
        /// The file with the ids to keep ("-" is stdin)
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        ids: PathBuf,
        /// How the ids are written: one on each line, each ended by a zero byte, or as JSON: texts, or objects such as
        /// {"namespace": "tenant", "id": "report"}, or lists of them. Other ids are of the default namespace. In JSON,
        /// an id that is not text is {"base64url": "..."}
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t = IdFormat::Lines)]
        format: IdFormat,
        /// Erase the other records
        #[arg(long)]
        yes: bool,
        /// Allow --yes to erase all records of the store if no listed id has a record
        #[arg(long)]
        allow_all: bool,
    },
    /// Remove all expired records, and print their number
    ///
    /// An expired record is unreadable even before; this command frees its space. It removes records in short steps, so
    /// that other commands wait little. If it is interrupted, the records that it has removed stay removed. It needs no
    /// key. A running service also removes expired records by itself.
    #[command(after_help = examples::PURGE_EXAMPLES)]
    Purge {
        /// Remove at most this number of records
        #[arg(long, value_name = "N", value_parser = limit)]
        limit: Option<NonZero<usize>>,
    },
    /// Remove what deleted records and interrupted writes left
    ///
    /// Services do this for a database on their machine, each hour. For PostgreSQL and object stores, let one machine
    /// run this command each day; it needs no key. In a database, no ciphertext of a removed record is left afterwards,
    /// except that of a record whose `take` was interrupted less than a day ago.
    #[command(after_help = examples::MAINTAIN_EXAMPLES)]
    Maintain,
    /// Return the space of removed records to the operating system, and print its bytes
    ///
    /// A database keeps that space for later records; "strongroom stats" shows it as "free". This command shortens the
    /// database's file in short steps, so that other commands wait little. It first removes the remains of deleted
    /// records at once, also large ones, which are otherwise removed in the background. PostgreSQL and object stores
    /// manage their space themselves. It needs no key.
    #[command(after_help = examples::COMPACT_EXAMPLES)]
    Compact,
    /// Search the store for damage, without any key
    ///
    /// It checks each record, then the database's pages and indexes, and prints each damage: the record's locator, the
    /// place and the kind. The exit status is 4 if there is damage. It changes nothing, and other programs may use the
    /// store meanwhile. With --repair-from, it replaces damaged records by those of a copy, never an intact record.
    #[command(after_help = examples::VERIFY_EXAMPLES)]
    Verify(Verify),
    /// Copy all records of the store to another place, without any key: a backup, a restore, a move
    ///
    /// The destination is a new database, a storage service, PostgreSQL schema or bucket without records, or an earlier
    /// copy of the same store. The store may be in use meanwhile. Records that the destination has already are skipped,
    /// so that the command updates an earlier copy quickly, and continues after an interruption. It compares each
    /// record that it has written with what the destination returns. The copy opens with the store's own index key,
    /// whose file is not copied.
    ///
    /// Damaged records of the store are named and not copied, and the exit status is then 4; it is 8 if a record
    /// exceeds the limit of the destination.
    #[command(after_help = examples::COPY_EXAMPLES)]
    Copy(Transfer),
    /// Create the tables of a store in PostgreSQL
    ///
    /// Run it as the owner of the database, before the first use and after an update that asks for it. A service then
    /// uses a role of its own, which can read and write records but not change the tables: --role allows it. A second
    /// run does nothing.
    #[command(after_help = examples::MIGRATE_EXAMPLES)]
    Migrate {
        /// Allow this role to use the store
        #[arg(long, value_name = "NAME")]
        role: Option<String>,
    },
    /// Print the number of records, the bytes of their ciphertexts, the number of expired records, and the free space
    ///
    /// It needs no key.
    #[command(after_help = examples::STATS_EXAMPLES)]
    Stats,
    /// Make keys
    #[command(subcommand, arg_required_else_help = false)]
    Key(KeyCommand),
    /// Keep the keys of records in one encrypted file
    #[command(subcommand, arg_required_else_help = false)]
    Keyring(KeyringCommand),
    /// Rotate a store's index key
    #[command(subcommand, arg_required_else_help = false)]
    IndexKey(IndexKeyCommand),
    /// Run the encryption server, which offers a store over HTTP
    ///
    /// It holds ids, keys and data in memory while it works on them. Without TLS it listens only on loopback addresses
    /// and Unix sockets; on TCP it requires tokens or client certificates. SIGTERM and Ctrl-C stop it once the active
    /// requests are answered, a second Ctrl-C at once. SIGHUP reloads tokens and certificates.
    #[cfg(feature = "server")]
    #[command(after_help = crate::serve_args::SERVE_EXAMPLES)]
    Serve(crate::serve_args::Serve),
    /// Run the storage service, which keeps records for encryption servers and libraries
    ///
    /// It sees no id, no key and no plaintext, and needs no index key. Without TLS it listens only on loopback
    /// addresses and Unix sockets; on TCP it requires tokens or client certificates. SIGTERM and Ctrl-C stop it once
    /// the active requests are answered, a second Ctrl-C at once. SIGHUP reloads tokens and certificates.
    #[cfg(feature = "server")]
    #[command(after_help = crate::serve_args::SERVE_STORAGE_EXAMPLES)]
    ServeStorage(crate::serve_args::Serve),
    /// Show the services of a cluster, as one of them knows them, and what is wrong with it
    ///
    /// It asks a service of the cluster: an encryption server (--server) or a storage service (--store). Any of its
    /// tokens suffices. The exit status is 0 also if there are problems.
    #[cfg(feature = "server")]
    #[command(after_help = examples::NODES_EXAMPLES)]
    Nodes,
    /// Make, list and revoke access tokens for the services
    #[cfg(feature = "server")]
    #[command(subcommand, arg_required_else_help = false)]
    Token(crate::serve_args::TokenCommand),
    /// Ask a service whether it is ready, for the health check of a container
    ///
    /// The exit status is 0 if the service reaches its storage. The command asks until it does, at most for the time of
    /// --timeout, 3 seconds by default. It needs no token.
    #[command(after_help = examples::HEALTH_EXAMPLES)]
    Health {
        /// The URL of the service, or of its listener for probes (--health): https://HOST:PORT, http://LOOPBACK:PORT or
        /// unix:PATH
        #[arg(value_name = "URL", value_hint = ValueHint::Url)]
        url: String,
    },
    /// Make certificates of a private authority, for TLS
    #[cfg(feature = "server")]
    #[command(subcommand, arg_required_else_help = false)]
    Certificate(crate::certificate_args::CertificateCommand),
    /// Print completions for a shell
    #[command(after_help = examples::COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Write the manual pages to a folder
    #[command(after_help = examples::MAN_EXAMPLES)]
    Man {
        /// The folder, which must exist
        #[arg(value_name = "DIR", value_parser = path(), value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

/// The format of a list of ids.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum IdFormat {
    Lines,
    Nul,
    Json,
}

#[derive(Args)]
pub(crate) struct Transfer {
    /// The destination: the path of an SQLite database, or the URL of a storage service, PostgreSQL or a bucket
    #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) to: PathBuf,
    /// Also delete the records at the destination that the store does not have
    #[arg(long)]
    pub(crate) mirror: bool,
    /// How many records or batches to copy at the same time, 1 to 64: more for a distant service [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) workers: Option<u8>,
    /// The file with the access token of the destination, instead of --token-file
    #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) to_token_file: Option<PathBuf>,
}

fn limit(text: &str) -> Result<NonZero<usize>, &'static str> {
    text.parse().map_err(|_| "a limit is a whole number from 1")
}

#[derive(Args)]
#[group(id = "record", required = true, multiple = false)]
pub(crate) struct Record {
    /// The record's id: 1 to 4096 bytes. Other users of the machine can see it in the list of processes
    #[arg(long, value_parser = OsStringValueParser::new().try_map(Id::new))]
    pub(crate) id: Option<Id>,
    /// The file with the record's id ("-" is stdin): any bytes; one newline at the end is ignored
    #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) id_file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Data {
    /// The file with the data; stdin without it, or if it is "-". With --from-command, the program to run
    #[arg(value_name = "FILE", value_parser = path(), value_hint = ValueHint::AnyPath)]
    pub(crate) file: Option<PathBuf>,
    /// The program's arguments; with `store --keyring`, more files
    #[arg(value_name = "ARG", value_hint = ValueHint::AnyPath)]
    pub(crate) args: Vec<OsString>,
    /// Run a program, without a shell, and store its stdout if it succeeds: --from-command -- PROGRAM ARG...
    #[arg(long, requires = "file")]
    pub(crate) from_command: bool,
    /// Accept empty data from stdin, a pipe or a program, which is otherwise an error
    #[arg(long)]
    pub(crate) allow_empty: bool,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// Replace damaged records by the intact ones of this copy of the store, such as a backup: a path or the URL of a
    /// storage service, PostgreSQL or a bucket. Other programs should not write meanwhile
    #[arg(long, value_name = "STORE", value_parser = path(), value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["start_at", "records_only"])]
    pub(crate) repair_from: Option<PathBuf>,
    /// Check at most this number of bytes of records per second, such as 500K, 50M or 50MB
    #[arg(long, value_name = "SIZE", value_parser = sizes::size)]
    pub(crate) rate: Option<NonZero<u64>>,
    /// Start at this position, which the progress bar shows; or after the record with this locator
    #[arg(long, value_name = "POSITION")]
    pub(crate) start_at: Option<String>,
    /// Check records only. The check of pages and indexes reads the whole database once more, in one step
    #[arg(long)]
    pub(crate) records_only: bool,
}
