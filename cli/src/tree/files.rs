//! The files of a folder, and their records: the steps of storing a tree that its workers take.

use std::io::Read;
use std::path::Path;

use strongroom::{Error, RecordKey, Strongroom, WriteOptions};

use super::manifest::Entry;
use super::{TreeIds, walk};
use crate::failure::Failure;
use crate::input::Input;

/// A file to store.
pub(super) struct Job {
    pub(super) path: Vec<u8>,
    pub(super) size: u64,
    /// The key of a new record.
    pub(super) key: RecordKey,
    /// The keys of earlier versions, the newest first.
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

/// The files of a folder, and their records.
#[derive(Clone, Copy)]
pub(super) struct Files<'r> {
    pub(super) folder: &'r Path,
    pub(super) ids: &'r TreeIds,
    pub(super) store: &'r Strongroom,
    pub(super) write_options: WriteOptions<'r>,
}

impl Files<'_> {
    /// Stores files in one transaction, if none has a record and the store has transactions.
    pub(super) fn create_many(&self, jobs: Vec<Job>) -> Result<Vec<Done>, Failure> {
        let [_, _, ..] = jobs.as_slice() else {
            return jobs.into_iter().map(|job| self.create(job)).collect();
        };
        let (mut all, mut read) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
        for job in jobs {
            match self.read(&job) {
                Ok((entry, data)) => read.push((job, entry, data)),
                Err(failure) => all.push(Done { job, outcome: Outcome::Failed(failure) }),
            }
        }
        let records: Vec<_> = read
            .iter()
            .map(|(job, _, data)| (self.ids.file(&job.path), data, self.write_options.key(&job.key)))
            .collect();
        match self.store.store_many_with(&records) {
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

    /// Stores a file under its newest key, or finds its data under any of its keys.
    fn create(&self, mut job: Job) -> Result<Done, Failure> {
        let id = self.ids.file(&job.path);
        let mut outcome = self.write(&job.path, |input| {
            self.store.store_reader_with(&id, input, self.write_options.key(&job.key)).map(drop)
        })?;
        let older = job.earlier.iter().skip(1).map(RecordKey::duplicate).collect::<Vec<_>>();
        for key in older {
            if matches!(outcome, Outcome::Differs) {
                outcome = self.write(&job.path, |input| {
                    self.store.store_reader_with(&id, input, self.write_options.key(&key)).map(drop)
                })?;
                job.key = key;
            }
        }
        Ok(Done { job, outcome })
    }

    /// Replaces the file's record.
    pub(super) fn replace(&self, job: Job) -> Result<Done, Failure> {
        let id = self.ids.file(&job.path);
        let mut outcome = Outcome::Differs;
        for old in &job.earlier {
            outcome = self.write(&job.path, |input| {
                self.store.replace_reader_with(&id, old, input, self.write_options.key(&job.key)).map(drop)
            })?;
            if !matches!(outcome, Outcome::Differs) {
                break;
            }
        }
        Ok(Done { job, outcome })
    }

    /// Reads the file, and gives it to `write`. Its own failures, and those of the whole store, are errors.
    fn write(&self, path: &[u8], write: impl FnOnce(&mut Input) -> Result<(), Error>) -> Result<Outcome, Failure> {
        let (entry, mut input) = match walk::open(self.folder, path) {
            Ok(opened) => opened,
            Err(failure) => return Ok(Outcome::Failed(failure)),
        };
        let outcome = write(&mut input);
        match input.outcome(outcome) {
            Ok(()) => Ok(Outcome::Stored(entry)),
            Err(Failure::Strongroom(Error::AlreadyExists | Error::WrongKey | Error::NotFound)) => Ok(Outcome::Differs),
            Err(failure @ (Failure::Strongroom(Error::TooLarge | Error::Corrupt) | Failure::Io { .. })) => {
                Ok(Outcome::Failed(failure))
            }
            Err(failure) => Err(failure),
        }
    }

    fn read(&self, job: &Job) -> Result<(Entry, Vec<u8>), Failure> {
        let (entry, mut input) = walk::open(self.folder, &job.path)?;
        let mut data = Vec::with_capacity(usize::try_from(job.size).unwrap_or(0));
        // The failure of the file is the input's; any other one is impossible.
        let outcome = input.read_to_end(&mut data).map(drop).map_err(|error| Error::Internal(error.into()));
        input.outcome(outcome)?;
        Ok((entry, data))
    }
}
