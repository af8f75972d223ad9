//! The first copy of a database to a new one, which begins with its pages.

use super::damage::damage;
use super::*;
use crate::support::hide_records;

/// The name of `to.db` until it is complete.
const UNFINISHED: &str = ".strongroom-unfinished-copy-to.db";

/// Copies between paths. The first copy to a new one begins with the database's pages.
fn run_paths(from: &Path, to: &Path) -> Result<Copied, Error> {
    let [from, to] = [from, to].map(|path| Location::parse(path).unwrap());
    copy(&from, &to, CopyOptions::new(), &mut |_| ())
}

#[test]
fn the_first_copy_of_a_database_leaves_out_claims_damage_and_remains() {
    let folder = tempfile::tempdir().unwrap();
    let [path, to, unfinished] = ["from.db", "to.db", UNFINISHED].map(|name| folder.path().join(name));
    let from = database(folder.path(), "from.db");
    let source = open(&from);
    let items: Vec<_> = (0..500_u32).map(|n| (n.to_le_bytes(), pattern(300))).collect();
    drop(source.store_many(&items).unwrap());
    store(&source, "long", 3_000_000);
    let mut upload = Arc::clone(&from).upload(&Locator::from_bytes([9; 32]), PutMode::Create).unwrap();
    upload.write(&pattern(1_000_000)).unwrap();
    from.put(&claim(), &pattern(100), PutMode::Create).unwrap();
    // The rest of a killed copy.
    fs::write(&unfinished, "half").unwrap();
    fs::write(folder.path().join(format!("{UNFINISHED}-wal")), "half").unwrap();

    let copied = run_paths(&path, &to).unwrap();
    assert_eq!((copied.records, copied.unchanged, copied.is_complete()), (501, 0, true));
    assert_eq!(copied.bytes, source.stats().unwrap().bytes - 100);
    let mut expected = contents(&from);
    expected.remove(&claim());
    let copy = database(folder.path(), "to.db");
    assert!(contents(&copy) == expected);
    assert_eq!(copy.settings().unwrap(), from.settings().unwrap());
    copy.close().unwrap();
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_str().unwrap().contains("unfinished")), "{names:?}");
    let segments = |path: &Path| {
        let connection = Connection::open(path).unwrap();
        connection.query_row("SELECT count(*) FROM segment", (), |row| row.get::<_, i64>(0)).unwrap()
    };
    upload.write(&pattern(1_000_000)).unwrap();
    drop(upload);
    assert_eq!(segments(&to), segments(&path), "without the upload");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&to).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let locator = locator_of(&from, || store(&source, "damaged", 1000));
    let sql = "UPDATE record SET body = zeroblob(length(body)) WHERE locator = ?1";
    let _from = damage(folder.path(), "from.db", from, sql, &locator);
    let other = folder.path().join("other.db");
    for expected in [(501, 0), (0, 501)] {
        let copied = run_paths(&path, &other).unwrap();
        assert_eq!((copied.records, copied.unchanged), expected);
        assert_eq!(copied.damaged, [locator]);
    }
    assert!(contents(&database(folder.path(), "other.db")) == expected);
}

#[test]
fn the_first_copy_of_a_database_with_a_damaged_page_has_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let [path, to] = ["from.db", "to.db"].map(|name| folder.path().join(name));
    let store = Strongroom::open(&path).unwrap();
    let items: Vec<_> = (0..3000_u32).map(|n| (n.to_le_bytes(), pattern(500))).collect();
    drop(store.store_many(&items).unwrap());
    store.close().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let page = bytes.len() / 8192 / 2 * 8192;
    bytes[page..page + 8192].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let copied = run_paths(&path, &to).unwrap();
    assert!((2900..3000).contains(&copied.records) && !copied.is_complete(), "{copied:?}");
    assert_eq!(run_paths(&path, &to).unwrap().unchanged, copied.records);
}

