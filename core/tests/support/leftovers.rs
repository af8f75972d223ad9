//! A database after interrupted writes.

use std::ops::ControlFlow;
use std::path::Path;

use strongroom::{Builder, VerifyOptions};

use crate::support::wait::wait_for;

/// Checks that no record is damaged, and that maintenance leaves nothing of an upload once all have ended. Returns the
/// number of records.
pub(crate) fn check_database(path: &Path, builder: Builder) -> u64 {
    let store = builder.path(path).open().unwrap();
    let database = rusqlite::Connection::open(path).unwrap();
    let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let segments =
        "SELECT count(*) FROM segment WHERE object NOT IN (SELECT object FROM record WHERE object IS NOT NULL)";
    wait_for(|| {
        store.maintain().unwrap();
        (count("SELECT count(*) FROM pending") + count(segments) == 0).then_some(())
    });
    let report = store.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(report.damaged, 0);
    report.records
}
