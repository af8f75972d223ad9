//! The README's Rust code equals the examples, which work.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::wait::{DEADLINE, WaitWithin};

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
    // `cargo test` builds the examples, unless it is told to build less.
    let test = env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples/first_use");
    assert!(example.exists(), "build it first: cargo build --all-features --example first_use");
    for _ in 0..2 {
        // The second run succeeds, too, with the files of the first.
        let mut first_use = Command::new(&example).current_dir(&folder).spawn().unwrap();
        assert!(first_use.wait_within(DEADLINE).success());
    }
    assert!(folder.path().join("records.db.index-key").exists());
}
