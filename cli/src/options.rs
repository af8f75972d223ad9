//! The options of all commands: the store or the service, and how to reach it.

use std::cell::OnceCell;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Id, ValueHint};
use zeroize::Zeroizing;

use crate::arg_path::path;
use crate::keyring_args::KeyringOptions;
use crate::values::Namespace;

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
    /// Services of a cluster, HOST:PORT, through which all others are found; may be repeated. `serve` and
    /// `serve-storage` join them (the same as --join, UDP). Other commands ask these services for the cluster's
    /// encryption servers (HTTPS; HTTP on loopback), and use those at the named hosts, or with --authorities at any
    /// host, in place of --server
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
    /// A command that prints the index key, instead of its file, such as "pass show index-key"; it is not run by a
    /// shell
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
    pub(crate) from_environment: Vec<Id>,
}

impl Options {
    pub(crate) fn is_from_environment(&self, name: &str) -> bool {
        self.from_environment.iter().any(|id| id == name)
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
