//! The command line of the services.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueHint};
use strongroom_server::{ListenAddress, LogFormat, LogLevel, Scope, SocketMode};

use crate::arg_path::path;

pub(crate) const SERVE_EXAMPLES: &str = "\
Examples:
  For one user of this machine, with a store of its own:
    strongroom serve --store records.db --listen unix:/run/user/1000/strongroom.sock

  For other machines:
    strongroom token new --scopes store,retrieve --tokens /etc/strongroom/tokens
    strongroom serve --store records.db --index-key-file /etc/strongroom/index.key \\
      --listen 0.0.0.0:8420 --tokens /etc/strongroom/tokens \\
      --tls-certificate server.pem --tls-key server.key

  With the storage services of a cluster, on this machine, in any order:
    strongroom serve --store cluster --index-key-file index.key --insecure-loopback \\
      --gossip-listen 127.0.0.1:8423 --bootstrap-nodes 127.0.0.1:8422

  Print the configuration that results from file, environment and flags:
    strongroom serve --config strongroom.toml --print-config";

pub(crate) const SERVE_STORAGE_EXAMPLES: &str = "\
Examples:
  For this machine, on a Unix socket:
    strongroom serve-storage --store records.db --listen unix:/run/strongroom/storage.sock

  In a cluster, so that encryption servers find it:
    strongroom serve-storage --store records.db --insecure-loopback \\
      --gossip-listen 127.0.0.1:8422 --bootstrap-nodes 127.0.0.1:8423

  For other machines, with client certificates:
    strongroom serve-storage --store records.db --listen 0.0.0.0:8421 \\
      --tls-certificate server.pem --tls-key server.key --tls-client-authorities clients.pem";

const TOKEN_NEW_EXAMPLES: &str = "\
Examples:
  Print a token, and add its hash to the service's tokens file:
    strongroom token new --scopes store,retrieve --tokens /etc/strongroom/tokens

  A token that reaches only the records of one customer:
    strongroom token new --scopes store,retrieve --namespace customer-1 \\
      --tokens /etc/strongroom/tokens

  Print a token and its line for that file:
    strongroom token new --scopes storage";

/// The heading of the options of a cluster.
const CLUSTER: &str = "Cluster options";

