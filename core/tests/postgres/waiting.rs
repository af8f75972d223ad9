//! Statements that the server delays: long ones beside those of other callers, and writes that wait for each other.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::interrupt::interruptible;
use strongroom::storage::{Error, PostgresConfig, PostgresStorage, PutMode, Storage};

use crate::support::postgres::Postgres;
use crate::support::wait::{DEADLINE, Join, StopOnDrop, wait_for};
use crate::writers::{head, locator, record};

/// A table that another session has locked, until the drop.
struct Locked {
    server: &'static Postgres,
    schema: String,
    table: &'static str,
}

impl Locked {
    /// The processes of the server that wait for the table.
    fn waiting(&self) -> String {
        let Self { server, schema, table } = self;
        server.sql(&format!(
            "SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND \
             pid <> pg_backend_pid() AND query LIKE '%\"{schema}\".{table}%'"
        ))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.server.sql(&format!("DROP TABLE {}.held", self.schema));
    }
}

/// Runs `test` while another session has locked the table of a new store with this time limit.
fn with_locked(table: &'static str, timeout: Duration, test: impl FnOnce(&PostgresStorage, Locked)) {
    let (server, schema) = (Postgres::shared(), format!("test_waiting_{table}_{}", std::process::id()));
    let schema = format!("{schema}_{}", timeout.as_millis());
    let config = PostgresConfig::new(&server.url(&schema)).unwrap().timeout(timeout);
    let storage = PostgresStorage::open(&config).unwrap();
    server.sql(&format!("CREATE TABLE {schema}.held ()"));
    thread::scope(|scope| {
        let hold = format!(
            "BEGIN; LOCK TABLE {schema}.{table} IN ACCESS EXCLUSIVE MODE; DO $$ BEGIN
                WHILE EXISTS (SELECT FROM pg_tables WHERE schemaname = '{schema}' AND tablename = 'held') LOOP
                    PERFORM pg_sleep(0.02);
                END LOOP;
            END $$; COMMIT"
        );
        scope.spawn(move || server.sql(&hold));
        let locked = Locked { server, schema: schema.clone(), table };
        let is_locked = format!(
            "SELECT count(*) FROM pg_locks WHERE relation = '{schema}.{table}'::regclass AND granted
            AND mode = 'AccessExclusiveLock'"
        );
        wait_for(|| (server.sql(&is_locked) == "1").then_some(()));
        test(&storage, locked);
    });
}

/// It runs once, for longer than other statements may take, and one at a time.
#[test]
fn a_long_statement_and_others_do_not_disturb_each_other() {
    let timeout = Duration::from_secs(15);
    with_locked("segments", timeout, |storage, locked| {
        let stop = &AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = StopOnDrop(stop);
            let sweeps: Vec<_> = (0..3).map(|_| scope.spawn(|| storage.maintain())).collect();
            let first = wait_for(|| Some(locked.waiting()).filter(|processes| !processes.is_empty()));
            let look = || {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(storage.info(&locator(1, 1)).unwrap(), None);
                    thread::sleep(Duration::from_millis(1));
                }
            };
            let others: Vec<_> = (0..16).map(|_| scope.spawn(look)).collect();
            thread::sleep(timeout / 3 + Duration::from_millis(500)); // the time of an attempt, and more
            assert_eq!(locked.waiting(), first);
            stop.store(true, Ordering::Relaxed);
            others.into_iter().for_each(|other| other.join_within(DEADLINE));
            drop(locked);
            sweeps.into_iter().for_each(|sweep| sweep.join_within(DEADLINE).unwrap());
        });
    });
}

/// A repetition would take as long, so the call ends and names the settings.
#[test]
fn a_time_limit_of_the_server_is_named() {
    with_locked("segments", Duration::from_secs(60), |_, locked| {
        let (server, schema) = (locked.server, &locked.schema);
        let limited = |setting: &str| {
            let url = format!("{}&options=-c%20{setting}%3D2s", server.url(schema));
            let error = PostgresStorage::open(&PostgresConfig::new(&url).unwrap()).unwrap().maintain().unwrap_err();
            strongroom::Error::from(error).full_message()
        };
        let names = "name IN ('statement_timeout', 'transaction_timeout')"; // the second since version 17
        let settings = server.sql(&format!("SELECT string_agg(name, ' ') FROM pg_settings WHERE {names}"));
        thread::scope(|scope| {
            let limited = &limited;
            let calls: Vec<_> = settings.split(' ').map(|name| scope.spawn(move || limited(name))).collect();
            for call in calls {
                let text = call.join_within(DEADLINE);
                assert!(text.contains("statement_timeout and transaction_timeout of this role"), "{text}");
            }
        });
    });
}

