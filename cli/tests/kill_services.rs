//! Both services are killed repeatedly while clients work. Acknowledged records exist and open to the data that was
//! sent, no record is incomplete, and each call ends in time.

#![cfg(all(unix, feature = "server"))]

use std::collections::HashMap;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::rounds::rounds;
use crate::support::World;
use crate::support::wait::{DEADLINE, Join, StopOnDrop, WaitWithin, wait_for};
use strongroom::{Endpoint, Error, RecordKey, Strongroom, WriteOptions};

const CLIENTS: u64 = 4;
const TIMEOUT: Duration = Duration::from_secs(3);
const SHORT: usize = 1 << 10;
const LONG: usize = 300 << 10;

/// The records that may exist under an id.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// The versions of which one is stored: the last acknowledged one, and later ones with an unknown outcome.
    pub(crate) versions: Vec<Version>,
    /// Whether the record may also be missing.
    pub(crate) may_be_absent: bool,
    /// Versions that failed, or were replaced or deleted: none of them is stored.
    pub(crate) gone: Vec<Version>,
}

#[derive(Clone, Debug)]
pub(crate) struct Version {
    key: [u8; 32],
    /// The seed of the data.
    seed: u64,
    len: usize,
}

pub(crate) type Log = HashMap<String, Known>;

#[derive(Default)]
struct Counts {
    acknowledged: AtomicUsize,
    failed: AtomicUsize,
    unknown: AtomicUsize,
    longest_millis: AtomicU64,
}

/// No two blocks are equal. Development builds are too slow to compute each byte.
fn data(seed: u64, len: usize) -> Vec<u8> {
    let mixed = |n: u64| (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n).to_le_bytes();
    let block: Vec<u8> = (0..512).flat_map(mixed).collect();
    let mut data = block.repeat(len.div_ceil(block.len()));
    for (number, block) in (0..).zip(data.chunks_mut(block.len())) {
        block[..8].copy_from_slice(&mixed(number << 32));
    }
    data.truncate(len);
    data
}

impl Version {
    pub(crate) fn new(seed: u64, len: usize) -> Self {
        let key = RecordKey::generate().unwrap();
        Self { key: *key.expose_bytes(), seed, len }
    }

    /// The same data under a new key.
    pub(crate) fn rekeyed(&self) -> Self {
        Self::new(self.seed, self.len)
    }

    pub(crate) fn key(&self) -> RecordKey {
        RecordKey::from_bytes(&self.key).unwrap()
    }

    pub(crate) fn data(&self) -> Vec<u8> {
        data(self.seed, self.len)
    }
}

/// Returns data in pieces, without its length.
pub(crate) struct Pieces<'d>(pub(crate) &'d [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(50_000);
        self.0.read(&mut buffer[..len])
    }
}

/// Checks that each id has one of its possible versions, complete. `get` retrieves with a key. Returns the number of
/// records.
pub(crate) fn check(log: &Log, get: impl Fn(&str, &RecordKey) -> Result<Vec<u8>, Error>) -> Result<usize, String> {
    let mut found = 0;
    for (id, known) in log {
        let mut is_there = false;
        for version in &known.versions {
            match get(id, &version.key()) {
                Ok(data) if data == version.data() => is_there = true,
                Ok(_) => return Err(format!("{id} opens to something else")),
                Err(Error::NotFound) => {}
                Err(error) => return Err(format!("{id}: {}", error.full_message())),
            }
        }
        for version in &known.gone {
            match get(id, &version.key()) {
                Err(Error::NotFound) => {}
                outcome => return Err(format!("{id} should be gone: {:?}", outcome.map(|data| data.len()))),
            }
        }
        if !is_there && !known.may_be_absent {
            return Err(format!("{id} is lost"));
        }
        found += usize::from(is_there);
    }
    Ok(found)
}

