//! Crashes of the server and cut connections: acknowledged writes are there, and doubtful ones are told as such.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::storage::{Error, Head, Locator, PostgresConfig, PostgresStorage, PutMode, Storage};

use crate::support::postgres::Postgres;
use crate::support::rounds::rounds;
use crate::support::wait::{DEADLINE, Join};

const WRITERS: usize = 16;

fn record(version: u64, len: usize) -> Vec<u8> {
    let mut record = vec![0x5a; len];
    record[..4].copy_from_slice(&[1, 1, 0, 0]);
    record[4..12].fill(0);
    record[12..20].copy_from_slice(&version.to_le_bytes());
    record
}

fn head(record: &[u8]) -> Head {
    Head::of(record).unwrap()
}

fn locator(writer: usize, n: u64) -> Locator {
    let mut bytes = [writer as u8; 32];
    bytes[8..16].copy_from_slice(&n.to_be_bytes());
    Locator::from_bytes(bytes)
}

/// A writer's knowledge of a record: the heads that it may have now; `None` is no record.
type Known = BTreeMap<Locator, Vec<Option<Head>>>;

/// Writes, replaces and deletes until `stop`, and returns what must be true afterwards.
fn write_until(
    storage: &PostgresStorage,
    (writer, round): (usize, u64),
    stop: &AtomicBool,
    acknowledged: &AtomicUsize,
) -> Known {
    let mut known = Known::new();
    for n in round << 20.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let at = locator(writer, n / 4);
        let before = known.get(&at).cloned().unwrap_or(vec![None]);
        let new = record((writer as u64) << 32 | n, 100 + (n as usize % 7) * 1000);
        let (outcome, after) = match (n % 4, before.as_slice()) {
            (1, [Some(old)]) => (storage.put(&at, &new, PutMode::ReplaceIf(*old)), Some(head(&new))),
            (2, _) => (storage.put(&at, &new, PutMode::Overwrite), Some(head(&new))),
            (3, [Some(old)]) if n % 8 == 3 => (storage.delete(&at, Some(old)).map(drop), None),
            (0, [None]) => (storage.put(&at, &new, PutMode::Create), Some(head(&new))),
            _ => continue,
        };
        match outcome {
            Ok(()) => {
                acknowledged.fetch_add(1, Ordering::Relaxed);
                known.insert(at, vec![after]);
            }
            Err(Error::Indeterminate(_)) => {
                let mut may = before;
                may.push(after);
                known.insert(at, may);
            }
            // Nothing was changed.
            Err(Error::Backend(_) | Error::Busy) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    known
}

struct StopWriters<'s>(&'s AtomicBool);

impl Drop for StopWriters<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn assert_known(storage: &PostgresStorage, known: Known) {
    for (locator, heads) in known {
        let there = storage.info(&locator).unwrap().map(|info| info.head);
        assert!(heads.contains(&there), "{heads:?} {there:?}");
    }
}

#[test]
fn a_crash_of_the_server_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    // The server's user is not the owner of the folder.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut server = Postgres::start(folder.path());
    let config = PostgresConfig::new(&server.url("crashes")).unwrap().timeout(Duration::from_secs(20));
    let storage = PostgresStorage::open(&config).unwrap();
    let acknowledged = AtomicUsize::new(0);
    for round in 0..rounds(10, 100) {
        let before = acknowledged.load(Ordering::Relaxed);
        let stop = AtomicBool::new(false);
        let known = thread::scope(|scope| {
            let write = |writer| {
                let (storage, stop, acknowledged) = (&storage, &stop, &acknowledged);
                scope.spawn(move || write_until(storage, (writer, round), stop, acknowledged))
            };
            let _stop = StopWriters(&stop); // also after a panic
            let writers: Vec<_> = (0..WRITERS).map(write).collect();
            let enough = || acknowledged.load(Ordering::Relaxed) > before + 50 + (round as usize * 37) % 500;
            crate::support::wait::wait_for(|| enough().then_some(()));
            server.kill();
            server.restart();
            let again = acknowledged.load(Ordering::Relaxed);
            crate::support::wait::wait_for(|| (acknowledged.load(Ordering::Relaxed) > again + 16).then_some(()));
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().map(|writer| writer.join_within(DEADLINE)).collect::<Vec<_>>()
        });
        known.into_iter().for_each(|known| assert_known(&storage, known));
        assert!(storage.verify(None, 1000).unwrap().damage.is_empty());
    }
}

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
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
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
