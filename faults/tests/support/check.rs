//! The check of a store after a fault, apart from its records.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use strongroom::{Strongroom, VerifyOptions, VerifyReport};
use tempfile::TempDir;

pub(crate) const DATABASE: &str = "records.db";
/// The files that remain when a store is closed.
const FILES: [&str; 3] = [DATABASE, "records.db.index-key", "records.db.uploads"];

/// A new folder, in memory if possible: the simulation needs no real disk.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

/// Closes the store. Nothing may be damaged, and nothing left over.
pub(crate) fn whole(store: Strongroom, folder: &Path) -> Result<(), String> {
    let report = store.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(()));
    if !report.as_ref().is_ok_and(VerifyReport::is_clean) {
        return Err(format!("damage: {report:?}"));
    }
    store.close().map_err(|error| format!("does not close: {error:?}"))?;
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> = names.filter(|name| !FILES.contains(&&**name)).collect();
    if !left.is_empty() {
        return Err(format!("files are left: {left:?}"));
    }
    let connection = Connection::open_with_flags(folder.join(DATABASE), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let value = |sql| connection.query_row(sql, (), |row| row.get::<_, Value>(0)).unwrap();
    let (integrity, pending) = (value("PRAGMA integrity_check"), value("SELECT count(*) FROM pending"));
    if integrity != Value::Text("ok".into()) || pending != Value::Integer(0) {
        return Err(format!("integrity: {integrity:?}, pending: {pending:?}"));
    }
    Ok(())
}
