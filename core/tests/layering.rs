//! The layers of the crate: a module uses only those below it in the list, and no files depend on each other in a
//! cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crate's modules, from top to bottom.
const ORDER: [&str; 27] = [
    "lib",
    "vectors", // tests of the record format
    "aio",
    "builder",
    "open_store",
    "strongroom",
    "client",
    "store",
    "verify",
    "transfer",
    "keyring",
    "location",
    "options",
    "operations",
    "error",
    "store_identity",
    "settings",
    "record",
    "cobblestone",
    "storage",
    "http",
    "endpoint_options",
    "protocol",
    "locator",
    "key",
    "error_code",
    "util",
];

/// Pairs of modules that must not use each other: only the store uses both encryption and storage.
const STRANGERS: [(&str, &str); 2] = [("cobblestone", "storage"), ("record", "storage")];

/// The only modules that may use these crates: encryption, databases, connections and randomness each have their place.
const HOMES: [(&str, &[&str]); 8] = [
    ("aes_gcm", &["cobblestone"]),
    ("aws_lc_rs", &["cobblestone"]),
    ("hmac", &["cobblestone"]),
    ("sha2", &["cobblestone"]),
    ("blake3", &["locator"]),
    ("rusqlite", &["storage"]),
    ("rand", &["util"]),
    ("tokio", &["aio", "http", "storage", "util"]),
];

/// A path in a source: its segments, such as `["store", "writer", "RecordWriter"]`.
type Segments = Vec<String>;

/// The paths in `source`, a file of module `file` (`["store", "writer"]`), resolved from the crate's root.
fn paths(file: &[&str], source: &str) -> BTreeSet<Segments> {
    let code: Vec<_> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    // Tests may use everything.
    let code = code.join("\n");
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            if code[..at].ends_with(is_name) {
                continue;
            }
            let rest = &code[at..];
            let mut segments: Segments = Vec::new();
            let (path, group) = rest.split_at(rest.find(|c: char| !is_name(c)).unwrap_or(rest.len()));
            let mut base: Vec<&str> = file.to_vec();
            for segment in path.split("::").filter(|segment| !segment.is_empty()) {
                match segment {
                    "crate" => base.clear(),
                    "super" => drop(base.pop()),
                    name => segments.push(name.to_string()),
                }
            }
            let base: Segments = base.into_iter().map(String::from).chain(segments).collect();
            if let Some(group) = group.strip_prefix('{').filter(|_| path.ends_with("::")) {
                for name in group.split('}').next().unwrap().split(',') {
                    let name = name.trim().split([' ', ':', '{']).next().unwrap();
                    found.insert(base.iter().cloned().chain([name.to_string()]).collect());
                }
            } else {
                found.insert(base);
            }
        }
    }
    found
}

/// The top module of a path. An item of the crate's root counts as part of the module that defines it.
fn top(path: &Segments) -> Option<&str> {
    path.first().map(|name| match name.as_str() {
        "Strongroom" | "RecordReader" | "RecordWriter" => "strongroom",
        "Endpoint" | "InvalidEndpoint" => "http",
        "EndpointOptions" => "endpoint_options",
        "Location" => "location",
        "Error" => "error",
        "WriteOptions" => "options",
        "RecordKey" | "IndexKey" | "InvalidKey" => "key",
        "Stats" | "Durability" => "storage",
        "interrupt" | "RandomError" => "util",
        other => other,
    })
}

/// The violations in `source`, a file of the module `file`.
fn faults(file: &[&str], source: &str) -> Vec<String> {
    let module = file[0];
    let level = |name: &str| ORDER.iter().position(|other| *other == name);
    let Some(own) = level(module) else { return vec![format!("{module} is not in the list of modules")] };
    let mut faults = BTreeSet::new();
    for path in paths(file, source) {
        let Some(used) = top(&path).filter(|used| *used != module) else { continue };
        let strangers = STRANGERS.contains(&(module, used)) || STRANGERS.contains(&(used, module));
        match level(used) {
            // A macro of the crate, or an item of its root.
            None => {}
            Some(level) if level > own && !strangers => {}
            Some(_) => drop(faults.insert(format!("{} uses {}", file.join("/"), path.join("::")))),
        }
    }
    for (name, homes) in HOMES {
        if !homes.contains(&module) && module != "vectors" && source.contains(&format!("{name}::")) {
            faults.insert(format!("{module} uses the crate {name}, which only {} may", homes.join(", ")));
        }
    }
    faults.into_iter().collect()
}

