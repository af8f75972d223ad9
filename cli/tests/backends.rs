//! Stores in PostgreSQL and in buckets: all commands, and both services.

#[cfg(feature = "server")]
use rustix::process::Signal;
use serde_json::Value;
#[cfg(feature = "server")]
use strongroom::{Endpoint, Strongroom};

use crate::fake_s3::{Objects, Seen, Server, start_with};
use crate::support::postgres::{Postgres, schema_of};
#[cfg(feature = "server")]
use crate::support::service::Service;
use crate::support::wait::wait_for;
use crate::support::{DATA, ID, World};

fn in_bucket() -> World {
    crate::object_store::world(Server::Correct)
}

/// A folder with an index key, for a store in tables of its own.
fn in_postgres() -> World {
    let mut world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    world.environment = vec![
        ("STRONGROOM_STORE", Postgres::shared().url_for(world.folder.path())),
        ("STRONGROOM_INDEX_KEY_FILE", "index".to_owned()),
    ];
    world
}

fn json(world: &World, args: &[&str]) -> Value {
    serde_json::from_str(&world.ok(&[args, &["--json"]].concat(), "")).unwrap()
}

#[test]
fn every_command_works_on_a_bucket() {
    every_command_works(&in_bucket(), "s3://bucket/other");
}

#[test]
fn every_command_works_on_postgres() {
    let world = in_postgres();
    every_command_works(&world, &Postgres::shared().url_for(&world.path("other")));
}

/// `place` has no store.
fn assert_no_command_makes_a_store(world: &World, place: &str) {
    world.ok(&["key", "new", "--key-out", "key"], "");
    let index_key = ["--index-key-file", "index"];
    for args in [
        &["verify"][..],
        &["stats"],
        &["maintain"],
        &["purge"],
        &["copy", "--to", "new.db"],
        &[&["contains", "--id", ID], &index_key[..]].concat(),
        &[&["retrieve", "--id", ID, "--key-file", "key"], &index_key[..]].concat(),
    ] {
        let message = world.fail(19, &[args, &["--store", place]].concat(), "");
        assert!(message.contains("the store does not exist"), "{args:?}: {message}");
    }
    assert!(!world.exists("new.db"));
    world.ok(&["store", "--store", "records.db", "--id", ID], DATA);
    let message = world.fail(19, &["verify", "--store", "records.db", "--repair-from", place], "");
    assert!(message.contains("the store does not exist"), "{message}");
}

/// The word means the storage services of a cluster, which only `serve` finds.
#[test]
fn no_command_makes_a_file_cluster() {
    let world = World::with_record();
    for args in [
        &["store", "--store", "cluster", "--id", ID][..],
        &["stats", "--store", "cluster"],
        &["copy", "--to", "cluster"],
        &["verify", "--repair-from", "cluster"],
    ] {
        let message = world.fail(19, args, DATA);
        assert!(message.contains("--bootstrap-nodes"), "{args:?}: {message}");
    }
    assert!(!world.exists("cluster"));
    world.ok(&["store", "--store", "./cluster", "--id", ID], DATA);
    assert!(world.exists("cluster"));
}

#[test]
fn no_command_makes_a_store_in_a_bucket() {
    let (mut world, objects) = (in_bucket(), Objects::default());
    let address = start_with(Server::Correct, &Seen::default(), &objects);
    world.environment.push(("AWS_ENDPOINT_URL", format!("http://{address}")));
    assert_no_command_makes_a_store(&world, "s3://bucket/store");
    assert!(objects.lock().unwrap().is_empty());
}

