//! The README's commands work as written.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::wait::{DEADLINE, WaitWithin, output};

/// All blocks of `language`, concatenated.
pub(crate) fn blocks(readme: &str, language: &str) -> String {
    let start = format!("```{language}\n");
    readme.split(&start).skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap()
}

/// The search path for programs, with the one under test first.
pub(crate) fn path() -> String {
    let programs = Path::new(env!("CARGO_BIN_EXE_strongroom")).parent().unwrap();
    format!("{}:{}", programs.display(), std::env::var("PATH").unwrap())
}

#[cfg(unix)]
#[test]
fn the_readmes_commands_work() {
    let script = blocks(&readme(), "sh");
    assert!(script.matches("strongroom ").count() > 6, "{script}");

    let folder = tempfile::tempdir().unwrap();
    let run = |script: &str| {
        let mut shell = Command::new("sh");
        output(shell.args(["-euc", script]).current_dir(&folder).env("PATH", path()))
    };
    let output = run(&script);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && message.is_empty(), "{message}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "four score and eight\n");
    assert!(!run(&script).status.success(), "an error ends the script: its ids and keys are taken now");
}

/// The services of the README run until they are killed.
#[cfg(all(unix, feature = "server"))]
#[test]
fn the_readmes_services_work() {
    use std::os::unix::process::CommandExt;

    use rustix::process::{Pid, Signal, kill_process_group};

    let script = blocks(&readme(), "bash");
    assert_eq!(script.matches(" &\n").count(), 2, "{script}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("speech.txt"), "four score and seven\n").unwrap();
    // Files, not pipes: the services keep them open.
    let file = |name| fs::File::create(folder.path().join(name)).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-euc", &script]).current_dir(&folder).env("PATH", path());
    let mut shell = shell.stdout(file("stdout")).stderr(file("stderr")).process_group(0).spawn().unwrap();
    let group = Pid::from_child(&shell);
    let status = shell.wait_within(DEADLINE);
    kill_process_group(group, Signal::TERM).unwrap();
    let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(status.success(), "{}", read("stderr"));
    assert_eq!(read("stdout"), "four score and seven\n");
}
