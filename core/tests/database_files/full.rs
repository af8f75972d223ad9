//! No space, with each of the system's errors: writes are `StorageFull`, reads continue, and writes continue once there
//! is space.

use std::io::Write;

use strongroom::Location;
use strongroom::transfer::{Copied, CopyOptions, copy};

use super::*;

/// Fills the file system, or the user's quota, to the last byte.
fn fill(file: &Path) {
    let mut file = fs::File::create(file).unwrap();
    for len in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![7; len]).is_ok() {}
    }
}

fn assert_full_and_recovers(folder: &Path) {
    let (path, filler) = (folder.join("records.db"), folder.join("filler"));
    let store = open(&path).unwrap();
    let key = store.store("id", "data").unwrap();
    fill(&filler);
    let mut failures = 0;
    // The log may have free space.
    for n in 0..100 {
        match store.store(format!("record {n}"), vec![7; 50_000 * (n % 10)]) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.name(), "StorageFull", "{}", error.full_message());
                failures += 1;
            }
        }
        assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
    }
    assert!(failures > 50, "there was room");
    fs::remove_file(&filler).unwrap();
    let records = store.stats().unwrap().records;
    store.store("more", vec![7; 50_000]).unwrap();
    assert_eq!(store.stats().unwrap().records, records + 1);
    store.close().unwrap();

    fill(&filler);
    let store = open(&path).unwrap();
    assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
    assert_error(store.store("another", vec![7; 100_000]), "StorageFull", "");
    assert_error(store.store("yet another", vec![7; 1 << 20]), "StorageFull", "");
    assert_eq!(store.stats().unwrap().records, records + 1);
    store.close().unwrap();
    fs::remove_file(&filler).unwrap();
    open(&path).unwrap().store("another", "data").unwrap();
}

/// ENOSPC.
#[test]
fn a_full_disk_is_storage_full() {
    let script = r#"mount -t tmpfs -o size=4M none "$F""#;
    with_mounts("full::a_full_disk_is_storage_full", script, assert_full_and_recovers);
}

/// The first copy and a later one fail, change nothing at the source, and go on once there is space.
#[test]
fn a_copy_onto_a_full_disk_is_storage_full() {
    let script = r#"mount -t tmpfs -o size=24M none "$F""#;
    with_mounts("full::a_copy_onto_a_full_disk_is_storage_full", script, |folder| {
        let source = tempfile::tempdir().unwrap();
        let (from, to, filler) = (source.path().join("records.db"), folder.join("copy.db"), folder.join("filler"));
        let run = || -> Result<Copied, Error> {
            copy(&Location::parse(&from)?, &Location::parse(&to)?, CopyOptions::new(), &mut |_| ())
        };
        let fill_up = |name: &str| {
            let store = open(&from).unwrap();
            (0..40).for_each(|n| drop(store.store(format!("{name} {n}"), vec![7; 100_000]).unwrap()));
            store.store(format!("{name} long"), vec![7; 3_000_000]).unwrap();
            store.close().unwrap();
        };
        for (name, room) in [("first", 1 << 20), ("second", 1)] {
            fill_up(name);
            let before = fs::read(&from).unwrap();
            fill(&filler);
            fs::File::options()
                .write(true)
                .open(&filler)
                .unwrap()
                .set_len(fs::metadata(&filler).unwrap().len() - room)
                .unwrap();
            for _ in 0..2 {
                assert_error(run(), "StorageFull", "");
            }
            assert!(fs::read(&from).unwrap() == before, "{name}");
            fs::remove_file(&filler).unwrap();
            assert!(run().unwrap().is_complete());
            let again = run().unwrap();
            assert_eq!(again.records, 0, "nothing is missing");
            assert_eq!(again.unchanged, open(&from).unwrap().stats().unwrap().records);
        }
    });
}

