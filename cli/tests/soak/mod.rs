//! Services under a mixed load with kills, network faults, full disks, clock jumps, rotations, backups and restores. A
//! checker verifies the history of each id, and the services' memory, descriptors and disk must not grow.
//!
//! `make soak HOURS=4` runs it on SQLite, PostgreSQL and an object store; SEED chooses the load and the faults.

#![cfg(all(target_os = "linux", feature = "server"))]

mod checker;
mod faults;
mod history;
mod lane;
mod load;
mod operation;
mod random;
mod report;
mod samples;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::support::World;
use crate::support::postgres::Postgres;
use crate::support::shared_server::SharedServer;
use crate::support::wait::{DEADLINE, Join, StopOnDrop, wait_for};
use faults::{CLOCK_ERROR, Pace};
use lane::{Backend, Lane};
use load::{Load, lock};
use random::Random;
use report::Report;
use samples::Samples;

const CLIENTS: usize = 3;
/// The longest pause of a client between two calls.
const PAUSE: Duration = Duration::from_millis(60);

/// A store with its load, faults and samples.
struct Run<'r> {
    lane: &'r Lane,
    load: Load<'r>,
    pace: Pace,
    samples: Mutex<Samples>,
}

impl<'r> Run<'r> {
    fn new(lane: &'r Lane, report: &'r Report, pace: Pace, pause: Duration) -> Self {
        let clock_error = if pace.is_steady { Duration::ZERO } else { CLOCK_ERROR };
        let load = Load::new(report, !matches!(lane.backend, Backend::Objects(_)), clock_error, pause);
        Self { lane, load, pace, samples: Mutex::default() }
    }

    /// Works for this time, and then checks what is left.
    fn run(&self, random: &mut Random, time: Duration) {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let stop = &stop;
            let _stop = StopOnDrop(stop);
            let mut threads = Vec::new();
            for _ in 0..CLIENTS {
                let (client, random) = (self.lane.client(), random.fork());
                threads.push(scope.spawn(move || self.load.work(&client, random, stop)));
            }
            let [faults, tasks] = [random.fork(), random.fork()];
            threads.push(scope.spawn(move || faults::fail(self.lane, &self.load, self.pace, faults, stop)));
            threads.push(scope.spawn(move || faults::operate(self.lane, &self.load, self.pace, tasks, stop)));
            let (start, mut minutes) = (Instant::now(), 0);
            while start.elapsed() < time && threads.iter().all(|thread| !thread.is_finished()) {
                if start.elapsed().as_secs() / 60 > minutes {
                    minutes += 1;
                    let [acknowledged, all, unknown] = self.load.report.totals();
                    let name = self.load.report.name;
                    eprintln!("{minutes:>4} min, {name}: {all} calls, {acknowledged} acknowledged, {unknown} unknown");
                }
                lock(&self.samples).take(self.lane, start.elapsed());
                thread::sleep((time / 400).max(Duration::from_millis(50)));
            }
            stop.store(true, Ordering::Relaxed);
            threads.into_iter().for_each(|thread| thread.join_within(DEADLINE * 3));
        });
        self.lane.wait_until_ready();
        self.load.end_all(&self.lane.client());
        for line in self.lane.panics() {
            self.load.report.violation("a service has an internal error", &line);
        }
    }

    /// Prints a summary. Returns the violations.
    fn finish(&self, time: Duration, growth_matters: bool) -> Vec<String> {
        let (table, grown) = lock(&self.samples).summary(self.lane, time);
        eprintln!("{}{table}", self.load.report.summary());
        let mut violations = self.load.report.violations();
        violations.extend(grown.into_iter().filter(|_| growth_matters).map(|line| format!("growth: {line}")));
        violations
    }
}

/// The folder for the histories of violations.
fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).to_path_buf()
}

fn objects(_: &World) -> Backend {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/support/object-store.sh");
    Backend::Objects(SharedServer::start("soak", script, &[], 12_000..20_000, 4))
}

type OpenBackend = fn(&World) -> Backend;

fn postgres(world: &World) -> Backend {
    let folder = world.path("postgres");
    std::fs::create_dir(&folder).unwrap();
    Backend::Postgres(Mutex::new(Postgres::start(&folder)))
}