#[test]
fn no_command_makes_a_store_in_postgres() {
    let (world, server) = (in_postgres(), Postgres::shared());
    let schema = schema_of(world.folder.path());
    let count = || server.sql(&format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'"));
    let place = server.url_for(world.folder.path());
    assert_no_command_makes_a_store(&world, &place);
    assert_eq!(count(), "0");
    // The tables alone are no store.
    world.ok(&["migrate", "--store", &place], "");
    assert_eq!(count(), "1");
    assert!(world.fail(19, &["stats", "--store", &place], "").contains("the store does not exist"));
    assert_eq!(server.sql(&format!("SELECT count(*) FROM {schema}.settings")), "0");
    // A store without its settings is damaged.
    world.ok(&["store", "--store", &place, "--id", ID], DATA);
    server.sql(&format!("DELETE FROM {schema}.settings"));
    assert_eq!(json(&world, &["stats", "--store", &place])["records"], 1);
}

#[cfg(feature = "server")]
#[test]
fn no_command_makes_a_store_in_a_storage_service() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let service = Service::start(&world, &["serve-storage", "--store", "cipher.db"]);
    assert_no_command_makes_a_store(&world, &format!("http://{}", service.address));
    assert_eq!(service.stop(Signal::TERM).0, Some(0));
    let database = rusqlite::Connection::open(world.path("cipher.db")).unwrap();
    let settings: i64 = database.query_row("SELECT count(*) FROM settings", (), |row| row.get(0)).unwrap();
    assert_eq!(settings, 0);
}

#[cfg(feature = "server")]
#[test]
fn both_services_keep_records_in_a_bucket() {
    both_services_work(&in_bucket(), "object");
}

#[cfg(feature = "server")]
#[test]
fn both_services_keep_records_in_postgres() {
    both_services_work(&in_postgres(), "postgres");
}

#[test]
fn an_owner_makes_the_tables_for_a_role_without_rights() {
    let (world, server) = (in_postgres(), Postgres::shared());
    let role = format!("role_{}", std::process::id());
    let other = format!("other_{role}");
    server.sql(&format!("CREATE ROLE {role} LOGIN; CREATE ROLE {other} LOGIN"));
    let owner = server.url_for(world.folder.path());
    let url = owner.replace("strongroom@", &format!("{role}@"));
    let store = ["store", "--store", &url, "--id", ID, "--key-out", "key"];
    let message = world.fail(19, &store, DATA);
    assert!(message.contains("strongroom migrate"), "{message}");
    world.ok(&["migrate", "--store", &owner, "--role", &role], "");
    world.ok(&["migrate", "--store", &owner, "--role", &role], "");
    world.ok(&store, DATA);
    assert_eq!(world.ok(&["retrieve", "--store", &url, "--id", ID, "--key-file", "key"], ""), DATA);
    // A role that may not grant this.
    assert!(world.fail(21, &["migrate", "--store", &url, "--role", &other], "").contains("another role"));
}

#[test]
fn records_move_between_all_engines() {
    let (bucket, server) = (in_bucket(), Postgres::shared());
    let postgres = server.url_for(bucket.folder.path());
    bucket.ok(&["store", "--store", "records.db", "--id", ID, "--key-out", "key"], DATA);
    let long = "x".repeat(9 << 20);
    bucket.ok(&["store", "--store", "records.db", "--id", "long", "--key-out", "long"], &long);
    let places = ["records.db", &postgres, "s3://bucket/store", "second.db", "s3://bucket/store2", &postgres];
    for pair in places.windows(2) {
        let copied = json(&bucket, &["copy", "--store", pair[0], "--to", pair[1]]);
        assert_eq!(copied["copied"].as_u64().unwrap() + copied["unchanged"].as_u64().unwrap(), 2, "{pair:?}");
        let retrieve = |id, key| bucket.ok(&["retrieve", "--store", pair[1], "--id", id, "--key-file", key], "");
        assert_eq!(retrieve(ID, "key"), DATA);
        assert!(retrieve("long", "long") == long);
    }
}

