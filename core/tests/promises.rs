//! Each promise of `docs/THREATS.md` has tests, which `docs/TESTING.md` names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn each_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));

    let threats = read("docs/THREATS.md");
    let (_, promises) = threats.split_once("\n## Promises\n").unwrap();
    let (promises, _) = promises.split_once("\n## ").unwrap();
    let promises: BTreeSet<_> = promises
        .lines()
        .filter(|line| line.starts_with(|digit: char| digit.is_ascii_digit()))
        .map(|line| {
            let (number, rest) = line.split_once(" **").unwrap();
            format!("{number} {}", rest.split_once("**").unwrap().0)
        })
        .collect();
    assert!(promises.len() >= 7);

    let testing = read("docs/TESTING.md");
    let (_, table) = testing.split_once("\n## The promises\n").unwrap();
    let mut named = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| promise")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [promise, file, tests] = cells[..] else { panic!("{row}") };
        let source = read(file.trim_matches('`'));
        for test in tests.split(", ") {
            let function = format!("fn {}()", test.trim_matches('`'));
            let (before, _) = source.split_once(&function).unwrap_or_else(|| panic!("{file} has no {test}"));
            // Between the attribute and the function, there may be others, such as `#[ignore]`.
            let attributes = before.rsplit("\n\n").next().unwrap();
            assert!(attributes.contains("#[test]"), "{test} in {file} is no test");
        }
        named.insert(promise.to_owned());
    }
    assert_eq!(named, promises);
}
