//! After `maintain` or closing, none of the store's files contains deleted ciphertext.

use std::collections::HashSet;

use super::*;

/// The 16-byte parts of all rows: ciphertext has no repetitions.
fn samples(path: &Path) -> HashSet<[u8; 16]> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(path, flags).unwrap();
    let mut statement = connection.prepare("SELECT body FROM record UNION ALL SELECT data FROM segment").unwrap();
    let rows = statement.query_map((), |row| row.get::<_, Vec<u8>>(0)).unwrap();
    // Without the header, which is the same in all records.
    rows.flat_map(|data| data.unwrap()[12..].chunks_exact(16).map(|part| part.try_into().unwrap()).collect::<Vec<_>>())
        .collect()
}

/// The number of samples in the folder's files.
fn found(folder: &Path, samples: &HashSet<[u8; 16]>) -> usize {
    let files = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let found =
        files.flat_map(|file| file.windows(16).filter_map(|part| samples.get(part).copied()).collect::<Vec<_>>());
    found.collect::<HashSet<_>>().len()
}

/// Deletes and replaces records. Returns the samples of the removed ciphertext.
fn delete_everything(store: &Strongroom, path: &Path) -> HashSet<[u8; 16]> {
    let mut keys = Vec::new();
    for n in 0..47 {
        let len = if n % 10 == 3 { 600_000 } else { n * 100 };
        keys.push(store.store(format!("id {n}"), vec![7; len]).unwrap());
    }
    let samples = samples(path);
    for (n, key) in keys.iter().enumerate() {
        let id = format!("id {n}");
        match n % 3 {
            0 => store.delete(&id, key).unwrap(),
            1 => assert!(store.erase(&id).unwrap()),
            _ => drop(store.replace(&id, key, "short").unwrap()),
        }
    }
    assert!(samples.len() > 100_000 && found(path.parent().unwrap(), &samples) > 1000, "the search is blind");
    samples
}

#[test]
fn maintain_removes_what_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = open(&path).unwrap();
    let samples = delete_everything(&store, &path);
    store.maintain().unwrap();
    assert_eq!(found(folder.path(), &samples), 0);
    let key = store.store("more", "data").unwrap();
    assert_eq!(store.retrieve("more", &key).unwrap(), b"data");
}

#[test]
fn closing_removes_what_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = open(&path).unwrap();
    let samples = delete_everything(&store, &path);
    store.close().unwrap();
    assert_eq!(found(folder.path(), &samples), 0);
}

/// A reader of an old state prevents the removal of the log: `maintain` reports that, and succeeds after the reader
/// ends.
#[test]
fn a_log_still_in_use_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = open(&path).unwrap();
    let samples = delete_everything(&store, &path);
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM record").unwrap();
    store.store("more", "data").unwrap();
    assert_error(store.maintain(), "Busy", "");
    reader.execute_batch("COMMIT").unwrap();
    store.maintain().unwrap();
    assert_eq!(found(folder.path(), &samples), 0);
}
