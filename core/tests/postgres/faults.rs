//! Cut connections: each operation's outcome is found out, or told as unknown.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::storage::{Error, PostgresConfig, PostgresStorage, PutMode, Storage};

use crate::support::mounts::with_mounts;
use crate::support::postgres::Postgres;
use crate::support::wait::wait_for;
use crate::writers::{head, locator, record};

/// A proxy before the server, which ends a connection at a message of the client, before or after it was answered.
struct Cutter {
    port: u16,
    shared: Arc<Plan>,
}

#[derive(Default)]
struct Plan {
    /// The messages of clients since the plan.
    messages: AtomicUsize,
    /// The message at which the connection ends, and whether the server receives it.
    cut: Mutex<Option<(usize, Cut)>>,
    /// Happens before a connection ends after an answer.
    event: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Before,
    After,
    /// Nothing is forwarded any more, but the connection stays open.
    Silence,
}

impl Cutter {
    fn new(socket: PathBuf) -> Self {
        Self::behind(TcpListener::bind("127.0.0.1:0").unwrap(), socket)
    }

    fn behind(listener: TcpListener, socket: PathBuf) -> Self {
        let (port, shared) = (listener.local_addr().unwrap().port(), Arc::new(Plan::default()));
        let plan = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), UnixStream::connect(&socket).unwrap());
                let plan = Arc::clone(&plan);
                thread::spawn(move || plan.forward(&client, &server));
            }
        });
        Self { port, shared }
    }

    fn plan(&self, cut: Option<(usize, Cut)>) {
        *self.shared.cut.lock().unwrap() = cut;
        self.shared.messages.store(0, Ordering::SeqCst);
    }

    /// Loses the answer to the next message. Then `event` happens, before a repetition.
    fn lose_answer(&self, event: impl FnOnce() + Send + 'static) {
        *self.shared.event.lock().unwrap() = Some(Box::new(event));
        self.plan(Some((0, Cut::After)));
    }

    fn messages(&self) -> usize {
        self.shared.messages.load(Ordering::SeqCst)
    }
}

impl Plan {
    /// Forwards both directions. A client sends a statement and waits, so the bytes of one read are one message.
    fn forward(&self, client: &TcpStream, server: &UnixStream) {
        let silent = Arc::new(AtomicBool::new(false));
        let (back_client, mut back_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let is_silent = Arc::clone(&silent);
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(len @ 1..) = back_server.read(&mut buffer) {
                if !is_silent.load(Ordering::SeqCst) && { &back_client }.write_all(&buffer[..len]).is_err() {
                    break;
                }
            }
            if !is_silent.load(Ordering::SeqCst) {
                let _ = back_client.shutdown(Shutdown::Both);
            }
        });
        let mut buffer = vec![0; 4 << 20];
        while let Ok(len @ 1..) = { client }.read(&mut buffer) {
            let number = self.messages.fetch_add(1, Ordering::SeqCst);
            let cut = self.cut.lock().unwrap().filter(|(at, _)| *at == number).map(|(_, cut)| cut);
            match cut {
                Some(Cut::Before) => break,
                Some(Cut::After | Cut::Silence) => silent.store(true, Ordering::SeqCst),
                None => {}
            }
            if { server }.write_all(&buffer[..len]).is_err() {
                break;
            }
            if cut == Some(Cut::After) {
                thread::sleep(Duration::from_millis(50)); // the server commits
                let event = self.event.lock().unwrap().take();
                event.into_iter().for_each(|event| event());
                let _ = client.shutdown(Shutdown::Both);
                break;
            }
        }
        let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
    }
}

const OPERATIONS: [&str; 9] =
    ["create", "overwrite", "replace", "delete", "erase", "rename", "batch", "long", "settings"];

fn run(storage: &Arc<PostgresStorage>, operation: &str, n: u64) -> Result<(), Error> {
    let (old, new) = (record(n << 8, 100), record(n << 8 | 1, 3000));
    match operation {
        "create" => storage.put(&locator(201, n), &new, PutMode::Create),
        "overwrite" => storage.put(&locator(200, n), &new, PutMode::Overwrite),
        "replace" => storage.put(&locator(200, n), &new, PutMode::ReplaceIf(head(&old))),
        "delete" => storage.delete(&locator(200, n), Some(&head(&old))).map(|found| assert!(found)),
        "erase" => storage.delete(&locator(200, n), None).map(|found| assert!(found)),
        "rename" => storage.rename(&locator(200, n), &head(&old), &locator(202, n)),
        "batch" => storage.create_many(&[(locator(203, n), &new), (locator(204, n), &new)]),
        "long" => {
            let mut upload = Arc::clone(storage).upload(&locator(205, n), PutMode::Create)?;
            upload.write(&record(n << 8 | 2, 2_500_000))?;
            upload.commit()
        }
        _ => {
            let before = storage.settings()?;
            storage.swap_settings(before.as_deref(), &n.to_le_bytes())
        }
    }
}

