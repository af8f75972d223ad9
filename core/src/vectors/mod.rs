//! The test vectors of the format, `docs/vectors.json`: generated here, compared byte by byte, and opened through the
//! public API. `UPDATE=1` rewrites the file.
//!
//! The derived values come from a second implementation of the formulas of `docs/FORMAT.md`, not from the modules that
//! seal the records.

mod cases;
mod formulas;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha512};

use crate::cobblestone::{self, chunk_count, message_len, seal_with_salt};
use crate::key::{IndexKey, InvalidKey, RecordKey};
use crate::locator::{self, FIRST_GENERATION, Locator, LocatorKey};
use crate::record::Header;
use crate::settings::{Generation, Padding, Settings};
use crate::storage::{MemoryStorage, PutMode, Storage};
use crate::{Error, Strongroom};
use cases::*;
use formulas::Derived;

const ABOUT: &str = "Test vectors of Strongroom's record format (FORMAT.md). Bytes are a string of hexadecimal \
    digits, or {\"pattern\": \"i % 251\", \"len\": n}: n bytes, of which byte i is i modulo 251, or \
    {\"sha512\": d, \"len\": n}: n bytes whose SHA-512 is d. Each of `records` opens to its data. Each of \
    `invalid` is refused with exactly its error; its record is hexadecimal digits, or a list of parts to be joined, \
    {\"of\": r, \"from\": a, \"to\": b} being bytes a to b (exclusive) of the record named r. Each of `keys` is a text \
    that is asked for as a key of a kind: it is the key given, or an InvalidKey for the reason given.";

/// Lengths of data around every limit of the format.
const SIZES: [usize; 10] = [0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 32_768, 40_000];

/// Longer values are represented by their digest.
const MAX_IN_FULL: usize = 300;

const HEAD: usize = 68;
const SEALED_CHUNK: usize = 16_400;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

// The file.

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn hex_json(bytes: &[u8]) -> String {
    string(&hex(bytes))
}

fn string(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn in_full_or_digest(bytes: &[u8]) -> String {
    if bytes.len() <= MAX_IN_FULL {
        return hex_json(bytes);
    }
    format!("{{\"sha512\": {}, \"len\": {}}}", hex_json(&Sha512::digest(bytes)), bytes.len())
}

fn file() -> String {
    let object = |fields: Vec<(&str, String)>| {
        let lines: Vec<_> = fields.iter().map(|(name, value)| format!("      \"{name}\": {value}")).collect();
        format!("    {{\n{}\n    }}", lines.join(",\n"))
    };
    let list = |name: &str, objects: Vec<Vec<_>>| {
        let objects: Vec<_> = objects.into_iter().map(object).collect();
        format!("  \"{name}\": [\n{}\n  ]", objects.join(",\n"))
    };
    let parts = [
        format!("  \"about\": {}", string(ABOUT)),
        "  \"format\": 1".to_string(),
        list("records", records().iter().map(Vector::fields).collect()),
        list("invalid", invalid().iter().map(Invalid::fields).collect()),
        list("keys", key_texts().iter().map(KeyText::fields).collect()),
        list("settings", settings().iter().map(settings_fields).collect()),
    ];
    format!("{{\n{}\n}}\n", parts.join(",\n"))
}

#[test]
fn the_file_is_what_the_code_gives() {
    let expected = file();
    serde_json::from_str::<serde_json::Value>(&expected).unwrap();
    let path = docs("vectors.json");
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "docs/vectors.json is not what the code gives, first in line {}. Version 1 of the format does not change: a \
         difference in a record that was there is a fault in the code. For a new vector, run the test with UPDATE=1",
        differs.unwrap_or(found.lines().count().min(expected.lines().count())) + 1
    );
}

#[test]
fn the_modules_agree_with_the_formulas() {
    for vector in records() {
        let derived = Derived::new(&vector);
        let id = vector.id.bytes();
        let index_key = IndexKey::from_bytes(&vector.index_key).unwrap();
        assert_eq!(
            LocatorKey::new(&index_key, vector.generation).locator(&vector.namespace, &id).as_bytes(),
            &derived.locator
        );
        assert_eq!(locator::check_value(&index_key)[..], derived.check_value);
        let record = vector.seal();
        assert_eq!(record[..12], derived.header);
        assert_eq!(record[12..36], vector.salt);
        assert_eq!(record[36..68], derived.commitment);
        assert_eq!(vector.header().context(&vector.namespace, &id), derived.context);
    }
}

#[test]
fn every_record_opens() {
    for vector in records() {
        let storage = Arc::new(MemoryStorage::new());
        let index_key = IndexKey::from_bytes(&vector.index_key).unwrap();
        let key = RecordKey::from_bytes(&vector.record_key).unwrap();
        let generation = Generation { number: vector.generation, check_value: locator::check_value(&index_key) };
        let settings = Settings { generations: vec![generation], ..settings()[0].clone() };
        storage.swap_settings(None, &settings.encode()).unwrap();
        let store = Strongroom::builder().storage(storage.clone()).index_key(index_key).open().unwrap();
        assert!(matches!(store.retrieve(vector.id.bytes(), &key), Err(Error::NotFound)));
        let locator = Locator::from_bytes(Derived::new(&vector).locator);
        storage.put(&locator, &vector.seal(), PutMode::Create).unwrap();
        assert_eq!(store.contains(vector.id.bytes()).unwrap(), vector.namespace.is_empty());
        let store = store.namespace(&vector.namespace).unwrap();
        let (id, data) = (vector.id.bytes(), vector.data.bytes());
        assert!(store.retrieve(&id, &key).unwrap() == data, "{}", vector.name);
        let mut reader = store.open_record(&id, &key).unwrap();
        assert_eq!(reader.len().unwrap(), data.len() as u64, "{}", vector.name);
    }
}

