//! The files of a service's configuration: a wrong kind of file is reported before the service does anything.

#![cfg(all(unix, feature = "server"))]

use crate::support;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::support::World;
use crate::support::service::Service;
use crate::support::wait::{self, DEADLINE, WaitWithin};
use rcgen::{CertificateParams, CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, date_time_ymd};
use rustix::process::Signal;

/// A folder with a file of each kind, and their names in messages.
fn all_kinds() -> (World, Vec<(&'static str, &'static str)>) {
    let world = World::new();
    world.ok(&["key", "new", "--key-out", "record.key"], "");
    world.ok(&["key", "new", "--index", "--key-out", "index.key"], "");
    world.write("token", world.ok(&["token", "new", "--scopes", "storage", "--tokens", "tokens"], ""));
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    world.write("server.pem", certificate.pem());
    world.write("server.key", key.serialize_pem());
    world.write("noise", "confidential noise");
    let kinds = vec![
        ("record.key", "a record key"),
        ("index.key", "an index key"),
        ("token", "a token"),
        ("tokens", "hashes and scopes of tokens"),
        ("server.pem", "certificates"),
        ("server.key", "a private key"),
        ("noise", "other or incomplete content"),
    ];
    (world, kinds)
}

#[test]
fn each_file_must_have_its_own_kind() {
    let (world, kinds) = all_kinds();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let store = format!("http://{}", elsewhere.local_addr().unwrap());
    let right = [
        ("index_key_file", "index.key"),
        ("tokens", "tokens"),
        ("remote.token_file", "token"),
        ("remote.authorities", "server.pem"),
        ("remote.client_certificate", "server.pem"),
        ("remote.client_key", "server.key"),
        ("tls.certificate", "server.pem"),
        ("tls.key", "server.key"),
        ("tls.client_authorities", "server.pem"),
    ];
    let document = |wrong: &str, file: &str| {
        let (mut top, mut remote, mut tls) = (format!("store = \"{store}\"\n"), String::new(), String::new());
        for (name, right) in right {
            let value = if name == wrong { file } else { right };
            match name.split_once('.') {
                Some(("remote", name)) => remote += &format!("{name} = \"{value}\"\n"),
                Some((_, name)) => tls += &format!("{name} = \"{value}\"\n"),
                None => top += &format!("{name} = \"{value}\"\n"),
            }
        }
        format!("{top}[remote]\n{remote}[tls]\n{tls}")
    };
    for (name, right) in right {
        for (file, kind) in &kinds {
            if *file == right {
                continue;
            }
            world.write("config.toml", document(name, file));
            let refused = world.fail(19, &["serve", "--config", "config.toml", "--store", &store], "");
            let line_is_named = name == "tokens" && *file == "noise";
            let expected = if line_is_named { "line 1" } else { kind };
            assert!(
                refused.contains(expected) && (line_is_named || refused.contains(name)),
                "{name} = {file}: {refused}"
            );
        }
        if name == "index_key_file" {
            continue; // the store's own error reports a missing file
        }
        world.write("config.toml", document(name, "missing"));
        let refused = world.fail(19, &["serve", "--config", "config.toml", "--store", &store], "");
        assert!(refused.contains(name), "{refused}");
    }
    assert!(elsewhere.accept().is_err(), "nothing was connected to");
    assert!(!world.exists("records.db"), "nothing was made");
}