/// A write to a copy of such pages would overwrite a record that is intact, or free its pages.
#[test]
fn the_first_copy_of_a_database_with_shared_pages_loses_no_intact_record() {
    const PAGE: usize = 8192;

    fn page(file: &[u8], number: u32) -> &[u8] {
        &file[(number as usize - 1) * PAGE..][..PAGE]
    }

    fn number(bytes: &[u8]) -> u32 {
        u32::from_be_bytes(bytes[..4].try_into().unwrap())
    }

    /// The number of the first page that holds only bytes of this record.
    fn first_page(file: &[u8], fill: u8) -> u32 {
        let pages = 1..=u32::try_from(file.len() / PAGE).unwrap();
        let full: Vec<_> = pages.filter(|one| page(file, *one)[4..1000].iter().all(|byte| *byte == fill)).collect();
        let is_first = |one: &&u32| !full.iter().any(|before| number(page(file, *before)) == **one);
        *full.iter().find(is_first).unwrap()
    }

    type Change = fn(&mut [u8]);
    let changes: [(&str, Change); 2] = [
        ("the first record continues as the second one", |file| {
            let [from, to] = [0x81, 0x82].map(|fill| first_page(file, fill).to_be_bytes());
            let places: Vec<_> =
                file.windows(4).enumerate().filter(|(_, four)| *four == from).map(|(at, _)| at).collect();
            places.into_iter().for_each(|at| file[at..at + 4].copy_from_slice(&to));
        }),
        ("a page of the second record is free", |file| {
            let used = first_page(file, 0x82).to_be_bytes();
            let trunk = number(&file[32..]) as usize; // SQLite's file format, 1.3 and 1.5
            file[(trunk - 1) * PAGE + 8..][..4].copy_from_slice(&used);
            let damaged = (first_page(file, 0x81) as usize - 1) * PAGE;
            file[damaged + 100] ^= 1;
        }),
    ];
    for (what, change) in changes {
        let folder = tempfile::tempdir().unwrap();
        let [path, to] = ["from.db", "to.db"].map(|name| folder.path().join(name));
        let from = database(folder.path(), "from.db");
        drop(open(&from));
        let locator = |fill: u8| Locator::from_bytes([fill; 32]);
        for fill in 0x81..=0x90 {
            let record = [&[1, 1, 0, 0], &[fill; 40_000][..]].concat();
            from.put(&locator(fill), &record, PutMode::Create).unwrap();
        }
        (0x89..=0x90).for_each(|fill| assert!(from.delete(&locator(fill), None).unwrap()));
        let expected: BTreeMap<_, _> = contents(&from).into_iter().filter(|(one, _)| *one != locator(0x81)).collect();
        from.close().unwrap();
        let mut file = fs::read(&path).unwrap();
        change(&mut file);
        fs::write(&path, file).unwrap();
        let copied = run_paths(&path, &to).unwrap();
        assert_eq!((copied.records, copied.damaged), (7, vec![locator(0x81)]), "{what}");
        assert!(contents(&database(folder.path(), "to.db")) == expected, "{what}");
        let sql = "PRAGMA integrity_check";
        let found: String = Connection::open(&to).unwrap().query_row(sql, (), |row| row.get(0)).unwrap();
        assert_eq!(found, "ok", "{what}");
    }
}

/// A copy of the pages would have the same index.
#[test]
fn the_first_copy_of_a_database_with_a_damaged_index_is_a_whole_database() {
    let folder = tempfile::tempdir().unwrap();
    let [path, to] = ["from.db", "to.db"].map(|name| folder.path().join(name));
    let from = database(folder.path(), "from.db");
    (0..6_u32).for_each(|n| store(&open(&from), n.to_le_bytes(), 100));
    from.close().unwrap();
    hide_records(&path, 6, 2);
    for expected in [(2, 0), (0, 2)] {
        let copied = run_paths(&path, &to).unwrap();
        assert_eq!((copied.records, copied.unchanged, copied.is_complete()), (expected.0, expected.1, false));
        let sql = "PRAGMA integrity_check";
        let found: String = Connection::open(&to).unwrap().query_row(sql, (), |row| row.get(0)).unwrap();
        assert_eq!(found, "ok");
    }
}

