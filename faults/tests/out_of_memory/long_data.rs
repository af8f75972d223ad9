//! Memory for long data is missing: the operation is an error that changes nothing, on a database as well as in memory,
//! and succeeds on the same handle when there is memory again.

use std::io::Read;
use std::sync::Arc;

use strongroom::storage::MemoryStorage;
use strongroom::{Builder, Error, IndexKey, Strongroom, WriteOptions};
use strongroom_faults::Shortage;

use super::ALONE;
use super::check::{DATABASE, scratch};
use super::history::Version;

/// No buffer of a fixed size is as large.
const LONG: usize = 640 << 10;
const LEN: usize = 1 << 20;

/// A record that exists under "first", and another one.
struct Records {
    first: Arc<Version>,
    new: Arc<Version>,
}

type Operation = fn(&Strongroom, &Records) -> Result<(), Error>;

const OPERATIONS: [(&str, Operation); 10] = [
    ("store", |store, with| {
        store.store_with("new", &with.new.data, WriteOptions::new().key(&with.new.key())).map(drop)
    }),
    ("store padded", |store, with| {
        store.store_with("new", &with.new.data, WriteOptions::new().key(&with.new.key()).pad()).map(drop)
    }),
    ("store many", |store, with| store.store_many(&[("new", &with.new.data), ("other", &with.first.data)]).map(drop)),
    ("store a stream", |store, with| store.store_reader("new", &*with.new.data).map(drop)),
    ("retrieve", |store, with| same(&store.retrieve("first", &with.first.key())?, with)),
    ("retrieve many", |store, with| {
        store.retrieve_many(&[("first", &with.first.key())])?.into_iter().try_for_each(|data| same(&data?, with))
    }),
    ("retrieve a range", |store, with| same(&store.retrieve_range("first", &with.first.key(), 0..LEN as u64)?, with)),
    ("retrieve a stream", |store, with| {
        let mut data = Shortage::spare(|| vec![0; LEN]);
        let mut reader = store.open_record("first", &with.first.key())?;
        reader.read_exact(&mut data).map_err(|error| error.downcast::<Error>().unwrap())?;
        same(&data, with)
    }),
    ("replace", |store, with| store.replace("first", &with.first.key(), &with.new.data).map(drop)),
    ("rekey", |store, with| store.rekey("first", &with.first.key()).map(drop)),
];

fn same(data: &[u8], with: &Records) -> Result<(), Error> {
    assert!(data == with.first.data);
    Ok(())
}

/// Fails the allocation after so many. Returns whether there was one, and the operation's error.
fn try_once(builder: Builder, with: &Records, operation: Operation, shortage: Shortage) -> (bool, Option<Error>) {
    let store = builder.index_key(IndexKey::from_bytes(&[1; 32]).unwrap()).open().unwrap();
    store.store_with("first", &with.first.data, WriteOptions::new().key(&with.first.key())).unwrap();
    shortage.begin();
    let outcome = operation(&store, with);
    let count = Shortage::end();
    if outcome.is_err() {
        same(&store.retrieve("first", &with.first.key()).unwrap(), with).unwrap();
        assert!(!store.contains("new").unwrap());
        operation(&store, with).unwrap();
    }
    store.close().unwrap();
    (count > shortage.after, outcome.err())
}

#[test]
fn long_data_without_memory_is_an_error() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let with = Records { first: Version::new(1, LEN), new: Version::new(2, LEN) };
    let (mut cases, mut errors) = (0, 0);
    for (name, operation) in OPERATIONS {
        for (is_database, persists) in [(false, false), (false, true), (true, false), (true, true)] {
            for after in 0.. {
                let folder = scratch();
                let builder = match is_database {
                    true => Strongroom::builder().path(folder.path().join(DATABASE)),
                    false => Strongroom::builder().storage(Arc::new(MemoryStorage::new())),
                };
                let (failed, error) = try_once(builder, &with, operation, Shortage { after, persists, at_least: LONG });
                match error {
                    None => {}
                    Some(Error::TooLarge | Error::Storage(_)) => errors += 1,
                    Some(error) => panic!("{name}, {after}: {error:?}"),
                }
                if !failed {
                    break;
                }
                cases += 1;
            }
        }
    }
    println!("{cases} cases, {errors} errors");
    assert!(errors > 20);
}
