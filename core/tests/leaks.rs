//! No output of the store contains a secret: the database, its log, errors, `Debug`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use strongroom::storage::{MemoryStorage, PutMode, Storage};
use strongroom::{Error, IndexKey, RecordKey, Strongroom, WriteOptions};
use support::index_key;
use support::scanner::{Scanner, base64};

fn id(n: usize) -> String {
    format!("patient-{:08x}@clinic.example", n.wrapping_mul(2_654_435_761) % 0x1_0000_0000)
}

fn data(n: usize) -> Vec<u8> {
    let size = if n == 500 { 3_000_000 } else { 100 + n * 7 };
    format!("diagnosis {n:06} is confidential; ").into_bytes().into_iter().cycle().take(size).collect()
}

/// Collects all texts of the store about 1,000 records and their failures.
fn provoke(store: &Strongroom, n: usize, key: &RecordKey, texts: &mut Vec<String>) {
    let wrong = RecordKey::generate().unwrap();
    let mut errors: Vec<Error> = vec![
        store.store(id(n), data(n)).unwrap_err(),
        store.store_with(id(n), "other data", WriteOptions::new().key(key)).unwrap_err(),
        store.retrieve(id(n), &wrong).unwrap_err(),
        store.retrieve(id(n) + "?", key).unwrap_err(),
        store.replace(id(n), &wrong, data(n)).unwrap_err(),
        store.delete(id(n), &wrong).unwrap_err(),
        store.store(id(n).repeat(200), data(n)).unwrap_err(),
    ];
    let text = key.to_text();
    errors.push(RecordKey::from_text(text.get(..61).unwrap()).unwrap_err().into());
    errors.push(IndexKey::from_text(&text).unwrap_err().into());
    errors.push(RecordKey::from_bytes(&key.expose_bytes()[..31]).unwrap_err().into());
    texts.extend(errors.iter().map(|error| format!("{error} {error:?} {error:#?}")));
    texts.push(format!("{store:?} {store:#?} {key:?} {key:#?}"));
}

#[test]
fn no_secret_is_written_or_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = Strongroom::open(&path).unwrap();
    let mut scanner = Scanner::default();
    let mut texts = Vec::new();
    for n in 0..1000 {
        let key = store.store(id(n), data(n)).unwrap();
        scanner.add("an id", id(n).as_bytes());
        scanner.add("data", &data(n)[..30]);
        scanner.add("a record key", key.expose_bytes());
        scanner.add("a record key's text", key.to_text().as_bytes());
        if n % 50 == 0 {
            provoke(&store, n, &key, &mut texts);
            let key = store.replace(id(n), &key, data(n)).unwrap();
            scanner.add("a record key", key.expose_bytes());
        }
        if n % 100 == 1 {
            store.delete(id(n), &key).unwrap();
        }
    }

    let sidecar = folder.path().join("records.db.index-key");
    let assert_clean = |scanner: &Scanner, file: &Path| {
        assert_eq!(scanner.find(&fs::read(file).unwrap()), None, "in {}", file.display());
    };
    assert_clean(&scanner, &sidecar); // the file may contain only its own key
    let index_key = IndexKey::from_text(fs::read_to_string(&sidecar).unwrap().trim()).unwrap();
    scanner.add("the index key", index_key.expose_bytes());
    scanner.add("the index key's text", index_key.to_text().as_bytes());
    assert!(scanner.find(&fs::read(&sidecar).unwrap()).is_some(), "the scanner is blind");

    let files = ["records.db", "records.db-wal", "records.db-shm"].map(|name| folder.path().join(name));
    for file in &files {
        assert!(fs::metadata(file).unwrap().len() > 30_000, "{} has something in it", file.display());
        assert_clean(&scanner, file);
    }
    store.close().unwrap();
    assert!(!files[1].exists(), "the log is moved into the database");
    assert_clean(&scanner, &files[0]);

    // Types that are used with keys.
    let memory = Arc::new(MemoryStorage::new());
    memory.put(&"l".repeat(32).into_bytes().try_into().map(locator).unwrap(), &[b'r'; 100], PutMode::Create).unwrap();
    let mut upload = Arc::clone(&memory).upload(&locator([7; 32]), PutMode::Create).unwrap();
    upload.write(&data(1)).unwrap();
    texts.push(format!("{memory:?} {upload:?} {:?}", locator([b'l'; 32])));
    texts.push(format!("{:?}", memory.info(&locator([b'l'; 32]))));
    texts.push(format!("{:?}", Strongroom::builder().storage(memory).index_key(index_key)));
    scanner.add("a locator", &[b'l'; 32]);
    scanner.add("a record", &[b'r'; 68]);
    for text in texts {
        assert_eq!(scanner.find(text.as_bytes()), None, "in {text}");
    }
}

