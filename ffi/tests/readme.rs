//! README.md's first program in C is the one that the tests run.

use std::fs;
use std::path::Path;

#[test]
fn the_readme_shows_the_example() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(folder.join("../README.md")).unwrap();
    let shown: Vec<_> = readme.split("```c\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let example = fs::read_to_string(folder.join("examples/first_use.c")).unwrap();
    assert_eq!(shown, [example]);
}
