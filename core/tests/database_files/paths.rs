//! The path is checked before SQLite opens it: a rejected path has an error with the reason, and no file is left.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::thread;

use super::*;

/// Makes `path` with a program of the system. `false` if that is not permitted.
fn make(program: &str, arguments: &[&str], path: &Path) -> bool {
    Command::new(program).arg(path).args(arguments).output().unwrap().status.success()
}

#[test]
fn only_a_regular_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    type Case<'c> = (&'static str, &'c dyn Fn(&Path) -> bool);
    let cases: [Case<'_>; 7] = [
        ("is a folder", &|path| fs::create_dir(path).is_ok()),
        ("a named pipe", &|path| make("mkfifo", &[], path)),
        ("a socket", &|path| UnixListener::bind(path).is_ok()),
        ("a device", &|path| make("mknod", &["b", "7", "250"], path)),
        ("a device", &|path| make("mknod", &["c", "1", "3"], path)),
        ("its target does not exist", &|path| symlink("nowhere", path).is_ok()),
        ("name the file itself, /etc/passwd", &|path| symlink("/etc/passwd", path).is_ok()),
    ];
    for (says, make) in cases {
        if !make(&path) {
            continue; // only root can make a device
        }
        let before = listing(folder.path());
        assert_error(open(&path), "InvalidArgument", says);
        assert_error(open_to_read(&path), "InvalidArgument", says);
        assert_error(Strongroom::open(&path), "InvalidArgument", says);
        assert_eq!(listing(folder.path()), before, "{says}");
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    }
    assert_error(open(Path::new("/dev/null")), "InvalidArgument", "a device");
    assert_error(open(Path::new("a\0b")), "InvalidArgument", "NUL byte");
    assert_error(open_to_read(Path::new("a\0b")), "InvalidArgument", "NUL byte");
    open(&path).unwrap();
}

/// The names of the files beside the store would be in a folder with the store's name.
#[test]
fn a_separator_behind_the_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    for is_there in [false, true] {
        if is_there {
            let _ = store_with_a_record(&path);
        }
        let before = listing(folder.path());
        for end in ["/", "//", "/.", "/./", "/.//.", "/./."] {
            let path = beside(&path, end);
            let says = "must end in the name of a file";
            assert_error(open(&path), "InvalidArgument", says);
            assert_error(open_to_read(&path), "InvalidArgument", says);
            assert_error(Strongroom::open(&path), "InvalidArgument", says);
            let builder = Strongroom::builder().path(&path).index_key(support::index_key());
            assert_error(builder.allow_read_only().open(), "InvalidArgument", says);
        }
        assert_eq!(listing(folder.path()), before);
    }
    for path in ["records.db", "./records.db", ".//records.db", "a/../records.db"] {
        fs::create_dir_all(folder.path().join("a")).unwrap();
        open(&folder.path().join(path)).unwrap();
    }
    assert_error(open(&beside(folder.path(), "/")), "InvalidArgument", "is a folder");
}

/// The log has the database's name, so a second name would have another log.
#[test]
fn a_hard_linked_database_opens_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let key = store_with_a_record(&path);
    fs::hard_link(&path, folder.path().join("other.db")).unwrap();
    let before = listing(folder.path());
    assert_error(open(&path), "InvalidArgument", "has 2 hard links");
    assert_eq!(open_to_read(&path).unwrap().retrieve("id", &key).unwrap(), b"data");
    assert_eq!(listing(folder.path()), before);
    fs::remove_file(folder.path().join("other.db")).unwrap();
    assert_eq!(open(&path).unwrap().retrieve("id", &key).unwrap(), b"data");
}

#[test]
fn foreign_files_at_the_stores_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let _ = store_with_a_record(&path);
    for suffix in ["-wal", "-shm", "-journal"] {
        let other = beside(&path, suffix);
        for make in [|path: &Path| fs::create_dir(path), |path: &Path| symlink("/etc/passwd", path)] {
            make(&other).unwrap();
            let before = listing(folder.path());
            assert_error(open(&path), "InvalidArgument", suffix);
            assert_error(open_to_read(&path), "InvalidArgument", suffix);
            assert_eq!(listing(folder.path()), before);
            let _ = fs::remove_file(&other).or_else(|_| fs::remove_dir(&other));
        }
    }
    let uploads = beside(&path, ".uploads");
    symlink("elsewhere", &uploads).unwrap();
    let store = open(&path).unwrap();
    let long = || store.store_reader("long", &*vec![7; 1 << 20]);
    assert_error(long(), "Storage", "records.db.uploads");
    assert!(!folder.path().join("elsewhere").exists(), "a link was followed");
    fs::remove_file(&uploads).unwrap();
    // Root would give this name's file to the database's owner.
    let other = folder.path().join("other");
    fs::write(&other, "").unwrap();
    fs::hard_link(&other, &uploads).unwrap();
    assert_error(long(), "Storage", "records.db.uploads");
    fs::remove_file(&uploads).unwrap();
    long().unwrap();
}

