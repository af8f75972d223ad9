//! Crashes of the server, of a primary with a standby, and of the program: acknowledged writes are there.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use strongroom::Strongroom;
use strongroom::storage::{PostgresConfig, PostgresStorage};
use tempfile::TempDir;

use crate::support::index_key;
use crate::support::killed_writers::check;
use crate::support::postgres::Postgres;
use crate::support::rounds::rounds;
use crate::writers::check_failure;

/// The server's user is not the owner of the folder.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

fn config(url: &str) -> PostgresConfig {
    PostgresConfig::new(url).unwrap().timeout(Duration::from_secs(20))
}

#[test]
fn a_crash_of_the_server_loses_nothing_that_was_acknowledged() {
    let folder = folder();
    let mut server = Postgres::start(folder.path());
    let storage = PostgresStorage::open(&config(&server.url("crashes"))).unwrap();
    for round in 0..rounds(10, 100) {
        check_failure(&storage, round, || {
            server.kill();
            server.restart();
        });
    }
}

/// With `synchronous_standby_names`. The lost server comes back as the standby of the new primary.
#[test]
fn a_failover_loses_nothing_that_was_acknowledged() {
    let folders = [folder(), folder()];
    let mut primary = Postgres::start(folders[0].path());
    let mut standby = Postgres::start_standby(folders[1].path(), &primary);
    let url = format!("postgres://strongroom@{},{}/postgres?schema=failovers", primary.host(), standby.host());
    let storage = PostgresStorage::open(&config(&url)).unwrap();
    let mut longest = Duration::ZERO;
    for round in 0..rounds(1, 20) {
        let refused = PostgresStorage::open(&config(&standby.url("failovers")).timeout(Duration::from_secs(1)));
        let refused = strongroom::Error::from(refused.unwrap_err()).full_message();
        assert!(refused.contains("read-only: use the primary"), "{refused}");
        let outage = check_failure(&storage, round, || {
            primary.kill();
            standby.promote();
        });
        longest = longest.max(outage);
        std::mem::swap(&mut primary, &mut standby);
        standby.follow(&primary);
    }
    println!("no write was acknowledged for {longest:?} at most");
}

#[test]
fn a_killed_program_loses_nothing_that_was_acknowledged() {
    let server = Postgres::shared();
    check("crashes::a_killed_program_loses_nothing_that_was_acknowledged", |name| {
        let config = PostgresConfig::new(&server.url(name)).unwrap();
        Strongroom::builder().postgres(config).index_key(index_key()).open().unwrap()
    });
}
