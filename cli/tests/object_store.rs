//! A store in a bucket: all commands, and both services.

use serde_json::Value;
use strongroom::{Endpoint, Strongroom};

use crate::fake_s3::{ACCESS_KEY, Server, start};
use crate::support::wait::wait_for;
use crate::support::{DATA, ID, World};

/// A folder with an index key, and credentials for a server, which is in this process.
fn world(server: Server) -> World {
    let mut world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    world.environment = vec![
        ("STRONGROOM_STORE", "s3://bucket/store".to_owned()),
        ("STRONGROOM_INDEX_KEY_FILE", "index".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://{}", start(server))),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.0.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", ACCESS_KEY.1.to_owned()),
        ("AWS_SESSION_TOKEN", String::new()),
    ];
    world
}

fn json(world: &World, args: &[&str]) -> Value {
    serde_json::from_str(&world.ok(&[args, &["--json"]].concat(), "")).unwrap()
}

#[test]
fn every_command_works_on_a_bucket() {
    let world = world(Server::Correct);
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
    assert_eq!(json(&world, &["verify"])["damaged"], 0);

    // To a database and to another folder, without a key.
    assert_eq!(json(&world, &["copy", "--to", "backup.db"])["copied"], 1);
    assert_eq!(json(&world, &["copy", "--store", "backup.db", "--to", "s3://bucket/other"])["copied"], 1);
    let other = ["retrieve", "--store", "s3://bucket/other", "--id", ID, "--key-file", "new"];
    assert_eq!(world.ok(&other, ""), "new data");
    assert_eq!(json(&world, &["copy", "--to", "s3://bucket/other", "--mirror"])["unchanged"], 1);

    world.ok(&["key", "new", "--index", "--key-out", "next"], "");
    let rotate = ["index-key", "rotate", "--new", "next", "--ids", "-"];
    assert!(world.ok(&rotate, ID).contains("the rotation is finished"));
    let rotated = ["retrieve", "--id", ID, "--key-file", "new", "--index-key-file"];
    assert_eq!(world.ok(&[&rotated[..], &["next"]].concat(), ""), "new data");
    world.fail(9, &[&rotated[..], &["index"]].concat(), "");
    world.ok(&["erase", "--id", ID, "--yes", "--index-key-file", "next"], "");
    world.fail(1, &[&rotated[..], &["next"]].concat(), "");
}

#[test]
fn errors_say_what_to_do() {
    let message = |server: Server, code: u8| world(server).fail(code, &["stats"], "");
    assert!(message(Server::IgnoresAll, 7).contains("would lose records"));
    assert!(message(Server::Denies, 21).contains("policy"));
    assert!(message(Server::HasNoBucket, 14).contains("create it"));
    let mut world = world(Server::Correct);
    for url in ["s3://key:hunter2hunter2@bucket", "s3://bucket?secret=hunter2hunter2"] {
        let message = world.fail(19, &["stats", "--store", url], "");
        assert!(!message.contains("hunter2"), "{message}");
    }
    world.environment.retain(|(name, _)| *name != "AWS_ACCESS_KEY_ID" && *name != "AWS_SECRET_ACCESS_KEY");
    let nothing = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_PROFILE"];
    world.environment.extend(nothing.map(|name| (name, String::new())));
    world.environment.push(("HOME", "/nowhere".to_owned()));
    let message = world.fail(19, &["stats"], "");
    assert!(message.contains("AWS_ACCESS_KEY_ID"), "{message}");
    world.environment.retain(|(name, _)| *name != "STRONGROOM_INDEX_KEY_FILE");
    let message = world.fail(19, &["store", "--id", ID], DATA);
    assert!(message.contains("--index-key-file"), "{message}");
}

#[cfg(feature = "server")]
#[test]
fn both_services_keep_records_in_a_bucket() {
    use crate::support::service::Service;

    let world = world(Server::Correct);
    let server = Service::start(&world, &["serve"]);
    let endpoint = Endpoint::new(&format!("http://{}", server.address)).unwrap();
    let store = Strongroom::connect(&endpoint).unwrap();
    let key = store.store(ID, DATA).unwrap();
    assert_eq!(store.retrieve(ID, &key).unwrap(), DATA.as_bytes());
    assert_eq!(world.records(), 1);

    let storage = Service::start(&world, &["serve-storage"]);
    let url = format!("http://{}", storage.address);
    world.write("key", key.to_text().as_bytes());
    let retrieve = ["retrieve", "--store", &url, "--id", ID, "--key-file", "key"];
    assert_eq!(world.ok(&retrieve, ""), DATA);
    assert_eq!(store.take(ID, &key).unwrap(), DATA.as_bytes());
    world.fail(1, &retrieve, "");
}