/// Writes each record directly into a database, because a storage's own `put` rejects some of them.
#[cfg(feature = "sqlite")]
#[test]
fn every_invalid_record_gives_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let index_key = || IndexKey::from_bytes(&counting::<32>(0x20)).unwrap();
    let store = Strongroom::builder().path(&path).index_key(index_key()).open().unwrap();
    let database = rusqlite::Connection::open(&path).unwrap();
    let retrieve = |id: &[u8], key: &[u8], record: &[u8]| {
        let locator = LocatorKey::new(&index_key(), FIRST_GENERATION).locator(b"", id);
        let prefix = i64::from_be_bytes(locator.as_bytes()[..8].try_into().unwrap()) ^ i64::MIN;
        let (len, (head, body)) = (i64::try_from(record.len()).unwrap(), record.split_at(record.len().min(68)));
        let sql =
            "INSERT INTO record (id, prefix, len, checksum, locator, head, body) VALUES (1, ?1, ?2, 0, ?3, ?4, ?5)";
        database.execute("DELETE FROM record", ()).unwrap();
        database.execute(sql, (prefix, len, locator.as_bytes(), head, body)).unwrap();
        let key = RecordKey::from_bytes(key).unwrap();
        let outcome = store.retrieve(id, &key);
        let into = store.retrieve_into(id, &key, &mut vec![0; record.len()]);
        assert_eq!(into.map_err(|error| error.name()), outcome.as_ref().map(Vec::len).map_err(Error::name));
        outcome
    };
    let base = worked_example();
    assert_eq!(retrieve(&base.id.bytes(), &base.record_key, &base.seal()).unwrap(), base.data.bytes());
    for vector in invalid() {
        let error = retrieve(&vector.id, &vector.record_key, &vector.bytes()).unwrap_err();
        assert_eq!(error.name(), vector.error, "{}", vector.name);
    }
}

#[test]
fn every_key_text_is_the_key_or_the_error() {
    let reason = |error| match error {
        InvalidKey::Length => "Length",
        InvalidKey::AllZero => "AllZero",
        InvalidKey::Kind { .. } => "Kind",
        InvalidKey::Checksum => "Checksum",
        InvalidKey::Text => "Text",
    };
    for KeyText { comment, kind, text, outcome } in key_texts() {
        let found = match kind {
            "srk" => RecordKey::from_text(&text).map(|key| *key.expose_bytes()),
            _ => IndexKey::from_text(&text).map(|key| *key.expose_bytes()),
        };
        assert_eq!(found.map_err(reason), outcome, "{comment}");
    }
}

/// The worked example in FORMAT.md contains each value of the first vector and each intermediate value.
#[test]
fn the_worked_example_of_the_document_is_the_first_vector() {
    let document = fs::read_to_string(docs("FORMAT.md")).unwrap();
    let (_, example) = document.split_once("\n## Worked example").unwrap();
    let (example, _) = example.split_once("\n## ").unwrap();
    let squeeze = |text: &str| text.split_whitespace().collect::<String>();
    let example = squeeze(example);

    let vector = worked_example();
    let derived = Derived::new(&vector);
    let mut values: Vec<(_, String)> = Vec::new();
    for (name, json) in vector.fields() {
        if let Ok(value) = serde_json::from_str::<String>(&json)
            && !["name", "comment", "namespace"].contains(&name)
        {
            values.push((name, value));
        }
    }
    assert_eq!(values.len(), 17);
    values.push(("T(1)", hex(&derived.block_1)));
    values.push(("T(2)", hex(&derived.block_2)));
    let record = vector.seal();
    values.push(("ciphertext", hex(&record[68..record.len() - 16])));
    values.push(("tag", hex(&record[record.len() - 16..])));
    for (name, value) in values {
        let value = squeeze(&value);
        assert!(example.contains(&value), "FORMAT.md lacks {name}: {value}");
        let mut altered = value;
        let last = altered.pop();
        altered.push(if last == Some('0') { '1' } else { '0' });
        assert!(!example.contains(&altered), "a wrong {name} would not be seen");
    }
}

/// The document's tables of sizes.
#[test]
fn the_sizes_of_the_document_are_the_sizes_here() {
    let document = fs::read_to_string(docs("FORMAT.md")).unwrap();
    let (_, table) = document.split_once("| plaintext | chunks | record |").unwrap();
    let mut rows = 0;
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells = row.split('|').map(|cell| cell.trim().replace(',', "").parse::<u64>());
        let cells: Vec<_> = cells.filter_map(Result::ok).collect();
        assert_eq!(cells[1..], [chunk_count(cells[0]), 12 + message_len(cells[0]).unwrap()], "{row}");
        rows += 1;
    }
    assert_eq!(rows, SIZES.len() + 2);
    assert!(document.contains(&cobblestone::MAX_PLAINTEXT_LEN.to_string()));
}