/// `other` is another store of the same kind.
fn every_command_works(world: &World, other: &str) {
    let long = "x".repeat(9 << 20);
    world.ok(&["store", "--id", ID, "--key-out", "key"], DATA);
    world.ok(&["store", "--id", "long", "--key-out", "long"], &long);
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "key"], ""), DATA);
    assert!(world.ok(&["retrieve", "--id", "long", "--key-file", "long"], "") == long);
    world.fail(2, &["store", "--id", ID, "--key-out", "second"], DATA);
    world.ok(&["replace", "--id", ID, "--key-file", "key", "--key-out", "new"], "new data");
    assert_eq!(world.ok(&["retrieve", "--id", ID, "--key-file", "new"], ""), "new data");
    world.fail(3, &["retrieve", "--id", ID, "--key-file", "key"], "");
    assert!(world.ok(&["take", "--id", "long", "--key-file", "long"], "") == long);
    world.fail(1, &["take", "--id", "long", "--key-file", "long"], "");
    assert_eq!(world.records(), 1);
    world.ok(&["store", "--id", "short-lived", "--key-out", "expired", "--expires-in", "1s"], DATA);
    wait_for(|| (world.ok(&["purge"], "") == "purged: 1\n").then_some(()));
    assert_eq!(world.records(), 1);
    assert_eq!(json(world, &["verify"])["damaged"], 0);

    // To a database and to another folder, without a key.
    assert_eq!(json(world, &["copy", "--to", "backup.db"])["copied"], 1);
    assert_eq!(json(world, &["copy", "--store", "backup.db", "--to", other])["copied"], 1);
    let retrieve = ["retrieve", "--store", other, "--id", ID, "--key-file", "new"];
    assert_eq!(world.ok(&retrieve, ""), "new data");
    assert_eq!(json(world, &["copy", "--to", other, "--mirror"])["unchanged"], 1);

    world.ok(&["key", "new", "--index", "--key-out", "next"], "");
    let rotate = ["index-key", "rotate", "--new", "next", "--ids", "-"];
    assert!(world.ok(&rotate, ID).contains("the rotation is finished"));
    let rotated = ["retrieve", "--id", ID, "--key-file", "new", "--index-key-file"];
    assert_eq!(world.ok(&[&rotated[..], &["next"]].concat(), ""), "new data");
    world.fail(9, &[&rotated[..], &["index"]].concat(), "");
    world.ok(&["erase", "--id", ID, "--yes", "--index-key-file", "next"], "");
    world.fail(1, &[&rotated[..], &["next"]].concat(), "");
}

#[cfg(feature = "server")]
fn both_services_work(world: &World, backend: &str) {
    use crate::support::service::Service;

    let server = Service::start(world, &["serve"]);
    let endpoint = Endpoint::new(&format!("http://{}", server.address)).unwrap();
    let store = Strongroom::connect(&endpoint).unwrap();
    let key = store.store(ID, DATA).unwrap();
    assert_eq!(store.retrieve(ID, &key).unwrap(), DATA.as_bytes());
    assert_eq!(world.records(), 1);

    let storage = Service::start(world, &["serve-storage"]);
    let url = format!("http://{}", storage.address);
    world.write("key", key.to_text().as_bytes());
    let retrieve = ["retrieve", "--store", &url, "--id", ID, "--key-file", "key"];
    assert_eq!(world.ok(&retrieve, ""), DATA);
    assert_eq!(store.take(ID, &key).unwrap(), DATA.as_bytes());
    world.fail(1, &retrieve, "");
    for (service, operation) in [(server, "put"), (storage, "get")] {
        let metrics = crate::health::get_of("localhost", service.address, "/metrics");
        let labels = format!("{{backend=\"{backend}\",operation=\"{operation}\"");
        let total = format!("strongroom_storage_operations_total{labels},outcome=\"ok\"}} ");
        assert!(metrics.contains(&total), "{metrics}");
        let longest = format!("strongroom_storage_operation_duration_seconds_bucket{labels},le=\"10\"}} ");
        assert!(metrics.contains(&longest), "{metrics}");
    }
}
