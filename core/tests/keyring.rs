//! Keyrings: their files, secrets, damage, and changes by several processes.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use strongroom::interrupt::interruptible;
use strongroom::{Error, Keyring, KeyringEntries, KeyringProtection, KeyringSecret, RecordKey};

const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
/// Another identity, and its recipient.
const OTHER_RECIPIENT: &str = "age10d8fpxa70llyf3r95gsqxltq3m34397nrmuh9urlwjyjev8h8ufsj7lk9j";
const OTHER_IDENTITY: &str = "AGE-SECRET-KEY-1ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYGSUZRZYL";

fn key(byte: u8) -> RecordKey {
    RecordKey::from_bytes(&[byte; 32]).unwrap()
}

fn identity() -> KeyringSecret {
    KeyringSecret::identities(IDENTITY).unwrap()
}

fn create(path: &Path) -> Keyring {
    Keyring::create(path, KeyringProtection::recipients([RECIPIENT]).unwrap()).unwrap();
    Keyring::open(path, identity()).unwrap()
}

#[test]
fn keys_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let mut keyring = create(&path);
    assert!(keyring.entries().is_empty());
    keyring.insert("", "one", &key(1)).unwrap();
    keyring.insert("tenant", "one", &key(2)).unwrap();
    keyring.insert("", b"\xff\0\n".as_slice(), &key(3)).unwrap();
    let keyring = Keyring::open(&path, identity()).unwrap();
    assert!(keyring.get("", "one").unwrap().ct_eq(&key(1)));
    assert!(keyring.get("tenant", "one").unwrap().ct_eq(&key(2)));
    assert!(keyring.get("", b"\xff\0\n").unwrap().ct_eq(&key(3)));
    assert!(keyring.get("other", "one").is_none() && keyring.get("", "two").is_none() && keyring.get("", "").is_none());
    let all: Vec<_> = keyring.entries().iter().map(|(namespace, id, keys)| (namespace, id, keys.len())).collect();
    assert_eq!(all, [(&b""[..], &b"one"[..], 1), (b"", b"\xff\0\n", 1), (b"tenant", b"one", 1)]);
    assert!(!format!("{keyring:?}").contains("one"));
}

/// A second store of an id must not lose the key of the first.
#[test]
fn earlier_keys_remain_until_they_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut keyring = create(&folder.path().join("keys"));
    for byte in [1, 2, 3, 2] {
        keyring.insert("", "id", &key(byte)).unwrap();
    }
    let keys = |keyring: &Keyring| -> Vec<u8> {
        keyring.entries().keys("", "id").iter().map(|key| key.expose_bytes()[0]).collect()
    };
    assert_eq!(keys(&keyring), [1, 3, 2]);
    assert!(keyring.update(|entries| Ok(entries.remove_key("", "id", &key(3)))).unwrap());
    assert_eq!(keys(&keyring), [1, 2]);
    assert!(!keyring.update(|entries| Ok(entries.remove_key("", "id", &key(9)))).unwrap());
    assert!(keyring.update(|entries| Ok(entries.remove_key("", "id", &key(2)))).unwrap());
    assert_eq!(keys(&keyring), [1]);
    assert!(keyring.remove("", "id").unwrap());
    assert!(!keyring.remove("", "id").unwrap());
    for byte in 1..=255 {
        keyring.update(|entries| entries.insert("", "id", &key(byte))).unwrap();
    }
    let many = RecordKey::from_bytes(&[[1; 31].as_slice(), &[2]].concat()).unwrap();
    assert!(matches!(keyring.insert("", "id", &many), Err(Error::InvalidArgument(_))));
    assert_eq!(keys(&keyring).len(), 255);
}

/// Also one that replaces the entries as a whole.
#[test]
fn each_change_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let mut keyring = create(&path);
    let mut changes_file = |change: fn(&mut KeyringEntries) -> Result<(), Error>| -> bool {
        let before = fs::read(&path).unwrap();
        keyring.update(change).unwrap();
        let ids: Vec<_> =
            Keyring::open(&path, identity()).unwrap().entries().iter().map(|(_, id, _)| id.to_vec()).collect();
        assert_eq!(ids, keyring.entries().iter().map(|(_, id, _)| id.to_vec()).collect::<Vec<_>>());
        fs::read(&path).unwrap() != before
    };
    assert!(changes_file(|entries| entries.insert("", "id", &key(1))));
    assert!(!changes_file(|entries| entries.insert("", "id", &key(1))));
    assert!(!changes_file(|entries| {
        entries.insert("", "other", &key(1))?;
        entries.remove("", "other");
        Ok(())
    }));
    let empty = |entries: &mut KeyringEntries| {
        *entries = KeyringEntries::default();
        Ok(())
    };
    assert!(changes_file(empty));
    assert!(!changes_file(empty));
    assert!(changes_file(|entries| entries.insert("", "id", &key(2))));
    assert!(changes_file(empty));
}

