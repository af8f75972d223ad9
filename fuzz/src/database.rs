//! A database file in which somebody changed bytes.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use strongroom::{RecordKey, Strongroom, VerifyOptions};
use tempfile::TempDir;

use crate::Input;

/// A valid database with several records; `core/tests/golden.rs` lists them.
const DATABASE: &[u8] = include_bytes!("../../core/tests/golden/v1.db");
const INDEX_KEY: &[u8] = include_bytes!("../../core/tests/golden/v1.db.index-key");
const PAGE: usize = 8192;
/// The records that are read: key byte, id, length.
const RECORDS: [(u8, &str, usize); 4] =
    [(1, "0 bytes", 0), (7, "16384 bytes", 16_384), (10, "40000 bytes", 40_000), (101, "segments", 1_100_000)];

/// Each read returns the right data or an error.
pub fn database(data: &[u8]) {
    let folder = scratch();
    let path = folder.path().join("v1.db");
    fs::write(&path, change(data)).unwrap();
    private_file(&folder.path().join("v1.db.index-key"), INDEX_KEY);
    let Ok(store) = Strongroom::open(&path) else { return };
    for (key, id, len) in RECORDS {
        if let Ok(read) = store.retrieve(id, &RecordKey::from_bytes(&[key; 32]).unwrap()) {
            assert!(read.iter().copied().eq((0..=250).cycle().take(len)), "{id} has other data");
        }
    }
    let _ = store.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(()));
    let _ = store.stats();
    let _ = store.store("new", b"data");
    let _ = store.erase("40000 bytes");
    let _ = store.close();
}

/// Applies the input's edits to the database.
fn change(data: &[u8]) -> Vec<u8> {
    let mut database = DATABASE.to_vec();
    let mut input = Input(data);
    for _ in 0..32 {
        if input.is_empty() {
            break;
        }
        let (kind, at) = (input.byte() % 8, usize::from(input.byte()) * PAGE + input.number() % PAGE);
        let at = at.min(database.len() - 1);
        match kind {
            0 => {
                let from = usize::from(input.byte()) * PAGE;
                let page: Vec<u8> = database.iter().skip(from).take(PAGE).copied().collect();
                database.iter_mut().skip(at - at % PAGE).zip(page).for_each(|(to, from)| *to = from);
            }
            1 => database.truncate(at.max(1)),
            _ => {
                for to in database.iter_mut().skip(at).take(usize::from(kind) - 1) {
                    *to = input.byte();
                }
            }
        }
    }
    database
}

fn private_file(path: &Path, content: &[u8]) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(content).unwrap();
}

/// A folder in memory, if possible.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}
