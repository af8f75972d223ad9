//! Tests with their own file systems, which they mount in a namespace of their own.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::env;
use std::path::Path;
use std::process::Command;

use crate::support::wait;

/// The folder of a process that a test starts.
pub(crate) const FOLDER: &str = "STRONGROOM_TEST_FOLDER";

/// Runs `work`, which is the test of this name, with its own file systems, which the shell `script` mounts in the
/// folder `$F`. Without the permission to mount, it does nothing.
pub(crate) fn with_mounts(test: &str, script: &str, work: impl FnOnce(&Path)) {
    if let Some(folder) = env::var_os(FOLDER) {
        return work(folder.as_ref());
    }
    if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
        return eprintln!("{test} needs the right to mount");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new("unshare");
    child.args(["--mount", "bash", "-ec", &format!(r#"F="$1"; shift; {script}; exec "$0" "$@""#)]);
    child.arg(env::current_exe().unwrap()).arg(folder.path()).args([test, "--exact", "--nocapture"]);
    child.env(FOLDER, folder.path());
    run(child);
}

#[track_caller]
pub(crate) fn run(mut child: Command) {
    let output = wait::output(&mut child);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "the test was not found: {text}");
}
