//! One of two storage services on PostgreSQL is killed again and again, while clients start 200 requests a second. No
//! request that may be repeated fails, and each other failure tells the truth about what is stored.

#![cfg(all(unix, feature = "server"))]

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use strongroom::{Endpoint, Error, Strongroom, WriteOptions};

use crate::cluster::{free, free_tcp, start_server, url, wait_for_storages, wait_until_ready, world};
use crate::kill_services::{Known, Log, Pieces, Version, check};
use crate::rounds::rounds;
use crate::support::World;
use crate::support::postgres::Postgres;
use crate::support::service::Service;
use crate::support::wait::{DEADLINE, Join, StopOnDrop, wait_for};

/// Between the starts of two requests: 200 in a second.
const INTERVAL: Duration = Duration::from_millis(5);
/// Enough that a slow answer delays no other request.
const CLIENTS: u64 = 32;
const SHORT: usize = 1 << 10;
/// The encryption server gathers this in memory, so that it can repeat the request to the storage service.
const GATHERED: usize = 300 << 10;
/// It streams this, so that it cannot.
const STREAMED: usize = 1_500 << 10;

/// Requests that start by schedule, whether or not the earlier ones have been answered.
struct Load {
    start: Instant,
    begun: AtomicU64,
    stop: AtomicBool,
    calls: Mutex<Vec<Call>>,
}

struct Call {
    kind: &'static str,
    /// When it began: later than due if all clients wait for answers.
    begun: Instant,
    /// From the time at which it was due, so that a delay of its start counts, too.
    time: Duration,
    error: Option<String>,
}

impl Load {
    fn begin() -> Self {
        let (begun, stop, calls) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::default());
        Self { start: Instant::now(), begun, stop, calls }
    }

    /// Makes a call when it is due. `None` after the end of the load.
    fn call<T>(&self, kind: &'static str, call: impl FnOnce() -> Result<T, Error>) -> Option<Result<T, Error>> {
        let number = u32::try_from(self.begun.fetch_add(1, Ordering::Relaxed)).unwrap();
        let due = self.start + INTERVAL * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let begun = Instant::now();
        let outcome = call();
        let error = outcome.as_ref().err().map(|error| format!("{error:?}"));
        self.calls.lock().unwrap().push(Call { kind, begun, time: due.elapsed(), error });
        Some(outcome)
    }

    /// Makes a call that may be repeated, and so must succeed.
    fn repeatable<T>(&self, kind: &'static str, call: impl FnOnce() -> Result<T, Error>) -> Option<T> {
        Some(self.call(kind, call)?.unwrap_or_else(|error| panic!("{kind}: {}", error.full_message())))
    }

    /// Makes a call that may not be repeated after a lost answer. Returns its result, unless the outcome is unknown.
    fn once<T>(&self, kind: &'static str, call: impl FnOnce() -> Result<T, Error>) -> Option<Option<T>> {
        match self.call(kind, call)? {
            Ok(result) => Some(Some(result)),
            Err(Error::Indeterminate(_)) => Some(None),
            Err(error) => panic!("{kind}: {}", error.full_message()),
        }
    }
}

/// Makes requests until the load ends.
fn work(client: &Strongroom, name: u64, load: &Load) -> Log {
    let mut log = Log::new();
    let records = if name.is_multiple_of(16) { long_records } else { short_records };
    for n in (0..).map(|n| n * CLIENTS + name) {
        if records(client, n, load, &mut log).is_none() {
            break;
        }
    }
    log
}

/// An acknowledged version, after these.
fn known(version: &Version, gone: &[&Version]) -> Known {
    let gone = gone.iter().map(|version| (*version).clone()).collect();
    Known { versions: vec![version.clone()], gone, ..Known::default() }
}

fn removed(version: &Version) -> Known {
    Known { gone: vec![version.clone()], may_be_absent: true, ..Known::default() }
}

/// A version whose removal has an unknown outcome.
fn unknown(version: &Version) -> Known {
    Known { may_be_absent: true, ..known(version, &[]) }
}

