//! The tables of a database, and their check.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::error::{Fault, Outcome};
use super::path::failed;
use crate::storage::Error;

/// "SROM", which marks the file as a Strongroom database.
const APPLICATION_ID: i32 = 0x5352_4f4d;
/// The schema's version, SQLite's `user_version`.
const SCHEMA_VERSION: i32 = 1;

/// Bytes of a page of a new database. Larger pages make small writes slower, smaller ones large values.
pub(super) const PAGE_SIZE: i32 = 8192;

/// - `settings`: the settings document, in one row.
/// - `record`: a row for each record. `prefix` is the locator's first 8 bytes as an integer of the same order. `head`
///   and `body` are the record, or its beginning if `object` identifies the segments that continue it. `expires_at` is
///   NULL for a record that never expires. [`checksum`](super::checksum) defines `checksum`.
/// - `segment`: the rest of long records, in order of `n` from 0. All but the last are as long as `head` and `body`
///   together.
/// - `pending`: objects that belong to no record. For a running upload, the time (Unix seconds) when a segment was last
///   added; for a dead object, which must be removed, 0.
const SCHEMA: &str = "
    CREATE TABLE settings (id INTEGER PRIMARY KEY CHECK (id = 1), document BLOB NOT NULL) STRICT;
    CREATE TABLE record (
        id INTEGER PRIMARY KEY,
        prefix INTEGER NOT NULL,
        len INTEGER NOT NULL,
        expires_at INTEGER,
        object INTEGER,
        checksum INTEGER NOT NULL,
        locator BLOB NOT NULL,
        head BLOB NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX record_prefix ON record (prefix);
    CREATE INDEX record_expires_at ON record (expires_at) WHERE expires_at IS NOT NULL;
    CREATE INDEX record_object ON record (object) WHERE object IS NOT NULL;
    CREATE TABLE segment (
        id INTEGER PRIMARY KEY,
        object INTEGER NOT NULL,
        n INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        data BLOB NOT NULL,
        UNIQUE (object, n)
    ) STRICT;
    CREATE TABLE pending (object INTEGER PRIMARY KEY, touched INTEGER NOT NULL) STRICT;
";

pub(super) enum Identity {
    Ours,
    /// A new file, without a table.
    Empty,
}

/// Determines the kind of database, without a write. In a transaction, because another process may be creating the
/// tables.
pub(super) fn identify(transaction: &Transaction<'_>, path: &Path) -> Outcome<Identity> {
    let read = |pragma| {
        let value = transaction.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
        value.map_err(|error| match (error.sqlite_error_code(), Fault::from(error)) {
            (Some(ErrorCode::NotADatabase), _) => not_ours(path),
            (_, Fault(Error::Backend(source))) => failed(path, source).into(),
            // Damage, such as missing pages, in a database of any kind.
            (_, other) => other,
        })
    };
    match (read("application_id")?, read("user_version")?) {
        (APPLICATION_ID, SCHEMA_VERSION) => check(transaction, path).map(|()| Identity::Ours),
        (APPLICATION_ID, version) => {
            let text = format!(
                "{} has schema version {version}, and this program knows {SCHEMA_VERSION}: use a newer Strongroom",
                path.display()
            );
            Err(Error::Unsupported(text.into()).into())
        }
        (0, 0) if read("schema_version")? == 0 => Ok(Identity::Empty),
        _ => Err(not_ours(path)),
    }
}

/// A store with damage in its first bytes cannot be distinguished from a file that was never a store.
pub(super) fn not_ours(path: &Path) -> Fault {
    let text = format!(
        "{} is not a Strongroom database, or is damaged from its first bytes on; it was left as it is. Choose another \
         path, or restore it from a backup",
        path.display()
    );
    Error::InvalidArgument(text.into()).into()
}

/// Creates the tables in one transaction, so that a crash leaves an empty file or a complete database. If two processes
/// try at the same time, one does it. The pages record their parents (`auto_vacuum`), so that
/// [`compact`](super::compact) can move them.
pub(super) fn create(connection: &mut Connection, path: &Path, page_size: i32) -> Outcome<()> {
    connection.pragma_update(None, "page_size", page_size)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    if let Identity::Empty = identify(&transaction, path)? {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    Ok(transaction.commit()?)
}

/// A row of `sqlite_schema`.
#[derive(PartialEq, Eq)]
struct Entry {
    kind: String,
    name: String,
    table: String,
    /// The original statement, except for white space; `None` for an index that SQLite made by itself.
    sql: Option<String>,
    /// Whether it has pages. A view, a trigger and a virtual table have none.
    has_pages: bool,
}

/// Rejects a database whose tables differ from [`SCHEMA`], or that has another object that could change the effect of a
/// statement on them: a trigger, a view, a virtual table, an index on one of them. Other tables and their indexes are
/// allowed: they belong to other tools, such as Litestream or SQLite's `ANALYZE`.
fn check(connection: &Connection, path: &Path) -> Outcome<()> {
    let (ours, found) = (our_entries()?, entries(connection)?);
    let refuse = |entry: &Entry, why: &str| {
        let name: String = entry.name.chars().take(100).collect();
        let text = format!("{}: the {} {name:?} {why}", path.display(), entry.kind);
        Err(Error::InvalidArgument(text.into()).into())
    };
    let has_table = |name| found.iter().any(|entry| entry.kind == "table" && entry.name == name);
    if has_table("meta") && !has_table("settings") {
        let text = format!(
            "{} was written by a development version of Strongroom, which no release reads: retrieve the records with \
             that version, and store them again",
            path.display()
        );
        return Err(Error::Unsupported(text.into()).into());
    }
    if let Some(missing) = ours.iter().find(|entry| !found.contains(entry)) {
        return refuse(missing, "is missing or was altered: the database is damaged; restore it from a backup");
    }
    let is_ours = |table: &str| ours.iter().any(|entry| entry.table.eq_ignore_ascii_case(table));
    let is_harmless = |entry: &Entry| match entry.kind.as_str() {
        "table" => entry.has_pages,
        "index" => !is_ours(&entry.table),
        _ => false,
    };
    match found.iter().find(|entry| !ours.contains(entry) && !is_harmless(entry)) {
        None => Ok(()),
        Some(foreign) => refuse(foreign, "is not a part of a store and could change its behaviour: drop it"),
    }
}

/// The first table that belongs to another tool.
pub(super) fn foreign_table(connection: &Connection) -> Outcome<Option<String>> {
    let ours = our_entries()?;
    let foreign = entries(connection)?.into_iter().find(|entry| {
        entry.kind == "table" && !entry.name.starts_with("sqlite_") && !ours.iter().any(|our| our.name == entry.name)
    });
    Ok(foreign.map(|entry| entry.name))
}

fn entries(connection: &Connection) -> Outcome<Vec<Entry>> {
    let sql =
        "SELECT type, name, tbl_name, sql, coalesce(rootpage, 0) != 0 FROM sqlite_schema ORDER BY type DESC, name";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map((), |row| {
        let sql: Option<String> = row.get(3)?;
        let sql = sql.map(|sql| sql.split_whitespace().collect::<Vec<_>>().join(" "));
        let (kind, name, table, has_pages) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(4)?);
        Ok(Entry { kind, name, table, sql, has_pages })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The entries that [`SCHEMA`] creates.
fn our_entries() -> Outcome<Vec<Entry>> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(SCHEMA)?;
    entries(&connection)
}
