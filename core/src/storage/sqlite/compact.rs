//! Compaction: free pages leave the file.
//!
//! SQLite keeps the pages of removed records for later ones. Each step moves some of the last pages of the file to free
//! places before them, and the next checkpoint shortens the file.

use rusqlite::Connection;

use super::connection_settings::{Commit, get};
use super::database::Database;
use super::error::Outcome;
use super::rows::check_interrupt;
use crate::storage::Error;

/// The most pages that one step returns, for which other writers wait.
const STEP: u32 = 64;

/// `auto_vacuum` of a database whose pages can be moved.
const INCREMENTAL: i32 = 2;

impl Database {
    /// Shortens the file by at most `limit` bytes, in one short step. Returns the number of bytes; 0 if no page is
    /// free.
    pub(super) fn compact(&self, limit: u64) -> Outcome<u64> {
        self.check_writable()?;
        let (free, page_len, mode): (u32, u64, i32) = self.read(|connection| {
            Ok((get(connection, "freelist_count")?, page_len(connection)?, get(connection, "auto_vacuum")?))
        })?;
        let pages = u32::try_from(limit / page_len).unwrap_or(u32::MAX).min(free).min(STEP);
        if pages == 0 {
            return Ok(0); // nobody waits for a transaction that changes nothing
        }
        if mode != INCREMENTAL {
            let text = "the pages of this file cannot be moved, because another program made it: copy the store";
            return Err(Error::Unsupported(text.into()).into());
        }
        self.write_with(Commit::Step, |connection| {
            check_interrupt()?;
            let pages_before: u32 = get(connection, "page_count")?;
            connection.pragma(None, "incremental_vacuum", pages, |_| Ok(()))?;
            let pages: u32 = get(connection, "page_count")?;
            // It may be a page more: one at the end of the file that only describes others.
            Ok((u64::from(pages_before.saturating_sub(pages)) * page_len).min(limit))
        })
    }
}

/// The bytes of the free pages.
pub(super) fn free_bytes(connection: &Connection) -> Outcome<u64> {
    Ok(u64::from(get::<u32>(connection, "freelist_count")?) * page_len(connection)?)
}

fn page_len(connection: &Connection) -> Outcome<u64> {
    Ok(u64::from(get::<u32>(connection, "page_size")?.max(1)))
}
