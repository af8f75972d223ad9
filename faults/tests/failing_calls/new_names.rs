//! Files that get their names once they are complete: keyrings and first copies. A failure leaves the file as it was,
//! or complete under its name; then a repetition makes the name durable.

use std::fs;
use std::path::Path;

use strongroom::transfer::{Copied, CopyOptions, copy};
use strongroom::{Error, IndexKey, Keyring, KeyringProtection, KeyringSecret, Location, RecordKey, Strongroom};
use strongroom_faults::{Call, Disk, Event, Fault};

use super::check::{DATABASE, scratch};
use super::failures;

const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
const OTHER_RECIPIENT: &str = "age10d8fpxa70llyf3r95gsqxltq3m34397nrmuh9urlwjyjev8h8ufsj7lk9j";
const OTHER_IDENTITY: &str = "AGE-SECRET-KEY-1ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYGSUZRZYL";

fn create(path: &Path) -> Result<(), Error> {
    Keyring::create(path, KeyringProtection::recipients([RECIPIENT])?)
}

fn open(path: &Path, identity: &str) -> Result<Keyring, Error> {
    Keyring::open(path, KeyringSecret::identities(identity)?)
}

fn key() -> RecordKey {
    RecordKey::from_bytes(&[7; 32]).unwrap()
}

/// All failures of the first calls of each kind; `count` has the number of these calls.
fn faults(count: &Disk) -> Vec<Fault> {
    let mut faults = Vec::new();
    for call in Call::ALL {
        for (failure, can_persist) in failures(call) {
            for persists in [false, true].into_iter().take(1 + usize::from(*can_persist)) {
                faults.extend((0..count.count(call)).map(|after| Fault { call, after, persists, failure: *failure }));
            }
        }
    }
    faults
}

struct Change {
    name: &'static str,
    change: fn(&mut Keyring) -> Result<(), Error>,
    /// The identity that opens the changed file, and the ids in it.
    identity: &'static str,
    ids: &'static [&'static str],
}

const CHANGES: [Change; 3] = [
    Change {
        name: "insert",
        change: |keyring| keyring.insert("", "new", &key()),
        identity: IDENTITY,
        ids: &["kept", "new"],
    },
    Change { name: "remove", change: |keyring| keyring.remove("", "kept").map(drop), identity: IDENTITY, ids: &[] },
    Change {
        name: "rotate",
        change: |keyring| keyring.rotate(KeyringProtection::recipients([OTHER_RECIPIENT])?),
        identity: OTHER_IDENTITY,
        ids: &["kept"],
    },
];

/// Makes a keyring with one id, and changes it with a fault. Returns the outcome.
fn run(change: &Change, disk: &Disk, path: &Path, fault: Option<Fault>) -> Result<(), Error> {
    create(path).unwrap();
    let mut keyring = open(path, IDENTITY).unwrap();
    keyring.insert("", "kept", &key()).unwrap();
    let before = fs::read(path).unwrap();
    disk.fail(fault);
    let outcome = (change.change)(&mut keyring);
    if fault.is_some() {
        disk.fail(None);
    }
    let name = change.name;
    if matches!(outcome, Ok(()) | Err(Error::Indeterminate(_))) {
        let changed = open(path, change.identity).unwrap();
        let ids: Vec<_> = changed.entries().iter().map(|(_, id, _)| id.to_vec()).collect();
        assert_eq!(ids, change.ids.iter().map(|id| id.as_bytes()).collect::<Vec<_>>(), "{name}, {fault:?}");
    } else {
        assert!(fs::read(path).unwrap() == before, "{name}, {fault:?}: {outcome:?}");
    }
    if outcome.is_err() {
        disk.record();
        let outcome = (change.change)(&mut keyring);
        assert!(outcome.is_ok(), "{name}, {fault:?}: {outcome:?}");
        let is_durable = disk.take_log().events.iter().any(|event| matches!(event, Event::FolderSynced));
        assert!(is_durable, "{name}, {fault:?}");
    }
    outcome
}