#[test]
fn invalid_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut keyring = create(&folder.path().join("keys"));
    assert!(matches!(keyring.insert("", "", &key(1)), Err(Error::InvalidId)));
    assert!(matches!(keyring.insert("", [7; 4097], &key(1)), Err(Error::InvalidId)));
    assert!(matches!(keyring.insert([7; 256], "id", &key(1)), Err(Error::InvalidArgument(_))));
    keyring.insert([7; 255], [7; 4096], &key(1)).unwrap();
    assert_eq!(keyring.entries().len(), 1);
}

#[test]
fn a_failed_change_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let mut keyring = create(&path);
    keyring.insert("", "id", &key(1)).unwrap();
    let before = fs::read(&path).unwrap();
    let outcome = keyring.update(|entries| {
        entries.remove("", "id");
        Err::<(), _>(Error::Conflict)
    });
    assert!(matches!(outcome, Err(Error::Conflict)));
    assert!(keyring.get("", "id").is_some());
    keyring.insert("", "id", &key(1)).unwrap(); // is there already
    assert!(fs::read(&path).unwrap() == before, "the file was written without a change");
}

#[test]
fn only_its_identities_open_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    create(&path).insert("", "id", &key(1)).unwrap();
    let other = || KeyringSecret::identities(OTHER_IDENTITY).unwrap();
    let wrong = Keyring::open(&path, other()).unwrap_err();
    assert_eq!(
        wrong.full_message(),
        "access is denied: use valid credentials with the right to do this: the identity or the passphrase does not open the keyring"
    );
    assert!(matches!(Keyring::open(&path, KeyringSecret::passphrase("x").unwrap()), Err(Error::AccessDenied(_))));
    assert!(!Keyring::needs_passphrase(&path).unwrap());

    // One of several identities suffices, and one of several recipients.
    let both = format!("# a comment\n\n{OTHER_IDENTITY}\r\n  {IDENTITY}\n");
    assert!(Keyring::open(&path, KeyringSecret::identities(&both).unwrap()).unwrap().get("", "id").is_some());
    let mut keyring = Keyring::open(&path, identity()).unwrap();
    keyring.rotate(KeyringProtection::recipients([RECIPIENT, OTHER_RECIPIENT]).unwrap()).unwrap();
    let mut keyring = Keyring::open(&path, other()).unwrap();
    keyring.insert("", "two", &key(2)).unwrap(); // for both recipients
    let mut keyring = Keyring::open(&path, identity()).unwrap();
    assert_eq!(keyring.entries().len(), 2);
    keyring.rotate(KeyringProtection::recipients([OTHER_RECIPIENT]).unwrap()).unwrap();
    assert!(matches!(Keyring::open(&path, identity()), Err(Error::AccessDenied(_))));
    assert_eq!(Keyring::open(&path, other()).unwrap().entries().len(), 2);
}

#[test]
fn a_passphrase_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    Keyring::create(&path, KeyringProtection::passphrase("correct horse").unwrap()).unwrap();
    assert!(Keyring::needs_passphrase(&path).unwrap());
    let mut keyring = Keyring::open(&path, KeyringSecret::passphrase("correct horse").unwrap()).unwrap();
    keyring.insert("", "id", &key(1)).unwrap();
    assert!(matches!(Keyring::open(&path, KeyringSecret::passphrase("wrong").unwrap()), Err(Error::AccessDenied(_))));
    assert!(matches!(Keyring::open(&path, identity()), Err(Error::AccessDenied(_))));
    keyring.rotate(KeyringProtection::recipients([RECIPIENT]).unwrap()).unwrap();
    assert!(Keyring::open(&path, identity()).unwrap().get("", "id").unwrap().ct_eq(&key(1)));
}