impl Counts {
    /// Makes a call, which must end in time. Returns its outcome; `None` if it is unknown.
    fn call<T>(&self, call: impl FnOnce() -> Result<T, Error>) -> Option<Result<T, Error>> {
        let start = Instant::now();
        let outcome = call();
        let time = start.elapsed();
        // A long call has the time limit for each piece, and the machine may be slow.
        assert!(time < TIMEOUT * 10, "a call took {time:?}");
        self.longest_millis.fetch_max(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
        let count = match &outcome {
            Ok(_) => &self.acknowledged,
            Err(Error::Indeterminate(_)) => &self.unknown,
            Err(Error::Busy | Error::Storage(_)) => &self.failed,
            Err(error) => panic!("{error:?}"),
        };
        count.fetch_add(1, Ordering::Relaxed);
        if let Err(Error::Indeterminate(_)) = outcome { None } else { Some(outcome) }
    }
}

/// Stores, retrieves, replaces and deletes until stopped, with its own keys, and logs the acknowledged writes.
fn work(client: &Strongroom, name: u64, stop: &AtomicBool, counts: &Counts) -> Log {
    let mut log = Log::new();
    for n in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
        let id = format!("record {name} {n}");
        let known = log.entry(id.clone()).or_default();
        let version = Version::new(n * 8 + name, if n % 4 == 3 { LONG } else { SHORT });
        let (key, data) = (version.key(), version.data());
        let stored = counts.call(|| match version.len {
            LONG => client.store_reader_with(&id, Pieces(&data), WriteOptions::new().key(&key)),
            _ => client.store_with(&id, &data, WriteOptions::new().key(&key)),
        });
        match stored {
            Some(Ok(_)) => known.versions.push(version.clone()),
            Some(Err(_)) => known.gone.push(version.clone()),
            None => known.versions.push(version.clone()),
        }
        known.may_be_absent = !matches!(stored, Some(Ok(_)));
        if known.may_be_absent {
            continue;
        }
        if let Some(Ok(found)) = counts.call(|| client.retrieve(&id, &key)) {
            assert!(found == data, "{id} opens to something else");
        }
        if n % 2 == 0 {
            let new = Version::new(n * 8 + name + 4, SHORT);
            match counts.call(|| client.replace_with(&id, &key, new.data(), WriteOptions::new().key(&new.key()))) {
                Some(Ok(_)) => known.gone.extend(std::mem::replace(&mut known.versions, vec![new])),
                Some(Err(_)) => known.gone.push(new),
                None => known.versions.push(new),
            }
        }
        if let (0, [version]) = (n % 5, &known.versions[..]) {
            match counts.call(|| client.delete(&id, &version.key())) {
                Some(Ok(_)) => {
                    known.gone.append(&mut known.versions);
                    known.may_be_absent = true;
                }
                Some(Err(_)) => {}
                None => known.may_be_absent = true,
            }
        }
    }
    log
}

/// Ports below the range of ephemeral ports, which the system never assigns by itself.
fn free_ports() -> impl Iterator<Item = u16> {
    let first = 20_000 + u16::try_from(std::process::id() % 8000).unwrap();
    (first..).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

/// A program that is restarted whenever it ends.
struct Supervised<'w> {
    world: &'w World,
    args: Vec<String>,
    child: Child,
}

impl<'w> Supervised<'w> {
    fn start(world: &'w World, args: &str) -> Self {
        let args: Vec<_> = args.split(' ').map(str::to_owned).collect();
        let child = Self::spawn(world, &args);
        Self { world, args, child }
    }

    fn spawn(world: &World, args: &[String]) -> Child {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        world.command(&args).args(["--log-level", "error"]).stderr(Stdio::null()).spawn().unwrap()
    }

    fn restart_if_ended(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            self.child = Self::spawn(self.world, &self.args);
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait_within(DEADLINE);
        self.child = Self::spawn(self.world, &self.args);
    }
}

impl Drop for Supervised<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn killed_services_keep_acknowledged_writes() {
    let world = World::new();
    world.ok(&["key", "new", "--index", "--key-out", "index"], "");
    let [storage_port, port] = free_ports().take(2).collect::<Vec<_>>().try_into().unwrap();
    let storage = format!("serve-storage --store cipher.db --listen 127.0.0.1:{storage_port} --insecure-loopback");
    let server = format!(
        "serve --store http://127.0.0.1:{storage_port} --index-key-file index --timeout 1 --listen 127.0.0.1:{port} --insecure-loopback"
    );
    let mut services = [&storage, &server].map(|args| Supervised::start(&world, args));
    let endpoint = Endpoint::new(&format!("http://127.0.0.1:{port}")).unwrap();
    let patient = Strongroom::connect(&endpoint).unwrap();
    patient.stats().unwrap();

