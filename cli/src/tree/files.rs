//! The files of a folder, and their records: the steps of storing a tree that its workers take.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};

use strongroom::{Error, RecordKey, Strongroom, WriteOptions};

use super::folders::Root;
use super::manifest::Entry;
use super::{SMALL, TreeIds, walk};
use crate::failure::Failure;
use crate::input::Input;
use crate::kept_keys::with_each;
use crate::records::may_be_written;

/// A file to store.
pub(super) struct Job {
    pub(super) path: Vec<u8>,
    pub(super) size: u64,
    /// The key of the file's record, or of a new one.
    pub(super) key: RecordKey,
    /// Whether there is a record that `key` opens.
    pub(super) has_record: bool,
    /// The earlier keys of the id, the newest first. One that opens no record here may be another store's.
    pub(super) earlier: Vec<RecordKey>,
}

/// A job, and what became of it.
pub(super) struct Done {
    pub(super) job: Job,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    Stored(Entry),
    /// There is a record with other data.
    Differs,
    Failed(Failure),
}

/// New keys in the keyring, by id, that certainly open no record: no write under them has begun, or it has failed.
#[derive(Default)]
pub(super) struct Unwritten(Mutex<BTreeMap<Vec<u8>, RecordKey>>);

impl Unwritten {
    /// Adds a key, before it gets into the keyring.
    pub(super) fn add(&self, id: &[u8], key: &RecordKey) {
        self.keys().insert(id.to_vec(), key.duplicate());
    }

    /// Notes the outcome of a write under the key of this id.
    pub(super) fn note<T>(&self, id: &[u8], outcome: &Result<T, Error>) {
        if may_be_written(outcome) {
            self.keys().remove(id);
        }
    }

    pub(super) fn take(&self) -> impl Iterator<Item = (Vec<u8>, RecordKey)> + use<> {
        std::mem::take(&mut *self.keys()).into_iter()
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, RecordKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of a folder, and their records.
#[derive(Clone, Copy)]
pub(super) struct Files<'r> {
    pub(super) folder: &'r Root,
    pub(super) ids: &'r TreeIds,
    pub(super) store: &'r Strongroom,
    pub(super) write_options: WriteOptions<'r>,
    pub(super) unwritten: &'r Unwritten,
}

impl Files<'_> {
    /// Finds the earlier key that opens the file's record.
    pub(super) fn find_record(&self, mut job: Job) -> Result<Job, Failure> {
        let id = self.ids.file(&job.path);
        let opened = with_each(&job.earlier, |key| match self.store.open_record(&id, key) {
            Ok(_) | Err(Error::Expired | Error::Corrupt) => Ok(()), // damage is reported with the file's name
            Err(error) => Err(error),
        });
        match opened {
            Ok(((), key)) => (job.key, job.has_record) = (key.duplicate(), true),
            // A token may have the scope `store` without `retrieve`: a replacement tries each key.
            Err(Failure::Strongroom(Error::NotFound | Error::WrongKey | Error::AccessDenied(_))) => {}
            Err(failure) => return Err(failure),
        }
        Ok(job)
    }

