//! The script of operations, on each of the stores.

use crate::steps;
use crate::support;

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use strongroom::storage::{MemoryStorage, RemoteStorage};
use strongroom::{Endpoint, Error, IndexKey, RecordKey, RecordReader, RecordWriter, Strongroom, WriteOptions};
use strongroom_server::Config;

use crate::steps::{Found, SCRIPT, bytes, range};
use crate::support::Running;

struct Runner {
    store: Strongroom,
    keys: HashMap<String, RecordKey>,
    writer: Option<RecordWriter>,
    reader: Option<RecordReader>,
}

fn run(store: Strongroom, script: &str, is_server: bool) {
    let mut runner = Runner { store, keys: HashMap::new(), writer: None, reader: None };
    let step = |words: &[&str]| runner.step(words).unwrap_or_else(|error| vec![Found::error(error.code())]);
    assert!(steps::run(script, is_server, step) > 0);
}

impl Runner {
    fn step(&mut self, words: &[&str]) -> Result<Vec<Found>, Error> {
        let store = &self.store;
        let found = match *words {
            ["key", name] => self.name(name, RecordKey::generate()?),
            ["key", name, text] => self.name(name, RecordKey::from_text(text)?),
            ["key_text", key] => Found::word(&*self.key(key).to_text()),
            ["store", id, data, how, name] => {
                let key = store.store_with(bytes(id), bytes(data), self.options(how, name))?;
                self.made(how, name, key)
            }
            ["store_source", id, data, how, name] => {
                let key = store.store_reader_with(bytes(id), &bytes(data)[..], self.options(how, name))?;
                self.made(how, name, key)
            }
            ["replace", id, old, data, how, name] => {
                let key = store.replace_with(bytes(id), self.key(old), bytes(data), self.options(how, name))?;
                self.made(how, name, key)
            }
            ["replace_source", id, old, data, how, name] => {
                let (data, options) = (bytes(data), self.options(how, name));
                let key = store.replace_reader_with(bytes(id), self.key(old), &data[..], options)?;
                self.made(how, name, key)
            }
            ["retrieve", id, key] => Found::Bytes(store.retrieve(bytes(id), self.key(key))?),
            ["retrieve_into", id, key, size] => {
                let mut buffer = vec![0; size.parse().unwrap()];
                let len = store.retrieve_into(bytes(id), self.key(key), &mut buffer)?;
                buffer.truncate(len);
                Found::Bytes(buffer)
            }
            ["retrieve_range", id, key, places] => {
                let (start, end) = range(places);
                Found::Bytes(store.retrieve_range(bytes(id), self.key(key), start..end)?)
            }
            ["take", id, key] => Found::Bytes(store.take(bytes(id), self.key(key))?),
            ["rekey", id, old, how, name] => {
                let key = store.rekey_with(bytes(id), self.key(old), self.options(how, name))?;
                self.made(how, name, key)
            }
            ["delete", id, key] => ok(store.delete(bytes(id), self.key(key))?),
            ["erase", id] => Found::word(store.erase(bytes(id))?),
            ["contains", id] => Found::word(store.contains(bytes(id))?),
            ["store_many", ref items @ ..] => {
                let items: Vec<_> = items.chunks(4).collect();
                let keys = if items.first().is_some_and(|item| item[2] == "under") {
                    let item = |item: &&[&str]| (bytes(item[0]), bytes(item[1]), self.options(item[2], item[3]));
                    store.store_many_with(&items.iter().map(item).collect::<Vec<_>>())?
                } else {
                    store.store_many(&items.iter().map(|item| (bytes(item[0]), bytes(item[1]))).collect::<Vec<_>>())?
                };
                assert_eq!(keys.len(), items.len());
                items.iter().zip(keys).for_each(|(item, key)| drop(self.made(item[2], item[3], key)));
                ok(())
            }
            ["retrieve_many", ref items @ ..] => {
                let items: Vec<_> = items.chunks(2).map(|item| (bytes(item[0]), self.key(item[1]))).collect();
                let found = store.retrieve_many(&items)?.into_iter();
                return Ok(found
                    .map(|found| found.map_or_else(|error| Found::error(error.code()), Found::Bytes))
                    .collect());
            }
            ["stats"] => {
                let stats = store.stats()?;
                return Ok(vec![Found::word(stats.records), Found::word(stats.bytes)]);
            }
            ["maintain"] => ok(store.maintain()?),
            ["close"] => ok(store.close()?),
            ["writer_create", id, how, name] => {
                let writer = store.create_record_with(bytes(id), self.options(how, name))?;
                self.started(how, name, writer)
            }
            ["writer_replace", id, old, how, name] => {
                let writer = store.replace_record_with(bytes(id), self.key(old), self.options(how, name))?;
                self.started(how, name, writer)
            }
            ["writer_write", data] => ok(self.writer.as_mut().unwrap().write_all(&bytes(data)).map_err(in_stream)?),
            ["writer_finish"] => ok(self.writer.take().unwrap().finish().map(drop)?),
            ["writer_drop"] => {
                drop(self.writer.take().unwrap());
                ok(())
            }
            ["reader_open", id, key] => {
                let reader = store.open_record(bytes(id), self.key(key))?;
                self.reader = Some(reader);
                ok(())
            }
            ["reader_take", id, key] => {
                let reader = store.take_record(bytes(id), self.key(key))?;
                self.reader = Some(reader);
                ok(())
            }
            ["reader_read", places] => {
                let ((start, end), mut data) = (range(places), Vec::new());
                let reader = self.reader.as_mut().unwrap();
                reader.seek(SeekFrom::Start(start)).map_err(in_stream)?;
                reader.take(end - start).read_to_end(&mut data).map_err(in_stream)?;
                Found::Bytes(data)
            }
            ["reader_len"] => Found::word(self.reader.as_mut().unwrap().len()?),
            _ => panic!("no such step: {words:?}"),
        };
        Ok(vec![found])
    }

