//! README.md's first programs in C and C++ are those that the tests run.

use std::fs;
use std::path::Path;

#[test]
fn the_readme_shows_the_examples() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(folder.join("../README.md")).unwrap();
    for language in ["c", "cpp"] {
        let start = format!("```{language}\n");
        let shown: Vec<_> = readme.split(&start).skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        let example = fs::read_to_string(folder.join("examples/first_use").with_extension(language)).unwrap();
        assert_eq!(shown, [example]);
    }
}
