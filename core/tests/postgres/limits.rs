//! A server at its limits: connections, and room on its disk.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::Strongroom;
use strongroom::storage::{PostgresConfig, PostgresStorage};

use crate::support::index_key;
use crate::support::mounts::with_mounts;
use crate::support::postgres::Postgres;
use crate::support::wait::wait_for;

/// More callers than connections that the server gives. The callers that find no connection share those that exist,
/// even if these are busy for longer than a new connection may take. Another host, which is down, changes nothing.
#[test]
fn few_connections_serve_many_callers() {
    let host = &Postgres::shared().host();
    let lists = [host.clone(), format!("{host},127.0.0.1:1"), format!("127.0.0.1:1,{host}")];
    thread::scope(|scope| {
        for (n, hosts) in lists.iter().enumerate() {
            scope.spawn(move || serve_many_callers(&format!("test_few_{n}_{}", std::process::id()), hosts, 2, 2.5));
        }
    });
}

/// However the pooler refuses a further connection.
#[test]
fn few_connections_of_a_pooler_serve_many_callers() {
    thread::scope(|scope| {
        for (refusal, locked) in [(Refusal::Answer, 2.5), (Refusal::End, 2.5), (Refusal::Silence, 0.5)] {
            scope.spawn(move || {
                let name = format!("test_pooled_{refusal:?}_{}", std::process::id()).to_lowercase();
                serve_many_callers(&name, &pooler(2, refusal), -1, locked);
            });
        }
    });
}

#[test]
fn a_pooler_without_a_free_connection_is_told() {
    let url = format!("postgres://strongroom@{}/postgres?schema=test_pooled", pooler(0, Refusal::Answer));
    let error = PostgresStorage::open(&PostgresConfig::new(&url).unwrap().timeout(Duration::from_secs(3))).unwrap_err();
    let text = strongroom::Error::from(error).full_message();
    assert!(text.contains("raise the limits of the connection pooler"), "{text}");
}

/// `limit` is the number of connections that the server gives. The records are locked for some seconds.
fn serve_many_callers(name: &str, hosts: &str, limit: i32, locked: f32) {
    let server = Postgres::shared();
    server.sql(&format!("CREATE ROLE {name} LOGIN CONNECTION LIMIT {limit}"));
    drop(PostgresStorage::migrate(&PostgresConfig::new(&server.url(name)).unwrap(), Some(name)).unwrap());
    let url = format!("postgres://{name}@{hosts}/postgres?schema={name}");
    let config = PostgresConfig::new(&url).unwrap().timeout(Duration::from_secs(6));
    let store = &Strongroom::builder().postgres(config).index_key(index_key()).open().unwrap();
    let key = &store.store("id", b"data").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let lock = format!("LOCK TABLE {name}.records IN ACCESS EXCLUSIVE MODE");
            server.sql(&format!("BEGIN; {lock}; SELECT pg_sleep({locked}); COMMIT"));
        });
        let is_locked =
            format!("SELECT count(*) FROM pg_locks WHERE relation = '{name}.records'::regclass AND granted");
        wait_for(|| (server.sql(&is_locked) == "1").then_some(()));
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(store.retrieve("id", key).unwrap(), b"data"));
        }
    });
    store.maintain().unwrap(); // a long statement finds no place for its own connection
}

/// The outcome of a connection that a pooler does not want.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Refusal {
    /// The answer of PgBouncer.
    Answer,
    End,
    Silence,
}

/// The address of a pooler before the server, for this number of connections at a time.
fn pooler(most: usize, refusal: Refusal) -> String {
    static ANSWER: &[u8] = b"E\0\0\0\x42SFATAL\0C08P01\0Mno more connections allowed (max_client_conn)\0\0";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (open, mut silent) = (&*Box::leak(Box::new(AtomicUsize::new(0))), Vec::new());
        for client in listener.incoming() {
            let mut client = client.unwrap();
            if open.load(Ordering::SeqCst) < most {
                open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    forward(&client);
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            } else if refusal == Refusal::Silence {
                silent.push(client);
            } else if refusal == Refusal::Answer {
                let _ = client.read(&mut [0; 1024]);
                let _ = client.write_all(ANSWER);
            }
        }
    });
    host
}

/// Until one side ends the connection.
fn forward(client: &TcpStream) {
    let server = UnixStream::connect(Postgres::shared().socket()).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::copy(&mut &server, &mut &*client);
            let _ = client.shutdown(Shutdown::Both);
        });
        let _ = std::io::copy(&mut &*client, &mut &server);
        let _ = server.shutdown(Shutdown::Both);
    });
}