#[test]
fn a_first_copy_can_be_interrupted_and_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let [path, to] = ["from.db", "to.db"].map(|name| folder.path().join(name));
    let opened = Strongroom::open(&path).unwrap();
    store(&opened, "long", 40_000_000);
    // The first report is that of the first pages; the interrupt is noticed before the next ones.
    let [from, destination] = [&path, &to].map(|path| Location::parse(path).unwrap());
    let interrupted = interruptible(
        || true,
        || {
            copy(&from, &destination, CopyOptions::new(), &mut |_| {
                thread::sleep(std::time::Duration::from_millis(60));
            })
        },
    );
    assert!(matches!(interrupted, Err(Error::Busy)), "{interrupted:?}");
    assert!(!to.exists() && !folder.path().join(UNFINISHED).exists());
    assert_eq!(run_paths(&path, &to).unwrap().records, 1);
}

/// SQLite would write the pages of that log into the new database.
#[test]
fn no_database_is_made_beside_the_log_of_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = ["from.db", "to.db"].map(|name| folder.path().join(name));
    let opened = Strongroom::open(&from).unwrap();
    store(&opened, "id", 1000);
    let log = fs::read(folder.path().join("from.db-wal")).unwrap();
    for suffix in ["-wal", "-shm", "-journal"] {
        let leftover = folder.path().join(format!("to.db{suffix}"));
        fs::write(&leftover, &log).unwrap();
        for _ in 0..2 {
            assert_refused(run_paths(&from, &to), "belongs to a database that is missing");
            assert_refused(Strongroom::open(&to), "belongs to a database that is missing");
        }
        assert_eq!(fs::read(&leftover).unwrap(), log, "it may have the last records of a moved database");
        fs::remove_file(&leftover).unwrap();

        // It comes back during the copy.
        let [source, destination] = [&from, &to].map(|path| Location::parse(path).unwrap());
        let copied = copy(&source, &destination, CopyOptions::new(), &mut |_| fs::write(&leftover, &log).unwrap());
        assert_refused(copied, "belongs to a database that is missing");
        assert!(!to.exists() && !folder.path().join(UNFINISHED).exists());
        fs::remove_file(&leftover).unwrap();
    }
    assert_eq!(run_paths(&from, &to).unwrap().records, 1);
    // A database that is there has a log of its own.
    let _open = database(folder.path(), "to.db");
    assert_eq!(run_paths(&from, &to).unwrap().unchanged, 1);
}

/// SQLite would delete the log, even for a reader.
#[test]
fn a_log_beside_an_empty_file_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let [from, to, log_of_to, journal] =
        ["from.db", "to.db", "to.db-wal", "to.db-journal"].map(|name| folder.path().join(name));
    let opened = Strongroom::open(&from).unwrap();
    store(&opened, "id", 1000);
    let log = fs::read(folder.path().join("from.db-wal")).unwrap();
    fs::write(&log_of_to, &log).unwrap();
    let uses: [(_, &dyn Fn() -> Result<(), Error>); 6] = [
        ("open", &|| Strongroom::open(&to).map(drop)),
        ("open existing", &|| Ok(SqliteStorage::open_existing(&to, Durability::Full).map(drop)?)),
        ("open to read", &|| Ok(SqliteStorage::open_read_only(&to).map(drop)?)),
        ("open as permitted", &|| Strongroom::builder().path(&to).allow_read_only().open().map(drop)),
        ("copy to", &|| run_paths(&from, &to).map(drop)),
        ("copy from", &|| run_paths(&to, &folder.path().join("other.db")).map(drop)),
    ];
    // Shorter than SQLite's smallest page, shorter than the store's, and a whole one.
    for len in [0, 1, 511, 512, 4096, 8192] {
        fs::write(&to, vec![0; len]).unwrap();
        for (name, use_it) in uses {
            let outcome = use_it();
            assert!(outcome.is_err(), "{name}, {len} bytes");
            if len == 0 {
                assert_refused(outcome, "the file beside it is empty");
            }
            assert!(fs::read(&log_of_to).is_ok_and(|kept| kept == log), "{name}, {len} bytes: the log is gone");
            assert_eq!(fs::metadata(&to).unwrap().len(), len as u64);
        }
    }
    // As a process leaves them that is killed while it creates the tables.
    fs::write(&to, "").unwrap();
    fs::write(&log_of_to, "").unwrap();
    fs::write(&journal, "pages").unwrap();
    assert_eq!(run_paths(&from, &to).unwrap().records, 1);
}