fn short_records(client: &Strongroom, n: u64, load: &Load, log: &mut Log) -> Option<()> {
    let id = format!("one {n}");
    let [first, second] = [0, 1].map(|seed| Version::new(n * 2 + seed, SHORT));
    let versions = [first, second.clone(), second.rekeyed()];
    let [first, second, third] = &versions;
    let keys = versions.each_ref().map(Version::key);
    let options = keys.each_ref().map(|key| WriteOptions::new().key(key));

    load.repeatable("store", || client.store_with(&id, first.data(), options[0]))?;
    log.insert(id.clone(), known(first, &[]));
    assert!(load.repeatable("retrieve", || client.retrieve(&id, &keys[0]))? == first.data());
    let part = load.repeatable("retrieve a range", || client.retrieve_range(&id, &keys[0], 100..200))?;
    assert!(part == first.data()[100..200]);
    assert!(load.repeatable("contains", || client.contains(&id))?);
    load.repeatable("replace", || client.replace_with(&id, &keys[0], second.data(), options[1]))?;
    log.insert(id.clone(), known(second, &[first]));
    load.repeatable("rekey", || client.rekey_with(&id, &keys[1], options[2]))?;
    log.insert(id.clone(), known(third, &[first, second]));
    let found = load.repeatable("retrieve several", || client.retrieve_many(&[(&id, &keys[2]), (&id, &keys[0])]))?;
    assert!(matches!(&found[..], [Ok(data), Err(Error::NotFound)] if *data == third.data()));
    let taken = load.once("take", || client.take(&id, &keys[2]))?;
    assert!(taken.as_ref().is_none_or(|data| *data == third.data()));
    let outcome = if taken.is_some() { removed(third) } else { unknown(third) };
    let gone = if taken.is_some() { versions.to_vec() } else { versions[..2].to_vec() };
    log.insert(id, Known { gone, ..outcome });

    let several = [1, 2, 3].map(|number| format!("several {n} {number}"));
    let items = [0, 1, 2].map(|at| (&several[at], versions[at].data(), options[at]));
    load.repeatable("store several", || client.store_many_with(&items))?;
    several.iter().zip(&versions).for_each(|(id, version)| drop(log.insert(id.clone(), known(version, &[]))));
    let deleted = load.once("delete", || client.delete(&several[0], &keys[0]))?;
    log.insert(several[0].clone(), deleted.map_or_else(|| unknown(first), |()| removed(first)));
    let erased = load.once("erase", || client.erase(&several[1]))?;
    assert!(erased != Some(false));
    log.insert(several[1].clone(), erased.map_or_else(|| unknown(second), |_| removed(second)));
    Some(())
}

fn long_records(client: &Strongroom, n: u64, load: &Load, log: &mut Log) -> Option<()> {
    let (id, version) = (format!("gathered {n}"), Version::new(n, GATHERED));
    let (key, data) = (version.key(), version.data());
    let options = WriteOptions::new().key(&key);
    load.repeatable("store from a reader", || client.store_reader_with(&id, Pieces(&data), options))?;
    log.insert(id.clone(), known(&version, &[]));
    let mut found = Vec::new();
    load.repeatable("retrieve into a writer", || {
        found.clear();
        client.open_record(&id, &key)?.read_to_end(&mut found).map_err(|error| Error::Storage(error.into()))
    })?;
    assert!(found == data);

    let (id, version) = (format!("streamed {n}"), Version::new(n, STREAMED));
    let (key, data) = (version.key(), version.data());
    let options = WriteOptions::new().key(&key);
    let outcome = match load.call("store a stream", || client.store_reader_with(&id, Pieces(&data), options))? {
        Ok(_) => known(&version, &[]),
        Err(Error::Indeterminate(_)) => unknown(&version),
        // It says that nothing is stored.
        Err(Error::Busy | Error::Storage(_)) => removed(&version),
        Err(error) => panic!("store a stream: {error:?}"),
    };
    log.insert(id, outcome);
    Some(())
}

/// A storage service at the same addresses as before.
fn start_storage(world: &World, store: &str, [gossip, other]: [SocketAddr; 2], http: SocketAddr) -> Service {
    let [gossip, other, http] = [gossip, other, http].map(|address| address.to_string());
    let args = ["serve-storage", "--store", store, "--listen", &http, "--insecure-loopback"];
    Service::start_on(world, &[&args[..], &["--gossip-listen", &gossip, "--join", &other]].concat())
}

