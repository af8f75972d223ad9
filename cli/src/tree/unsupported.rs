//! Trees need a Unix system: elsewhere, a path could lead out of its folder.

use std::path::Path;

use strongroom::{Error, WriteOptions};

use crate::failure::Failure;
use crate::in_use::InUse;
use crate::options::Options;
use crate::tree_args::TreeOptions;

pub(crate) fn store(
    _options: &Options,
    _tree: &TreeOptions,
    _mirror: bool,
    _folder: &Path,
    _write_options: WriteOptions<'_>,
    _in_use: &InUse,
) -> Result<(), Failure> {
    unsupported()
}

pub(crate) fn restore(_options: &Options, _tree: &TreeOptions, _to: &Path, _in_use: &InUse) -> Result<(), Failure> {
    unsupported()
}

fn unsupported() -> Result<(), Failure> {
    Err(Error::Unsupported("--recursive needs a Unix system".into()).into())
}
