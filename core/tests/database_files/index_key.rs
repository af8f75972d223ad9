//! The index key's file: its owner, its permissions, and the leftovers of killed processes.

use std::os::unix::fs::{lchown, symlink};

use strongroom::IndexKey;

use super::*;

fn with_file(folder: &Path, file: &Path) -> Result<Strongroom, Error> {
    Strongroom::builder().path(folder.join("records.db")).index_key_file(file).open()
}

fn write_key(path: &Path, mode: u32) {
    let _ = fs::remove_file(path);
    fs::write(path, &*support::index_key().to_text()).unwrap();
    set_mode(path, mode);
}

#[test]
fn an_index_key_file_open_to_others_is_refused() {
    as_nobody(
        "index_key::an_index_key_file_open_to_others_is_refused",
        |_| {},
        |folder| {
            let file = folder.join("key");
            for mode in [0o600, 0o400, 0o700] {
                write_key(&file, mode);
                with_file(folder, &file).unwrap();
            }
            for mode in [0o666, 0o622, 0o620, 0o602, 0o660] {
                write_key(&file, mode);
                assert_error(with_file(folder, &file), "InvalidArgument", &format!("change it (mode {mode:04o})"));
            }
            for mode in [0o644, 0o640, 0o604, 0o444] {
                write_key(&file, mode);
                assert_error(with_file(folder, &file), "InvalidArgument", &format!("read it (mode {mode:04o})"));
                set_mode(&file, 0o600);
            }
            write_key(&file, 0o644);
            assert_error(with_file(folder, &file), "InvalidArgument", &format!("Run: chmod 600 {}", file.display()));
            let path = folder.join("records.db");
            let sidecar = beside(&path, ".index-key");
            write_key(&sidecar, 0o666);
            assert_error(Strongroom::open(&path), "InvalidArgument", "not safe");
            set_mode(&sidecar, 0o600);
            Strongroom::open(&path).unwrap();
        },
    );
}

/// Containers, Kubernetes and systemd provide a secret as a file of root, readable by all users, through links of root.
#[test]
fn a_root_owned_index_key_file_may_be_world_readable() {
    if env::var_os(FOLDER).is_none() && !is_root() {
        return; // only root can make such a file
    }
    let prepare = |folder: &Path| {
        for mode in [0o400, 0o440, 0o444, 0o644, 0o666] {
            write_key(&folder.join(format!("root-{mode:o}")), mode);
        }
        fs::create_dir(folder.join("root-2026")).unwrap();
        write_key(&folder.join("root-2026/key"), 0o644);
        symlink("root-2026", folder.join("root-data")).unwrap();
        symlink("root-data/key", folder.join("root-link")).unwrap();
        set_mode(&folder.join("root-2026"), 0o755);
    };
    as_nobody("index_key::a_root_owned_index_key_file_may_be_world_readable", prepare, |folder| {
        for file in ["root-444", "root-644", "root-link"] {
            with_file(folder, &folder.join(file)).unwrap();
        }
        assert_error(with_file(folder, &folder.join("root-666")), "InvalidArgument", "others can change it");
        assert_error(with_file(folder, &folder.join("root-400")), "Storage", "cannot use the index key's file");
    });
}

#[test]
fn an_index_key_file_of_another_user_is_refused() {
    if !is_root() {
        return; // only root can change a file's owner
    }
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("key"), folder.path().join("link"));
    write_key(&file, 0o600);
    symlink(&file, &link).unwrap();
    with_file(folder.path(), &link).unwrap();
    lchown(&link, Some(STRANGER), None).unwrap();
    assert_error(with_file(folder.path(), &link), "InvalidArgument", "a symbolic link made by user 1");
    with_file(folder.path(), &file).unwrap();
    chown(&file, Some(STRANGER), None).unwrap();
    assert_error(with_file(folder.path(), &file), "InvalidArgument", "it belongs to user 1");
    // Beside a database, it belongs to the database's owner.
    let path = folder.path().join("records.db");
    fs::rename(&file, beside(&path, ".index-key")).unwrap();
    assert_error(Strongroom::open(&path), "InvalidArgument", "it belongs to user 1");
    chown(&path, Some(STRANGER), None).unwrap();
    Strongroom::open(&path).unwrap();
}

#[test]
fn an_unreadable_folder_is_no_error() {
    as_nobody(
        "index_key::an_unreadable_folder_is_no_error",
        |_| {},
        |folder| {
            set_mode(folder, 0o300);
            let path = folder.join("records.db");
            let key = Strongroom::open(&path).unwrap().store("id", "data").unwrap();
            assert_eq!(Strongroom::open(&path).unwrap().retrieve("id", &key).unwrap(), b"data");
            set_mode(folder, 0o700);
        },
    );
}

#[test]
fn temporary_files_of_a_killed_process_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let unfinished = |end: &str| file(&format!(".strongroom-unfinished-file-{end}"));
    let (dead, alive, other) = (unfinished("0123456789abcdef"), unfinished("fedcba9876543210"), unfinished("notes"));
    let foreign = [file(".index-key-0123456789abcdef"), file(".keyring-0123456789abcdef")];
    for file in foreign.iter().chain([&dead, &alive, &other]) {
        fs::write(file, "").unwrap();
    }
    let lock = fs::File::open(&alive).unwrap();
    lock.lock().unwrap();
    Strongroom::open(file("records.db")).unwrap();
    assert_eq!((dead.exists(), alive.exists(), other.exists()), (false, true, true));
    assert!(foreign.iter().all(|path| path.exists()));
    let text = fs::read_to_string(file("records.db.index-key")).unwrap();
    IndexKey::from_text(text.trim()).unwrap();
}