#[test]
fn a_failed_change_of_a_keyring_has_changed_nothing_or_is_indeterminate() {
    for change in &CHANGES {
        let folder = scratch();
        let disk = Disk::at(folder.path()).unwrap();
        run(change, &disk, &folder.path().join("keys"), None).unwrap();
        let mut indeterminate = 0;
        for fault in faults(&disk) {
            let folder = scratch();
            let disk = Disk::at(folder.path()).unwrap();
            if let Err(Error::Indeterminate(_)) = run(change, &disk, &folder.path().join("keys"), Some(fault)) {
                assert_eq!(fault.call, Call::Sync, "{}: it must fail before the change", change.name);
                indeterminate += 1;
            }
        }
        assert!(indeterminate > 0, "{}: no sync of the folder failed", change.name);
    }
}

#[test]
fn a_failed_creation_of_a_keyring_can_be_repeated() {
    let folder = scratch();
    let disk = Disk::at(folder.path()).unwrap();
    disk.fail(None);
    create(&folder.path().join("keys")).unwrap();
    for fault in faults(&disk) {
        let folder = scratch();
        let disk = Disk::at(folder.path()).unwrap();
        let path = folder.path().join("keys");
        disk.fail(Some(fault));
        let outcome = create(&path);
        disk.fail(None);
        if outcome.is_err() {
            assert!(!path.exists(), "{fault:?}: {outcome:?}");
            create(&path).unwrap();
        }
        assert!(open(&path, IDENTITY).unwrap().entries().is_empty());
    }
}

#[test]
fn the_name_of_a_new_database_becomes_durable() {
    let run = |path: &Path| {
        let builder = Strongroom::builder().path(path).index_key(IndexKey::from_bytes(&[7; 32]).unwrap());
        builder.open().and_then(|store| store.store("id", "data").and(store.close()))
    };
    let folder = scratch();
    let disk = Disk::at(folder.path()).unwrap();
    disk.fail(None);
    run(&folder.path().join(DATABASE)).unwrap();
    let mut named = 0;
    for fault in faults(&disk).into_iter().filter(|fault| fault.call == Call::Sync) {
        let folder = scratch();
        let disk = Disk::at(folder.path()).unwrap();
        let path = folder.path().join(DATABASE);
        disk.record();
        disk.fail(Some(fault));
        let outcome = run(&path);
        disk.fail(None);
        let is_durable = || disk.take_log().events.iter().any(|event| matches!(event, Event::FolderSynced));
        if !is_durable() && path.exists() {
            named += 1;
            disk.record();
            run(&path).unwrap();
            assert!(is_durable(), "{fault:?}: {outcome:?}");
        }
    }
    assert!(named > 0, "no sync of the folder failed");
}

#[test]
fn the_name_of_a_first_copy_becomes_durable() {
    let source = scratch();
    let from = source.path().join(DATABASE);
    Strongroom::open(&from).unwrap().store("id", "data").unwrap();
    let run = |to: &Path| -> Result<Copied, Error> {
        copy(&Location::parse(&from)?, &Location::parse(to)?, CopyOptions::new(), &mut |_| ())
    };
    let folder = scratch();
    let disk = Disk::at(folder.path()).unwrap();
    assert!(run(&folder.path().join(DATABASE)).unwrap().is_complete());
    let mut named = 0;
    for fault in faults(&disk).into_iter().filter(|fault| fault.call == Call::Sync) {
        let folder = scratch();
        let disk = Disk::at(folder.path()).unwrap();
        let to = folder.path().join(DATABASE);
        disk.fail(Some(fault));
        let outcome = run(&to);
        disk.fail(None);
        if outcome.is_err() {
            named += u32::from(to.exists());
            disk.record();
            assert!(run(&to).unwrap().is_complete());
            let is_durable = disk.take_log().events.iter().any(|event| matches!(event, Event::FolderSynced));
            assert!(is_durable, "{fault:?}: {outcome:?}");
        }
    }
    assert!(named > 0, "no sync after the rename failed");
}