    // The two services in turn.
    let kills = rounds(30, 100);
    let (stop, counts, start) = (AtomicBool::new(false), Counts::default(), Instant::now());
    let logs: Vec<Log> = thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|name| {
                let (endpoint, stop, counts) = (endpoint.clone().timeout(TIMEOUT), &stop, &counts);
                scope.spawn(move || work(&Strongroom::connect(&endpoint).unwrap(), name, stop, counts))
            })
            .collect();
        for kill in 0..kills {
            // Half of the kills are spread over the time of a start, the others over the calls after it.
            if kill % 4 < 2 {
                thread::sleep(Duration::from_micros(kill * 7_919_993 % 300_000));
            } else {
                let before = counts.acknowledged.load(Ordering::Relaxed);
                let more = usize::try_from(kill * 7919 % 200).unwrap();
                wait_for(|| {
                    // A service ends if it finds no storage for a while at its start.
                    services.iter_mut().for_each(Supervised::restart_if_ended);
                    (counts.acknowledged.load(Ordering::Relaxed) >= before + more).then_some(())
                });
            }
            services.iter_mut().for_each(Supervised::restart_if_ended);
            services[usize::try_from(kill % 2).unwrap()].kill();
        }
        thread::sleep(Duration::from_millis(500));
        wait_for(|| {
            services.iter_mut().for_each(Supervised::restart_if_ended);
            patient.stats().ok()
        });
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join_within(DEADLINE)).collect()
    });
    let time = start.elapsed();
    let found: usize = thread::scope(|scope| {
        let check = |log| check(log, |id, key| patient.retrieve(id, key)).unwrap();
        let checks: Vec<_> = logs.iter().map(|log| scope.spawn(move || check(log))).collect();
        checks.into_iter().map(|check| check.join_within(DEADLINE)).sum()
    });
    assert_eq!(patient.stats().unwrap().records, found as u64, "there is no other record");
    let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    let [acknowledged, failed, unknown] = [&counts.acknowledged, &counts.failed, &counts.unknown].map(count);
    eprintln!(
        "{kills} kills in {time:.1?}: {acknowledged} calls acknowledged, {failed} failed, {unknown} not known; {} ids, {found} \
         records; the longest call took {} ms",
        logs.iter().map(Log::len).sum::<usize>(),
        counts.longest_millis.load(Ordering::Relaxed)
    );
    // Most calls that meet a kill are repeated, and take as long as the start of a service.
    let has_met = failed + unknown > 0 || counts.longest_millis.load(Ordering::Relaxed) > 300;
    assert!(acknowledged as u64 > 5 * kills && has_met, "no kill met a call");
    drop(services);
    let database = rusqlite::Connection::open(world.path("cipher.db")).unwrap();
    let check: String = database.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

/// The control: the check detects an acknowledged record that is missing or altered, and one that should not exist.
#[test]
fn the_check_detects_lost_records() {
    let [first, second, failed] = [(1, SHORT), (2, LONG), (3, SHORT)].map(|(seed, len)| Version::new(seed, len));
    let log = Log::from([
        ("a".to_owned(), Known { versions: vec![first.clone()], ..Known::default() }),
        ("b".to_owned(), Known { versions: vec![first.clone(), second.clone()], ..Known::default() }),
        ("c".to_owned(), Known { gone: vec![failed.clone()], may_be_absent: true, ..Known::default() }),
    ]);
    let records = [("a", &first, first.data()), ("b", &second, second.data())];
    let check = |records: &[(&str, &Version, Vec<u8>)]| {
        check(&log, |id, key| {
            let mut records = records.iter().filter(|(name, ..)| *name == id);
            let found = records.find(|(_, version, _)| version.key[..] == *key.expose_bytes());
            found.map(|(.., data)| data.clone()).ok_or(Error::NotFound)
        })
    };
    assert_eq!(check(&records), Ok(2));
    assert!(check(&records[..1]).unwrap_err().contains("b is lost"));
    assert!(check(&records[1..]).unwrap_err().contains("a is lost"));
    let mut altered = records.clone();
    altered[1].2[LONG - 1] ^= 1;
    assert!(check(&altered).unwrap_err().contains("something else"));
    let mut half = records.clone();
    half[1].2.truncate(LONG / 2);
    assert!(check(&half).unwrap_err().contains("something else"));
    let more = [&records[..], &[("c", &failed, failed.data())]].concat();
    assert!(check(&more).unwrap_err().contains("should be gone"));
}
