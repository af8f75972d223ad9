//! The commands of the pages in `docs/how-to` work as written, and print what the pages say.

#![cfg(all(unix, feature = "server"))]

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::readme::{blocks, path};
use crate::support::wait::{DEADLINE, WaitWithin};

/// Runs the script, and kills the services that it has started. Returns whether it succeeds, and its stdout.
fn run(script: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    // Files, not pipes: the services keep them open.
    let file = |name| File::create(folder.path().join(name)).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-euc", script]).current_dir(&folder).env("PATH", path()).process_group(0).stdin(Stdio::null());
    let mut shell = shell.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
    let group = Pid::from_child(&shell);
    let status = shell.wait_within(DEADLINE);
    let _ = kill_process_group(group, Signal::KILL); // none is left if the page needs no service
    print!("{}", fs::read_to_string(folder.path().join("stderr")).unwrap());
    (status.success(), fs::read_to_string(folder.path().join("stdout")).unwrap())
}

fn pages() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/how-to");
    fs::read_dir(folder).unwrap().map(|page| page.unwrap().path()).collect()
}

#[test]
fn the_commands_print_what_the_pages_say() {
    let pages = pages();
    assert!(pages.len() >= 4);
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        assert_eq!(run(&blocks(&text, "sh")), (true, blocks(&text, "text")), "{}", page.display());
    }
}

#[test]
fn a_failing_command_fails_the_test() {
    assert_eq!(run("echo before\nstrongroom stats --store missing.db\necho not reached"), (false, "before\n".into()));
}

/// The commands of the page work in the folders of a service, which are below the test's.
#[test]
fn the_programs_commands_of_the_production_page_work() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PRODUCTION.md")).unwrap();
    let mut script = String::from(
        "mkdir -p backup etc/strongroom var/lib/strongroom\n\
         export STRONGROOM_STORE=var/lib/strongroom/records.db\n\
         strongroom key new --index --key-out etc/strongroom/index.key\n\
         cp -p etc/strongroom/index.key index.key\n\
         echo data | strongroom store --index-key-file etc/strongroom/index.key --id ID --key-out KEY\n\
         strongroom copy --to backup/records-2026-11-25.db\n\
         unset STRONGROOM_STORE\n",
    );
    let blocks = blocks(&page, "console");
    let lines = blocks.lines().filter_map(|line| line.strip_prefix("# ").or(line.strip_prefix("$ ")));
    let lines: Vec<_> = lines.filter(|line| !line.starts_with("systemctl ")).collect();
    assert!(lines.len() >= 10, "{lines:?}");
    for line in lines {
        script += &line.replace(" /", " ").replace("/etc/", "etc/");
        script.push('\n');
    }
    assert!(run(&script).0, "{script}");
}

#[test]
fn the_readme_links_to_each_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for page in pages() {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(readme.contains(&format!("(docs/how-to/{name})")), "{name}");
    }
}
