//! The encryption server's client: the operations of a store over the network.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Duration;

use strongroom::storage::MemoryStorage;
use strongroom::{Endpoint, Error, IndexKey, RecordKey, Strongroom, WriteOptions};
use strongroom_server::Scope;

use crate::support::pattern::pattern;
use crate::support::{Running, config, encryption, encryption_over, storage, token, write_secret};

const LENGTHS: [usize; 9] = [0, 1, 1023, 16_384, 262_143, 262_144, 262_145, 524_289, 3_000_000];

fn client(server: &Running) -> Strongroom {
    Strongroom::connect(&Endpoint::new(&format!("http://{}", server.address)).unwrap()).unwrap()
}

/// A source that returns a few bytes at a time.
struct Trickle<'d>(&'d [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(10_007);
        self.0.read(&mut buffer[..len])
    }
}

#[test]
fn data_of_all_lengths_comes_back() {
    let server = encryption(&config());
    let store = client(&server);
    for len in LENGTHS {
        let data = pattern(len);
        let ids = [format!("whole {len}"), format!("stream {len}"), format!("own key {len}")];
        let own = RecordKey::generate().unwrap();
        store.store_reader_with(&ids[2], Trickle(&data), WriteOptions::new().key(&own)).unwrap();
        let keys = [store.store(&ids[0], &data).unwrap(), store.store_reader(&ids[1], Trickle(&data)).unwrap(), own];
        for (id, key) in ids.iter().zip(&keys) {
            assert!(store.retrieve(id, key).unwrap() == data, "{id}");
            let mut reader = store.open_record(id, key).unwrap();
            assert_eq!(reader.len().unwrap(), len as u64);
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert!(read == data, "{id}");
            let mut buffer = vec![0; len + 1];
            assert_eq!(store.retrieve_into(id, key, &mut buffer).unwrap(), len);
            assert!(buffer[..len] == data, "{id}");
            if let Some(shorter) = buffer.get_mut(..len.saturating_sub(1)).filter(|_| len > 0) {
                assert!(matches!(store.retrieve_into(id, key, shorter), Err(Error::TooLarge)), "{id}");
            }
        }
    }
    let stats = store.stats().unwrap();
    assert_eq!(stats.records, 3 * LENGTHS.len() as u64);
    assert!(stats.bytes > 3 * LENGTHS.iter().sum::<usize>() as u64);
}

#[test]
fn an_id_is_any_bytes() {
    let server = encryption(&config());
    let store = client(&server);
    let ids: [&[u8]; 4] = [b"\0", b"\xff\xfe", "\u{e9} \u{1f512} \"\r\n".as_bytes(), &[0xaa; 4096]];
    for id in ids {
        let key = store.store(id, b"data").unwrap();
        assert_eq!(store.retrieve(id, &key).unwrap(), b"data");
        let key = store.replace(id, &key, b"other").unwrap();
        store.delete(id, &key).unwrap();
        store.store(id, b"again").unwrap();
        assert!(store.erase(id).unwrap());
        assert!(!store.erase(id).unwrap());
    }
    let key = RecordKey::generate().unwrap();
    for id in [&b""[..], &[1; 4097]] {
        assert!(matches!(store.store(id, b""), Err(Error::InvalidId)));
        assert!(matches!(store.retrieve(id, &key), Err(Error::InvalidId)));
        assert!(matches!(store.create_record(id).map(drop), Err(Error::InvalidId)));
        assert!(matches!(store.delete(id, &key), Err(Error::InvalidId)));
        assert!(matches!(store.erase(id), Err(Error::InvalidId)));
    }
}

#[test]
fn ranges_and_positions() {
    let server = encryption(&config());
    let store = client(&server);
    let data = pattern(600_000);
    let key = store.store("id", &data).unwrap();
    for range in [0..0, 0..1, 5..5, 16_383..16_385, 100..300_000, 599_999..600_000] {
        let [start, end] = [range.start, range.end].map(|place| usize::try_from(place).unwrap());
        assert!(store.retrieve_range("id", &key, range).unwrap() == data[start..end]);
    }
    assert!(store.retrieve_range("id", &key, 599_990..u64::MAX).unwrap() == data[599_990..]);
    assert_eq!(store.retrieve_range("id", &key, 600_000..600_010).unwrap(), b"");
    let wrong = RecordKey::generate().unwrap();
    assert!(matches!(store.retrieve_range("id", &wrong, 0..0), Err(Error::NotFound)));

    let mut reader = store.open_record("id", &key).unwrap();
    let mut piece = [0; 1000];
    for (to, place) in [
        (SeekFrom::Start(5000), 5000),
        (SeekFrom::Current(-2000), 4000),
        (SeekFrom::End(-1000), 599_000),
        (SeekFrom::Start(0), 0),
    ] {
        assert_eq!(reader.seek(to).unwrap(), place as u64);
        reader.read_exact(&mut piece).unwrap();
        assert!(piece == data[place..place + 1000]);
    }
    reader.seek(SeekFrom::Start(u64::MAX)).unwrap();
    assert_eq!(reader.read(&mut piece).unwrap(), 0);
    assert!(reader.seek(SeekFrom::End(-600_001)).is_err());

    let empty = store.store("empty", b"").unwrap();
    assert_eq!(store.retrieve_range("empty", &empty, 0..10).unwrap(), b"");
    assert!(store.open_record("empty", &empty).unwrap().is_empty().unwrap());
}