/// The module path and the source of each file of the crate, except for the conformance suite, which tests whole
/// storages.
fn sources() -> BTreeMap<Vec<String>, String> {
    fn collect(folder: &Path, module: &[String], sources: &mut BTreeMap<Vec<String>, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if stem == "conformance" || stem == "tests" {
                continue;
            }
            let mut module = module.to_vec();
            if stem != "mod" {
                module.push(stem.to_string());
            }
            if path.is_dir() {
                collect(&path, &module, sources);
            } else {
                sources.insert(module, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut found);
    found
}

/// A cycle of files, if there is one. A folder's `mod.rs` does not count, because it only declares and re-exports.
fn circle(sources: &BTreeMap<Vec<String>, String>) -> Option<Vec<String>> {
    let is_folder =
        |module: &[String]| sources.keys().any(|other| other.len() > module.len() && other.starts_with(module));
    let file_of = |path: &[String]| {
        (1..=path.len()).rev().map(|len| path[..len].to_vec()).find(|module| sources.contains_key(module))
    };
    let edges: BTreeMap<_, BTreeSet<_>> = sources
        .iter()
        .map(|(file, source)| {
            let names: Vec<_> = file.iter().map(String::as_str).collect();
            let used = paths(&names, source).into_iter().filter_map(|path| file_of(&path));
            (file, used.filter(|used| used != file && !is_folder(used)).collect())
        })
        .collect();
    // Repeatedly removes files without remaining dependencies, until only cycles are left.
    let mut left: BTreeSet<_> = sources.keys().filter(|file| !is_folder(file)).collect();
    loop {
        let before = left.len();
        left = left.iter().copied().filter(|file| edges[file].iter().any(|used| left.contains(used))).collect();
        if left.len() == before {
            return (!left.is_empty()).then(|| left.iter().map(|file| file.join("/")).collect());
        }
    }
}

#[test]
fn no_module_uses_one_above_it() {
    let faults: Vec<_> = sources()
        .iter()
        .flat_map(|(file, source)| faults(&file.iter().map(String::as_str).collect::<Vec<_>>(), source))
        .collect();
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn the_documentation_has_the_same_order() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ARCHITECTURE.md")).unwrap();
    let table = page.split("| module | what it does |\n|---|---|\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = table.lines().flat_map(|row| row.split('|').nth(1).unwrap().split(','));
    let names = names.map(|name| name.trim().trim_matches('`').trim_end_matches('/').trim_end_matches(".rs"));
    assert_eq!(names.collect::<Vec<_>>(), ORDER[1..]);
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    assert_eq!(circle(&sources()), None);
}

#[test]
fn the_check_finds_a_forbidden_import() {
    for (file, source) in [
        (&["cobblestone"][..], "use crate::storage::Storage;"),
        (&["storage", "sqlite"], "use crate::cobblestone;"),
        (&["storage", "sqlite", "rows"], "use crate::{cobblestone, locator::Locator};"),
        (&["storage"], "    fn f() { crate::cobblestone::seal(); }"),
        (&["locator"], "use crate::Strongroom;"),
        (&["key"], "use super::error::Error;"),
        (&["key", "file"], "use crate::error::Error;"),
        (&["key"], "use aes_gcm::Aes256Gcm;"),
        (&["store"], "use rusqlite::Connection;"),
        (&["unknown"], ""),
    ] {
        assert_eq!(faults(file, source).len(), 1, "{source}");
    }
    assert!(faults(&["store"], "use crate::storage::Storage;\n// use crate::builder::Of;").is_empty());
}

#[test]
fn the_check_finds_a_circle() {
    let sources = |pairs: &[(&[&str], &str)]| -> BTreeMap<Vec<String>, String> {
        pairs.iter().map(|(file, source)| (file.iter().map(|s| s.to_string()).collect(), source.to_string())).collect()
    };
    let one = ("use super::b::B;", "use super::c::C;");
    let files = |last: &'static str| {
        sources(&[
            (&["x"], ""),
            (&["x", "a"], one.0),
            (&["x", "b"], one.1),
            (&["x", "c"], last),
            (&["d"], "use crate::x::a::A;"),
        ])
    };
    assert_eq!(circle(&files("use super::D;")), None);
    let found = circle(&files("use super::{a::A, D};")).unwrap();
    assert!(["x/a", "x/b", "x/c"].iter().all(|file| found.contains(&file.to_string())), "{found:?}");
}
