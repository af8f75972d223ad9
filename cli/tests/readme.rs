//! The README's commands work as they stand there.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// All blocks of `language`, one behind the other.
fn blocks(readme: &str, language: &str) -> String {
    let start = format!("```{language}\n");
    readme.split(&start).skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

#[cfg(unix)]
#[test]
fn the_readmes_commands_work() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let script = blocks(&readme, "sh");
    assert!(script.matches("strongroom ").count() > 6, "{script}");

    let folder = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_strongroom")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let run = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-euc", script]).current_dir(&folder).env("PATH", &path).output().unwrap()
    };
    let output = run(&script);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && message.is_empty(), "{message}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "four score and eight\n");
    assert!(!run(&script).status.success(), "an error ends the script: its ids and keys are taken now");
}