#[test]
fn errors_are_told_apart() {
    let server = encryption(&config());
    let store = client(&server);
    let wrong = RecordKey::generate().unwrap();
    let key = store.store("id", b"data").unwrap();
    assert!(matches!(store.store("id", b"other"), Err(Error::AlreadyExists)));
    assert!(matches!(store.store_reader("id", &pattern(1 << 20)[..]), Err(Error::AlreadyExists)));
    for id in ["id", "none"] {
        assert!(matches!(store.retrieve(id, &wrong), Err(Error::NotFound)));
        assert!(matches!(store.open_record(id, &wrong).map(drop), Err(Error::NotFound)));
        assert!(matches!(store.replace(id, &wrong, b"x"), Err(Error::NotFound)));
        assert!(matches!(store.replace_record(id, &wrong).map(drop), Err(Error::NotFound)));
        assert!(matches!(store.delete(id, &wrong), Err(Error::NotFound)));
    }
    assert!(matches!(
        store.replace_with("id", &key, b"x", WriteOptions::new().key(&key)),
        Err(Error::InvalidArgument(_))
    ));
    assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
    store.close().unwrap();
    assert!(matches!(store.retrieve("id", &key), Err(Error::Closed)));
    assert!(matches!(store.store("id", b""), Err(Error::Closed)));
}

#[test]
fn replacing_gives_a_new_key() {
    let server = encryption(&config());
    let store = client(&server);
    let first = store.store("id", b"one").unwrap();
    let second = store.replace("id", &first, b"two").unwrap();
    let third = store.replace_reader("id", &second, Trickle(&pattern(1 << 20))).unwrap();
    assert!(matches!(store.retrieve("id", &second), Err(Error::NotFound)));
    assert!(store.retrieve("id", &third).unwrap() == pattern(1 << 20));
    // A repetition after a lost answer.
    let fourth = RecordKey::generate().unwrap();
    for _ in 0..2 {
        store.replace_with("id", &third, b"four", WriteOptions::new().key(&fourth)).unwrap();
        store.store_with("other", b"same", WriteOptions::new().key(&fourth)).unwrap();
    }
    assert_eq!(store.retrieve("id", &fourth).unwrap(), b"four");
}

#[test]
fn an_unfinished_record_is_invisible() {
    let server = encryption(&config());
    let store = client(&server);
    for len in [1000, 1 << 20] {
        let mut writer = store.create_record("id").unwrap();
        writer.write_all(&pattern(len)).unwrap();
        assert_eq!(writer.bytes_written(), len as u64);
        drop(writer);
    }
    server.wait_for_metric("strongroom_requests_in_flight", |requests| requests <= 1);
    assert_eq!(store.stats().unwrap().records, 0);
    store.store("id", b"data").unwrap();
}

#[test]
fn a_damaged_record_fails_where_it_is_reached() {
    use strongroom::storage::{PutMode, Storage};

    let storage = Arc::new(MemoryStorage::new());
    let server = encryption_over(storage.clone(), &config());
    let store = client(&server);
    let data = pattern(1_000_000);
    let key = store.store("id", &data).unwrap();
    let locator = storage.list(None, 1).unwrap()[0].locator;
    let mut record = storage.get(&locator).unwrap().unwrap();
    record[80 + 40 * 16_400] ^= 1;
    storage.put(&locator, &record, PutMode::Overwrite).unwrap();

    let mut read = Vec::new();
    let error = store.open_record("id", &key).unwrap().read_to_end(&mut read).unwrap_err();
    assert!(matches!(error.downcast().unwrap(), Error::Corrupt));
    assert!(data.starts_with(&read) && read.len() <= 40 * 16_384);
    // For a whole answer, this cannot be distinguished from a lost connection, and no data is returned.
    let quick = Endpoint::new(&format!("http://{}", server.address)).unwrap().timeout(Duration::from_secs(1));
    assert!(matches!(Strongroom::connect(&quick).unwrap().retrieve("id", &key), Err(Error::Storage(_))));
}

