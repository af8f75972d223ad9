//! Records workloads, and checks the images of their disks.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use strongroom::Durability;
use strongroom_faults::{Crash, Disk, Event, Image, Log, Random};

use super::check::{self, DATABASE, scratch};
use super::history::{Expected, Operation, Version};
use super::workloads::{Keys, Run, Workload, builder};

/// The calls and the history of a workload.
pub(super) struct Recording {
    name: String,
    keys: Keys,
    pub(super) log: Log,
    operations: Vec<Operation>,
    /// The state at the beginning of the log.
    before: Expected,
}

pub(super) fn record(workload: &Workload, durability: Durability) -> Recording {
    let folder = scratch();
    let (disk, path) = (Disk::at(folder.path()).unwrap(), folder.path().join(DATABASE));
    let prepared = Run::new(&disk, &path, workload.keys, Vec::new());
    (workload.prepare)(&prepared).unwrap();
    let (operations, events, _) = prepared.into_history();
    let mut before = Expected::default();
    events.iter().for_each(|event| before.follow(event, &operations));
    disk.record();
    let run = Run::new(&disk, &path, workload.keys, operations).durability(durability);
    (workload.work)(&run).unwrap();
    let (operations, _, errors) = run.into_history();
    assert!(errors.iter().all(Option::is_none), "{}: {errors:?}", workload.name);
    let log = disk.take_log();
    Recording { name: workload.name.into(), keys: workload.keys, log, operations, before }
}

/// A power cut at a moment that `seed` chooses, and then the recovery and some operations.
pub(super) fn recover(recording: &Recording, seed: u64) -> Recording {
    let mut random = Random::new(seed ^ 0x7265_636f_7665_7279);
    let end = usize::try_from(random.below(recording.log.events.len() as u64)).unwrap();
    let (mut crash, mut before) = (Crash::new(&recording.log), recording.before.clone());
    for event in &recording.log.events[..end] {
        crash.follow(event);
        before.follow(event, &recording.operations);
    }
    let folder = scratch();
    crash.image(random.number()).write_to(folder.path(), &mut random).unwrap();
    let (disk, path) = (Disk::at(folder.path()).unwrap(), folder.path().join(DATABASE));
    let run = Run::new(&disk, &path, recording.keys, recording.operations.clone());
    disk.record();
    let store = run.open().unwrap();
    for n in 0..3 {
        run.store(&store, &format!("recovered-{n}"), &Version::new(10_000 + n, 1000));
    }
    store.close().unwrap();
    let (log, (operations, _, errors)) = (disk.take_log(), run.into_history());
    assert!(errors.iter().all(Option::is_none), "{errors:?}");
    let name = format!("{}, recovered at step {end} by seed {seed}", recording.name);
    Recording { name, keys: recording.keys, log, operations, before }
}

/// A search for images that lose something.
pub(super) struct Search<'r> {
    recordings: &'r [Recording],
    left_out: fn(&Event) -> bool,
    powersafe: bool,
    keeps: bool,
}

impl<'r> Search<'r> {
    pub(super) fn new(recordings: &'r [Recording]) -> Self {
        Self { recordings, left_out: |_| false, powersafe: true, keeps: false }
    }

    /// Ignores events: syncs that a faulty product does not make.
    pub(super) fn leave_out(self, left_out: fn(&Event) -> bool) -> Self {
        Self { left_out, ..self }
    }

    pub(super) fn not_powersafe(self) -> Self {
        Self { powersafe: false, ..self }
    }

    /// Keeps the folder of each image that fails.
    pub(super) fn keep_failed_images(self) -> Self {
        Self { keeps: true, ..self }
    }

    /// Checks this number of images, spread over all moments of all recordings, and returns the failures.
    pub(super) fn run(&self, images: usize) -> Vec<String> {
        let failures = Mutex::new(Vec::new());
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let steps: usize = self.recordings.iter().map(|recording| recording.log.events.len() + 1).sum();
        thread::scope(|scope| {
            for thread in 0..threads {
                let failures = &failures;
                scope.spawn(move || {
                    for recording in self.recordings {
                        let count = images * (recording.log.events.len() + 1) / steps;
                        self.check_images(recording, (thread..count).step_by(threads), count, failures);
                    }
                });
            }
        });
        failures.into_inner().unwrap()
    }

    fn check_images(
        &self,
        recording: &Recording,
        numbers: impl Iterator<Item = usize>,
        count: usize,
        failures: &Mutex<Vec<String>>,
    ) {
        let events = &recording.log.events;
        let mut crash = Crash::new(&recording.log);
        if !self.powersafe {
            crash = crash.not_powersafe();
        }
        let (mut expected, mut step) = (recording.before.clone(), 0);
        for number in numbers {
            let end = number * (events.len() + 1) / count;
            for event in &events[step..end] {
                expected.follow(event, &recording.operations);
                if !(self.left_out)(event) {
                    crash.follow(event);
                }
            }
            step = end;
            let folder = scratch();
            if let Err(error) = check(&crash.image(number as u64), number as u64, folder.path(), &expected, recording) {
                let place = if self.keeps { folder.keep() } else { PathBuf::new() };
                let Recording { name, .. } = recording;
                let mut failures = failures.lock().unwrap();
                failures.push(format!("{name}, step {end}, seed {number}: {error}. The image: {}", place.display()));
                if failures.len() >= 10 {
                    return;
                }
            }
        }
    }
}

fn check(image: &Image, seed: u64, folder: &Path, expected: &Expected, recording: &Recording) -> Result<(), String> {
    image.write_to(folder, &mut Random::new(seed)).unwrap();
    let path = folder.join(DATABASE);
    let store = builder(&path, recording.keys).open().map_err(|error| format!("does not open: {error:?}"))?;
    expected.check(&store, &recording.operations, false)?;
    check::whole(store, folder)
}