/// Whether the operation has been done.
fn is_done(storage: &PostgresStorage, operation: &str, n: u64) -> bool {
    let new = record(n << 8 | 1, 3000);
    let there = |at| storage.info(&locator(at, n)).unwrap().map(|info| info.head);
    match operation {
        "create" => there(201) == Some(head(&new)),
        "overwrite" | "replace" => there(200) == Some(head(&new)),
        "delete" | "erase" => there(200).is_none(),
        "rename" => there(200).is_none() && there(202).is_some(),
        "batch" => there(203).is_some() && there(204).is_some(),
        "long" => there(205) == Some(head(&record(n << 8 | 2, 100))),
        _ => storage.settings().unwrap() == Some(n.to_le_bytes().to_vec()),
    }
}

#[test]
fn a_cut_connection_is_settled() {
    let (server, schema) = (Postgres::shared(), format!("test_cuts_{}", std::process::id()));
    let direct = PostgresStorage::open(&PostgresConfig::new(&server.url(&schema)).unwrap()).unwrap();
    let cutter = Cutter::new(server.socket());
    let url = format!("postgres://strongroom@127.0.0.1:{}/postgres?schema={schema}", cutter.port);
    let time = Duration::from_secs(6);
    let storage = Arc::new(PostgresStorage::open(&PostgresConfig::new(&url).unwrap().timeout(time)).unwrap());
    let (mut n, mut cuts) = (0, 0);
    for operation in OPERATIONS {
        for cut in [Cut::Before, Cut::After, Cut::Silence] {
            for at in 0.. {
                n += 1;
                direct.put(&locator(200, n), &record(n << 8, 100), PutMode::Create).unwrap();
                cutter.plan(Some((at, cut)));
                let begun = Instant::now();
                let outcome = run(&storage, operation, n);
                assert!(begun.elapsed() < time + Duration::from_secs(5), "{operation}: past its deadline");
                let happened = cutter.messages() > at;
                cutter.plan(None);
                let is_done = is_done(&direct, operation, n);
                match outcome {
                    Ok(()) => assert!(is_done, "{operation} {cut:?} {at}"),
                    Err(Error::Indeterminate(_)) => assert!(happened),
                    Err(Error::Busy | Error::Backend(_)) if cut == Cut::Silence || operation == "long" => {
                        assert!(!is_done, "{operation} {cut:?} {at}");
                    }
                    Err(error) => panic!("{operation} {cut:?} {at}: {error:?}"),
                }
                if !happened {
                    break;
                }
                cuts += 1;
            }
        }
    }
    assert!(cuts >= 27, "hardly any cut: {cuts}");
}

/// The answer to a move is lost, and others change one of the places before the move is repeated.
#[test]
fn a_lost_move_is_settled() {
    type Event = fn(&PostgresStorage, u64);
    let create_at_from: Event =
        |other, n| other.put(&locator(210, n), &record(n << 8 | 1, 100), PutMode::Create).unwrap();
    let events: [(Event, bool); 4] = [
        (create_at_from, true),
        (|other, n| other.put(&locator(211, n), &record(n << 8 | 2, 100), PutMode::Overwrite).unwrap(), false),
        (|other, n| assert!(other.delete(&locator(211, n), None).unwrap()), false),
        (|other, n| other.rename(&locator(211, n), &head(&record(n << 8, 100)), &locator(212, n)).unwrap(), false),
    ];
    let (server, schema) = (Postgres::shared(), format!("test_lost_moves_{}", std::process::id()));
    let direct = Arc::new(PostgresStorage::open(&PostgresConfig::new(&server.url(&schema)).unwrap()).unwrap());
    let cutter = Cutter::new(server.socket());
    let url = format!("postgres://strongroom@127.0.0.1:{}/postgres?schema={schema}", cutter.port);
    let storage = PostgresStorage::open(&PostgresConfig::new(&url).unwrap()).unwrap();
    for (n, (event, is_there)) in (1..).zip(events) {
        let (moved, from, to) = (record(n << 8, 100), locator(210, n), locator(211, n));
        storage.put(&from, &moved, PutMode::Create).unwrap(); // there is a connection now
        let other = Arc::clone(&direct);
        cutter.lose_answer(move || {
            wait_for(|| other.info(&to).unwrap());
            event(&other, n);
        });
        let outcome = storage.rename(&from, &head(&moved), &to);
        match outcome {
            Ok(()) => assert!(is_there && direct.get(&to).unwrap() == Some(moved), "{n}"),
            Err(Error::Indeterminate(_)) => assert!(!is_there, "{n}"),
            Err(error) => panic!("{n}: {error:?}"),
        }
        assert!(cutter.shared.event.lock().unwrap().is_none(), "{n}: no answer was lost");
        cutter.plan(None);
    }
}