#[test]
fn a_read_only_database_is_refused_without_a_trace() {
    as_nobody(
        "paths::a_read_only_database_is_refused_without_a_trace",
        |folder| drop(store_with_a_record(&folder.join("records.db"))),
        |folder| {
            let path = folder.join("records.db");
            for (read_only, writable) in [((&path, 0o400), 0o600), ((&folder.to_path_buf(), 0o500), 0o700)] {
                let (file, mode) = read_only;
                set_mode(file, mode);
                let before = listing(folder);
                let says = format!("may not write {}", file.canonicalize().unwrap().display());
                assert_error(open(&path), "Storage", &says);
                assert_eq!(open_to_read(&path).unwrap().stats().unwrap().records, 1);
                assert_eq!(listing(folder), before);
                set_mode(file, writable);
                open(&path).unwrap().store(says, "data").unwrap();
                fs::remove_file(&path).unwrap();
                drop(store_with_a_record(&path));
            }
            // A log that another process left, and that this process cannot write.
            fs::write(beside(&path, "-wal"), "").unwrap();
            set_mode(&beside(&path, "-wal"), 0o400);
            assert_error(open(&path), "Storage", "records.db-wal");
            assert_error(open(&folder.join("none/records.db")), "Storage", "cannot open");
        },
    );
}

#[test]
fn the_database_of_another_user_is_refused() {
    if env::var_os(FOLDER).is_none() && !is_root() {
        return; // only root can change a file's owner
    }
    as_nobody(
        "paths::the_database_of_another_user_is_refused",
        |folder| {
            let path = folder.join("records.db");
            let _ = store_with_a_record(&path);
            set_mode(&path, 0o666);
            chown(&path, Some(STRANGER), None).unwrap();
        },
        |folder| {
            let path = folder.join("records.db");
            let before = listing(folder);
            assert_error(open(&path), "InvalidArgument", "belongs to user 1, and this process runs as user 65534");
            assert_eq!(open_to_read(&path).unwrap().stats().unwrap().records, 1);
            assert_eq!(listing(folder), before);
        },
    );
}

/// The system's reason, in place of SQLite's code for many.
#[test]
fn a_file_that_cannot_be_opened_is_an_error_with_its_reason() {
    as_nobody(
        "paths::a_file_that_cannot_be_opened_is_an_error_with_its_reason",
        |folder| {
            let path = folder.join("records.db");
            let _ = store_with_a_record(&path);
            set_mode(&path, 0o200);
        },
        |folder| {
            let path = folder.join("records.db");
            assert_error(open(&path), "Storage", "Permission denied");
            assert_error(open_to_read(&path), "Storage", "Permission denied");
            let path = folder.join("x".repeat(300));
            assert_error(open(&path), "Storage", "File name too long");
            assert_error(open_to_read(&path), "Storage", "File name too long");
        },
    );
}

#[test]
fn a_bind_mounted_file_is_refused() {
    with_mounts(
        "paths::a_bind_mounted_file_is_refused",
        r#"mkdir "$F/a b"; touch "$F/a b/records.db"; mount --bind "$F/a b/records.db" "$F/a b/records.db""#,
        |folder| {
            let path = folder.join("a b/records.db");
            assert_error(open(&path), "InvalidArgument", "is a mount point");
            open(&folder.join("a b/other.db")).unwrap();
        },
    );
}

/// Other users can never read a new database.
#[test]
fn a_new_database_is_its_owners_alone_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |n: usize| folder.path().join(format!("{n}.db"));
    thread::scope(|scope| {
        let opening = scope.spawn(|| {
            for n in 0..100 {
                open(&path(n)).unwrap().close().unwrap();
            }
        });
        let mut n = 0;
        while !opening.is_finished() {
            if let Ok(found) = fs::metadata(path(n)) {
                assert_eq!(found.mode() & 0o777, 0o600);
                n += usize::from(path(n + 1).exists());
            }
        }
    });
}

/// Root's work on a store leaves no file that its owner cannot use.
#[test]
fn files_beside_the_database_have_its_owner_and_group() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    fs::write(&path, "").unwrap();
    set_mode(&path, 0o640);
    if is_root() {
        chown(&path, Some(NOBODY), Some(STRANGER)).unwrap();
        // As left by an earlier version.
        fs::write(beside(&path, ".uploads"), "").unwrap();
    }
    let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
    let store = Strongroom::open(&path).unwrap();
    let mut writer = store.create_record("id").unwrap();
    std::io::Write::write_all(&mut writer, &vec![7; 2 << 20]).unwrap();
    for suffix in ["-wal", "-shm", ".uploads", ".index-key"] {
        assert_eq!(owner(&beside(&path, suffix)), owner(&path), "{suffix}");
    }
    let mode = |suffix| fs::metadata(beside(&path, suffix)).unwrap().mode() & 0o777;
    assert_eq!((mode("-wal"), mode("-shm"), mode(".index-key")), (0o640, 0o640, 0o600));
    writer.finish().unwrap();
    store.close().unwrap();
    assert!(!Strongroom::open(&path).unwrap().contains("another").unwrap());
}
