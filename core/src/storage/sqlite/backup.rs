//! A copy of all pages of a database, which is faster than one of its records.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::SqliteStorage;
use super::error::Outcome;
use super::open::check_name;
use super::path;
use super::rows::{self, check_interrupt};
use super::schema::PAGE_SIZE;
use super::verify::structure;
use crate::storage::Error;

/// The pages of a step, after which an interrupt is heeded.
const STEP: i32 = 1024;

impl SqliteStorage {
    /// Fails if `path` cannot be that of a new database, or if this would be beside the log of an earlier one.
    pub(crate) fn check_new_path(path: &Path) -> Result<(), Error> {
        check_name(path)?;
        Ok(path::refuse_leftovers(&path::resolve(path)?)?)
    }

    /// Copies one state of the database to the empty file `path`, not durably. Others may use the database meanwhile.
    /// `progress` gets the number of bytes.
    pub(crate) fn copy_pages(&self, path: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let copied = self.database.snapshot(|connection| {
            let mut to = Connection::open_with_flags(path, flags)?;
            // The file is of no use until it is complete.
            to.pragma_update(None, "synchronous", "OFF")?;
            to.query_row("PRAGMA journal_mode = OFF", (), |_| Ok(()))?;
            rows::begin_read(connection)?; // the transaction begins, so that all steps copy the same state
            copy(connection, &mut to, progress)?;
            to.close().map_err(|(_, error)| error)?;
            Ok(())
        });
        Ok(copied?)
    }

    /// [`Error::Corrupt`] if this handle has changed rows of a database whose pages are damaged: a page that has two
    /// uses, or is free although it is used, may then have been overwritten.
    pub(crate) fn check_changed_pages(&self) -> Result<(), Error> {
        if self.database.with_writer(|writer| Ok(writer.has_changed_rows()))?
            && self.database.interruptible_snapshot(structure::check)?.needs_rebuild
        {
            return Err(Error::Corrupt);
        }
        Ok(())
    }
}

fn copy(from: &Connection, to: &mut Connection, progress: &mut dyn FnMut(u64)) -> Outcome<()> {
    let backup = Backup::new(from, to)?;
    loop {
        check_interrupt()?;
        match backup.step(STEP)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {
                let done = backup.progress();
                let pages = u64::try_from(done.pagecount - done.remaining).unwrap_or_default();
                progress(pages * u64::from(PAGE_SIZE.unsigned_abs()));
            }
            _ => return Err(Error::Busy.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::{locator, storage};
    use super::*;
    use crate::storage::{Durability, PutMode, Storage};

    #[test]
    fn a_copy_reports_its_bytes_and_follows_no_link() {
        let (folder, storage) = storage();
        let record = vec![7; 20 << 20];
        storage.put(&locator(1), &record, PutMode::Create).unwrap();
        let (copy, link) = (folder.path().join("copy.db"), folder.path().join("link.db"));
        fs::write(&copy, "").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&copy, &link).unwrap();
            storage.copy_pages(&link, &mut |_| ()).unwrap_err();
        }
        let mut bytes = Vec::new();
        storage.copy_pages(&copy, &mut |copied| bytes.push(copied)).unwrap();
        assert_eq!(bytes, [8 << 20, 16 << 20]);
        let copy = SqliteStorage::open_existing(&copy, Durability::Full).unwrap();
        assert!(copy.get(&locator(1)).unwrap() == Some(record));
    }
}
