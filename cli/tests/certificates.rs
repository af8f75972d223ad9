//! A private authority, and certificates of services and clients.

#![cfg(all(unix, feature = "server"))]

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::service::Service;
use crate::support::{DATA, ID, World, failure, feed};

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

/// Without authorities nothing could be verified, so the lack is named before a connection is refused.
#[test]
fn a_system_without_authorities_is_an_error() {
    let mut world = crate::object_store::world(crate::fake_s3::Server::Correct);
    world.ok(&["certificate", "new", "--out", "ca"], "");
    world.ok(&["store", "--id", ID], DATA);
    world.write("none.pem", "");
    let plain_bucket = world.environment.clone();
    let verify = |store: &'static str| vec!["verify", "--timeout", "1", "--store", store];
    let health = vec!["health", "https://127.0.0.1:1"];
    let postgres = verify("postgres://app@127.0.0.1:1/records?sslmode=require");
    let bucket = verify("s3://bucket?endpoint=https://127.0.0.1:1");
    for (file, words) in [("none.pem", "no trusted authorities: install"), ("missing.pem", "missing.pem")] {
        world.environment = plain_bucket.clone();
        world.environment.extend([("SSL_CERT_FILE", file.to_owned()), ("SSL_CERT_DIR", String::new())]);
        for (status, args) in [(19, &health), (19, &postgres), (14, &bucket)] {
            let message = world.fail(status, args, "");
            assert!(message.contains("no trusted authorities") && message.contains(words), "{message}");
        }
        // Where none are needed, there is no such error.
        let message = world.fail(14, &[&health[..], &["--authorities", "ca.pem", "--timeout", "1"]].concat(), "");
        assert!(!message.contains("no trusted authorities"), "{message}");
        world.ok(&["stats"], "");
    }
}

#[test]
fn a_certificate_ends_with_its_authority() {
    let world = World::new();
    let new = |args: &[&'static str]| [&["certificate", "new"], args].concat();
    let expires = |args: &[&'static str]| -> String {
        let made: Value = serde_json::from_str(&world.ok(&new(&[&["--json"], args].concat()), "")).unwrap();
        made["expires"].as_str().unwrap().to_owned()
    };
    let end = expires(&["--out", "short", "--valid-for", "2d"]);
    let short = ["--authority", "short.pem", "--authority-key", "short.key", "--name", "localhost"];
    assert_eq!(expires(&[&short[..], &["--out", "a"]].concat()), end);
    assert!(expires(&[&short[..], &["--out", "b", "--valid-for", "1d"]].concat()) < end);
    let message = world.fail(19, &new(&[&short[..], &["--out", "c", "--valid-for", "3d"]].concat()), "");
    assert!(message.contains("--valid-for is too long"), "{message}");

    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Strongroom authority");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.not_after = rcgen::date_time_ymd(2026, 1, 2);
    world.write("old.pem", params.self_signed(&key).unwrap().pem());
    world.write("old.key", key.serialize_pem());
    let old = ["--authority", "old.pem", "--authority-key", "old.key", "--name", "localhost"];
    let message = world.fail(19, &new(&[&old[..], &["--out", "c"]].concat()), "");
    assert!(message.contains("has expired"), "{message}");
    assert!(!world.exists("c.pem") && !world.exists("c.key"));
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
        (19, new(&["--out", "x", "--name", ""]), "1 to 63 bytes"),
        (19, new(&["--out", "x", "--valid-for", "0d"]), "--valid-for is 0"),
    ] {
        let message = world.fail(status, &args, "");
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    assert!(!world.exists("x.pem") && !world.exists("x.key"));
    let made = world.ok(&new(&[&ca[..], &["--json", "--out", "y", "--name", "y", "--valid-for", "1h"]].concat()), "");
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!((&made["certificate"], &made["key"]), (&"y.pem".into(), &"y.key".into()));
}

#[test]
fn the_names_of_a_certificate_are_dns_names_or_ip_addresses() {
    let world = world();
    let new = |out: &str, name: &str| {
        let ca = ["certificate", "new", "--authority", "ca.pem", "--authority-key", "ca.key"];
        feed(&mut world.command(&[&ca[..], &["--out", out, "--name", "localhost", "--name", name]].concat()), b"")
    };
    let invalid = concat!(
        "https://records.example|records.example:8420|127.0.0.1:8420|[::1]|127.0.0.1/8|127.0.0|a b||*|*.|a..b|a.|.a|é|",
        "a.*.example|*a.example|*.127.0.0.1|a-.example|a@example",
    );
    for name in invalid.split('|') {
        let message = failure(&new("x", name), 19);
        assert!(message.contains("a name is not a DNS name or an IP address"), "{name}: {message}");
    }
    assert!(!world.exists("x.pem") && !world.exists("x.key"));
    for (n, name) in ["*.example", "a_b.example", "xn--e1afmkfd.example", "::1", "192.0.2.1"].iter().enumerate() {
        assert!(new(&format!("valid-{n}"), name).status.success(), "{name}");
    }
}