#[test]
fn tokens_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let token = token(&file, &[Scope::Store, Scope::Retrieve]);
    let mut config = config();
    config.tokens = Some(file);
    let server = encryption(&config);
    let endpoint = Endpoint::new(&format!("http://{}", server.address)).unwrap();
    let store = Strongroom::connect(&endpoint.clone().token(token.clone())).unwrap();
    let key = store.store("id", b"data").unwrap();
    assert_eq!(store.retrieve("id", &key).unwrap(), b"data");
    let error = store.erase("id").unwrap_err();
    assert!(matches!(error, Error::AccessDenied(_)));
    assert!(error.full_message().contains("scope"), "{}", error.full_message());
    let written = folder.path().join("token");
    write_secret(&written, token + "\n");
    assert_eq!(
        Strongroom::connect(&endpoint.clone().token_file(&written)).unwrap().retrieve("id", &key).unwrap(),
        b"data"
    );
    let error = Strongroom::connect(&endpoint).unwrap().retrieve("id", &key).unwrap_err();
    assert!(matches!(error, Error::AccessDenied(_)));
    assert!(error.full_message().contains("token"), "{}", error.full_message());
}

/// A replacement first proves the old key, which only the scope `retrieve` allows.
#[test]
fn the_scope_store_suffices_for_all_writes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let token = token(&file, &[Scope::Store]);
    let mut config = config();
    config.tokens = Some(file);
    let storage = Arc::new(MemoryStorage::new());
    let server = encryption_over(storage.clone(), &config);
    let direct = Strongroom::builder().storage(storage).index_key(IndexKey::from_bytes(&[7; 32]).unwrap());
    let direct = direct.open().unwrap();
    let endpoint = Endpoint::new(&format!("http://{}", server.address)).unwrap().token(token);
    let store = Strongroom::connect(&endpoint).unwrap();
    let long = pattern(1 << 20);
    let key = store.store("id", b"one").unwrap();
    let key = store.replace("id", &key, b"two").unwrap();
    let key = store.rekey("id", &key).unwrap();
    let key = store.replace_reader("id", &key, &b"three"[..]).unwrap();
    assert_eq!(direct.retrieve("id", &key).unwrap(), b"three");
    let key = store.replace_reader("id", &key, Trickle(&long)).unwrap();
    let own = RecordKey::generate().unwrap();
    store.replace_reader_with("id", &key, Trickle(&long), WriteOptions::new().key(&own)).unwrap();
    assert!(direct.retrieve("id", &own).unwrap() == long);
    let wrong = RecordKey::generate().unwrap();
    let outcome = store.replace_reader("id", &wrong, Trickle(&long));
    assert!(matches!(outcome, Err(Error::NotFound)), "nothing has proved the old key: {outcome:?}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let awaited = strongroom::aio::Strongroom::new(store);
    let key = runtime.block_on(awaited.replace_reader("id", &own, &b"four"[..])).unwrap();
    assert_eq!(direct.retrieve("id", &key).unwrap(), b"four");
}

#[test]
fn the_wrong_service_or_protocol_is_named() {
    let [server, storage] = [encryption(&config()), storage(Arc::new(MemoryStorage::new()))];
    let connect =
        |url: String| Strongroom::connect(&Endpoint::new(&url).unwrap()).and_then(|store| store.contains("id"));
    let open = |url: String| {
        let endpoint = Endpoint::new(&url).unwrap();
        Strongroom::builder().endpoint(endpoint).index_key(IndexKey::generate().unwrap()).open()
    };
    for (error, expected) in [
        (connect(format!("http://{}", storage.address)).unwrap_err(), "this is a storage service"),
        (open(format!("http://{}", server.address)).unwrap_err(), "this is an encryption server"),
        (connect(format!("https://{}", server.address)).unwrap_err(), "does not answer in TLS"),
    ] {
        assert!(error.full_message().contains(expected), "{}", error.full_message());
    }
}

#[test]
fn an_unreachable_service_fails_in_time() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let endpoint = Endpoint::new(&format!("http://{address}")).unwrap().timeout(Duration::from_millis(300));
    let store = Strongroom::connect(&endpoint).unwrap();
    let error = store.store("id", b"data").unwrap_err();
    assert!(matches!(error, Error::Storage(_)), "nothing was done");
    assert!(error.full_message().contains("refused"), "{}", error.full_message());

    // A server that listens, but does not answer.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::new(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
    let store = Strongroom::connect(&endpoint.timeout(Duration::from_millis(300))).unwrap();
    assert!(matches!(store.store("id", b"data"), Err(Error::Indeterminate(_))), "it may have been done");
    assert!(matches!(store.retrieve("id", &RecordKey::generate().unwrap()), Err(Error::Busy)));
}
