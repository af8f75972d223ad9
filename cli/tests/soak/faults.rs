//! Faults of a store's services, and the work of its operator: rotations, backups, restores.

use std::fs;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use strongroom::Strongroom;

use super::checker::Effect;
use super::history::Id;
use super::lane::{Backend, Lane, remove_database};
use super::load::{Load, lock};
use super::random::Random;
use crate::support::proxy::Fault;
use crate::support::wait::{DEADLINE, poll_within};

/// The largest error of a service's clock.
pub(crate) const CLOCK_ERROR: Duration = Duration::from_secs(100);

/// The mean pause between two faults, which also determines how long they last, and between two tasks of the operator.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) faults: Duration,
    pub(crate) tasks: Duration,
    /// Whether services keep running: they are held and lose connections, but are neither killed nor restarted.
    pub(crate) is_steady: bool,
}

/// Sleeps, unless stopped.
fn sleep(time: Duration, stop: &AtomicBool) {
    let start = Instant::now();
    while start.elapsed() < time && !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20).min(time));
    }
}

/// Causes faults until stopped, and then ends them all.
pub(crate) fn fail(lane: &Lane, load: &Load<'_>, pace: Pace, mut random: Random, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        sleep(random.time(pace.faults * 2), stop);
        // A restore needs the services.
        let open = load.gate.read().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..lane.revive() {
            load.report.event("restarts of services that ended by themselves");
        }
        if load.report.is_poisoned.swap(false, Ordering::Relaxed) {
            (0..lane.nodes.len()).for_each(|number| lane.restart(number));
            load.report.event("restarts of poisoned services");
        }
        let number = random.index(lane.nodes.len());
        let event = match random.index(if pace.is_steady { 8 } else { 20 }) {
            0..2 => {
                lane.hold(number, random.time(pace.faults * 3));
                "stops (SIGSTOP)"
            }
            2..8 => {
                let proxy = &lane.proxies[random.index(lane.proxies.len())];
                let (fault, event) = match random.index(4) {
                    0 => (Fault::Cut, "cut connections"),
                    1 => (Fault::Delay(random.time(Duration::from_millis(200))), "slow connections"),
                    2 => (Fault::Silent, "silent connections"),
                    _ => (Fault::LoseReplies, "lost replies"),
                };
                proxy.fail(fault, random.time(pace.faults * 2));
                event
            }
            8..14 => {
                lane.kill(number);
                // Half of the kills are followed by a time without the service.
                thread::sleep(random.time(Duration::from_secs(1)) * u32::from(random.index(2) == 0));
                lane.restart(number);
                "kills (SIGKILL)"
            }
            14..17 => {
                let most = i64::try_from(CLOCK_ERROR.as_secs()).unwrap() - 10;
                lane.set_clock(number, [-most, -3, 0, 3, most][random.index(5)]);
                "clock jumps"
            }
            _ => match &lane.backend {
                Backend::Sqlite => {
                    fill_disk(lane, random.time(pace.faults), stop);
                    "full disks"
                }
                Backend::Postgres(server) => {
                    let mut server = lock(server);
                    server.kill();
                    thread::sleep(random.time(Duration::from_secs(1)));
                    server.restart();
                    "kills of PostgreSQL"
                }
                Backend::Objects(_) => continue,
            },
        };
        drop(open);
        load.report.event(event);
    }
    lane.proxies.iter().for_each(|proxy| proxy.fail(Fault::None, Duration::ZERO));
    (0..lane.nodes.len()).for_each(|number| lane.set_clock(number, 0));
}

/// The files of the storage service cannot grow beyond their present length for a time.
fn fill_disk(lane: &Lane, time: Duration, stop: &AtomicBool) {
    let Some(pid) = lane.pid(1) else { return };
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let limit = |len| {
        let _ = prlimit(pid, Resource::Fsize, Rlimit { current: len, maximum: None });
    };
    limit(Some(lane.disk() / 2));
    sleep(time, stop);
    limit(None);
}

/// Rotates index keys, and makes and restores backups, until stopped.
pub(crate) fn operate(lane: &Lane, load: &Load<'_>, pace: Pace, mut random: Random, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        sleep(random.time(pace.tasks * 2), stop);
        match random.index(if pace.is_steady { 1 } else { 3 }) {
            0 if check_backup(lane, load) => load.report.event("backups"),
            0 => load.report.event("failed backups"),
            1 => {
                rotate(lane, load);
                load.report.event("rotations");
            }
            _ => {
                let _closed = load.gate.write().unwrap_or_else(PoisonError::into_inner);
                lane.proxies.iter().for_each(|proxy| proxy.fail(Fault::None, Duration::ZERO));
                let mut said = String::new();
                let mut back_up = || {
                    // A service that starts while what it needs does not answer ends.
                    lane.revive();
                    lane.back_up("restored.db").map_err(|error| said = error).ok()
                };
                if poll_within(DEADLINE, &mut back_up).is_some() {
                    lane.restore("restored.db");
                    load.report.event("restores");
                } else {
                    load.report.violation("a backup before a restore does not succeed", &said);
                }
                remove_database(&lane.world, "restored.db");
            }
        }
    }
}

/// Each record of a copy is one that the store had while it was copied.
fn check_backup(lane: &Lane, load: &Load<'_>) -> bool {
    let copy = || {
        lane.back_up("backup.db").ok()?;
        let builder = Strongroom::builder().path(lane.world.path("backup.db")).must_exist();
        Some(builder.index_key_file(lane.world.path(&lock(&lane.index_keys)[0])).open().unwrap())
    };
    let observe = |backup: &Strongroom, id: &mut Id, called: u64| {
        let is_there = backup.contains(&id.name).unwrap();
        let opens = |version: &usize| {
            let found = backup.retrieve(&id.name, &id.contents[*version].key()).ok()?;
            Some(found == id.contents[*version].data())
        };
        let effect = match (0..id.contents.len()).find_map(|version| Some((version, opens(&version)?))) {
            Some((_, false)) => return load.report.violation("a backup has other data", &id.name),
            Some((version, true)) => Effect::Found(version),
            None if is_there => Effect::Present,
            None => Effect::Absent,
        };
        id.record(called, Some(load.now()), effect);
    };
    let is_done = load.observe(copy, observe);
    remove_database(&lane.world, "backup.db");
    is_done
}

/// Rotates the index key as `docs/PRODUCTION.md` describes it, while clients work.
fn rotate(lane: &Lane, load: &Load<'_>) {
    let old = lock(&lane.index_keys)[0].clone();
    let new = format!("index-{}", load.now());
    lane.world.ok(&["key", "new", "--index", "--key-out", &new], "");
    let set = |keys: &[&String]| {
        *lock(&lane.index_keys) = keys.iter().map(|key| (*key).clone()).collect();
        (0..lane.nodes.len()).for_each(|number| lane.restart(number));
    };
    set(&[&new, &old]);
    let mut said = String::new();
    let mut run = || {
        lane.world.write("ids", load.names().join("\n"));
        let rotate = ["index-key", "rotate", "--index-key-file", &old, "--new", &new, "--ids", "ids"];
        said = lane.run(&[&rotate[..], &["--store", &lane.store()]].concat()).unwrap_or_else(|error| error);
        said.contains("finished").then_some(())
    };
    if poll_within(DEADLINE * 2, &mut run).is_none() {
        // Both keys stay: records may be under either.
        return load.report.violation("a rotation does not end", &said);
    }
    set(&[&new]);
    let _ = fs::remove_file(lane.world.path(&old));
}