    fn key(&self, name: &str) -> &RecordKey {
        self.keys.get(name).unwrap_or_else(|| panic!("no key has the name {name}"))
    }

    fn name(&mut self, name: &str, key: RecordKey) -> Found {
        assert!(name != "unused" && self.keys.insert(name.to_owned(), key).is_none(), "{name} is given twice");
        ok(())
    }

    fn options(&self, how: &str, name: &str) -> WriteOptions<'_> {
        match how {
            "as" => WriteOptions::new(),
            "under" => WriteOptions::new().key(self.key(name)),
            _ => panic!("neither \"as\" nor \"under\": {how}"),
        }
    }

    /// A version was written under this key.
    fn made(&mut self, how: &str, name: &str, key: RecordKey) -> Found {
        if how == "as" {
            return self.name(name, key);
        }
        assert!(self.key(name).ct_eq(&key), "it is not the caller's key");
        ok(())
    }

    fn started(&mut self, how: &str, name: &str, writer: RecordWriter) -> Found {
        let key = writer.key().duplicate();
        self.writer = Some(writer);
        self.made(how, name, key)
    }
}

fn ok((): ()) -> Found {
    Found::word("ok")
}

/// The store's error that a reader or a writer gives.
fn in_stream(error: std::io::Error) -> Error {
    error.downcast().unwrap()
}

/// The limits of a service by default: a writer may pause.
fn config() -> Config {
    Config::from_toml("listen = [\"127.0.0.1:0\"]\ninsecure_loopback = true").unwrap()
}

fn endpoint(service: &Running) -> Endpoint {
    Endpoint::new(&format!("http://{}", service.address)).unwrap()
}

fn index_key() -> IndexKey {
    IndexKey::from_bytes(&[7; 32]).unwrap()
}

#[test]
fn in_memory() {
    run(Strongroom::open(":memory:").unwrap(), SCRIPT, false);
}

#[test]
fn in_a_database() {
    let folder = tempfile::tempdir().unwrap();
    run(Strongroom::open(folder.path().join("records.db")).unwrap(), SCRIPT, false);
}

#[test]
fn on_a_storage_service() {
    let service = support::storage_with(Arc::new(MemoryStorage::new()), &config());
    run(Strongroom::builder().endpoint(endpoint(&service)).index_key(index_key()).open().unwrap(), SCRIPT, false);
}

#[test]
fn on_an_encryption_server() {
    let server = support::encryption(&config());
    run(Strongroom::connect(&endpoint(&server)).unwrap(), SCRIPT, true);
}

#[test]
fn on_an_encryption_server_over_a_storage_service() {
    let service = support::storage_with(Arc::new(MemoryStorage::new()), &config());
    let server = support::encryption_over(Arc::new(RemoteStorage::open(&endpoint(&service)).unwrap()), &config());
    run(Strongroom::connect(&endpoint(&server)).unwrap(), SCRIPT, true);
}

/// Another result, another error, another number of steps and a missing end are noticed.
#[test]
fn a_difference_is_noticed() {
    const RIGHT: &str = "key k -> ok\nstore text:a text:b as a -> ok\nretrieve text:a k -> error:3|error:1\nsteps 3";
    for (from, to) in [
        ("", ""),
        ("k -> ok", "k -> error:5"),
        ("3|", "1|"),
        ("-> error", "-> text"),
        ("steps 3", "steps 2"),
        ("\nsteps 3", ""),
    ] {
        let script = RIGHT.replacen(from, to, 1);
        let outcome = std::panic::catch_unwind(|| run(Strongroom::open(":memory:").unwrap(), &script, false));
        assert_eq!(outcome.is_ok(), from.is_empty(), "{from}");
    }
}
