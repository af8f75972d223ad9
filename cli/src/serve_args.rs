//! The command line of the services.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::builder::{BoolishValueParser, OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueHint};
use strongroom_server::{ListenAddress, LogFormat, LogLevel, Scope, SocketMode};

use crate::arg_path::{looks_like_key, path};
use crate::times;

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

  A token with a name, which expires after a year:
    strongroom token new --scopes store,retrieve --name web-1 \\
      --expires-in 52w --tokens /etc/strongroom/tokens

  A token that reaches only the records of one customer:
    strongroom token new --scopes store,retrieve --namespace customer-1 \\
      --tokens /etc/strongroom/tokens

  Print a token and its line for that file:
    strongroom token new --scopes storage";

const TOKEN_LIST_EXAMPLES: &str = "\
Examples:
  strongroom token list --tokens /etc/strongroom/tokens \\
    --uses /var/lib/strongroom/token-uses";

const TOKEN_REVOKE_EXAMPLES: &str = "\
Examples:
  strongroom token revoke web-1 --tokens /etc/strongroom/tokens
  systemctl reload strongroom";

/// The heading of the options of a cluster.
const CLUSTER: &str = "Cluster options";

#[derive(Args)]
#[command(next_help_heading = "Service options")]
pub(crate) struct Serve {
    /// The configuration file, in TOML. Flags override it, and so do the variables of service and cluster options; the
    /// variables that other commands also read, such as STRONGROOM_STORE, apply only where the file sets nothing
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
    /// The address for probes and monitoring, IP:PORT or unix:PATH: /healthz, /readyz and /metrics, without TLS and
    /// client certificates
    #[arg(long, value_name = "ADDRESS", env = "STRONGROOM_HEALTH", hide_env_values = true)]
    pub(crate) health: Option<ListenAddress>,
    /// Allow --health on an address that other machines can reach: they can then read the metrics
    #[arg(long, env = "STRONGROOM_INSECURE_HEALTH", hide_env_values = true)]
    #[arg(value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) insecure_health: Option<bool>,
    /// A host name of the service, besides localhost; may be repeated
    #[arg(long = "name", value_name = "HOST", env = "STRONGROOM_NAMES", hide_env_values = true, value_delimiter = ',')]
    pub(crate) names: Vec<String>,
    /// Require no token on loopback addresses: every user of this machine has full access
    #[arg(long, env = "STRONGROOM_INSECURE_LOOPBACK", hide_env_values = true)]
    #[arg(value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) insecure_loopback: Option<bool>,
    /// Hide the lengths of all records that the store writes from now on; its settings keep this
    #[arg(long, env = "STRONGROOM_PAD", hide_env_values = true)]
    #[arg(value_parser = BoolishValueParser::new(), value_name = "BOOL")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) pad: Option<bool>,
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
    /// The file for the times at which tokens were last used, which `token list` shows; the service writes it every
    /// half minute
    #[arg(long, value_name = "PATH", env = "STRONGROOM_TOKEN_USES", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) token_uses: Option<PathBuf>,
    /// Write a line of JSON for each request to this file, or to systemd's journal ("journal"): the client, the
    /// operation, the start of the locator and the outcome. SIGHUP opens the file again
    #[arg(long, value_name = "PATH", env = "STRONGROOM_AUDIT", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) audit: Option<PathBuf>,
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
    /// Join the cluster of the service at this address, HOST:PORT (UDP), which may be the service's own; may be
    /// repeated. All services of a cluster find each other, whichever they join, and start in any order
    #[arg(long, value_name = "ADDRESS", env = "STRONGROOM_JOIN")]
    #[arg(hide_env_values = true, value_delimiter = ',', help_heading = CLUSTER)]
    pub(crate) join: Vec<String>,
    /// The file with the cluster's key, made by `key new --cluster`; may be repeated: the first key encrypts, all of
    /// them decrypt. Without a key, the services of a cluster are all on this machine
    #[arg(long = "cluster-key-file", value_name = "PATH", env = "STRONGROOM_CLUSTER_KEY_FILE", hide_env_values = true)]
    #[arg(value_delimiter = ',', value_parser = path(), value_hint = ValueHint::FilePath, help_heading = CLUSTER)]
    pub(crate) cluster_key_files: Vec<PathBuf>,
    /// The cluster's name [default: strongroom]
    #[arg(long, value_name = "NAME", env = "STRONGROOM_CLUSTER_NAME", hide_env_values = true, help_heading = CLUSTER)]
    pub(crate) cluster_name: Option<String>,
    /// The UDP address for the cluster's messages, IP:PORT
    /// [default: port 8422 of all addresses, or without a cluster key of 127.0.0.1]
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
    /// The service keeps only the token's hash, name, scopes, namespace and expiry time. The scopes: store (store,
    /// replace, rekey, contains), retrieve, take, erase (delete, erase, purge, stats), storage (the whole storage
    /// service), monitor (the page for operators). With --namespace or STRONGROOM_NAMESPACE, the token reaches only the
    /// records of this namespace, and not the whole store; the scopes storage and monitor refuse it.
    #[command(after_help = TOKEN_NEW_EXAMPLES)]
    New {
        /// The token's scopes, separated by commas
        #[arg(long, value_delimiter = ',', required = true)]
        scopes: Vec<Scope>,
        /// Add the token's hash and scopes to this tokens file, instead of printing them
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        tokens: Option<PathBuf>,
        /// Write the token to this new file, readable only by you, instead of printing it
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        token_out: Option<PathBuf>,
        /// Name the token, for the logs and for `token revoke`: 1 to 64 letters, digits, ".", "_" and "-"
        #[arg(long, value_name = "NAME", value_parser = OsStringValueParser::new().try_map(token_name))]
        name: Option<String>,
        /// Make the token expire after this time, such as 12h, 30d or 52w
        #[arg(long, value_name = "DURATION", value_parser = times::duration)]
        expires_in: Option<Duration>,
        /// Make the token expire at this time, such as 2027-12-31T23:59:59Z, 2027-12-31 or @1830297599
        #[arg(long, value_name = "TIME", value_parser = times::time, conflicts_with = "expires_in")]
        expires_at: Option<SystemTime>,
    },
    /// List the tokens in a tokens file: name, scopes, namespace, expiry and last use
    ///
    /// A token without a name is listed by the first 16 digits of its hash.
    #[command(after_help = TOKEN_LIST_EXAMPLES)]
    List {
        /// The tokens file
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        tokens: PathBuf,
        /// The file that the service writes with --token-uses, to show the last uses
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        uses: Option<PathBuf>,
    },
    /// Revoke a token: make its line in the tokens file a comment
    ///
    /// The service refuses the token once it has read this file again, on SIGHUP. If it uses a copy of the file, such
    /// as a credential of systemd, update the copy: restart the service.
    #[command(after_help = TOKEN_REVOKE_EXAMPLES)]
    Revoke {
        /// The token's name, or the start of its hash as `token list` shows it
        #[arg(value_name = "NAME", value_parser = OsStringValueParser::new().try_map(token_name))]
        name: String,
        /// The tokens file
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        tokens: PathBuf,
    },
}

/// The token itself is never an argument.
fn token_name(text: OsString) -> Result<String, &'static str> {
    if looks_like_key(&text) {
        return Err("this is a token, not a name");
    }
    text.into_string().map_err(|_| "a name has only letters, digits, \".\", \"_\" and \"-\"")
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