#[test]
fn texts_are_checked_and_not_shown() {
    let recipients =
        |texts: &[&str]| KeyringProtection::recipients(texts).map(drop).map_err(|error| error.full_message());
    for wrong in [&["age1secret"][..], &[IDENTITY], &["ssh-ed25519 AAAA"], &[RECIPIENT, ""], &[]] {
        let message = recipients(wrong).unwrap_err();
        assert!(!message.contains("secret") && !message.contains("SECRET-KEY-1G"), "{message}");
    }
    assert!(recipients(&[RECIPIENT; 256]).is_err() && recipients(&[RECIPIENT; 255]).is_ok());
    for wrong in ["", "# only a comment", "AGE-SECRET-KEY-1SECRET", RECIPIENT, &IDENTITY[..70]] {
        let error = KeyringSecret::identities(wrong).unwrap_err();
        let message = error.full_message();
        assert!(matches!(error, Error::InvalidArgument(_)) && !message.contains("1SECRET"), "{message}");
    }
    assert!(KeyringSecret::passphrase("").is_err() && KeyringProtection::passphrase("").is_err());
    let shown = format!("{:?} {:?}", identity(), KeyringProtection::passphrase("swordfish").unwrap());
    assert_eq!(shown, "Identities(..) Passphrase(..)");
}

#[test]
fn damage_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    create(&path).insert("", "id", &key(1)).unwrap();
    let whole = fs::read(&path).unwrap();
    let open = |contents: &[u8]| {
        fs::write(&path, contents).unwrap();
        Keyring::open(&path, identity()).map(drop).map_err(|error| error.name())
    };
    assert_eq!(open(&whole), Ok(()));
    for len in 0..whole.len() {
        let expected = if len < b"age-encryption.org/v1\n".len() { "InvalidArgument" } else { "Corrupt" };
        assert_eq!(open(&whole[..len]), Err(expected), "{len} bytes");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert!(open(&damaged).is_err(), "byte {at}");
    }
    assert_eq!(open(&[&whole[..], b"x"].concat()), Err("Corrupt"));
    for other in [&b"SQLite format 3\0"[..], b"-----BEGIN AGE ENCRYPTED FILE-----", b""] {
        assert_eq!(open(other), Err("InvalidArgument"));
    }
}

/// The crate `age` parses a header again for each of its lines.
#[test]
fn a_long_header_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    Keyring::create(&path, KeyringProtection::recipients([RECIPIENT; 255]).unwrap()).unwrap();
    let mut keyring = Keyring::open(&path, identity()).unwrap();
    keyring.insert("", "id", &key(1)).unwrap();
    let long = format!("-> X {}\n\n", "x".repeat(1000));
    for (stanza, count, expected) in [
        ("-> X\n\n", 500, "AccessDenied"),
        ("-> X\n\n", 700, "Corrupt"),
        ("-> X\n", 1300, "Corrupt"),
        (&long, 60, "AccessDenied"),
        (&long, 70, "Corrupt"),
    ] {
        let header = format!("age-encryption.org/v1\n{}--- {}\n", stanza.repeat(count), "A".repeat(43));
        fs::write(&path, header + &"payload".repeat(9)).unwrap();
        let opened = Keyring::open(&path, identity()).map(drop);
        let changed = keyring.insert("", "other", &key(1));
        assert_eq!([opened, changed].map(|outcome| outcome.unwrap_err().name()), [expected; 2], "{count} {stanza}");
        assert_eq!(Keyring::needs_passphrase(&path).is_ok(), expected == "AccessDenied", "{count} {stanza}");
    }
}

#[test]
fn a_missing_file_and_an_existing_one_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let missing = Keyring::open(&path, identity()).unwrap_err();
    assert!(matches!(missing, Error::InvalidArgument(_)), "{missing:?}");
    create(&path).insert("", "id", &key(1)).unwrap();
    let exists = Keyring::create(&path, KeyringProtection::recipients([RECIPIENT]).unwrap()).unwrap_err();
    assert!(matches!(exists, Error::InvalidArgument(_)), "{exists:?}");
    assert_eq!(Keyring::open(&path, identity()).unwrap().entries().len(), 1);
}

