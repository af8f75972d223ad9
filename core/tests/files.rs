//! `docs/FILES.md` lists the source files with the first paragraph of each one's documentation (`UPDATE=1` rewrites
//! it).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const FOLDERS: [&str; 9] = [
    "core/src",
    "server/src",
    "cli/src",
    "ffi/src",
    "python/src",
    "python/python/strongroom",
    "faults/src",
    "fuzz/src",
    "loom/src",
];

const TITLE: &str = "# Files

The source files, each with the beginning of its own documentation. `make files` writes this page;
[ARCHITECTURE.md](ARCHITECTURE.md) shows how the files work together.
";

#[test]
fn the_list_of_files_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut page = TITLE.to_owned();
    for folder in FOLDERS {
        let mut files = BTreeMap::new();
        collect(&root, folder, &mut files);
        assert!(files.values().flatten().count() > 1, "{folder}");
        for (folder, files) in files {
            write!(page, "\n## {folder}\n\n").unwrap();
            for (file, text) in files {
                writeln!(page, "- `{file}`: {text}").unwrap();
            }
        }
    }
    let path = root.join("docs/FILES.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap_or_default() == page, "docs/FILES.md is outdated: run `make files`");
}

/// The files below `folder` and their descriptions, by folder.
fn collect(root: &Path, folder: &str, files: &mut BTreeMap<String, BTreeMap<String, String>>) {
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{folder}/{name}");
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, files);
        } else if let Some(text) = description(&name, &entry.path()) {
            assert!(!text.is_empty(), "{path} does not begin with its purpose");
            files.entry(folder.to_owned()).or_default().insert(name, text);
        }
    }
}

/// The first paragraph of a source file's documentation, in one line and without the targets of its links.
fn description(name: &str, path: &Path) -> Option<String> {
    let (_, extension) = name.rsplit_once('.')?;
    let read = || fs::read_to_string(path).unwrap();
    let text = match extension {
        "rs" => {
            let lines = read();
            let lines = lines.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim);
            lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
        }
        "py" => {
            let text = read();
            let text = text.strip_prefix("\"\"\"")?;
            let (paragraph, _) = text.split_once("\"\"\"")?;
            paragraph.split("\n\n").next()?.split_whitespace().collect::<Vec<_>>().join(" ")
        }
        _ => return None,
    };
    Some(without_targets(&text))
}

/// `text` with each `[name](target)` as `name`.
fn without_targets(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        let (name, after) = link.split_once(']').unwrap_or((link, ""));
        result += before;
        result += name;
        rest = match after.strip_prefix('(').and_then(|target| target.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    result + rest
}