/// The next copy overwrites the rest of a killed one, but no file of a user.
#[test]
fn a_first_copy_overwrites_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let [from, to, salvaged, rest] =
        ["from.db", "to.db", "to.db.unfinished", UNFINISHED].map(|name| folder.path().join(name));
    let opened = Strongroom::open(&from).unwrap();
    store(&opened, "id", 1000);
    opened.close().unwrap();
    fs::rename(&from, &rest).unwrap();
    let before = fs::read(&rest).unwrap();
    let [of_rest, of_to] = [&rest, &to].map(|path| Location::parse(path).unwrap());
    let uses: [&dyn Fn() -> Result<(), Error>; 8] = [
        &|| run_paths(&rest, &to).map(drop),
        &|| run_paths(&rest, &from).map(drop),
        &|| Strongroom::open(&rest).map(drop),
        &|| Strongroom::builder().path(&rest).allow_read_only().open().map(drop),
        &|| Ok(SqliteStorage::open(&rest, Durability::Full).map(drop)?),
        &|| Ok(SqliteStorage::open_existing(&rest, Durability::Full).map(drop)?),
        &|| Ok(SqliteStorage::open_read_only(&rest).map(drop)?),
        &|| copy_storage(&of_rest.open_storage()?, &of_to.open_storage()?, CopyOptions::new(), &mut |_| ()).map(drop),
    ];
    for use_it in uses {
        assert_refused(use_it(), "is that of an unfinished file");
        assert!(fs::read(&rest).unwrap() == before && !to.exists() && !from.exists());
    }
    fs::rename(&rest, &salvaged).unwrap();
    assert_eq!(run_paths(&salvaged, &to).unwrap().records, 1);
    assert!(fs::read(&salvaged).unwrap() == before);
}

#[test]
fn invalid_arguments_are_refused_before_the_copy() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from.db");
    let opened = Strongroom::open(&from).unwrap();
    store(&opened, "long", 3_000_000);
    let refused = |to: &str, options| {
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let before = names();
        let [source, destination] = [&from, &folder.path().join(to)].map(|path| Location::parse(path).unwrap());
        let copied = copy(&source, &destination, options, &mut |_| panic!("the copy has begun"));
        assert_eq!(names(), before);
        copied
    };
    for workers in [0, 65, usize::MAX] {
        assert_refused(refused("to.db", CopyOptions::new().workers(workers)), "1 to 64 workers");
    }
    for to in ["to.db/", "to.db//", "to.db/.", "to.db/./"] {
        assert_refused(refused(to, CopyOptions::new()), "must end in the name of a file");
        assert_refused(refused(&format!("from.db{}", &to[5..]), CopyOptions::new()), "must end in the name of a file");
    }
    assert_refused(refused(UNFINISHED, CopyOptions::new()), "is that of an unfinished file");
    let missing = refused("none/to.db", CopyOptions::new());
    assert!(matches!(missing, Err(Error::Storage(_))), "{missing:?}");
}
