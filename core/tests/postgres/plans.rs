//! Plans of statements that must be right whatever the server's statistics say.

use std::sync::Arc;

use strongroom::storage::{Locator, PostgresConfig, PostgresStorage, Storage};

use crate::support::postgres::Postgres;
use crate::support::wait::wait_for;

const DUE: usize = 5_000;
const STEP: usize = 1_000;

fn record(n: usize, expires_at: u64) -> (Locator, Vec<u8>) {
    let mut locator = [7; 32];
    locator[..8].copy_from_slice(&(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let record = [vec![1, 1, 0, 0], expires_at.to_le_bytes().to_vec(), vec![n as u8; 100]].concat();
    (Locator::from_bytes(locator), record)
}

fn create(storage: &PostgresStorage, numbers: std::ops::Range<usize>, expires_at: u64) {
    let records: Vec<_> = numbers.map(|n| record(n, expires_at)).collect();
    let records: Vec<_> = records.iter().map(|(locator, record)| (*locator, &record[..])).collect();
    storage.create_many(&records).unwrap();
}

/// Statistics from before the first record expired made each step look at all expired records, a thousand times.
#[test]
fn a_step_of_a_purge_reads_as_many_records_as_it_removes() {
    let (server, schema) = (Postgres::shared(), format!("test_plans_{}", std::process::id()));
    let config = PostgresConfig::new(&server.url(&schema)).unwrap();
    let storage = Arc::new(PostgresStorage::open(&config).unwrap());
    server.sql(&format!("ALTER TABLE {schema}.records SET (autovacuum_enabled = off)"));
    create(&storage, 0..DUE, 0);
    server.sql(&format!("ANALYZE {schema}.records"));
    create(&storage, DUE..2 * DUE, 100);
    assert_eq!(storage.purge(200, STEP).unwrap(), STEP);
    drop(storage); // the end of a session flushes its statistics
    let read = format!(
        "SELECT idx_tup_read FROM pg_stat_user_indexes
        WHERE schemaname = '{schema}' AND indexrelname = 'records_expires_at'"
    );
    let read = wait_for(|| server.sql(&read).parse::<usize>().ok().filter(|read| *read >= STEP));
    assert!(read < 2 * STEP, "{read}");
}