/// The configuration of an encryption server with a file of each kind, and whether each is secret.
const FILES: [(&str, bool); 6] = [
    ("token", true),
    ("server.key", true),
    ("cluster.key", true),
    ("tokens", false),
    ("server.pem", false),
    ("revoked.pem", false),
];
const ALL_FILES: &str = "listen = [\"127.0.0.1:0\"]
index_key_file = \"index.key\"
tokens = \"tokens\"
[remote]
token_file = \"token\"
revocations = \"revoked.pem\"
[tls]
certificate = \"server.pem\"
key = \"server.key\"
client_authorities = \"server.pem\"
[cluster]
key_files = [\"cluster.key\"]
";

fn with_revocations() -> World {
    let (world, _) = all_kinds();
    world.ok(&["key", "new", "--cluster", "--key-out", "cluster.key"], "");
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(CertificateParams::new(Vec::new()).unwrap(), key);
    let (begin, end) = (date_time_ymd(2026, 1, 1), date_time_ymd(4096, 1, 1));
    let lists = CertificateRevocationListParams {
        this_update: begin,
        next_update: end,
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    world.write("revoked.pem", lists.signed_by(&issuer).unwrap().pem().unwrap());
    world.write("config.toml", ALL_FILES);
    world
}

fn set_mode(world: &World, file: &str, mode: u32) {
    fs::set_permissions(world.path(file), fs::Permissions::from_mode(mode)).unwrap();
}

/// As ssh does: a secret that others can read or change, and any file that they can change.
#[cfg(target_os = "linux")]
#[test]
fn files_open_to_others_are_refused() {
    let mut world = with_revocations();
    world.run_unprivileged();
    FILES.iter().for_each(|(file, is_secret)| set_mode(&world, file, if *is_secret { 0o400 } else { 0o644 }));
    let (status, _) = Service::start_on(&world, &["serve", "--config", "config.toml"]).stop(Signal::TERM);
    assert_eq!(status, Some(0));
    for (file, is_secret) in FILES {
        let before = fs::metadata(world.path(file)).unwrap().permissions();
        for (mode, expected) in
            [(0o620, "others can change it"), (0o602, "others can change it"), (0o640, "others can read it")]
        {
            if mode == 0o640 && !is_secret {
                continue;
            }
            set_mode(&world, file, mode);
            let refused = world.fail(19, &["serve", "--config", "config.toml"], "");
            assert!(refused.contains("is not safe") && refused.contains(expected), "{file}, {mode:o}: {refused}");
            assert!(refused.contains("chmod"), "{refused}");
        }
        fs::set_permissions(world.path(file), before).unwrap();
    }
    // The program as a client.
    let client = [
        ("token", &["--token-file", "token"][..], true),
        ("server.key", &["--client-certificate", "server.pem", "--client-key", "server.key"], true),
        ("server.pem", &["--authorities", "server.pem"], false),
        ("revoked.pem", &["--revocations", "revoked.pem"], false),
    ];
    for (file, options, is_secret) in client {
        let before = fs::metadata(world.path(file)).unwrap().permissions();
        for mode in [0o622, 0o644] {
            set_mode(&world, file, mode);
            let args = [&["stats", "--server", "https://127.0.0.1:1", "--timeout", "1"], options].concat();
            let output = wait::output(world.command(&args).env_remove("STRONGROOM_STORE"));
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(message.contains("is not safe"), mode == 0o622 || is_secret, "{file}, {mode:o}: {message}");
        }
        fs::set_permissions(world.path(file), before).unwrap();
    }
}

/// Docker, Kubernetes and systemd provide secrets as files of root, which the service's group or everybody can read,
/// and behind links.
#[cfg(target_os = "linux")]
#[test]
fn secrets_of_containers_and_service_managers_are_accepted() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can make such files
    }
    let mut world = with_revocations();
    fs::create_dir_all(world.path("mount/..2026")).unwrap();
    set_mode(&world, "mount/..2026", 0o755);
    std::os::unix::fs::symlink("..2026", world.path("mount/..data")).unwrap();
    let mut config = ALL_FILES.to_owned();
    for (file, mode) in
        FILES.map(|(file, _)| file).into_iter().chain(["index.key"]).zip([0o444, 0o644].into_iter().cycle())
    {
        world.write(&format!("mount/..2026/{file}"), world.read(file));
        set_mode(&world, &format!("mount/..2026/{file}"), mode);
        std::os::unix::fs::symlink(format!("..data/{file}"), world.path(&format!("mount/{file}"))).unwrap();
        config = config.replace(&format!("\"{file}\""), &format!("\"mount/{file}\""));
    }
    world.write("config.toml", config);
    world.run_unprivileged();
    set_mode(&world, "mount", 0o755);
    let (status, _) = Service::start_on(&world, &["serve", "--config", "config.toml"]).stop(Signal::TERM);
    assert_eq!(status, Some(0));
    // A link of another user leads where that user wants.
    let link = world.path("mount/token");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("..data/token", &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(1), None).unwrap();
    let refused = world.fail(19, &["serve", "--config", "config.toml"], "");
    assert!(refused.contains("a symbolic link made by user 1"), "{refused}");
}

