//! The workloads: each runs operations on a store, and notes in the disk's log when each begins and succeeds.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use strongroom::{Builder, Durability, Error, IndexKey, Strongroom, WriteOptions};
use strongroom_faults::{Disk, Event, Shortage};

use super::history::{self, Operation, State, Version};

/// Where a store's index key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// In the file beside the database.
    Beside,
    /// Given by the caller.
    Given,
    /// The same, while another one replaces it.
    Rotating,
}

/// The store's time: no real clock, so that an image is the same at any time.
const NOW: Duration = Duration::from_secs(1_000_000);
/// When the records that expire have expired.
const LATER: Duration = Duration::from_secs(1_000_000 + 100);

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) keys: Keys,
    /// Makes the store before the recording.
    pub(crate) prepare: fn(&Run<'_>) -> Result<(), Error>,
    /// Fails only if the store cannot be opened or closed.
    pub(crate) work: fn(&Run<'_>) -> Result<(), Error>,
}

pub(crate) const WORKLOADS: [Workload; 9] = [
    Workload { name: "creation", keys: Keys::Beside, prepare: |_| Ok(()), work: creation },
    Workload { name: "single stores", keys: Keys::Given, prepare: create, work: single_stores },
    Workload { name: "grouped stores", keys: Keys::Given, prepare: create, work: grouped_stores },
    Workload { name: "batches", keys: Keys::Given, prepare: create, work: batches },
    Workload { name: "streams", keys: Keys::Given, prepare: create, work: streams },
    Workload { name: "compaction", keys: Keys::Given, prepare: create, work: compaction },
    Workload { name: "changes", keys: Keys::Given, prepare: create, work: changes },
    Workload { name: "rotation", keys: Keys::Rotating, prepare: create_to_rotate, work: rotation },
    Workload { name: "checkpoints", keys: Keys::Given, prepare: create, work: checkpoints },
];

/// A workload that runs.
pub(crate) struct Run<'d> {
    disk: &'d Disk,
    path: PathBuf,
    keys: Keys,
    durability: Durability,
    operations: Mutex<Vec<Operation>>,
    events: Mutex<Vec<Event>>,
    /// `None` where the store is opened again.
    errors: Mutex<Vec<Option<Error>>>,
    /// Gets a line for each event, for a process that may end at any moment.
    journal: Option<File>,
}

impl<'d> Run<'d> {
    pub(crate) fn new(disk: &'d Disk, path: &Path, keys: Keys, operations: Vec<Operation>) -> Self {
        Self {
            disk,
            path: path.to_path_buf(),
            keys,
            durability: Durability::Full,
            operations: Mutex::new(operations),
            events: Mutex::default(),
            errors: Mutex::default(),
            journal: None,
        }
    }

    pub(crate) fn journal(self, journal: File) -> Self {
        Self { journal: Some(journal), ..self }
    }

    pub(crate) fn durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// The operations, and their outcomes.
    pub(crate) fn into_history(self) -> (Vec<Operation>, Vec<Event>, Vec<Option<Error>>) {
        (self.operations.into_inner().unwrap(), self.events.into_inner().unwrap(), self.errors.into_inner().unwrap())
    }

    pub(crate) fn open(&self) -> Result<Strongroom, Error> {
        self.errors.lock().unwrap().push(None);
        builder(&self.path, self.keys).durability(self.durability).open()
    }

    /// Runs an operation.
    fn operation(&self, operation: Operation, work: impl FnOnce() -> Result<(), Error>) {
        let in_steps = operation.in_steps;
        let number = {
            let mut operations = self.operations.lock().unwrap();
            Shortage::spare(|| operations.push(operation));
            operations.len() - 1
        };
        self.note(Event::Begun(number));
        match work() {
            Ok(()) => self.note(Event::Acknowledged(number)),
            Err(error) => {
                if !in_steps && !matches!(error, Error::Indeterminate(_)) {
                    self.note(Event::Refused(number));
                }
                self.errors.lock().unwrap().push(Some(error));
            }
        }
    }

    fn note(&self, event: Event) {
        Shortage::spare(|| {
            if let Some(mut journal) = self.journal.as_ref() {
                let line = history::line_of(&event, &self.operations.lock().unwrap());
                journal.write_all(line.as_bytes()).unwrap();
            }
            self.disk.note(event.clone());
            self.events.lock().unwrap().push(event);
        });
    }