#[test]
fn a_long_statement_ends_with_its_caller() {
    static GIVES_UP: AtomicBool = AtomicBool::new(false);
    with_locked("segments", Duration::from_secs(3), |storage, locked| {
        thread::scope(|scope| {
            let call = || interruptible(|| GIVES_UP.load(Ordering::Relaxed), || storage.maintain());
            let sweep = scope.spawn(call);
            wait_for(|| (!locked.waiting().is_empty()).then_some(()));
            GIVES_UP.store(true, Ordering::Relaxed);
            let outcome = sweep.join_within(DEADLINE);
            assert!(matches!(outcome, Err(Error::Busy)), "{outcome:?}");
            wait_for(|| locked.waiting().is_empty().then_some(()));
        });
    });
}

/// Also those on shared connections.
#[test]
fn a_statement_whose_time_is_up_ends() {
    with_locked("records", Duration::from_secs(3), |storage, locked| {
        let outcome = storage.info(&locator(1, 1));
        assert!(matches!(outcome, Err(Error::Busy | Error::Backend(_))), "{outcome:?}"); // it may not connect again
        wait_for(|| locked.waiting().is_empty().then_some(()));
    });
}

/// A commit that waits for a standby goes on when its connection has ended.
#[test]
fn commits_that_do_not_end_use_few_connections() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = &Postgres::start(folder.path());
    let config = PostgresConfig::new(&server.url("standby")).unwrap();
    let (direct, moved) = (PostgresStorage::open(&config).unwrap(), &record(1, 100));
    let storage = &PostgresStorage::open(&config.timeout(Duration::from_secs(3))).unwrap();
    for writer in 0..16 {
        (0..4).for_each(|n| direct.put(&locator(writer, n), moved, PutMode::Create).unwrap());
    }
    server.set_synchronous_standbys("nobody");
    wait_for(|| (server.sql("SHOW synchronous_standby_names") == "nobody").then_some(()));
    thread::scope(|scope| {
        let move_some = |writer| {
            for n in 0..4 {
                let outcome = storage.rename(&locator(writer, n), &head(moved), &locator(writer + 16, n));
                let is_expected =
                    |error: &Error| matches!(error, Error::Busy | Error::Backend(_) | Error::Indeterminate(_));
                assert!(outcome.as_ref().is_err_and(is_expected), "{outcome:?}");
            }
        };
        let writers: Vec<_> = (0..16).map(|writer| scope.spawn(move || move_some(writer))).collect();
        writers.into_iter().for_each(|writer| writer.join_within(DEADLINE));
    });
    let waiting = server.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    assert!((1..=24).contains(&waiting.parse().unwrap()), "{waiting}");
    server.set_synchronous_standbys("");
    wait_for(|| storage.put(&locator(40, 1), moved, PutMode::Overwrite).ok());
}

/// The time in the queue is a part of a call's time.
#[test]
fn a_write_behind_others_ends_in_time() {
    let timeout = Duration::from_millis(1500);
    with_locked("records", timeout, |storage, locked| {
        let (record, begun) = (record(1, 60_000), Instant::now());
        thread::scope(|scope| {
            let put = |n| {
                let record = &record;
                scope.spawn(move || storage.put(&locator(1, n), record, PutMode::Create))
            };
            // More than three groups.
            for write in (0..60).map(put).collect::<Vec<_>>() {
                let outcome = write.join_within(DEADLINE);
                assert!(matches!(outcome, Err(Error::Busy | Error::Indeterminate(_))), "{outcome:?}");
            }
        });
        assert!(begun.elapsed() < timeout * 3, "{:?}", begun.elapsed());
        drop(locked);
    });
}