#[test]
fn a_secret_given_as_a_path_is_not_repeated() {
    let (world, _) = all_kinds();
    for file in ["record.key", "index.key", "token"] {
        let secret = String::from_utf8(world.read(file)).unwrap();
        let secret = secret.trim();
        for document in [
            "tokens = \"S\"",
            "store = \"S\"",
            "index_key_file = \"x/S\"",
            "[remote]\ntoken_file = \"S\"",
            "listen = [\"unix:S\"]",
            "[log]\nlevel = \"S\"",
            "S",
            "S = 1",
            "[tls]\ncertificate = \"S\"\nkey = \"S\"",
        ] {
            world.write("config.toml", document.replace('S', secret).replace(&format!("{secret}tore"), "store"));
            let mut command = world.command(&["serve", "--config", "config.toml"]);
            let output = wait::output(command.env_remove("STRONGROOM_STORE"));
            let refused = support::failure(&output, 19);
            assert!(!refused.contains(&secret[..8]), "{refused}");
        }
        for flag in ["--tokens", "--tls-key", "--token-file", "--config"] {
            assert!(!world.fail(64, &["serve", flag, secret], "").contains(&secret[..8]));
        }
        let refused = world.fail(64, &["serve", "--listen", &format!("unix:{secret}")], "");
        assert!(!refused.contains(&secret[..8]), "{refused}");
    }
}

/// As an interrupted `token new` leaves it.
#[test]
fn an_unfinished_comment_in_the_tokens_stops_no_service() {
    let world = World::new();
    let token = world.ok(&["token", "new", "--scopes", "storage", "--tokens", "tokens"], "");
    let whole = String::from_utf8(world.read("tokens")).unwrap();
    let bearer = format!("authorization: Bearer {}", token.trim());
    for half in [format!("#{}", "a".repeat(30)), format!("#{} stor", "c".repeat(63)), format!("#{}", "d".repeat(9))] {
        world.write("tokens", format!("{whole}{half}{}", "\0".repeat(200)));
        fs::set_permissions(world.path("tokens"), fs::Permissions::from_mode(0o640)).unwrap();
        let service = Service::start_on(&world, &["serve-storage", "--tokens", "tokens", "--listen", "127.0.0.1:0"]);
        assert!(service.send("GET /v1/stats", &[&bearer], "").starts_with("HTTP/1.1 200 "), "{half}");
        assert_eq!(service.stop(Signal::TERM).0, Some(0));
        // The next token gets a line of its own.
        world.ok(&["token", "new", "--scopes", "erase", "--tokens", "tokens"], "");
        let lines = String::from_utf8(world.read("tokens")).unwrap();
        let added = lines.strip_prefix(&format!("{whole}{half}\n")).unwrap();
        assert!(added.ends_with(" erase\n") && added.split(' ').count() == 2, "{lines:?}");
        assert_eq!(fs::metadata(world.path("tokens")).unwrap().permissions().mode() & 0o777, 0o640);
    }
}

#[test]
fn token_new_refuses_other_files() {
    let (world, kinds) = all_kinds();
    world.ok(&["store", "--id", "x"], "data");
    let others = kinds.iter().map(|(file, _)| *file).filter(|file| *file != "tokens");
    for file in others.chain(["records.db"]) {
        let content = world.read(file);
        world.fail(19, &["token", "new", "--scopes", "store", "--tokens", file], "");
        assert!(world.read(file) == content, "{file}");
    }
}

#[test]
fn concurrent_token_new_keeps_all_tokens() {
    let world = World::new();
    let args = ["token", "new", "--scopes", "store", "--tokens", "tokens"];
    let children: Vec<_> =
        (0..8).map(|_| world.command(&args).stdout(std::process::Stdio::piped()).spawn().unwrap()).collect();
    for child in children {
        assert!(child.output_within(DEADLINE).status.success());
    }
    let lines = String::from_utf8(world.read("tokens")).unwrap();
    assert_eq!(lines.lines().filter(|line| line.len() == 70 && line.ends_with(" store")).count(), 8, "{lines}");
}