#[test]
#[ignore = "it takes as long as STRONGROOM_SOAK_HOURS says; `make soak` runs it"]
fn soak() {
    let number = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
    let hours: f64 = number("STRONGROOM_SOAK_HOURS").map_or(0.05, |text| text.parse().unwrap());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let seed = number("STRONGROOM_SOAK_SEED").map_or(now, |text| text.parse().unwrap());
    let time = Duration::from_secs_f64(hours * 3600.0);
    eprintln!("{hours} hours, SEED={seed}");
    let mut random = Random::new(seed);
    let start = Instant::now();
    let violent = Pace { faults: Duration::from_secs(3), tasks: Duration::from_secs(20), is_steady: false };
    let steady = Pace { is_steady: true, ..violent };
    let kinds: [(&str, OpenBackend, _); 6] = [
        ("sqlite", |_| Backend::Sqlite, violent),
        ("postgres", postgres, violent),
        ("objects", objects, violent),
        ("sqlite-steady", |_| Backend::Sqlite, steady),
        ("postgres-steady", postgres, steady),
        ("objects-steady", objects, steady),
    ];
    let chosen = env::var("STRONGROOM_SOAK_STORES").unwrap_or_default();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.split(',').any(|one| one == name);
    let lanes = kinds.into_iter().filter(|(name, ..)| is_chosen(name));
    let lanes = lanes.map(|(name, backend, pace)| (Lane::start(backend), Report::new(name, start, folder()), pace));
    let lanes: Vec<_> = lanes.collect();
    let runs: Vec<_> = lanes.iter().map(|(lane, report, pace)| Run::new(lane, report, *pace, PAUSE)).collect();
    thread::scope(|scope| {
        let threads = runs.iter().map(|run| {
            let mut random = random.fork();
            scope.spawn(move || {
                // The other stores still have their summaries.
                if catch_unwind(AssertUnwindSafe(|| run.run(&mut random, time))).is_err() {
                    run.load.report.violation("the run has ended early", "its panic is in the output");
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().for_each(|thread| thread.join_within(time + DEADLINE * 8));
    });
    let violations: Vec<_> = runs.iter().flat_map(|run| run.finish(time, hours >= 0.5)).collect();
    assert!(violations.is_empty(), "SEED={seed}:\n{}", violations.join("\n"));
}

/// The short form.
#[test]
fn a_short_soak_finds_nothing() {
    let lane = Lane::start(|_| Backend::Sqlite);
    let report = Report::new("short", Instant::now(), folder());
    let pace = Pace { faults: Duration::from_millis(300), tasks: Duration::from_secs(2), is_steady: false };
    let run = Run::new(&lane, &report, pace, Duration::from_millis(5));
    let time = Duration::from_secs(5);
    run.run(&mut Random::new(7), time);
    assert_eq!(run.finish(time, false), [""; 0]);
    assert!(report.totals()[0] > 20, "hardly any call succeeds");
}

/// The control: an earlier copy of the store takes its place while clients work, so that acknowledged writes are lost.
#[test]
fn a_store_that_loses_writes_is_detected() {
    let lane = Lane::start(|_| Backend::Sqlite);
    let scratch = tempfile::tempdir().unwrap();
    let report = Report::new("control", Instant::now(), scratch.path().to_path_buf());
    let load = Load::new(&report, true, Duration::ZERO, Duration::from_millis(1));
    let (client, stop) = (lane.client(), AtomicBool::new(false));
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        let worker = scope.spawn(|| load.work(&client, Random::new(1), &stop));
        let wait_for_more = || {
            let before = report.totals()[0];
            wait_for(|| (report.totals()[0] > before + 100).then_some(()));
        };
        wait_for_more();
        lane.back_up("backup.db").unwrap();
        wait_for_more();
        lane.restore("backup.db");
        wait_for_more();
        stop.store(true, Ordering::Relaxed);
        worker.join_within(DEADLINE);
    });
    load.end_all(&client);
    let violations = report.violations();
    assert!(violations.iter().any(|line| line.contains("not linearizable")), "{violations:?}");
}