#[test]
fn a_kill_under_a_fixed_rate_fails_no_repeatable_request() {
    let world = world();
    let database = Postgres::shared().url_for(world.folder.path());
    let [one, two, own] = free();
    let [http_one, http_two] = free_tcp();
    let places = [([one, own], http_one), ([two, own], http_two)];
    let start = |number: usize| start_storage(&world, &database, places[number].0, places[number].1);
    let mut storages = [start(0), start(1)];
    let server = start_server(&world, own, one);
    wait_until_ready(&server);
    wait_for_storages(&world, &server, "ready", 2);
    let endpoint = Endpoint::new(&url(&server)).unwrap().timeout(DEADLINE / 2);
    let clients: Vec<_> = (0..CLIENTS).map(|_| Strongroom::connect(&endpoint).unwrap()).collect();

    let mut kills = Vec::new();
    let load = Load::begin();
    let logs: Vec<Log> = thread::scope(|scope| {
        let load = &load;
        let _stop = StopOnDrop(&load.stop);
        let workers: Vec<_> =
            (0..).zip(&clients).map(|(number, client)| scope.spawn(move || work(client, number, load))).collect();
        let wait_for_more = || {
            let answered = || load.calls.lock().unwrap().len();
            let before = answered();
            let has_failed = || workers.iter().any(|worker| worker.is_finished());
            wait_for(|| (answered() >= before + 140 || has_failed()).then_some(()));
        };
        for round in 0..rounds(3, 40) {
            wait_for_more();
            let number = round % 2;
            storages[number].signal(Signal::KILL);
            kills.push(Instant::now());
            // Some are back before the others have noticed their death.
            thread::sleep(Duration::from_millis(u64::try_from(round).unwrap() * 1_300 % 6_500));
            storages[number] = start(number);
            wait_until_ready(&storages[number]);
            wait_for_storages(&world, &server, "ready", 2);
        }
        wait_for_more();
        load.stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join_within(DEADLINE)).collect()
    });

    let found: usize = thread::scope(|scope| {
        let check = |(log, client): (&Log, &Strongroom)| check(log, |id, key| client.retrieve(id, key)).unwrap();
        let checks: Vec<_> = logs.iter().zip(&clients).map(|pair| scope.spawn(move || check(pair))).collect();
        checks.into_iter().map(|check| check.join_within(DEADLINE)).sum()
    });
    assert_eq!(clients[0].stats().unwrap().records, found as u64, "there is no other record");
    let calls = load.calls.into_inner().unwrap();
    report(&load.start, &calls, &kills);
}

/// Prints the figures, none of which is a condition: they are those of the machine.
fn report(start: &Instant, calls: &[Call], kills: &[Instant]) {
    let end = calls.iter().map(|call| call.begun).max().unwrap();
    #[allow(clippy::cast_precision_loss, reason = "a figure to print")]
    let rate = calls.len() as f64 / end.duration_since(*start).as_secs_f64();
    let mut kinds: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    for call in calls {
        let count = kinds.entry(call.kind).or_default();
        *count = (count.0 + 1, count.1 + usize::from(call.error.is_some()));
        call.error.iter().for_each(|error| eprintln!("{}: {error}", call.kind));
    }
    let in_kill = |call: &&Call| kills.iter().any(|kill| (*kill..*kill + Duration::from_secs(1)).contains(&call.begun));
    let (during, other): (Vec<_>, Vec<_>) = calls.iter().partition(in_kill);
    let times = |calls: &[&Call]| {
        let mut times: Vec<_> = calls.iter().map(|call| call.time).collect();
        times.sort();
        let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        format!("p50 {:.1?}, p99 {:.1?}, the longest {:.1?}", at(50), at(99), at(100))
    };
    eprintln!(
        "{} kills, {} requests, {rate:.0} started in a second (with failures of each kind: {kinds:?})\n\
         in the second after a kill: {}\notherwise: {}",
        kills.len(),
        calls.len(),
        times(&during),
        times(&other)
    );
}
