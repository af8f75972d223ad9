//! A private authority, and certificates of services and clients.

#![cfg(all(unix, feature = "server"))]

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::service::Service;
use crate::support::{DATA, ID, World};

/// A folder with the authority `ca`, the service's certificate `server` and the client's `client`.
fn world() -> World {
    let world = World::new();
    let ca = ["--authority", "ca.pem", "--authority-key", "ca.key"];
    let new = |args: &[&str]| world.ok(&[&["certificate", "new"], args].concat(), "");
    assert_eq!(new(&["--out", "ca"]), "");
    new(&[&ca[..], &["--out", "server", "--name", "localhost", "--name", "127.0.0.1"]].concat());
    new(&[&ca[..], &["--out", "client", "--client", "--name", "app.example"]].concat());
    world
}

#[test]
fn a_service_and_its_clients_authenticate_each_other() {
    let world = world();
    let serve = ["serve", "--store", "served.db", "--audit", "audit", "--listen", "127.0.0.1:0"];
    let tls = ["--tls-certificate", "server.pem", "--tls-key", "server.key", "--tls-client-authorities", "ca.pem"];
    let service = Service::start_on(&world, &[&serve[..], &tls].concat());
    let server = format!("https://localhost:{}", service.address.port());
    let store = ["store", "--server", &server, "--authorities", "ca.pem", "--id", ID, "--key-out", "key"];
    let client = ["--client-certificate", "client.pem", "--client-key", "client.key"];
    let message = world.fail(21, &store, DATA);
    assert!(message.contains("--client-certificate"), "{message}");
    // Other programs' mistakes with TLS.
    let untrusted = ["health", &server, "--authorities"];
    world.ok(&["certificate", "new", "--out", "namesake"], "");
    world.ok(&["certificate", "new", "--out", "foreign", "--name", "Foreign authority"], "");
    for authority in ["namesake.pem", "foreign.pem"] {
        let message = world.fail(14, &[&untrusted[..], &[authority]].concat(), "");
        assert!(message.contains("\nhint: pass the certificate of the service's private authority"), "{message}");
    }
    let plain = format!("http://127.0.0.1:{}", service.address.port());
    let message = world.fail(14, &["health", &plain], "");
    assert!(message.contains("is its address https://?"), "{message}");
    // The certificate of a service is none of a client.
    let wrong = ["--client-certificate", "server.pem", "--client-key", "server.key"];
    world.fail(21, &[&store[..], &wrong].concat(), DATA);
    world.ok(&[&store[..], &client].concat(), DATA);
    service.stop(Signal::TERM);
    let audit = String::from_utf8(world.read("audit")).unwrap();
    let line: Value = serde_json::from_str(audit.lines().last().unwrap()).unwrap();
    assert_eq!(line["certificate"], "app.example");
}

#[test]
fn certificates_are_private_and_never_overwritten() {
    let world = world();
    for name in ["ca.key", "server.key", "client.key", "ca.pem"] {
        let mode = world.path(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let (certificate, key) = (world.read("server.pem"), world.read("server.key"));
    let ca = ["--authority", "ca.pem", "--authority-key", "ca.key"];
    let new = |args: &[&'static str]| [&["certificate", "new"], args].concat();
    let message = world.fail(19, &new(&["--out", "server"]), "");
    assert!(message.contains("never overwritten"), "{message}");
    assert_eq!((world.read("server.pem"), world.read("server.key")), (certificate, key));
    world.ok(&new(&["--out", "other", "--name", "Other authority", "--valid-for", "1d"]), "");
    for (status, args, expected) in [
        (64, new(&["--out", "x", "--authority", "ca.pem", "--name", "x"]), "--authority-key"),
        (64, new(&[&ca[..], &["--out", "x"]].concat()), "--name"),
        (64, new(&["--out", "x", "--client"]), "--authority"),
        (19, new(&["--out", "x", "--authority", "ca.pem", "--authority-key", "other.key", "--name", "x"]), "for this"),
        (
            19,
            new(&["--out", "x", "--authority", "server.pem", "--authority-key", "server.key", "--name", "x"]),
            "cannot sign others",
        ),
        (19, new(&["--out", "x", "--authority", "ca.key", "--authority-key", "ca.key", "--name", "x"]), "for this"),
        (
            19,
            new(&["--out", "x", "--authority", "ca.pem", "--authority-key", "ca.pem", "--name", "x"]),
            "no private key",
        ),
        (19, new(&[&ca[..], &["--out", "x", "--name", "é"]].concat()), "a name is not"),
    ] {
        let message = world.fail(status, &args, "");
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    assert!(!world.exists("x.pem") && !world.exists("x.key"));
    let made = world.ok(&new(&[&ca[..], &["--json", "--out", "y", "--name", "y", "--valid-for", "1h"]].concat()), "");
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!((&made["certificate"], &made["key"]), (&"y.pem".into(), &"y.key".into()));
}