/// A database shows when a record expires, but neither its namespace nor, with padding, the length of its data.
#[test]
fn namespaces_and_lengths_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = Strongroom::open(&path).unwrap();
    let mut scanner = Scanner::default();
    let lens = (100_000..100_040).map(|n| n * 3);
    for (n, len) in lens.clone().enumerate() {
        let namespace = format!("customer-{n:04x}-of-clinic");
        scanner.add("a namespace", namespace.as_bytes());
        let _ = store.namespace(&namespace).unwrap().padded().store(id(n), vec![b'x'; len]).unwrap();
    }
    store.close().unwrap();
    let file = fs::read(&path).unwrap();
    assert_eq!(scanner.find(&file), None);

    let connection = rusqlite::Connection::open(&path).unwrap();
    let mut statement = connection.prepare("SELECT DISTINCT len FROM record").unwrap();
    let stored = statement.query_map((), |row| row.get(0)).unwrap().collect::<Result<Vec<i64>, _>>().unwrap();
    assert_eq!(stored.len(), 1, "the lengths are told apart by {stored:?}");

    // Without padding, the same lengths are distinguished.
    let plain = folder.path().join("plain.db");
    let store = Strongroom::open(&plain).unwrap();
    lens.for_each(|len| drop(store.store(len.to_string(), vec![b'x'; len]).unwrap()));
    store.close().unwrap();
    let connection = rusqlite::Connection::open(&plain).unwrap();
    let count: i64 = connection.query_row("SELECT count(DISTINCT len) FROM record", (), |row| row.get(0)).unwrap();
    assert_eq!(count, 40);
}

fn locator(bytes: [u8; 32]) -> strongroom::storage::Locator {
    strongroom::storage::Locator::from_bytes(bytes)
}

/// Each form of a planted secret is found, at each position, also in a real database.
#[test]
fn the_scanner_finds_secrets() {
    let mut scanner = Scanner::default();
    scanner.add("an id", id(1).as_bytes());
    scanner.add("a key", index_key().expose_bytes());
    for secret in [id(1).into_bytes(), index_key().expose_bytes().to_vec()] {
        for shift in 0..3 {
            let padded = [&b"abc"[..shift], &secret, b"xyz"].concat();
            for alphabet in ["+/", "-_"] {
                assert!(scanner.find(&base64(&padded, alphabet)).is_some());
            }
            assert!(scanner.find(&padded).is_some());
            assert!(scanner.find(format!("{padded:?}").as_bytes()).is_some());
            assert!(scanner.find(format!("{padded:02x?}").replace(", ", "").as_bytes()).is_some());
        }
        assert_eq!(scanner.find(&secret[1..]), None);
    }
    assert_eq!(String::from_utf8(base64(b"Strongroom?>", "+/")).unwrap(), "U3Ryb25ncm9vbT8+");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE t (x)").unwrap();
    connection.execute("INSERT INTO t VALUES (?1)", [id(1)]).unwrap();
    assert!(scanner.find(&fs::read(&path).unwrap()).is_some());
}
