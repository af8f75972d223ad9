//! The command line of trees.

use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueHint};

use crate::arg_path::path;
use crate::args::{Data, Record};
use crate::failure::Failure;
use crate::streams::{is_stdin, is_stream};
use crate::values::Id;

/// The record that `store` makes. Without an id, files are stored under their names.
#[derive(Args)]
#[group(id = "new_record", multiple = false)]
pub(crate) struct NewRecord {
    /// The record's id: 1 to 4096 bytes. Other users of the machine can see it in the list of processes
    #[arg(id = "new_id", long = "id", value_name = "ID", value_parser = OsStringValueParser::new().try_map(Id::new))]
    pub(crate) id: Option<Id>,
    /// The file with the record's id ("-" is stdin): any bytes; one newline at the end is ignored
    #[arg(id = "new_id_file", long = "id-file", value_name = "PATH")]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) id_file: Option<PathBuf>,
    /// FILE is a folder: store each file in it, with --id-prefix and --keyring
    #[arg(long, requires_all = ["id_prefix", "file"])]
    #[arg(conflicts_with_all = ["key_file", "key_out", "from_command", "args", "expires_in", "expires_at"])]
    pub(crate) recursive: bool,
}

/// The record or the tree that `retrieve` reads.
#[derive(Args)]
#[group(id = "retrieved", required = true, multiple = false)]
pub(crate) struct RetrievedRecord {
    /// The record's id: 1 to 4096 bytes. Other users of the machine can see it in the list of processes
    #[arg(id = "retrieved_id", long = "id", value_name = "ID")]
    #[arg(value_parser = OsStringValueParser::new().try_map(Id::new))]
    pub(crate) id: Option<Id>,
    /// The file with the record's id ("-" is stdin): any bytes; one newline at the end is ignored
    #[arg(id = "retrieved_id_file", long = "id-file", value_name = "PATH")]
    #[arg(value_parser = path(), value_hint = ValueHint::FilePath)]
    pub(crate) id_file: Option<PathBuf>,
    /// Write the files that `store --recursive` has stored into the folder of --output, with --id-prefix and --keyring
    #[arg(long, requires_all = ["id_prefix", "output"], conflicts_with_all = ["key_file", "range"])]
    pub(crate) recursive: bool,
}

/// The tree of `--recursive`.
#[derive(Args)]
pub(crate) struct TreeOptions {
    /// The start of the ids of a folder's records: a file's id is this prefix, a slash and its path in the folder
    #[arg(long, value_name = "PREFIX", requires = "recursive")]
    #[arg(value_parser = OsStringValueParser::new().try_map(Id::new))]
    pub(crate) id_prefix: Option<Id>,
    /// How many files or batches of files to process at the same time, 1 to 64: more for a distant service
    /// [default: 4]
    #[arg(long, value_name = "N", requires = "recursive", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) workers: Option<u8>,
}

impl NewRecord {
    pub(crate) fn is_given(&self) -> bool {
        self.id.is_some() || self.id_file.is_some() || self.recursive
    }
}

impl From<NewRecord> for Record {
    fn from(record: NewRecord) -> Self {
        Self { id: record.id, id_file: record.id_file }
    }
}

impl From<RetrievedRecord> for Record {
    fn from(record: RetrievedRecord) -> Self {
        Self { id: record.id, id_file: record.id_file }
    }
}

/// The folder of `store --recursive`.
pub(crate) fn folder(data: &Data) -> Result<&Path, Failure> {
    data.file
        .as_deref()
        .filter(|path| !is_stdin(Some(path)))
        .ok_or_else(|| Failure::Usage("--recursive stores a folder: name it".into()))
}

/// The folder of `retrieve --recursive`.
pub(crate) fn output(output: Option<&Path>) -> Result<&Path, Failure> {
    let folder = output.filter(|path| !is_stream(Some(path)));
    folder.ok_or_else(|| Failure::Usage("--recursive writes a folder: name it with --output".into()))
}