/// A failure of the network: the server keeps sessions whose clients are gone. They do nothing, so they are no reason to
/// add no connection.
#[test]
fn sessions_that_are_left_by_a_failure_of_the_network_prevent_no_connection() {
    let (server, name) = (Postgres::shared(), &format!("test_left_{}", std::process::id()));
    server.sql(&format!("CREATE ROLE {name} LOGIN"));
    drop(PostgresStorage::migrate(&PostgresConfig::new(&server.url(name)).unwrap(), Some(name)).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://{name}@{}/postgres?schema={name}", listener.local_addr().unwrap());
    let clients = Arc::new(Mutex::new(Vec::new()));
    let accepted = Arc::clone(&clients);
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            accepted.lock().unwrap().push(client.try_clone().unwrap());
            thread::spawn(move || {
                let server = UnixStream::connect(Postgres::shared().socket()).unwrap();
                thread::scope(|scope| {
                    scope.spawn(|| std::io::copy(&mut &server, &mut &client));
                    let _ = std::io::copy(&mut &client, &mut &server);
                    loop {
                        thread::park(); // the server's side stays open
                    }
                });
            });
        }
    });
    let config = PostgresConfig::new(&url).unwrap().timeout(Duration::from_secs(6));
    let store = &Strongroom::builder().postgres(config).index_key(index_key()).open().unwrap();
    let key = &store.store("id", b"data").unwrap();
    let sessions = || {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{name}' AND state LIKE 'idle%'");
        server.sql(&sql).parse::<usize>().unwrap()
    };
    // Each use of a lost connection makes another one.
    for _ in 0..3 {
        for _ in 0..3 {
            thread::scope(|scope| {
                for _ in 0..16 {
                    scope.spawn(|| drop(store.retrieve("id", key)));
                }
            });
        }
        for client in clients.lock().unwrap().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
    assert!(sessions() >= 8, "the server has the sessions of lost clients");
    assert_eq!(wait_for(|| store.retrieve("id", key).ok()), b"data");
}

/// Fills the disk to the last byte.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for len in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![7; len]).is_ok() {}
    }
}

/// The disk of the tables, and that of the write-ahead log. PostgreSQL ends when it cannot write the log.
#[test]
fn a_full_disk_is_reported_and_loses_nothing() {
    let mounts = r#"chmod 755 "$F"; for disk in tables wal; do
        mkdir "$F/$disk"; mount -t tmpfs -o mode=777,size=100M none "$F/$disk"; done"#;
    with_mounts("limits::a_full_disk_is_reported_and_loses_nothing", mounts, |folder| {
        let mut server = Postgres::start_with_log(folder, &folder.join("wal/log"));
        let tables = folder.join("tables/space");
        // Nothing is written to a program that does not read.
        server.sql(&format!("COPY (SELECT 1 WHERE false) TO PROGRAM 'mkdir {}'", tables.display()));
        server.sql(&format!("CREATE TABLESPACE small LOCATION '{}'", tables.display()));
        server.sql("ALTER SYSTEM SET default_tablespace = 'small'");
        server.sql("SELECT pg_reload_conf()");
        let config = PostgresConfig::new(&server.url("full")).unwrap().timeout(Duration::from_secs(6));
        let store = Strongroom::builder().postgres(config).index_key(index_key()).open().unwrap();
        for (disk, errors) in
            [("tables", &["StorageFull"][..]), ("wal", &["StorageFull", "Storage", "Indeterminate", "Busy"])]
        {
            let filler = folder.join(disk).join("filler");
            let key = store.store(disk, b"data").unwrap();
            fill(&filler);
            let mut failures = Vec::new();
            for n in 0..200 {
                let begun = Instant::now();
                if let Err(error) = store.store(format!("{disk} {n}"), vec![7; 900_000]) {
                    assert!(errors.contains(&error.name()), "{disk}: {}", error.full_message());
                    assert!(begun.elapsed() < Duration::from_secs(30), "past its deadline");
                    failures.push(n);
                    if failures.len() > 2 {
                        break;
                    }
                }
            }
            assert!(!failures.is_empty(), "there was room");
            fs::remove_file(&filler).unwrap();
            if disk == "wal" {
                server.kill();
                server.restart();
            }
            assert_eq!(store.retrieve(disk, &key).unwrap(), b"data");
            store.store(format!("{disk} again"), vec![7; 100_000]).unwrap();
            for n in failures {
                store.erase(format!("{disk} {n}")).unwrap();
            }
        }
    });
}
