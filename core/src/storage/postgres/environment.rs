//! The variables of the environment that `libpq` knows. An empty one counts as absent.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

pub(super) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

pub(super) fn text(name: &str) -> Option<String> {
    variable(name)?.into_string().ok()
}

/// The home folder.
pub(super) fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}