    fn change(&self, id: &str, state: State, work: impl FnOnce() -> Result<(), Error>) {
        let changes = vec![(id.to_owned(), state)];
        self.operation(Operation { changes, ..Operation::default() }, work);
    }

    pub(crate) fn store(&self, store: &Strongroom, id: &str, version: &Arc<Version>) {
        let key = version.key();
        self.change(id, Some(Arc::clone(version)), || {
            store.store_with(id, &version.data, WriteOptions::new().key(&key)).map(drop)
        });
    }
}

pub(crate) fn builder(path: &Path, keys: Keys) -> Builder {
    builder_at(path, keys, NOW)
}

fn builder_at(path: &Path, keys: Keys, now: Duration) -> Builder {
    let builder = Strongroom::builder().path(path).clock(move || UNIX_EPOCH + now);
    match keys {
        Keys::Beside => builder,
        Keys::Given => builder.index_key(index_key(1)),
        Keys::Rotating => builder.index_key(index_key(2)).previous_index_key(index_key(1)),
    }
}

fn index_key(byte: u8) -> IndexKey {
    IndexKey::from_bytes(&[byte; 32]).unwrap()
}

fn create(run: &Run<'_>) -> Result<(), Error> {
    run.open()?.close()
}

fn create_to_rotate(run: &Run<'_>) -> Result<(), Error> {
    let store = builder(&run.path, Keys::Given).open()?;
    for n in 0..10 {
        run.store(&store, &format!("old-{n}"), &Version::new(n, 200));
    }
    store.close()
}

fn creation(run: &Run<'_>) -> Result<(), Error> {
    let store = run.open()?;
    run.store(&store, "first", &Version::new(1, 100));
    run.store(&store, "second", &Version::new(2, 10_000));
    store.close()?;
    run.store(&run.open()?, "third", &Version::new(3, 0));
    Ok(())
}

fn single_stores(run: &Run<'_>) -> Result<(), Error> {
    let store = run.open()?;
    for (n, len) in (0..).zip([0, 1, 100, 1000, 5000, 20_000, 60_000].repeat(3)) {
        run.store(&store, &format!("id-{n}"), &Version::new(n, len));
    }
    Ok(())
}

fn grouped_stores(run: &Run<'_>) -> Result<(), Error> {
    let store = run.open()?;
    thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            let work = move || {
                for n in 0..10 {
                    run.store(store, &format!("id-{thread}-{n}"), &Version::new(thread * 100 + n, 700));
                }
            };
            Shortage::spare(|| scope.spawn(work));
        }
    });
    Ok(())
}

fn batches(run: &Run<'_>) -> Result<(), Error> {
    let store = run.open()?;
    for batch in 0..4 {
        let versions: Vec<_> =
            (0..25).map(|n| (format!("id-{batch}-{n}"), Version::new(batch * 100 + n, 400))).collect();
        let changes = versions.iter().map(|(id, version)| (id.clone(), Some(Arc::clone(version)))).collect();
        let keys: Vec<_> = versions.iter().map(|(_, version)| version.key()).collect();
        let items: Vec<_> = versions
            .iter()
            .zip(&keys)
            .map(|((id, version), key)| (id, &version.data, WriteOptions::new().key(key)))
            .collect();
        run.operation(Operation { changes, ..Operation::default() }, || store.store_many_with(&items).map(drop));
    }
    Ok(())
}

/// Records above 256 KiB, which arrive in pieces.
fn streams(run: &Run<'_>) -> Result<(), Error> {
    let store = run.open()?;
    let [one, two, three] = [(1, 700_000), (2, 400_000), (3, 300_000)].map(|(n, len)| Version::new(n, len));
    let store_reader = |id: &str, version: &Arc<Version>| {
        let key = version.key();
        run.change(id, Some(Arc::clone(version)), || {
            store.store_reader_with(id, &*version.data, WriteOptions::new().key(&key)).map(drop)
        });
    };
    store_reader("long", &one);
    let key = two.key();
    run.change("long", Some(Arc::clone(&two)), || {
        store.replace_reader_with("long", &one.key(), &*two.data, WriteOptions::new().key(&key)).map(drop)
    });
    store_reader("other", &three);
    // Abandoned: nothing may remain of it.
    run.operation(Operation::default(), || {
        let mut writer = store.create_record("abandoned")?;
        let _ = writer.write_all(&one.data);
        Ok(())
    });
    run.change("long", None, || store.delete("long", &two.key()));
    store_reader("long", &three);
    Ok(())
}

