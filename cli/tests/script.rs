//! The script of operations, up to the steps for which the program has no command. Each step is a run of the program; a
//! store in memory would end with it.

#![cfg(all(unix, feature = "server"))]

use std::cell::RefCell;

use crate::steps;
use serde_json::Value;

use crate::steps::{Found, SCRIPT, bytes};
use crate::support::service::Service;
use crate::support::{World, failure, feed};

struct Runner<'w> {
    world: &'w World,
    /// The options that name the store.
    place: &'w [&'w str],
    namespace: RefCell<String>,
}

fn run(world: &World, place: &[&str]) {
    let is_server = place[0] == "--server";
    let end = SCRIPT.lines().position(|line| line.starts_with("steps ")).unwrap();
    let script = SCRIPT.lines().take(end + 1).collect::<Vec<_>>().join("\n");
    let runner = Runner { world, place, namespace: RefCell::default() };
    let steps = steps::run(&script, is_server, |words| match runner.step(words) {
        Ok(found) => found,
        Err(status) => vec![Found::error(status)],
    });
    assert!(steps > 100, "{steps}");
}

impl Runner<'_> {
    fn step(&self, words: &[&str]) -> Result<Vec<Found>, u8> {
        match *words {
            ["key", name] => self.run(&["key", "new", "--key-out", &key_file(name)], b"").map(ok),
            ["key", name, text] => {
                // A command reads the key. Its record is removed again.
                self.world.write(&key_file(name), text);
                let stored = self.run(&["store", "--id", "key", "--key-file", &key_file(name)], b"data").map(ok);
                match stored {
                    Ok(_) => drop(self.run(&["erase", "--id", "key", "--yes"], b"")?),
                    Err(_) => std::fs::remove_file(self.world.path(&key_file(name))).unwrap(),
                }
                stored
            }
            [operation @ ("store" | "store_source"), id, data, how, name] => {
                self.write(operation, "store", id, data, &[new_key(how), &key_file(name)])
            }
            ["store_until", id, data, time, how, name] => {
                let (kind, seconds) = time.split_once(':').unwrap();
                let time =
                    if kind == "in" { format!("--expires-in={seconds}") } else { format!("--expires-at=@{seconds}") };
                self.write("store", "store", id, data, &[new_key(how), &key_file(name), &time])
            }
            ["store_padded", id, data, how, name] => {
                self.write("store", "store", id, data, &[new_key(how), &key_file(name), "--pad"])
            }
            ["namespace", name] => {
                *self.namespace.borrow_mut() = String::from_utf8(bytes(name)).unwrap();
                Ok(vec![Found::word("ok")])
            }
            [operation @ ("replace" | "replace_source"), id, old, data, "as", name] => {
                let keys = ["--key-file", &key_file(old), "--key-out", &key_file(name)];
                self.write(operation, "replace", id, data, &keys)
            }
            ["retrieve", id, key] => {
                Ok(vec![Found::Bytes(self.run_on(id, &["retrieve", "--key-file", &key_file(key)], b"")?)])
            }
            ["retrieve_range", id, key, range] => {
                let args = ["retrieve", "--key-file", &key_file(key), "--range", range];
                Ok(vec![Found::Bytes(self.run_on(id, &args, b"")?)])
            }
            ["take", id, key] => {
                Ok(vec![Found::Bytes(self.run_on(id, &["take", "--key-file", &key_file(key)], b"")?)])
            }
            ["rekey", id, old, "as", name] => {
                let keys = ["--key-file", &key_file(old), "--key-out", &key_file(name)];
                let rekeyed = self.run_on(id, &[&["rekey"], &keys[..]].concat(), b"");
                assert!(!self.world.exists(&key_file("unused")));
                rekeyed.map(ok)
            }
            ["delete", id, key] => self.run_on(id, &["delete", "--key-file", &key_file(key)], b"").map(ok),
            ["erase", id] => {
                let reply = self.run_on(id, &["erase", "--yes", "--json"], b"")?;
                Ok(vec![Found::word(&json(&reply)["erased"])])
            }
            ["stats"] => {
                let stats = json(&self.run(&["stats", "--json"], b"")?);
                Ok(vec![Found::word(&stats["records"]), Found::word(&stats["bytes"])])
            }
            ["purge", limit] => {
                let reply = self.run(&["purge", "--limit", limit, "--json"], b"")?;
                Ok(vec![Found::word(&json(&reply)["purged"])])
            }
            ["verify"] => {
                let report = json(&self.run(&["verify", "--json"], b"")?);
                assert_eq!(report["damaged"], 0);
                Ok(vec![Found::word(&report["records"])])
            }
            _ => panic!("no command for {words:?}"),
        }
    }

    /// Stores or replaces with the data of a file, or of a pipe. A failure leaves no file for a key.
    fn write(&self, operation: &str, command: &str, id: &str, data: &str, keys: &[&str]) -> Result<Vec<Found>, u8> {
        let data = bytes(data);
        let written = if operation == command {
            self.world.write("data", data);
            self.run_on(id, &[&[command, "data"], keys].concat(), b"")
        } else {
            self.run_on(id, &[&[command, "--allow-empty"], keys].concat(), &data)
        };
        assert!(!self.world.exists(&key_file("unused")));
        written.map(ok)
    }

    /// Runs a command on the record of `id`.
    fn run_on(&self, id: &str, args: &[&str], stdin: &[u8]) -> Result<Vec<u8>, u8> {
        self.world.write("id", [&bytes(id)[..], b"\n"].concat());
        let namespace = self.namespace.borrow();
        self.run(&[args, &["--id-file", "id", "--namespace", &namespace]].concat(), stdin)
    }

    /// Runs a command: gives what it prints, or its exit status.
    fn run(&self, args: &[&str], stdin: &[u8]) -> Result<Vec<u8>, u8> {
        let output = feed(&mut self.world.command(&[args, self.place].concat()), stdin);
        let status = u8::try_from(output.status.code().unwrap()).unwrap();
        if status == 0 {
            assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
            return Ok(output.stdout);
        }
        failure(&output, status);
        Err(status)
    }
}

fn ok(printed: Vec<u8>) -> Vec<Found> {
    assert_eq!(String::from_utf8_lossy(&printed), "");
    vec![Found::word("ok")]
}

fn json(printed: &[u8]) -> Value {
    serde_json::from_slice(printed).unwrap()
}

fn key_file(name: &str) -> String {
    format!("key {name}")
}

fn new_key(how: &str) -> &str {
    match how {
        "as" => "--key-out",
        "under" => "--key-file",
        _ => panic!("neither \"as\" nor \"under\": {how}"),
    }
}

#[test]
fn in_a_database() {
    run(&World::new(), &["--store", "script.db"]);
}

#[test]
fn on_a_storage_service() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let service = Service::start(&world, &["serve-storage", "--store", "cipher.db"]);
    run(&world, &["--store", &format!("http://{}", service.address), "--index-key-file", "index"]);
}

#[test]
fn on_an_encryption_server() {
    let world = World::new();
    let server = Service::start(&world, &["serve", "--store", "served.db"]);
    run(&world, &["--server", &format!("http://{}", server.address)]);
}

#[test]
fn on_an_encryption_server_over_a_storage_service() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let storage = Service::start(&world, &["serve-storage", "--store", "cipher.db"]);
    let place = format!("http://{}", storage.address);
    let server = Service::start(&world, &["serve", "--store", &place, "--index-key-file", "index", "--timeout", "60"]);
    run(&world, &["--server", &format!("http://{}", server.address)]);
}