/// Records that do not fit leave room to remove them and others.
#[test]
fn records_that_do_not_fit_leave_room_to_go_on() {
    let script = r#"mount -t tmpfs -o size=24M none "$F""#;
    with_mounts("full::records_that_do_not_fit_leave_room_to_go_on", script, |folder| {
        let store = open(&folder.join("records.db")).unwrap();
        let kept = store.store("kept", vec![7; 100_000]).unwrap();
        let many: Vec<_> = (0..40).map(|n| (format!("{n}"), vec![7; 1 << 20])).collect();
        for round in 0..3 {
            assert_error(store.store_reader("long", &*vec![7; 40 << 20]), "StorageFull", "");
            std::thread::scope(|scope| {
                for n in 0..4 {
                    let store = &store;
                    scope.spawn(move || {
                        assert_error(store.store_reader(format!("{n}"), &*vec![7; 20 << 20]), "StorageFull", "");
                    });
                }
            });
            assert_error(store.store_many(&many), "StorageFull", "");
            let key = store.store("another", vec![7; 1 << 20]).unwrap();
            store.delete("another", &key).unwrap();
            store.maintain().unwrap();
            assert_eq!(store.stats().unwrap().records, 1, "{round}");
            assert_eq!(store.retrieve("kept", &kept).unwrap().len(), 100_000);
        }
        // Pieces that are in the database by now need no room in the log.
        for _ in 0..30 {
            let key = store.store_reader("again", &*vec![7; 1 << 20]).unwrap();
            store.delete("again", &key).unwrap();
        }
        while store.compact(u64::MAX).unwrap() > 0 {}
        store.maintain().unwrap();
        let len: u64 = fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(len < 1 << 20, "{len}");
        store.delete("kept", &kept).unwrap();
    });
}

/// Pieces that a checkpoint has moved into the database need no more room in the log.
#[test]
fn long_records_fill_a_small_disk() {
    let script = r#"mount -t tmpfs -o size=112M none "$F""#;
    with_mounts("full::long_records_fill_a_small_disk", script, |folder| {
        let store = open(&folder.join("records.db")).unwrap();
        for n in 0..60 {
            store.store_reader(format!("{n}"), &*vec![7; 1 << 20]).unwrap();
        }
    });
}

/// Commits of many records leave no long log on a small disk.
#[test]
fn the_log_of_many_records_is_short_on_a_small_disk() {
    let script = r#"mount -t tmpfs -o size=96M none "$F""#;
    with_mounts("full::the_log_of_many_records_is_short_on_a_small_disk", script, |folder| {
        let path = folder.join("records.db");
        let store = open(&path).unwrap();
        for round in 0..8 {
            let many: Vec<_> = (0..40).map(|n| (format!("{round} {n}"), vec![7; 100_000])).collect();
            store.store_many(&many).unwrap();
        }
        let log = fs::metadata(beside(&path, "-wal")).unwrap().len();
        assert!(log < 12 << 20, "{log}");
    });
}

/// EDQUOT. The process belongs to another user, because root has no quota.
#[test]
fn a_quota_is_storage_full() {
    let quota = "usrquota,usrquota_block_hardlimit=4M";
    let script = format!(
        r#"mount -t tmpfs -o {quota} none "$F" || {{ echo "no quotas here, 1 passed"; exit 0; }}; chmod 777 "$F";
        exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups "$0" "$@""#
    );
    with_mounts("full::a_quota_is_storage_full", &script, assert_full_and_recovers);
}

/// ENOSPC for an empty new file.
#[test]
fn a_disk_without_inodes_is_storage_full() {
    let script = r#"mount -t tmpfs -o nr_inodes=8 none "$F""#;
    with_mounts("full::a_disk_without_inodes_is_storage_full", script, |folder| {
        let path = folder.join("records.db");
        let key = store_with_a_record(&path);
        let mut n = 0;
        while fs::write(folder.join(format!("filler {n}")), "").is_ok() {
            n += 1;
        }
        let store = open(&path).unwrap();
        assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
        assert_error(store.store("another", "data"), "StorageFull", "");
        drop(store);
        fs::remove_file(folder.join("filler 0")).unwrap();
        fs::remove_file(folder.join("filler 1")).unwrap();
        open(&path).unwrap().store("another", "data").unwrap();
    });
}