/// The pages of the last record move to the place of a removed one.
fn compaction(run: &Run<'_>) -> Result<(), Error> {
    let store = run.open()?;
    let [gone, kept] = [(1, 700_000), (2, 400_000)].map(|(n, len)| Version::new(n, len));
    run.store(&store, "gone", &gone);
    run.store(&store, "kept", &kept);
    run.change("gone", None, || store.delete("gone", &gone.key()));
    run.operation(Operation { in_steps: true, ..Operation::default() }, || store.compact(u64::MAX).map(drop));
    run.store(&store, "after", &Version::new(3, 100));
    Ok(())
}

fn changes(run: &Run<'_>) -> Result<(), Error> {
    let store = run.open()?;
    let versions: Vec<_> = (0..20).map(|n| Version::new(n, 300 * usize::try_from(n).unwrap())).collect();
    let ids: Vec<_> = (0..6).map(|n| format!("id-{n}")).collect();
    for (id, version) in ids.iter().zip(&versions) {
        run.store(&store, id, version);
    }
    let (new, key) = (&versions[10], versions[10].key());
    run.change(&ids[0], Some(Arc::clone(new)), || {
        store.replace_with(&ids[0], &versions[0].key(), &new.data, WriteOptions::new().key(&key)).map(drop)
    });
    run.change(&ids[1], None, || store.delete(&ids[1], &versions[1].key()));
    run.change(&ids[2], None, || store.erase(&ids[2]).map(drop));
    let taken = Operation { changes: vec![(ids[3].clone(), None)], claims: true, ..Operation::default() };
    run.operation(taken, || store.take(&ids[3], &versions[3].key()).map(drop));
    let (new, rekeyed) = (&versions[11], versions[11].rekeyed(100));
    run.store(&store, &ids[1], new);
    run.change(&ids[1], Some(Arc::clone(&rekeyed)), || {
        store.rekey_with(&ids[1], &new.key(), WriteOptions::new().key(&rekeyed.key())).map(drop)
    });
    let (new, key) = (&versions[12], versions[12].key());
    let expiry: SystemTime = UNIX_EPOCH + LATER;
    run.change("expires", Some(Arc::clone(new)), || {
        store.store_with("expires", &new.data, WriteOptions::new().key(&key).expires_at(expiry)).map(drop)
    });
    let later = builder_at(&run.path, run.keys, LATER).durability(run.durability).open()?;
    let purged = Operation { changes: vec![("expires".into(), None)], in_steps: true, ..Operation::default() };
    run.operation(purged, || match later.purge(10)? {
        0 => Err(Error::NotFound), // a record whose store had an unknown outcome may appear later
        _ => Ok(()),
    });
    Ok(())
}

fn rotation(run: &Run<'_>) -> Result<(), Error> {
    let store = run.open()?;
    run.operation(Operation::default(), || store.begin_rotation());
    for n in 0..10 {
        run.operation(Operation::default(), || store.contains(format!("old-{n}")).map(drop));
        if n % 3 == 0 {
            run.store(&store, &format!("new-{n}"), &Version::new(100 + n, 200));
        }
    }
    run.operation(Operation::default(), || store.finish_rotation());
    store.close()
}

/// Enough commits for SQLite's own checkpoints, then those at the end.
fn checkpoints(run: &Run<'_>) -> Result<(), Error> {
    let store = run.open()?;
    for n in 0..60 {
        let id = format!("id-{}", n % 25);
        let version = Version::new(n, 30_000);
        let Some(before) = n.checked_sub(25) else {
            run.store(&store, &id, &version);
            continue;
        };
        let (old, key) = (Version::new(before, 0).key(), version.key());
        run.change(&id, Some(Arc::clone(&version)), || {
            store.replace_with(&id, &old, &version.data, WriteOptions::new().key(&key)).map(drop)
        });
    }
    run.operation(Operation::default(), || store.maintain());
    run.store(&store, "after", &Version::new(1000, 100));
    store.close()?;
    let store = run.open()?;
    run.store(&store, "again", &Version::new(1001, 100));
    store.close()
}