/// The answer to a batch is lost, and others change some of its records, or all, before it is repeated.
#[test]
fn a_lost_batch_is_settled() {
    let (server, schema) = (Postgres::shared(), format!("test_lost_batches_{}", std::process::id()));
    let direct = Arc::new(PostgresStorage::open(&PostgresConfig::new(&server.url(&schema)).unwrap()).unwrap());
    let cutter = Cutter::new(server.socket());
    let url = format!("postgres://strongroom@127.0.0.1:{}/postgres?schema={schema}", cutter.port);
    let storage = PostgresStorage::open(&PostgresConfig::new(&url).unwrap()).unwrap();
    for (n, replaced) in (1_u64..).zip([&[][..], &[0], &[2], &[0, 2], &[0, 1, 2]]) {
        let at = [220, 221, 222].map(|place| locator(place, n));
        let new = [1, 2, 3].map(|number| record(n << 8 | number, 100));
        let batch: Vec<_> = at.iter().copied().zip(new.iter().map(Vec::as_slice)).collect();
        storage.settings().unwrap(); // there is a connection now
        let other = Arc::clone(&direct);
        cutter.lose_answer(move || {
            wait_for(|| other.info(&at[2]).unwrap());
            for place in replaced {
                other.put(&at[*place], &record(n << 8 | 9, 100), PutMode::Overwrite).unwrap();
            }
        });
        let outcome = storage.create_many(&batch);
        cutter.plan(None);
        assert!(cutter.shared.event.lock().unwrap().is_none(), "{n}: no answer was lost");
        match replaced.len() {
            3 => assert!(matches!(outcome, Err(Error::Indeterminate(_))), "{n}: {outcome:?}"),
            _ => outcome.unwrap(),
        }
        for (place, (locator, new)) in batch.iter().enumerate() {
            let is_own = direct.get(locator).unwrap().is_some_and(|found| found == *new);
            assert_eq!(is_own, !replaced.contains(&place), "{n}: {place}");
        }
    }
}

/// The first host accepts a connection and is then silent: from the start, or before it has said that it accepts
/// writes, or before it has shown its settings.
#[test]
fn a_silent_host_leaves_time_for_the_next() {
    let server = Postgres::shared();
    let open = |name: &str, port: u16, options: &str, timeout: u64| {
        let (schema, host) = (format!("test_silent_{name}_{}", std::process::id()), server.host());
        let url = format!("postgres://strongroom@127.0.0.1:{port},{host}/postgres?schema={schema}{options}");
        let config = PostgresConfig::new(&url).unwrap().timeout(Duration::from_secs(timeout));
        PostgresStorage::open(&config).unwrap()
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let silent = TcpListener::bind("127.0.0.1:0").unwrap();
            open("shared", silent.local_addr().unwrap().port(), "", 15);
        });
        scope.spawn(|| {
            let (silent, begun) = (TcpListener::bind("127.0.0.1:0").unwrap(), Instant::now());
            let storage = open("limited", silent.local_addr().unwrap().port(), "&connect_timeout=1", 120);
            storage.maintain().unwrap(); // on a connection of its own
            assert!(begun.elapsed() < Duration::from_secs(20), "{:?}: the limit had no effect", begun.elapsed());
        });
        for at in 0..3 {
            scope.spawn(move || {
                let cutter = Cutter::new(server.socket());
                cutter.plan(Some((at, Cut::Silence)));
                open(&at.to_string(), cutter.port, "&connect_timeout=1", 60);
                assert_eq!(cutter.messages(), at + 1);
            });
        }
    });
}

/// The name `localhost` has two addresses here.
#[test]
fn a_silent_address_leaves_time_for_the_next() {
    let mounts = r#"printf '127.0.0.1 localhost\n127.0.0.2 localhost\n' >"$F/hosts"
        mount --bind "$F/hosts" /etc/hosts"#;
    with_mounts("faults::a_silent_address_leaves_time_for_the_next", mounts, |_| {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        Cutter::behind(TcpListener::bind(("127.0.0.2", port)).unwrap(), Postgres::shared().socket());
        let schema = format!("test_silent_address_{}", std::process::id());
        let url = format!("postgres://strongroom@localhost:{port}/postgres?schema={schema}");
        PostgresStorage::open(&PostgresConfig::new(&url).unwrap().timeout(Duration::from_secs(15))).unwrap();
        silent.set_nonblocking(true).unwrap();
        assert!(silent.accept().is_ok(), "it was not tried");
    });
}

#[test]
fn an_interrupt_ends_a_waiting_call() {
    let (server, schema) = (Postgres::shared(), format!("test_interrupt_{}", std::process::id()));
    let cutter = Cutter::new(server.socket());
    let url = format!("postgres://strongroom@127.0.0.1:{}/postgres?schema={schema}", cutter.port);
    let config = PostgresConfig::new(&url).unwrap().timeout(Duration::from_secs(3600));
    let storage = PostgresStorage::open(&config).unwrap();
    cutter.plan(Some((0, Cut::Silence)));
    let outcome = strongroom::interrupt::interruptible(|| true, || storage.info(&locator(1, 1)));
    assert!(matches!(outcome, Err(Error::Busy)), "{outcome:?}");
    cutter.plan(Some((0, Cut::Silence)));
    let put = || storage.put(&locator(1, 1), &record(1, 100), PutMode::Create);
    let outcome = strongroom::interrupt::interruptible(|| true, put);
    assert!(matches!(outcome, Err(Error::Indeterminate(_))), "{outcome:?}");
}
