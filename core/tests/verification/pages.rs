//! The use of each page of a database, by SQLite's file format.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

/// The bytes of a page.
pub(super) const PAGE: usize = 8192;

/// The use of a page of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    Header,
    Records,
    Segments,
    Index,
    Settings,
    Pending,
    Other,
}

/// The use of each page, by the trees of its tables and indexes (SQLite's file format).
pub(super) fn uses(path: &Path) -> Vec<Use> {
    let file = fs::read(path).unwrap();
    let mut uses = vec![Use::Other; file.len() / PAGE];
    let connection = Connection::open(path).unwrap();
    let mut roots = connection.prepare("SELECT type, name, rootpage FROM sqlite_schema WHERE rootpage > 0").unwrap();
    let roots = roots.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    for (kind, name, root) in roots.map(Result::<(String, String, u32), _>::unwrap) {
        let of = match (&*kind, &*name) {
            ("index", _) => Use::Index,
            (_, "record") => Use::Records,
            (_, "segment") => Use::Segments,
            (_, "settings") => Use::Settings,
            (_, "pending") => Use::Pending,
            _ => continue,
        };
        mark(&file, root as usize, of, &mut uses);
    }
    uses[0] = Use::Header;
    uses
}

fn mark(file: &[u8], page: usize, of: Use, uses: &mut [Use]) {
    uses[page - 1] = of;
    let bytes = &file[(page - 1) * PAGE..page * PAGE];
    let u16_at = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let u32_at = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (is_interior, is_table) = (matches!(bytes[0], 2 | 5), matches!(bytes[0], 5 | 13));
    let cells = (0..u16_at(3)).map(|n| u16_at(if is_interior { 12 } else { 8 } + 2 * n));
    for cell in cells {
        if is_interior {
            mark(file, u32_at(cell), of, uses);
        } else if is_table {
            let (len, at) = varint(bytes, cell);
            let (_, at) = varint(bytes, at);
            if len > PAGE - 35 {
                let min = (PAGE - 12) * 32 / 255 - 23;
                let rest = min + (len - min) % (PAGE - 4);
                let local = if rest <= PAGE - 35 { rest } else { min };
                let mut next = u32_at(at + local);
                while next != 0 {
                    uses[next - 1] = of;
                    let start = (next - 1) * PAGE;
                    next = u32::from_be_bytes(file[start..start + 4].try_into().unwrap()) as usize;
                }
            }
        }
    }
    if is_interior {
        mark(file, u32_at(8), of, uses);
    }
}

fn varint(bytes: &[u8], mut at: usize) -> (usize, usize) {
    let mut value = 0;
    loop {
        value = value << 7 | usize::from(bytes[at] & 0x7f);
        at += 1;
        if bytes[at - 1] < 0x80 {
            return (value, at);
        }
    }
}
