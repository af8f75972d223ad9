//! The README's Rust is the example, and the example works.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_readme_shows_the_example_and_it_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("../README.md")).unwrap();
    let example = fs::read_to_string(root.join("examples/first_use.rs")).unwrap();
    let (_, code) = example.split_once("\n\n").unwrap();
    assert!(readme.contains(&format!("```rust\n{code}```\n")), "README.md and examples/first_use.rs differ");

    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        // The second time, nothing of the first is in its way.
        let status = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--example", "first_use", "--manifest-path"])
            .arg(root.join("Cargo.toml"))
            .current_dir(&folder)
            .status()
            .unwrap();
        assert!(status.success());
    }
    assert!(folder.path().join("records.db.index-key").exists());
}