/// A folder with only the permissions to search and write cannot be opened, and so cannot be synced.
#[test]
#[cfg(target_os = "linux")]
fn a_folder_without_fsync_still_gives_a_token() {
    let mut world = World::new();
    fs::create_dir(world.path("folder")).unwrap();
    world.run_unprivileged();
    fs::set_permissions(world.path("folder"), fs::Permissions::from_mode(0o300)).unwrap();
    let token = world.ok(&["token", "new", "--scopes", "store", "--tokens", "folder/tokens"], "");
    fs::set_permissions(world.path("folder"), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(token.starts_with("srt1"));
    assert!(String::from_utf8(world.read("folder/tokens")).unwrap().ends_with(" store\n"));
}

/// It would replace the one file, and add lines to the other.
#[test]
fn a_service_writes_to_no_file_of_others() {
    let (world, kinds) = all_kinds();
    world.ok(&["store", "--id", "x"], "data");
    world.write("tls.toml", "[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n");
    fs::hard_link(world.path("records.db"), world.path("link")).unwrap();
    let serve = ["serve", "--config", "tls.toml", "--tokens", "tokens", "--listen", "unix:socket"];
    let existing = kinds.iter().map(|(file, _)| *file);
    let existing = existing.chain(["tls.toml", "records.db", "records.db.index-key", "link"]);
    let new = ["records.db-wal", "records.db-shm", "records.db-journal", "records.db.uploads", "socket", "socket.lock"];
    for file in existing.chain(new) {
        let before = world.exists(file).then(|| world.read(file));
        for option in ["--token-uses", "--audit"] {
            let refused = world.fail(19, &[&serve[..], &[option, file]].concat(), "");
            let name = option.trim_start_matches("--").replace('-', "_");
            assert!(refused.contains(&name) && refused.contains("a path of its own"), "{option} {file}: {refused}");
            assert!(world.exists(file).then(|| world.read(file)) == before, "{option} {file}");
        }
    }
    let refused = world.fail(19, &[&serve[..], &["--token-uses", "both", "--audit", "./both"]].concat(), "");
    assert!(refused.contains("audit is also a file of token_uses"), "{refused}");
    for not_regular in [".", "/dev/null"] {
        let refused = world.fail(19, &[&serve[..], &["--token-uses", not_regular]].concat(), "");
        assert!(refused.contains("not a regular file"), "{refused}");
    }
    // The index key of a store that is to be made.
    let args = ["serve", "--store", "new.db", "--tokens", "tokens", "--token-uses", "./new.db.index-key"];
    assert!(world.fail(19, &args, "").contains("a file of store"));
    assert!(!world.exists("new.db"));
}

#[test]
fn a_start_without_tokens_keeps_the_times_of_their_uses() {
    let world = World::new();
    let uses = "{\"0123456789abcdef\":1700000000}";
    world.write("uses", uses);
    Service::start(&world, &["serve-storage", "--token-uses", "uses"]).stop(Signal::TERM);
    assert_eq!(world.read("uses"), uses.as_bytes());
}

/// Shells and service managers pass secrets through pipes, which can be read once.
#[test]
fn tls_files_can_be_pipes() {
    let world = with_revocations();
    let names = ["server.pem", "server.key", "revoked.pem"];
    let pipe = |name: &str| {
        let path = world.path(&format!("{name}.pipe"));
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        path
    };
    let pipes = names.map(pipe);
    let writers = names.iter().zip(&pipes).map(|(name, path)| {
        let (content, path) = (world.read(name), path.clone());
        std::thread::spawn(move || fs::write(path, content).unwrap())
    });
    let writers: Vec<_> = writers.collect();
    let tls = ["--tls-certificate", "server.pem.pipe", "--tls-key", "server.key.pipe"];
    let clients = ["--tls-client-authorities", "server.pem", "--tls-client-revocations", "revoked.pem.pipe"];
    let serve = ["serve-storage", "--listen", "127.0.0.1:0"];
    let service = Service::start_on(&world, &[&serve[..], &tls, &clients].concat());
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(service.stop(Signal::TERM).0, Some(0));

    // A start that waits for a writer can be stopped.
    let cluster_key = pipe("cluster.key");
    let cluster = ["--join", "127.0.0.1:1", "--cluster-key-file", "cluster.key.pipe"];
    for (signal, options, pipe) in
        [(Signal::TERM, tls, &pipes[0]), (Signal::INT, tls, &pipes[0]), (Signal::TERM, cluster, &cluster_key)]
    {
        let mut child = world.command(&[&serve[..], &["--insecure-loopback"], &options].concat()).spawn().unwrap();
        // It opens the pipe once the reader is there.
        let writer = wait::wait_for(|| {
            let options = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
            rustix::fs::open(pipe, options, rustix::fs::Mode::empty()).ok()
        });
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait_within(DEADLINE).code(), Some(0));
        drop(writer);
    }
}
