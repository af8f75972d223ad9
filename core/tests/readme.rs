//! The README's Rust code equals the examples, which work.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/wait.rs"]
mod wait;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use wait::WaitWithin;

#[test]
fn the_readme_shows_the_examples_and_the_first_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("../README.md")).unwrap();
    // The second needs services, so it is only built.
    for name in ["examples/first_use.rs", "examples/services.rs"] {
        let example = fs::read_to_string(root.join(name)).unwrap();
        let (_, code) = example.split_once("\n\n").unwrap();
        assert!(readme.contains(&format!("```rust\n{code}```\n")), "README.md and {name} differ");
    }

    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        // The second run succeeds, too, with the files of the first.
        let status = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--example", "first_use", "--manifest-path"])
            .arg(root.join("Cargo.toml"))
            .current_dir(&folder)
            .spawn()
            .unwrap()
            .wait_within(Duration::from_secs(3600)); // includes a possible build
        assert!(status.success());
    }
    assert!(folder.path().join("records.db.index-key").exists());
}
