//! The command line: commands, options and their help. No type here has `Debug`, because ids must not be shown.

use std::cell::OnceCell;
use std::ffi::OsString;
use std::iter;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};
use strongroom::WriteOptions;
use zeroize::Zeroizing;

use crate::arg_path::path;
use crate::examples;
use crate::keyring_args::{KeyringCommand, KeyringOptions};
use crate::sizes;
use crate::streams::is_stream;
use crate::times;
use crate::tree_args::{NewRecord, RetrievedRecord, TreeOptions};
use crate::values::{ByteRange, Id, Namespace};

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

#[derive(Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Options {
    /// The store: the path of an SQLite database, the URL of a storage service (https://HOST:PORT or unix:PATH) or of a
    /// PostgreSQL database (postgres://USER@HOST/DATABASE) or of a bucket (s3://BUCKET/PREFIX, gs://..., az://...), or
    /// ":memory:" for a store that ends with the program [default: strongroom/strongroom.db in your data folder]
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_STORE", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) store: Option<PathBuf>,
    /// The URL of an encryption server: https://HOST:PORT, http://LOOPBACK:PORT or unix:PATH; or those of several,
    /// separated by commas, among which requests are distributed; or cluster:URL,URL?names=*.example.org, which asks
    /// these URLs for the cluster's servers, and uses those whose host matches `names`
    #[arg(long, global = true, value_name = "URL", env = "STRONGROOM_SERVER", hide_env_values = true)]
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) server: Option<String>,
    /// Services of a cluster, HOST:PORT, through which all others are found; may be repeated. `serve` and `serve-storage`
    /// join them (the same as --join, UDP). Other commands ask these services for the cluster's encryption servers
    /// (HTTPS; HTTP on loopback), and use those at the named hosts, or with --authorities at any host, in place of --server
    #[arg(long, global = true, value_name = "ADDRESS", env = "STRONGROOM_BOOTSTRAP_NODES", hide_env_values = true)]
    #[arg(value_delimiter = ',')]
    pub(crate) bootstrap_nodes: Vec<String>,
    /// The file with the index key, instead of the one beside the database
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_INDEX_KEY_FILE", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) index_key_file: Option<PathBuf>,
    /// The file with the previous index key, before and while the index key is rotated (see `index-key rotate`)
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "STRONGROOM_PREVIOUS_INDEX_KEY_FILE",
        hide_env_values = true
    )]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) previous_index_key_file: Option<PathBuf>,
    /// A command that prints the index key, instead of its file, such as "pass show index-key"; it is not run by a shell
    #[arg(long, global = true, value_name = "COMMAND", env = "STRONGROOM_INDEX_KEY_COMMAND", hide_env_values = true)]
    pub(crate) index_key_command: Option<String>,
    /// The namespace of the record, 0 to 255 bytes: the same id names another record in each. Commands on the whole
    /// store refuse it; `token new` binds the token to it
    #[arg(long, global = true, value_name = "NAME", env = "STRONGROOM_NAMESPACE", hide_env_values = true)]
    #[arg(value_parser = OsStringValueParser::new().try_map(Namespace::new))]
    pub(crate) namespace: Option<Namespace>,
    /// Print results, and errors on stderr, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) keyring: KeyringOptions,
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Whether to pad all records of the store.
    #[arg(skip)]
    pub(crate) pads_store: bool,
    /// The options whose values come from the environment.
    #[arg(skip)]
    pub(crate) from_environment: Vec<&'static str>,
}

impl Command {
    /// Whether there are more arguments than the command has use for.
    pub(crate) fn has_surplus(&self, has_keyring: bool) -> bool {
        match self {
            Self::Store { data, .. } => data.has_surplus(has_keyring),
            Self::Replace { data, .. } => data.has_surplus(false),
            _ => false,
        }
    }

    /// Whether the command concerns records of a namespace, not the whole store or none.
    pub(crate) fn is_on_record(&self) -> bool {
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
            Self::Serve(_) | Self::ServeStorage(_) | Self::Token(_) | Self::Nodes | Self::Certificate(_) => false,
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
            Self::Token(crate::serve_args::TokenCommand::New { tokens: Some(_), token_out: Some(_), .. }) => json,
            #[cfg(feature = "server")]
            Self::Token(_) | Self::Nodes => true,
            #[cfg(feature = "server")]
            Self::Certificate(_) => json,
            Self::Man { .. } | Self::Migrate { .. } => false,
        }
    }
}

