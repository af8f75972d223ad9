//! The command line: commands, options and their help. Nothing here has `Debug`, since ids must not be shown.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, Resettable, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use strongroom::protocol::secret_text::looks_like_secret;
use zeroize::Zeroizing;

use crate::arg_path::path;
use crate::examples;
use crate::streams::is_stream;

/// Keeps data under an id, encrypted, and hands back the only key that opens it.
///
/// Each record has a key of its own, which is handed out once and kept nowhere. The database holds neither ids nor data
/// in the clear. A key is never an argument, where other users of the machine could read it: it comes from a file, a
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
    /// The store: an SQLite database, the address of a storage service (https://HOST:PORT or unix:PATH), or ":memory:",
    /// which ends with the program [default: strongroom/strongroom.db in your data folder]
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_STORE", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) store: Option<PathBuf>,
    /// The address of an encryption server, whose store is used: https://HOST:PORT, http://LOOPBACK:PORT or unix:PATH
    #[arg(long, global = true, value_name = "URL", env = "STRONGROOM_SERVER", hide_env_values = true)]
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) server: Option<String>,
    /// A file with the index key, instead of the one beside the database
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_INDEX_KEY_FILE", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) index_key_file: Option<PathBuf>,
    /// Print results, and errors on stderr, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The options among these that the environment gives, not the command line.
    #[arg(skip)]
    pub(crate) from_environment: Vec<&'static str>,
}

/// The options that a service takes from the environment only where its own configuration does not have them.
#[cfg(feature = "server")]
const SHARED_WITH_SERVICES: [&str; 7] =
    ["store", "index_key_file", "token_file", "authorities", "client_certificate", "client_key", "timeout"];

impl Cli {
    /// The command line. Of a store and a server, the one that is named on it goes before the environment's.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let mut command = without_empty_variables(Self::command());
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let options = &mut cli.options;
        #[cfg(feature = "server")]
        {
            let is_from_environment = |name: &str| matches.value_source(name) == Some(ValueSource::EnvVariable);
            options.from_environment =
                SHARED_WITH_SERVICES.into_iter().filter(|name| is_from_environment(name)).collect();
            if matches!(cli.command, Command::Serve(_) | Command::ServeStorage(_)) && is_from_environment("server") {
                options.server = None; // it is meant for the shell's other commands
                return Ok(cli);
            }
        }
        match ["store", "server"].map(|name| matches.value_source(name)) {
            [Some(ValueSource::CommandLine), Some(ValueSource::EnvVariable)] => options.server = None,
            [Some(ValueSource::EnvVariable), Some(ValueSource::CommandLine)] => options.store = None,
            [Some(_), Some(_)] => {
                let mut error = clap::Error::new(ErrorKind::ArgumentConflict).with_cmd(&command);
                error.insert(ContextKind::InvalidArg, ContextValue::String("--store".into()));
                error.insert(ContextKind::PriorArg, ContextValue::String("--server".into()));
                return Err(error);
            }
            _ => {}
        }
        Ok(cli)
    }
}

impl Command {
    /// The files that the command reads; "-" is stdin.
    pub(crate) fn inputs(&self) -> Vec<&Path> {
        let (record, data, key) = match self {
            Self::Store { record, data, key_file, .. } => (record, Some(data), key_file.as_deref()),
            Self::Replace { record, data, key, .. } => (record, Some(data), key.path.as_deref()),
            Self::Retrieve { record, key, .. } | Self::Delete { record, key } => (record, None, key.path.as_deref()),
            Self::Erase { record, .. } => (record, None, None),
            #[cfg(feature = "server")]
            Self::Serve(serve) | Self::ServeStorage(serve) => {
                return serve.config.iter().map(PathBuf::as_path).collect();
            }
            _ => return Vec::new(),
        };
        let data = data.filter(|data| !data.from_command).map(|data| data.file.as_deref().unwrap_or(Path::new("-")));
        [record.id_file.as_deref(), data, key].into_iter().flatten().collect()
    }

    /// Whether the command prints something when it succeeds.
    pub(crate) fn prints(&self, json: bool) -> bool {
        let new_key = |key_out: &KeyOut| json || is_stream(key_out.path.as_deref());
        match self {
            Self::Store { key_file: Some(_), .. } | Self::Delete { .. } => json,
            Self::Store { key_out, .. } | Self::Replace { key_out, .. } => new_key(key_out),
            Self::Key(KeyCommand::New { key_out, .. }) => new_key(key_out),
            Self::Retrieve { output, .. } => json || is_stream(output.as_deref()),
            Self::Erase { .. } | Self::Stats | Self::Completions { .. } => true,
            #[cfg(feature = "server")]
            Self::Serve(serve) | Self::ServeStorage(serve) => serve.print_config,
            #[cfg(feature = "server")]
            Self::Token(_) => true,
            Self::Man { .. } => false,
        }
    }
}

