//! Generates include/strongroom.h from the sources, and fails if the committed one differs (`UPDATE=1` rewrites it).
//!
//! Each module is a section of the header, with the module's title and text, and its types before its functions.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use cbindgen::{Config, DocumentationStyle, ExportConfig, FunctionConfig, Language, Style};

/// The modules, in an order for readers.
const SECTIONS: [&str; 15] = [
    "version",
    "status",
    "key",
    "store",
    "options",
    "records",
    "many",
    "writer",
    "reader",
    "callbacks",
    "rotation",
    "verify",
    "transfer",
    "storage",
    "conformance",
];

/// Types that functions of other modules use.
const TYPES: [&str; 4] = ["strongroom_status", "strongroom_error", "strongroom_buffer", "strongroom_write_options"];

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source(module: &str) -> PathBuf {
    folder().join("src").join(module).with_extension("rs")
}

/// The text of a module's `//!` lines.
fn module_text(module: &str) -> String {
    let source = fs::read_to_string(source(module)).unwrap();
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

fn comment(text: &str) -> String {
    let lines = text.lines().map(|line| format!(" * {line}").trim_end().to_string() + "\n");
    format!("/*\n{} */\n", lines.collect::<String>())
}

/// The types and functions of a module.
fn declarations(module: &str) -> String {
    let config = Config {
        language: Language::C,
        style: Style::Type,
        documentation_style: DocumentationStyle::Cxx,
        no_includes: true,
        usize_is_size_t: true,
        line_length: 120,
        tab_width: 4,
        function: FunctionConfig {
            must_use: Some("STRONGROOM_MUST_USE".into()),
            sort_by: Some(cbindgen::SortKey::None),
            ..FunctionConfig::default()
        },
        // Types that no function of the same module uses are omitted unless they are listed.
        export: ExportConfig { include: TYPES.map(str::to_string).to_vec(), ..ExportConfig::default() },
        ..Config::default()
    };
    let bindings = cbindgen::Builder::new().with_config(config).with_src(source(module)).generate().unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text).unwrap()
}

fn version_macros() -> String {
    let mut text = format!("#define STRONGROOM_VERSION \"{}\"\n", env!("CARGO_PKG_VERSION"));
    let parts = [
        ("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        ("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        ("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ];
    for (name, value) in parts {
        writeln!(text, "#define STRONGROOM_VERSION_{name} {value}").unwrap();
    }
    text
}

fn header() -> String {
    let mut text = comment(&module_text("lib"));
    text.push_str(
        r#"
/* Generated from ffi/src by ffi/tests/header.rs: change the sources. */

#ifndef STRONGROOM_H
#define STRONGROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Warns if the result of a function is not used. In GNU C, a cast to void does not silence the warning; an if does. */
#if (defined(__cplusplus) && __cplusplus >= 201703L) || (defined(__STDC_VERSION__) && __STDC_VERSION__ >= 202311L)
#define STRONGROOM_MUST_USE [[nodiscard]]
#elif defined(__GNUC__)
#define STRONGROOM_MUST_USE __attribute__((warn_unused_result))
#else
#define STRONGROOM_MUST_USE
#endif

#ifdef __cplusplus
extern "C" {
#endif
"#,
    );
    for section in SECTIONS {
        write!(text, "\n\n{}\n", comment(&module_text(section))).unwrap();
        if section == "version" {
            writeln!(text, "{}", version_macros()).unwrap();
        }
        text.push_str(declarations(section).trim());
        text.push('\n');
    }
    text.push_str("\n#ifdef __cplusplus\n}\n#endif\n\n#endif /* STRONGROOM_H */\n");
    text
}

#[test]
fn the_header_is_what_the_sources_say() {
    let path = folder().join("../include/strongroom.h");
    let expected = header();
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    if committed != expected {
        let diff = similar::TextDiff::from_lines(&committed, &expected);
        panic!(
            "include/strongroom.h is not what the sources say (`make header` rewrites it):\n{}",
            diff.unified_diff()
        );
    }
}

/// The functions of which strongroom.hpp has no form of its own.
const NOT_IN_CPP: [&str; 13] = [
    // C++ programs call these as they are.
    "strongroom_version",
    "strongroom_give_bytes",
    "strongroom_give_entry",
    "strongroom_give_info",
    "strongroom_give_storage",
    "strongroom_check_storage",
    // In C++, one function takes options or none.
    "strongroom_store",
    "strongroom_store_many",
    "strongroom_store_stream",
    "strongroom_replace",
    "strongroom_replace_stream",
    "strongroom_create_record",
    "strongroom_replace_record",
];

#[test]
fn cpp_has_every_function() {
    let header = header();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    // A function's name is the word before its first parenthesis.
    let declared = header.lines().filter(|line| !line.trim_start().starts_with(['/', '*'])).filter_map(|line| {
        let (before, _) = line.split_once('(')?;
        before.rsplit(|c| !is_name(c)).next().filter(|name| name.starts_with("strongroom_"))
    });
    let declared: BTreeSet<_> = declared.collect();
    assert!(declared.len() > 60, "{declared:?}");
    let wrapper = fs::read_to_string(folder().join("../include/strongroom.hpp")).unwrap();
    let code = wrapper.lines().filter(|line| !line.trim_start().starts_with("//"));
    let used: BTreeSet<_> = code.flat_map(|line| line.split(|c| !is_name(c))).collect();
    let missing: Vec<_> = declared.iter().filter(|name| !used.contains(*name)).collect();
    let mut expected: Vec<_> = NOT_IN_CPP.iter().collect();
    expected.sort_unstable();
    assert_eq!(missing, expected);
}