    /// Stores files in one transaction, if none has a record and the store has transactions.
    pub(super) fn create_many(&self, jobs: Vec<Job>) -> Result<Vec<Done>, Failure> {
        let [_, _, ..] = jobs.as_slice() else {
            return jobs.into_iter().map(|job| self.create(job)).collect();
        };
        let (mut all, mut read) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
        for job in jobs {
            match self.read(&job) {
                Ok((_, data)) if data.len() as u64 > SMALL => all.push(self.create(job)?), // it has grown
                Ok((entry, data)) => read.push((job, entry, data)),
                Err(failure) => all.push(Done { job, outcome: Outcome::Failed(failure) }),
            }
        }
        let records: Vec<_> = read
            .iter()
            .map(|(job, _, data)| (self.ids.file(&job.path), data, self.write_options.key(&job.key)))
            .collect();
        let outcome = self.store.store_many_with(&records);
        records.iter().for_each(|(id, ..)| self.unwritten.note(id, &outcome));
        match outcome {
            Ok(_) => {
                all.extend(read.into_iter().map(|(job, entry, _)| Done { job, outcome: Outcome::Stored(entry) }));
            }
            Err(Error::AlreadyExists | Error::Unsupported(_) | Error::TooLarge) => {
                for (job, ..) in read {
                    all.push(self.create(job)?);
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(all)
    }

    /// Stores a file, or finds its data in the record.
    fn create(&self, job: Job) -> Result<Done, Failure> {
        let id = self.ids.file(&job.path);
        let outcome = self.write(&job.path, &id, |input| {
            self.store.store_reader_with(&id, input, self.write_options.key(&job.key)).map(drop)
        })?;
        Ok(Done { job, outcome })
    }

    /// Replaces the file's record. Returns the earlier key that has opened it, too.
    pub(super) fn replace(&self, job: Job) -> Result<(Done, Option<RecordKey>), Failure> {
        let id = self.ids.file(&job.path);
        for old in &job.earlier {
            let outcome = self.write(&job.path, &id, |input| {
                self.store.replace_reader_with(&id, old, input, self.write_options.key(&job.key)).map(drop)
            })?;
            if !matches!(outcome, Outcome::Differs) {
                let old = old.duplicate();
                return Ok((Done { job, outcome }, Some(old)));
            }
        }
        Ok((Done { job, outcome: Outcome::Differs }, None))
    }

    /// Reads the file, and gives it to `write`. Failures of the whole store are errors.
    fn write(
        &self,
        path: &[u8],
        id: &[u8],
        write: impl FnOnce(&mut Input) -> Result<(), Error>,
    ) -> Result<Outcome, Failure> {
        let (entry, mut input) = match walk::open(self.folder, path) {
            Ok(opened) => opened,
            Err(failure) => return Ok(Outcome::Failed(failure)),
        };
        let outcome = write(&mut input);
        self.unwritten.note(id, &outcome);
        match input.outcome(outcome) {
            Ok(()) => Ok(Outcome::Stored(entry)),
            Err(Failure::Strongroom(Error::AlreadyExists | Error::WrongKey | Error::NotFound)) => Ok(Outcome::Differs),
            Err(failure @ (Failure::Strongroom(Error::TooLarge | Error::Corrupt) | Failure::Io { .. })) => {
                Ok(Outcome::Failed(failure))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Reads a small file, or the start of one that is longer.
    fn read(&self, job: &Job) -> Result<(Entry, Vec<u8>), Failure> {
        let (entry, mut input) = walk::open(self.folder, &job.path)?;
        let mut data = Vec::with_capacity(usize::try_from(job.size.min(SMALL)).unwrap_or(0));
        // The failure of the file is the input's; any other one is impossible.
        let outcome = input.by_ref().take(SMALL + 1).read_to_end(&mut data);
        let outcome = outcome.map(drop).map_err(|error| Error::Internal(error.into()));
        input.outcome(outcome)?;
        Ok((entry, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_grown_is_not_read_into_memory() {
        const SIZES: [u64; 4] = [3, SMALL, SMALL + 1, 3 << 20];

        let folder = tempfile::tempdir().unwrap();
        let store = Strongroom::open(":memory:").unwrap();
        let (root, ids) = (Root::open(folder.path()).unwrap(), TreeIds { prefix: b"tree/".to_vec() });
        let (write_options, unwritten) = (WriteOptions::new(), Unwritten::default());
        let files = Files { folder: &root, ids: &ids, store: &store, write_options, unwritten: &unwritten };
        let mut jobs = Vec::new();
        for size in SIZES {
            let path = size.to_string();
            std::fs::write(folder.path().join(&path), vec![7; usize::try_from(size).unwrap()]).unwrap();
            let key = RecordKey::generate().unwrap();
            jobs.push(Job { path: path.into(), size: 3, key, has_record: false, earlier: Vec::new() });
        }
        let read: Vec<_> = jobs.iter().map(|job| files.read(job).unwrap().1.len() as u64).collect();
        assert_eq!(read, SIZES.map(|size| size.min(SMALL + 1)));
        let stored = files.create_many(jobs).unwrap();
        assert_eq!(stored.len(), SIZES.len());
        for Done { job, outcome } in stored {
            assert!(matches!(outcome, Outcome::Stored(_)));
            let data = store.retrieve(ids.file(&job.path), &job.key).unwrap();
            assert_eq!(data.len().to_string().as_bytes(), job.path);
        }
    }

    #[test]
    fn a_key_is_unwritten_until_its_record_may_exist() {
        let folder = tempfile::tempdir().unwrap();
        let store = Strongroom::open(":memory:").unwrap();
        let (root, ids) = (Root::open(folder.path()).unwrap(), TreeIds { prefix: b"tree/".to_vec() });
        let (write_options, unwritten) = (WriteOptions::new(), Unwritten::default());
        let files = Files { folder: &root, ids: &ids, store: &store, write_options, unwritten: &unwritten };
        let job = |path: &[u8]| {
            let key = RecordKey::generate().unwrap();
            unwritten.add(&ids.file(path), &key);
            Job { path: path.to_vec(), size: 4, key, has_record: false, earlier: Vec::new() }
        };
        let take = || unwritten.take().map(|(id, _)| String::from_utf8(id).unwrap()).collect::<Vec<_>>();
        for name in ["1", "2", "3", "4"] {
            std::fs::write(folder.path().join(name), "data").unwrap();
        }
        // In one transaction, and, because one has a record, one by one.
        let (first, second) = (job(b"1"), job(b"2"));
        let old = second.key.duplicate();
        files.create_many(vec![first, second]).unwrap();
        assert_eq!(take(), [""; 0]);
        files.create_many(vec![job(b"2"), job(b"3"), job(b"gone")]).unwrap();
        assert_eq!(take(), ["tree/2", "tree/gone"]);
        let earlier = || vec![RecordKey::generate().unwrap(), old.duplicate()];
        let (_, opened) = files.replace(Job { earlier: earlier(), ..job(b"2") }).unwrap();
        assert!(opened.is_some_and(|key| key.ct_eq(&old)));
        assert_eq!(take(), [""; 0]);

        store.close().unwrap();
        for jobs in [vec![job(b"4")], vec![job(b"5"), job(b"4")]] {
            assert!(files.create_many(jobs).is_err());
        }
        assert!(files.replace(Job { earlier: earlier(), ..job(b"2") }).is_err());
        assert_eq!(take(), ["tree/2", "tree/4", "tree/5"]);

        drop((job(b"1"), job(b"2"), job(b"3")));
        unwritten.note(b"tree/1", &Err::<(), _>(Error::Indeterminate("lost".into())));
        unwritten.note(b"tree/2", &Err::<(), _>(Error::StorageFull));
        unwritten.note(b"tree/3", &Ok(()));
        assert_eq!(take(), ["tree/2"]);
    }
}