/// Each handle begins with the changes of the others.
#[test]
fn no_change_of_several_handles_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    create(&path);
    thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let mut keyring = Keyring::open(path, identity()).unwrap();
                for n in 0..20 {
                    keyring.insert("", format!("{writer} {n}"), &key(writer + 1)).unwrap();
                }
            });
        }
    });
    assert_eq!(Keyring::open(&path, identity()).unwrap().entries().len(), 80);
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["keys"], "a temporary file remained");
}

#[test]
fn a_change_removes_no_foreign_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let names = [".keyring-0123456789abcdef", ".keyring-aaaaaaaaaaaaaaaa", ".index-key-0123456789abcdef"];
    for name in names {
        create(&path(name)).insert("", "id", &key(1)).unwrap();
    }
    for name in names {
        assert_eq!(Keyring::open(path(name), identity()).unwrap().entries().len(), 1, "{name}");
    }
    // These are removed, so that they are refused.
    let unfinished = [".strongroom-unfinished-file-0123456789abcdef", ".strongroom-unfinished-0123456789abcdef"];
    for name in unfinished.map(path) {
        let refused = Keyring::create(&name, KeyringProtection::recipients([RECIPIENT]).unwrap()).unwrap_err();
        assert!(matches!(refused, Error::InvalidArgument(_)) && !name.exists(), "{refused:?}");
        fs::copy(path(names[0]), &name).unwrap();
        let refused = Keyring::open(&name, identity()).unwrap_err();
        assert!(refused.to_string().contains("unfinished"), "{refused:?}");
    }
    Keyring::open(path(names[0]), identity()).unwrap().remove("", "id").unwrap();
    assert!(!path(unfinished[0]).exists(), "the leftover of a killed process remained");
}

#[test]
fn a_wait_for_the_file_can_be_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let mut keyring = create(&path);
    let locked = File::open(&path).unwrap();
    locked.lock().unwrap();
    let start = Instant::now();
    let outcome = interruptible(|| true, || keyring.insert("", "id", &key(1)));
    assert!(matches!(outcome, Err(Error::Busy)));
    assert!(start.elapsed() < Duration::from_secs(20), "it waited for its deadline");
    locked.unlock().unwrap();
    keyring.insert("", "id", &key(1)).unwrap();
}

#[cfg(unix)]
#[test]
fn its_file_is_for_its_owner_alone() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let folder = tempfile::tempdir().unwrap();
    let [path, link, secret] = ["keys", "link", "me.age"].map(|name| folder.path().join(name));
    create(&path);
    symlink(&path, &link).unwrap();
    Keyring::open(&link, identity()).unwrap().insert("", "id", &key(1)).unwrap();
    assert!(link.is_symlink(), "the link was replaced by a file");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Keyring::open(&path, identity()).unwrap().entries().len(), 1);
    fs::write(&secret, IDENTITY).unwrap();
    let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chmod(&secret, 0o600);
    assert!(Keyring::open(&path, KeyringSecret::identity_file(&secret).unwrap()).is_ok());
    chmod(&secret, 0o646); // not only readable: root's own files may be
    let unsafe_file = KeyringSecret::identity_file(&secret).unwrap_err().to_string();
    assert!(unsafe_file.contains("chmod 600"), "{unsafe_file}");
    chmod(&path, 0o620);
    let unsafe_file = Keyring::open(&path, identity()).unwrap_err().to_string();
    assert!(unsafe_file.contains("the keyring") && unsafe_file.contains("others can change it"), "{unsafe_file}");
    assert!(KeyringSecret::identity_file(folder.path().join("none")).is_err());
}

/// The time is printed, not checked: it belongs to the machine.
#[test]
fn many_keys_are_one_change() {
    const COUNT: u32 = 100_000;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let key = |n: u32| RecordKey::from_bytes(&[&n.to_le_bytes()[..], &[1; 28]].concat()).unwrap();
    let mut keyring = create(&path);
    keyring
        .update(|entries| (0..COUNT).try_for_each(|n| entries.insert("tenant", format!("user:{n}:passport"), &key(n))))
        .unwrap();
    let len = fs::metadata(&path).unwrap().len();
    let start = Instant::now();
    let keyring = Keyring::open(&path, identity()).unwrap();
    println!("{COUNT} keys, {len} bytes: opened within {:?}", start.elapsed());
    assert_eq!(keyring.entries().len(), COUNT as usize);
    assert!(keyring.get("tenant", "user:99999:passport").unwrap().ct_eq(&key(99_999)));
}
