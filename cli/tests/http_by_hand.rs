//! The commands of `docs/HTTP.md` work as written.

#![cfg(all(unix, feature = "server"))]

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::wait::{DEADLINE, WaitWithin};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;

/// Runs the commands of a section. Returns whether they succeed, and their other output on stdout.
fn run(section: &str) -> (bool, String) {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/HTTP.md")).unwrap();
    let section = page.split("\n## ").find(|part| part.starts_with(section)).unwrap();
    let script = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    run_script(script)
}

/// The service listens on a socket in the test's folder, and curl connects to it instead of the address in the script.
fn run_script(script: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    fs::write(folder.path().join(".curlrc"), format!("unix-socket = {:?}\n", socket.display())).unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_strongroom")).parent().unwrap();
    let file = |name| File::create(folder.path().join(name)).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-euc", script]).current_dir(&folder).process_group(0).stdout(file("out")).stderr(file("err"));
    shell.env("PATH", format!("{}:{}", programs.display(), std::env::var("PATH").unwrap()));
    shell.env("CURL_HOME", folder.path()).env("STRONGROOM_LISTEN", format!("unix:{}", socket.display()));
    let mut shell = shell.spawn().unwrap();
    let status = shell.wait_within(DEADLINE);
    let _ = kill_process_group(Pid::from_child(&shell), Signal::KILL); // the service, if the script failed
    print!("{}", fs::read_to_string(folder.path().join("err")).unwrap());
    (status.success(), fs::read_to_string(folder.path().join("out")).unwrap())
}

#[test]
fn the_encryption_servers_commands_work() {
    let expected = "{\"status\":\"ready\"}{\"data\":\"Zm91ciBzY29yZQ==\"}100\n";
    assert_eq!(run("The encryption server"), (true, expected.to_owned()));
}

#[test]
fn the_storage_services_commands_work() {
    let locator = format!("{:064}", 7);
    let (succeeded, output) = run("The storage service");
    let list = output.strip_prefix("{\"status\":\"ready\"}100\n204\n412\n").unwrap();
    let list: serde_json::Value = serde_json::from_str(list).unwrap();
    assert!(succeeded);
    assert_eq!((&list["records"][0]["locator"], &list["records"][0]["bytes"]), (&json!(locator), &json!(2000)));
    assert_eq!(list["records"][0]["head"].as_str().unwrap().len(), 91);
}

#[test]
fn a_failing_command_fails_the_test() {
    assert_eq!(run_script("curl -sf http://127.0.0.1:8420/readyz\necho not reached"), (false, String::new()));
}