/// How to reach a service.
#[derive(Args)]
#[command(next_help_heading = "Options for remote services")]
pub(crate) struct Remote {
    /// The file with the access token
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_TOKEN_FILE", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
    /// A command that prints the access token, instead of its file; it is run once, and not by a shell
    #[arg(long, global = true, value_name = "COMMAND", env = "STRONGROOM_TOKEN_COMMAND", hide_env_values = true)]
    pub(crate) token_command: Option<String>,
    /// The certificate authorities to trust, in PEM, instead of the system's
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_AUTHORITIES", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) authorities: Option<PathBuf>,
    /// The client's certificate and its intermediate certificates, in PEM
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_CLIENT_CERTIFICATE", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) client_certificate: Option<PathBuf>,
    /// The private key of the client's certificate, in PEM
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_CLIENT_KEY", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) client_key: Option<PathBuf>,
    /// Certificate revocation lists, in PEM: revoked certificates, and those that no list covers, are refused
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_REVOCATIONS", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) revocations: Option<PathBuf>,
    /// The time limit of each call [default: 30]
    #[arg(long, global = true, value_name = "SECONDS", env = "STRONGROOM_TIMEOUT", hide_env_values = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: Option<u64>,
    /// The token of `token_command`, once it has run.
    #[arg(skip)]
    pub(crate) token: OnceCell<Zeroizing<String>>,
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
    /// stored before are compared.
    ///
    /// With --recursive, FILE is a folder. Each file in it is a record, and one more record keeps the folders, the links,
    /// the times and the permissions. The next run stores only what has changed since. Files that cannot be read are
    /// named, and the others are stored.
    #[command(after_help = examples::STORE_EXAMPLES)]
    Store {
        #[command(flatten)]
        record: NewRecord,
        #[command(flatten)]
        tree: TreeOptions,
        /// Also remove the records of the prefix in the keyring whose files are no longer in the folder, unless a file
        /// cannot be read
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
    /// With --recursive, a folder that was stored so is written into the folder of --output, which is made if it does not
    /// exist. A file with the same size and time is left as it is, another one is replaced, and a link is never followed.
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
    /// For a key that may be known to others: the command needs the old key, which opens nothing afterwards. The new key
    /// is printed, or written to its file, before the record changes; if that fails, nothing changes. The record keeps
    /// its expiry time unless this command gives another.
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
        /// {"namespace": "tenant", "id": "report"}, or lists of them. Other ids are of the default namespace
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t = IdFormat::Lines)]
        format: IdFormat,
        /// Erase the other records
        #[arg(long)]
        yes: bool,
        /// Accept a list of which no id has a record, so that --yes erases all records of the store
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
    /// Services do this for a database on their machine, each hour. For PostgreSQL and object stores, let one machine run
    /// this command each day; it needs no key. In a database, no ciphertext of a removed record is left afterwards.
    #[command(after_help = examples::MAINTAIN_EXAMPLES)]
    Maintain,
    /// Return the space of removed records to the operating system, and print its bytes
    ///
    /// A database keeps that space for later records; "strongroom stats" shows it as "free". This command shortens the
    /// database's file in short steps, so that other commands wait little. It first removes the remains of deleted
    /// records, of which large ones are otherwise removed in the background. PostgreSQL and object stores manage their
    /// space themselves. It needs no key.
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
    /// so that the command updates an earlier copy quickly, and continues after an interruption. It compares each record
    /// that it has written with what the destination returns. The copy opens with the store's own index key, whose file
    /// is not copied.
    ///
    /// Damaged records of the store are named and not copied, and the exit status is then 4; it is 8 if a record exceeds
    /// the limit of the destination.
    #[command(after_help = examples::COPY_EXAMPLES)]
    Copy(Transfer),
    /// Create the tables of a store in PostgreSQL
    ///
    /// Run it as the owner of the database, before the first use and after an update that asks for it. A service then
    /// uses a role of its own, which can read and write records but not change the tables: --role allows it. A second run
    /// does nothing.
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
    /// It asks a service of the cluster: an encryption server (--server) or a storage service (--store). Any of its tokens
    /// suffices. The exit status is 0 also if there are problems.
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
    /// No record key is needed, but the ids: the records of --ids, in the namespace of --namespace, are moved. Repeat the
    /// command for each namespace and list; it may be interrupted. When no record remains under the old key, the rotation
    /// is finished: from then on, use the new key's file as --index-key-file. An empty list is an error, because the
    /// program that made it may have failed.
    ///
    /// Before the first run, which begins the rotation, restart all services and programs one by one with both keys: the
    /// new one (--index-key-file) and the old one (--previous-index-key-file). They continue to work during the rotation.
    /// A program that has only the old key then fails with IndexKeyMismatch (exit status 9). If it starts during the
    /// rotation, it fails with InvalidArgument (19), which asks for both keys.
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
        /// Do not ask for confirmation of --erase-unknown, nor of the beginning of a rotation without --ids; required without
        /// a terminal
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

#[derive(Args)]
#[group(multiple = false)]
struct Expiry {
    /// Make the record expire after this time, such as 90s, 15m, 12h, 30d, 2w or 1h30m. Then its key opens nothing, and
    /// the id is free
    #[arg(long, value_name = "DURATION", value_parser = times::duration)]
    expires_in: Option<Duration>,
    /// Make the record expire at this time, such as 2026-12-31T23:59:59Z (RFC 3339), 2026-12-31 (its start in UTC) or
    /// @1798761599 (Unix time)
    #[arg(long, value_name = "TIME", value_parser = times::time)]
    expires_at: Option<SystemTime>,
}

impl Expiry {
    fn options(&self) -> WriteOptions<'static> {
        match (self.expires_in, self.expires_at) {
            (Some(duration), _) => WriteOptions::new().expires_in(duration),
            (None, Some(time)) => WriteOptions::new().expires_at(time),
            (None, None) => WriteOptions::new(),
        }
    }
}

/// The options of a new version.
#[derive(Args)]
pub(crate) struct Version {
    #[command(flatten)]
    expiry: Expiry,
    /// Hide the length of the data in the storage: the record is padded, by at most 12 % and 8 bytes
    #[arg(long)]
    pad: bool,
}

impl Version {
    pub(crate) fn options(&self) -> WriteOptions<'static> {
        let options = self.expiry.options();
        if self.pad { options.pad() } else { options }
    }
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
