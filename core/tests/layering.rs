//! The flow of data has one direction: a module uses what stands below it in this list, never what stands above.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Each module of the crate, and the modules that it may use.
const ALLOWED: [(&str, &[&str]); 20] = [
    (
        "strongroom",
        &[
            "builder",
            "error",
            "record",
            "key",
            "locator",
            "cobblestone",
            "cores",
            "interrupt",
            "relay",
            "storage",
            "threads",
        ],
    ),
    ("builder", &["strongroom", "error", "http", "index_key_file", "key", "locator", "storage"]),
    ("client", &["error", "http", "key", "record", "storage"]),
    ("error", &["http", "record", "key", "cobblestone", "storage", "random"]),
    ("index_key_file", &["error", "files", "key", "random"]),
    ("files", &[]),
    ("record", &[]),
    ("key", &["random", "secret_kind"]),
    ("secret_kind", &[]),
    ("locator", &["key"]),
    ("cobblestone", &["cores", "random"]),
    ("cores", &["threads"]),
    ("http", &["interrupt", "random", "relay", "secret_kind", "threads"]),
    ("interrupt", &[]),
    ("random", &[]),
    ("relay", &["interrupt"]),
    ("storage", &["files", "http", "interrupt", "locator", "random", "threads"]),
    ("threads", &[]),
    // Tests inside the crate.
    ("vectors", &["strongroom", "error", "record", "key", "locator", "cobblestone", "storage"]),
    (
        "lib",
        &[
            "strongroom",
            "builder",
            "client",
            "error",
            "record",
            "key",
            "locator",
            "cobblestone",
            "cores",
            "http",
            "interrupt",
            "random",
            "storage",
        ],
    ),
];

/// The only modules that may name these crates: encryption, SQLite and randomness have one home each.
const HOMES: [(&str, &str); 8] = [
    ("aes_gcm", "cobblestone"),
    ("aws_lc_rs", "cobblestone"),
    ("hmac", "cobblestone"),
    ("sha2", "cobblestone"),
    ("blake3", "locator"),
    ("rusqlite", "storage"),
    ("rand", "random"),
    ("tokio", "http"),
];

/// The modules of the crate that `source` uses, by any path that starts with `crate::`.
fn uses(source: &str) -> BTreeSet<String> {
    let code: Vec<_> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut used = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        let names = match path.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap(),
            None => path.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap(),
        };
        for name in names.split(',').map(|name| name.trim().split("::").next().unwrap()) {
            used.insert(match name {
                // What the crate's root gives on.
                "Strongroom" => "strongroom".to_string(),
                "Endpoint" => "http".to_string(),
                "Error" => "error".to_string(),
                "RecordKey" | "IndexKey" | "InvalidKey" => "key".to_string(),
                "Stats" | "Durability" => "storage".to_string(),
                other => other.to_string(),
            });
        }
    }
    used.remove("");
    used
}

/// Why `source`, a file of `module`, breaks the rules.
fn faults(module: &str, source: &str) -> Vec<String> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{module} is not in the list of modules")];
    };
    let mut faults: Vec<_> = uses(source)
        .into_iter()
        .filter(|used| used != module && !allowed.contains(&used.as_str()))
        .map(|used| format!("{module} uses {used}"))
        .collect();
    for (name, home) in HOMES {
        if module != home && module != "vectors" && source.contains(&format!("{name}::")) {
            faults.push(format!("{module} uses the crate {name}, which {home} alone may"));
        }
    }
    faults
}

fn check_folder(folder: &Path, module: Option<&str>, faults_found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let module = module.unwrap_or(stem);
        if path.is_dir() {
            check_folder(&path, Some(module), faults_found);
        } else if module != "storage" || stem != "conformance" {
            let source = fs::read_to_string(&path).unwrap();
            faults_found.extend(faults(module, &source));
        }
    }
}

#[test]
fn no_module_uses_what_stands_above_it() {
    let mut faults = Vec::new();
    check_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut faults);
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn a_forbidden_import_is_found() {
    for (module, source) in [
        ("cobblestone", "use crate::storage::Storage;"),
        ("storage", "use crate::cobblestone;"),
        ("storage", "use crate::{cobblestone, locator::Locator};"),
        ("storage", "    fn f() { crate::cobblestone::seal(); }"),
        ("locator", "use crate::Strongroom;"),
        ("key", "use crate::error::Error;"),
        ("storage", "use aes_gcm::Aes256Gcm;"),
        ("strongroom", "use rusqlite::Connection;"),
        ("unknown", ""),
    ] {
        assert_eq!(faults(module, source).len(), 1, "{source}");
    }
    assert!(faults("strongroom", "use crate::storage::Storage;\n// use crate::unheard::Of;").is_empty());
}
