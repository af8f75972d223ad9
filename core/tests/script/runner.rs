//! Runs the steps on a store. `wait!` gives the outcome of a call, which is a future or not.

use std::collections::HashMap;
use std::io::SeekFrom;
use std::ops::ControlFlow;
use std::time::{Duration, UNIX_EPOCH};

use strongroom::{Error, RecordKey, VerifyOptions, WriteOptions};

use super::{Read as _, RecordReader, RecordWriter, Seek as _, Strongroom, Write as _};
use crate::steps::{Found, bytes, range};

pub(crate) struct Runner {
    /// In the default namespace.
    root: Strongroom,
    store: Strongroom,
    keys: HashMap<String, RecordKey>,
    writer: Option<RecordWriter>,
    reader: Option<RecordReader>,
}

impl Runner {
    pub(crate) fn new(store: Strongroom) -> Self {
        Self { root: store.namespace("").unwrap(), store, keys: HashMap::new(), writer: None, reader: None }
    }

    #[allow(clippy::unused_async, reason = "the calls of one kind of store are futures")]
    pub(crate) async fn step(&mut self, words: &[&str]) -> Result<Vec<Found>, Error> {
        let store = &self.store;
        let found = match *words {
            ["key", name] => self.name(name, RecordKey::generate()?),
            ["key", name, text] => self.name(name, RecordKey::from_text(text)?),
            ["key_text", key] => Found::word(&*self.key(key).to_text()),
            ["store", id, data, how, name] => {
                let key = wait!(store.store_with(bytes(id), bytes(data), self.options(how, name)))?;
                self.made(how, name, key)
            }
            ["store_until", id, data, time, how, name] => {
                let (kind, seconds) = time.split_once(':').unwrap();
                let (seconds, options) = (Duration::from_secs(seconds.parse().unwrap()), self.options(how, name));
                let options = match kind {
                    "in" => options.expires_in(seconds),
                    _ => options.expires_at(UNIX_EPOCH + seconds),
                };
                let key = wait!(store.store_with(bytes(id), bytes(data), options))?;
                self.made(how, name, key)
            }
            ["store_padded", id, data, how, name] => {
                let key = wait!(store.store_with(bytes(id), bytes(data), self.options(how, name).pad()))?;
                self.made(how, name, key)
            }
            ["namespace", name] => {
                self.store = self.root.namespace(bytes(name))?;
                ok(())
            }
            ["store_source", id, data, how, name] => {
                let key = wait!(store.store_reader_with(bytes(id), &bytes(data)[..], self.options(how, name)))?;
                self.made(how, name, key)
            }
            ["replace", id, old, data, how, name] => {
                let key = wait!(store.replace_with(bytes(id), self.key(old), bytes(data), self.options(how, name)))?;
                self.made(how, name, key)
            }
            ["replace_source", id, old, data, how, name] => {
                let (data, options) = (bytes(data), self.options(how, name));
                let key = wait!(store.replace_reader_with(bytes(id), self.key(old), &data[..], options))?;
                self.made(how, name, key)
            }
            ["retrieve", id, key] => Found::Bytes(wait!(store.retrieve(bytes(id), self.key(key)))?),
            ["retrieve_into", id, key, size] => {
                let mut buffer = vec![0; size.parse().unwrap()];
                let len = wait!(store.retrieve_into(bytes(id), self.key(key), &mut buffer))?;
                buffer.truncate(len);
                Found::Bytes(buffer)
            }
            ["retrieve_range", id, key, places] => {
                let (start, end) = range(places);
                Found::Bytes(wait!(store.retrieve_range(bytes(id), self.key(key), start..end))?)
            }
            ["take", id, key] => Found::Bytes(wait!(store.take(bytes(id), self.key(key)))?),
            ["rekey", id, old, how, name] => {
                let key = wait!(store.rekey_with(bytes(id), self.key(old), self.options(how, name)))?;
                self.made(how, name, key)
            }
            ["delete", id, key] => ok(wait!(store.delete(bytes(id), self.key(key)))?),
            ["erase", id] => Found::word(wait!(store.erase(bytes(id)))?),
            ["contains", id] => Found::word(wait!(store.contains(bytes(id)))?),
            ["store_many", ref items @ ..] => {
                let items: Vec<_> = items.chunks(4).collect();
                let keys = if items.first().is_some_and(|item| item[2] == "under") {
                    let item = |item: &&[&str]| (bytes(item[0]), bytes(item[1]), self.options(item[2], item[3]));
                    wait!(store.store_many_with(&items.iter().map(item).collect::<Vec<_>>()))?
                } else {
                    wait!(
                        store
                            .store_many(&items.iter().map(|item| (bytes(item[0]), bytes(item[1]))).collect::<Vec<_>>())
                    )?
                };
                assert_eq!(keys.len(), items.len());
                items.iter().zip(keys).for_each(|(item, key)| drop(self.made(item[2], item[3], key)));
                ok(())
            }
            ["retrieve_many", ref items @ ..] => {
                let items: Vec<_> = items.chunks(2).map(|item| (bytes(item[0]), self.key(item[1]))).collect();
                let found = wait!(store.retrieve_many(&items))?.into_iter();
                return Ok(found
                    .map(|found| found.map_or_else(|error| Found::error(error.code()), Found::Bytes))
                    .collect());
            }
            ["stats"] => {
                let stats = wait!(store.stats())?;
                return Ok(vec![Found::word(stats.records), Found::word(stats.bytes)]);
            }
            ["purge", limit] => Found::word(wait!(store.purge(limit.parse().unwrap()))?),
            ["verify"] => {
                let report = wait!(store.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())))?;
                Found::word(report.records - report.damaged)
            }
            ["maintain"] => ok(wait!(store.maintain())?),
            ["close"] => ok(wait!(store.close())?),
            ["writer_create", id, how, name] => {
                let writer = wait!(store.create_record_with(bytes(id), self.options(how, name)))?;
                self.started(how, name, writer)
            }
            ["writer_replace", id, old, how, name] => {
                let writer = wait!(store.replace_record_with(bytes(id), self.key(old), self.options(how, name)))?;
                self.started(how, name, writer)
            }
            ["writer_write", data] => {
                let writer = self.writer.as_mut().unwrap();
                wait!(writer.write_all(&bytes(data))).map_err(in_stream)?;
                ok(wait!(writer.flush()).map_err(in_stream)?)
            }
            ["writer_finish"] => ok(wait!(self.writer.take().unwrap().finish()).map(drop)?),
            ["writer_drop"] => {
                drop(self.writer.take().unwrap());
                ok(())
            }
            ["reader_open", id, key] => {
                let reader = wait!(store.open_record(bytes(id), self.key(key)))?;
                self.reader = Some(reader);
                ok(())
            }
            ["reader_take", id, key] => {
                let reader = wait!(store.take_record(bytes(id), self.key(key)))?;
                self.reader = Some(reader);
                ok(())
            }
            ["reader_read", places] => {
                let ((start, end), mut data) = (range(places), Vec::new());
                let reader = self.reader.as_mut().unwrap();
                wait!(reader.seek(SeekFrom::Start(start))).map_err(in_stream)?;
                wait!(reader.take(end - start).read_to_end(&mut data)).map_err(in_stream)?;
                Found::Bytes(data)
            }
            ["reader_len"] => Found::word(wait!(self.reader.as_mut().unwrap().len())?),
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
