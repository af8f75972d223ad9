//! A store in a bucket: errors.

use crate::fake_s3::{ACCESS_KEY, Server, start};
use crate::support::{DATA, ID, World};

/// A folder with an index key, and credentials for a server, which is in this process.
pub(crate) fn world(server: Server) -> World {
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

#[test]
fn commands_on_the_whole_store_need_no_index_key() {
    let mut world = world(Server::Correct);
    world.ok(&["store", "--id", ID, "--key-out", "key"], DATA);
    world.environment.retain(|(name, _)| *name != "STRONGROOM_INDEX_KEY_FILE");
    assert_eq!(world.ok(&["maintain"], ""), "maintained\n");
    assert_eq!(world.ok(&["purge"], ""), "purged: 0\n");
    assert_eq!(world.records(), 1);
    world.fail(7, &["compact"], ""); // a bucket keeps no free space
    world.ok(&["verify"], "");
}

#[test]
fn errors_say_what_to_do() {
    let message = |server: Server, code: u8| world(server).fail(code, &["store", "--id", ID], DATA);
    assert!(message(Server::IgnoresAll, 7).contains("would lose records"));
    assert!(message(Server::Denies("AccessDenied"), 21).contains("policy"));
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