/// An environment variable that is empty counts as unset.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let unset_if_empty = |arg: Arg| match arg.get_env().and_then(std::env::var_os) {
        Some(value) if value.is_empty() => arg.env(Resettable::Reset),
        _ => arg,
    };
    command.mut_args(unset_if_empty).mut_subcommands(without_empty_variables)
}

/// How a service is reached.
#[derive(Args)]
#[command(next_help_heading = "Options for services elsewhere")]
pub(crate) struct Remote {
    /// The file with the token to show
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_TOKEN_FILE", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,
    /// The authorities to trust, in PEM, instead of the system's
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_AUTHORITIES", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) authorities: Option<PathBuf>,
    /// The certificate to show and those between it and the authority, in PEM
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_CLIENT_CERTIFICATE", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) client_certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_CLIENT_KEY", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) client_key: Option<PathBuf>,
    /// Certificate revocation lists, in PEM: refuse the certificates that they revoke, and those of which none tells
    #[arg(long, global = true, value_name = "PATH", env = "STRONGROOM_REVOCATIONS", hide_env_values = true)]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) revocations: Option<PathBuf>,
    /// How long to try [default: 30]
    #[arg(long, global = true, value_name = "SECONDS", env = "STRONGROOM_TIMEOUT", hide_env_values = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: Option<u64>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Store data under a new id, and print the only key that opens it
    ///
    /// The key is printed alone on a line, or written to a file. If it can be neither printed nor written, nothing is
    /// stored. The store is made where there is none. A file that changes while it is read is not stored.
    #[command(after_help = examples::STORE_EXAMPLES)]
    Store {
        #[command(flatten)]
        record: Record,
        #[command(flatten)]
        data: Data,
        /// Store under the key in this file, made by `key new`, and print none ("-" is stdin)
        #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        #[arg(conflicts_with = "key_out")]
        key_file: Option<PathBuf>,
        #[command(flatten)]
        key_out: KeyOut,
    },
    /// Write the data stored under an id to stdout or a file
    ///
    /// No byte is written before it has proved to be unaltered, and a file only when all of them have. On stdout, an
    /// exit status of 0 says that the data is complete.
    #[command(after_help = examples::RETRIEVE_EXAMPLES)]
    Retrieve {
        #[command(flatten)]
        record: Record,
        #[command(flatten)]
        key: Key,
        /// Only these bytes, the last one exclusive; what lies behind the end is left out
        #[arg(long, value_name = "START..END", value_parser = ByteRange::parse)]
        range: Option<ByteRange>,
        /// Write to this file, readable by you alone; on failure, a file that is there stays as it is
        #[arg(short, long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Store data in place of a record, and print its new key
    ///
    /// The old key proves the right to do so, and opens nothing any more. The new key is in its file, or printed, before
    /// the record is replaced; if it can be neither written nor printed, nothing is replaced. If replacing fails after
    /// that, the old key stays the right one.
    #[command(after_help = examples::REPLACE_EXAMPLES)]
    Replace {
        #[command(flatten)]
        record: Record,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        key_out: KeyOut,
    },
    /// Remove a record, given its key
    #[command(after_help = examples::DELETE_EXAMPLES)]
    Delete {
        #[command(flatten)]
        record: Record,
        #[command(flatten)]
        key: Key,
    },
    /// Remove a record without its key, for ever
    ///
    /// The operator's means to fulfil a right to erasure. Whether there was a record is printed, and is no error.
    #[command(after_help = examples::ERASE_EXAMPLES)]
    Erase {
        #[command(flatten)]
        record: Record,
        /// Do not ask; needed where there is no terminal to ask on
        #[arg(long)]
        yes: bool,
    },
    /// Print how many records there are, and the bytes of their ciphertexts
    #[command(after_help = examples::STATS_EXAMPLES)]
    Stats,
    /// Make keys
    #[command(subcommand, arg_required_else_help = false)]
    Key(KeyCommand),
    /// Run the encryption server: the store, for programs that reach it over HTTP
    ///
    /// It holds ids, keys and data in memory while it works on them. Without TLS it listens on loopback addresses and
    /// Unix sockets alone, and on TCP it asks for tokens or certificates. SIGTERM and Ctrl-C end it once the requests under
    /// way are answered, a second Ctrl-C at once. SIGHUP makes it read tokens and certificates anew.
    #[cfg(feature = "server")]
    #[command(after_help = crate::serve_args::SERVE_EXAMPLES)]
    Serve(crate::serve_args::Serve),
    /// Run the storage service: records for encryption servers and libraries elsewhere
    ///
    /// It sees neither ids nor keys nor data in the clear, and needs no index key. Without TLS it listens on loopback
    /// addresses and Unix sockets alone, and on TCP it asks for tokens or certificates. SIGTERM and Ctrl-C end it once the
    /// requests under way are answered, a second Ctrl-C at once. SIGHUP makes it read tokens and certificates anew.
    #[cfg(feature = "server")]
    #[command(after_help = crate::serve_args::SERVE_STORAGE_EXAMPLES)]
    ServeStorage(crate::serve_args::Serve),
    /// Make tokens for the services
    #[cfg(feature = "server")]
    #[command(subcommand, arg_required_else_help = false)]
    Token(crate::serve_args::TokenCommand),
    /// Print completions for a shell
    #[command(after_help = examples::COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Write the manual's pages into a folder
    #[command(after_help = examples::MAN_EXAMPLES)]
    Man {
        /// The folder, which must exist
        #[arg(value_name = "DIR", value_parser = path(), value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a record key, or an index key, and store nothing
    #[command(after_help = examples::KEY_NEW_EXAMPLES)]
    New {
        /// Make an index key, which hides the ids of a store
        #[arg(long)]
        index: bool,
        #[command(flatten)]
        key_out: KeyOut,
    },
}

#[derive(Args)]
#[group(id = "record", required = true, multiple = false)]
pub(crate) struct Record {
    /// The record's id: 1 to 4096 bytes. Other users of the machine can see it in the list of processes
    #[arg(long, value_parser = OsStringValueParser::new().try_map(Id::new))]
    pub(crate) id: Option<Id>,
    /// The file with the record's id ("-" is stdin): any bytes, but for one newline at the end, which is left out
    #[arg(long, value_name = "PATH", value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) id_file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Data {
    /// The data; stdin without it, or where it is "-". With --from-command, the program that writes the data
    #[arg(value_name = "FILE", value_parser = path(), value_hint = ValueHint::AnyPath)]
    pub(crate) file: Option<PathBuf>,
    /// The program's arguments
    #[arg(value_name = "ARG", requires = "from_command")]
    pub(crate) args: Vec<OsString>,
    /// Run a program, without a shell, and store what it writes to its stdout; if it fails, nothing is stored:
    /// --from-command -- PROGRAM ARG...
    #[arg(long, requires = "file")]
    pub(crate) from_command: bool,
    /// Store no data at all if stdin, a pipe or the program has none; without this, that is an error
    #[arg(long)]
    pub(crate) allow_empty: bool,
}

#[derive(Args)]
pub(crate) struct Key {
    /// The file with the record's key ("-" is stdin); without it, the key is asked for on the terminal
    #[arg(id = "key_file", long = "key-file", value_name = "PATH")]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) path: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct KeyOut {
    /// Write the new key to this new file, readable by you alone, instead of printing it
    #[arg(id = "key_out", long = "key-out", value_name = "PATH")]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) path: Option<PathBuf>,
}

/// An id is bytes: those of the argument, or of a file.
#[derive(Clone)]
pub(crate) struct Id(Zeroizing<Vec<u8>>);

impl Id {
    #[cfg(unix)]
    fn new(id: OsString) -> Result<Self, &'static str> {
        use std::os::unix::ffi::OsStringExt;
        Self::from_bytes(id.into_vec().into())
    }

    #[cfg(not(unix))]
    fn new(id: OsString) -> Result<Self, &'static str> {
        let id = id.into_string().map_err(|_| "an id is Unicode text on this system")?;
        Self::from_bytes(id.into_bytes().into())
    }

    /// Refuses a key, which is there by mistake.
    pub(crate) fn from_bytes(id: Zeroizing<Vec<u8>>) -> Result<Self, &'static str> {
        if looks_like_secret(&id) { Err("this is a key, not an id") } else { Ok(Self(id)) }
    }
}

/// Bytes from `start` to `end`, exclusive.
#[derive(Clone)]
pub(crate) struct ByteRange {
    start: u64,
    end: u64,
}

impl ByteRange {
    /// Reads `START..END`, `START..` or `..END`.
    fn parse(text: &str) -> Result<Self, &'static str> {
        const WRONG: &str = "a range is START..END, START.. or ..END, in bytes";
        let number = |text: &str, default| if text.is_empty() { Ok(default) } else { text.parse().map_err(|_| WRONG) };
        let (start, end) = text.split_once("..").ok_or(WRONG)?;
        let range = Self { start: number(start, 0)?, end: number(end, u64::MAX)? };
        if range.start > range.end { Err("a range ends before it starts") } else { Ok(range) }
    }

    /// What of it there is of `len` bytes.
    pub(crate) fn within(&self, len: u64) -> (u64, u64) {
        let end = self.end.min(len);
        (self.start.min(end), end)
    }
}

impl AsRef<[u8]> for Id {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