#[derive(Args)]
#[command(next_help_heading = "Service options")]
pub(crate) struct Serve {
    /// The configuration file, in TOML; the environment and flags override it
    #[arg(long, value_name = "PATH", env = "STRONGROOM_CONFIG", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// The address to listen on: IP:PORT or unix:PATH; may be repeated [default: 127.0.0.1:8420 for serve,
    /// 127.0.0.1:8421 for serve-storage]
    #[arg(long, value_name = "ADDRESS", env = "STRONGROOM_LISTEN", hide_env_values = true, value_delimiter = ',')]
    pub(crate) listen: Vec<ListenAddress>,
    /// The address of the page for operators: IP:PORT or unix:PATH. On a loopback address it needs no token; elsewhere
    /// it needs TLS, and a token with the scope monitor
    #[arg(long, value_name = "ADDRESS", env = "STRONGROOM_ADMIN", hide_env_values = true)]
    pub(crate) admin: Option<ListenAddress>,
    /// A host name of the service, besides localhost; may be repeated
    #[arg(long = "name", value_name = "HOST", env = "STRONGROOM_NAMES", hide_env_values = true, value_delimiter = ',')]
    pub(crate) names: Vec<String>,
    /// Require no token on loopback addresses: every user of this machine has full access
    #[arg(long, env = "STRONGROOM_INSECURE_LOOPBACK", hide_env_values = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub(crate) insecure_loopback: bool,
    /// Hide the lengths of all records that the store writes from now on; its settings keep this
    #[arg(long, env = "STRONGROOM_PAD", hide_env_values = true)]
    #[arg(value_parser = BoolishValueParser::new())]
    pub(crate) pad: bool,
    /// The file mode of Unix sockets, such as 0660 [default: 0600]
    #[arg(long, value_name = "MODE", env = "STRONGROOM_SOCKET_MODE", hide_env_values = true)]
    pub(crate) socket_mode: Option<SocketMode>,
    /// The group of Unix sockets: a name or a number
    #[arg(long, value_name = "GROUP", env = "STRONGROOM_SOCKET_GROUP", hide_env_values = true)]
    pub(crate) socket_group: Option<String>,
    /// The tokens file: the hashes and scopes of the tokens that clients need
    #[arg(long, value_name = "PATH", env = "STRONGROOM_TOKENS", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) tokens: Option<PathBuf>,
    /// The server's certificate and its intermediate certificates, in PEM
    #[arg(long, value_name = "PATH", env = "STRONGROOM_TLS_CERTIFICATE", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The private key of the server's certificate, in PEM
    #[arg(long, value_name = "PATH", env = "STRONGROOM_TLS_KEY", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) tls_key: Option<PathBuf>,
    /// The authorities, in PEM, that issue client certificates: clients then need one
    #[arg(long, value_name = "PATH", env = "STRONGROOM_TLS_CLIENT_AUTHORITIES", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) tls_client_authorities: Option<PathBuf>,
    /// Revocation lists for client certificates, in PEM, one for each authority
    #[arg(long, value_name = "PATH", env = "STRONGROOM_TLS_CLIENT_REVOCATIONS", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) tls_client_revocations: Option<PathBuf>,
    /// Join the cluster of the service at this address, HOST:PORT (UDP), which may be the service's own; may be repeated.
    /// All services of a cluster find each other, whichever they join, and start in any order
    #[arg(long, visible_alias = "bootstrap-nodes", value_name = "ADDRESS", env = "STRONGROOM_JOIN")]
    #[arg(hide_env_values = true, value_delimiter = ',', help_heading = CLUSTER)]
    pub(crate) join: Vec<String>,
    /// The file with the cluster's key, made by `key new --cluster`; may be repeated: the first key encrypts, all of them
    /// decrypt. Without a key, the services of a cluster are all on this machine
    #[arg(long = "cluster-key-file", value_name = "PATH", env = "STRONGROOM_CLUSTER_KEY_FILE", hide_env_values = true)]
    #[arg(value_delimiter = ',', value_parser = path(), value_hint = ValueHint::FilePath, help_heading = CLUSTER)]
    pub(crate) cluster_key_files: Vec<PathBuf>,
    /// The cluster's name [default: strongroom]
    #[arg(long, value_name = "NAME", env = "STRONGROOM_CLUSTER_NAME", hide_env_values = true, help_heading = CLUSTER)]
    pub(crate) cluster_name: Option<String>,
    /// The UDP address for the cluster's messages, IP:PORT [default: port 8422 of all addresses, or without a cluster key
    /// of 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", env = "STRONGROOM_GOSSIP_LISTEN", hide_env_values = true)]
    #[arg(help_heading = CLUSTER)]
    pub(crate) gossip_listen: Option<SocketAddr>,
    /// The UDP address at which the others reach it, IP:PORT, if it is not that of --gossip-listen
    #[arg(long, value_name = "ADDRESS", env = "STRONGROOM_GOSSIP_ADVERTISE", hide_env_values = true)]
    #[arg(help_heading = CLUSTER)]
    pub(crate) gossip_advertise: Option<SocketAddr>,
    /// The service's URL for its clients [default: made of --listen and --name]
    #[arg(long, value_name = "URL", env = "STRONGROOM_ADVERTISE_URL", hide_env_values = true)]
    #[arg(value_hint = ValueHint::Url, help_heading = CLUSTER)]
    pub(crate) advertise_url: Option<String>,
    /// The service's zone, such as a data centre: services prefer others in their zone
    #[arg(long, value_name = "NAME", env = "STRONGROOM_ZONE", hide_env_values = true, help_heading = CLUSTER)]
    pub(crate) zone: Option<String>,
    /// A host name of storage services that may get the token of --token-file, for `--store cluster`; may be repeated
    #[arg(long, value_name = "HOST", env = "STRONGROOM_CLUSTER_NAMES", hide_env_values = true, value_delimiter = ',')]
    #[arg(help_heading = CLUSTER)]
    pub(crate) cluster_names: Vec<String>,
    /// The lowest level to log
    #[arg(long, value_name = "LEVEL", env = "STRONGROOM_LOG_LEVEL", hide_env_values = true)]
    #[arg(value_parser = log_level())]
    pub(crate) log_level: Option<LogLevel>,
    /// The format of log lines
    #[arg(long, value_name = "FORMAT", env = "STRONGROOM_LOG_FORMAT", hide_env_values = true)]
    #[arg(value_parser = log_format())]
    pub(crate) log_format: Option<LogFormat>,
    /// Print the resulting configuration, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and print it once
    ///
    /// The service keeps only the token's hash, scopes and namespace. The scopes: store (store, replace, rekey,
    /// contains), retrieve, take, erase (delete, erase, purge, stats), storage (the whole storage service), monitor (the
    /// page for operators). With --namespace, the token reaches only the records of this namespace, and not the whole
    /// store.
    #[command(after_help = TOKEN_NEW_EXAMPLES)]
    New {
        /// The token's scopes, separated by commas
        #[arg(long, value_delimiter = ',', required = true)]
        scopes: Vec<Scope>,
        /// Add the token's hash and scopes to this tokens file, instead of printing them
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        tokens: Option<PathBuf>,
    },
}

fn log_level() -> impl TypedValueParser<Value = LogLevel> {
    PossibleValuesParser::new(["error", "warn", "info", "debug", "trace"]).map(|level| match &*level {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => LogLevel::Info,
    })
}

fn log_format() -> impl TypedValueParser<Value = LogFormat> {
    let formats = PossibleValuesParser::new(["text", "json"]);
    formats.map(|format| if format == "json" { LogFormat::Json } else { LogFormat::Text })
}
