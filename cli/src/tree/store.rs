//! Storing a folder. Each new key is in the keyring before its record is stored. The keyring is written a few times for
//! the whole tree, not once for each file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::json;
use strongroom::{Error, RecordKey, Strongroom, WriteOptions};

use super::files::{Done, Files, Job, Outcome};
use super::manifest::{Entry, Kind, Manifest};
use super::problems::Problems;
use super::{PROGRESS, TreeIds, batches, stored_manifest, walk, worker_count, workers};
use crate::args::Options;
use crate::failure::Failure;
use crate::in_use::InUse;
use crate::kept_keys::{KeptKeys, with_each};
use crate::open;
use crate::progress::progress_bar;
use crate::reply::reply;
use crate::tree_args::TreeOptions;

/// The time after which the manifest is written during a long run, so that an interrupted one need not read again what
/// it has stored.
const CHECKPOINT: Duration = Duration::from_secs(60);

pub(crate) fn store(
    options: &Options,
    tree: &TreeOptions,
    mirror: bool,
    folder: &Path,
    write_options: WriteOptions<'_>,
    in_use: &InUse,
) -> Result<(), Failure> {
    let ids = TreeIds::new(tree)?;
    let kept = KeptKeys::required(options)?;
    let mut problems = Problems::new(options.json);
    let found = walk::walk(folder, &ids, in_use, &mut problems)?;
    if found.is_empty() && mirror {
        return Err(Failure::argument("the folder is empty, so --mirror would remove the whole tree"));
    }
    let store = open::or_create(options)?;
    let old = stored_manifest(&store, &kept, &ids)?;
    if old.is_none() {
        if store.contains(ids.manifest())? {
            return Err(Failure::argument("there is a tree under this prefix whose key the keyring does not have"));
        }
        refuse_keys_of_others(&store, &kept, &ids)?;
    }
    let storing = Storing {
        folder,
        ids: &ids,
        store: &store,
        write_options,
        workers: worker_count(tree),
        kept,
        manifest: old.clone().unwrap_or_default(),
        problems,
        unsettled: Vec::new(),
        unused: Vec::new(),
        counts: Counts::default(),
        checkpoint: CHECKPOINT,
        written: Instant::now(),
    };
    let (counts, problems) = storing.run(&found, old, mirror)?;
    let Counts { stored, replaced, unchanged, removed, bytes } = counts;
    let failed = problems.failed();
    let text = format!(
        "stored: {stored}\nreplaced: {replaced}\nunchanged: {unchanged}\nremoved: {removed}\nfailed: {failed}\nbytes: {bytes}"
    );
    let object = json!({
        "stored": stored, "replaced": replaced, "unchanged": unchanged, "removed": removed, "failed": failed,
        "bytes": bytes,
    });
    reply(options, &object, &text)?;
    problems.outcome(if mirror { "stored, and nothing was removed" } else { "stored" })
}

/// Before the first run: the keys under the prefix must be those of this store, because a run takes them for its own.
fn refuse_keys_of_others(store: &Strongroom, kept: &KeptKeys, ids: &TreeIds) -> Result<(), Failure> {
    for id in ids.files(kept) {
        match with_each(&kept.newest_first(id), |key| store.open_record(id, key)) {
            Err(Failure::Strongroom(Error::NotFound | Error::WrongKey)) => {
                let text = format!(
                    "the key of {:?} in the keyring opens no record of this store, so it may be another store's: use \
                     another --id-prefix or another keyring, or remove the key with `keyring remove`",
                    String::from_utf8_lossy(id),
                );
                return Err(Error::InvalidArgument(text.into()).into());
            }
            Ok(_) | Err(Failure::Strongroom(Error::Expired | Error::Corrupt)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

#[derive(Default)]
struct Counts {
    stored: usize,
    replaced: usize,
    unchanged: usize,
    removed: usize,
    /// The bytes of the files that were stored or replaced.
    bytes: u64,
}

struct Storing<'r> {
    folder: &'r Path,
    ids: &'r TreeIds,
    store: &'r Strongroom,
    write_options: WriteOptions<'r>,
    workers: usize,
    kept: KeptKeys,
    /// The tree as it is stored.
    manifest: Manifest,
    problems: Problems,
    /// Files of several keys, of which only this one remains once the manifest is written. Until then, several keys show
    /// that the manifest may be older than the record.
    unsettled: Vec<(Vec<u8>, RecordKey)>,
    /// Keys that have no record, or none any more.
    unused: Vec<(Vec<u8>, RecordKey)>,
    counts: Counts,
    checkpoint: Duration,
    written: Instant,
}

impl<'r> Storing<'r> {
    fn run(
        mut self,
        found: &BTreeMap<Vec<u8>, Entry>,
        old: Option<Manifest>,
        mirror: bool,
    ) -> Result<(Counts, Problems), Failure> {
        if old.is_none() {
            self.write_manifest()?; // before any other key, so that later runs know the keys under the prefix for theirs
        }
        let mut jobs = Vec::new();
        for (path, entry) in found {
            match entry.kind {
                Kind::File { size, .. } if !self.is_unchanged(path, entry) => jobs.push(self.job(path, size)?),
                Kind::File { .. } => {
                    self.manifest.entries.entry(path.clone()).and_modify(|known| known.mode = entry.mode);
                    self.counts.unchanged += 1;
                }
                _ => drop(self.manifest.entries.insert(path.clone(), entry.clone())),
            }
        }
        let bar = progress_bar(Some(jobs.len() as u64), PROGRESS);
        let differing = self.create(jobs, &bar)?;
        self.replace(differing, &bar)?;
        bar.finish_and_clear();
        let absent = if mirror && self.problems.failed() == 0 { self.absent(found) } else { Vec::new() };
        self.manifest.remove_orphans();
        if old.is_none_or(|old| old != self.manifest) || !self.unsettled.is_empty() {
            self.write_manifest()?;
        }
        self.remove(absent)?;
        self.settle()?;
        Ok((self.counts, self.problems))
    }

    /// Whether the file is that of the manifest. An id with several keys may have a later version.
    fn is_unchanged(&self, path: &[u8], entry: &Entry) -> bool {
        let known = self.manifest.entries.get(path);
        known.is_some_and(|known| known.kind == entry.kind && known.modified == entry.modified)
            && self.kept.entries().keys(self.kept.namespace(), self.ids.file(path)).len() == 1
    }

    /// Stores the file under its newest key, which has no record if an earlier run was interrupted, or a new one.
    fn job(&self, path: &[u8], size: u64) -> Result<Job, Failure> {
        let earlier = self.kept.newest_first(&self.ids.file(path));
        let key = earlier.first().map_or_else(RecordKey::generate, |key| Ok(key.duplicate()))?;
        Ok(Job { path: path.to_vec(), size, key, earlier })
    }

    /// Stores files that may have no record yet. Returns those that have one with other data.
    fn create(&mut self, jobs: Vec<Job>, bar: &ProgressBar) -> Result<Vec<Job>, Failure> {
        self.keep_keys(jobs.iter().filter(|job| job.earlier.is_empty()))?;
        let (known, new): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| self.manifest.entries.contains_key(&job.path));
        let work = batches(new.into_iter(), |job| job.size).into_iter().chain(known.into_iter().map(|job| vec![job]));
        let files = self.files();
        let known = |manifest: &Manifest, path: &[u8]| {
            matches!(manifest.entries.get(path), Some(Entry { kind: Kind::File { .. }, .. }))
        };
        let mut differing = Vec::new();
        workers::for_each(
            self.workers,
            work,
            |jobs| files.create_many(jobs),
            |all| {
                for Done { job, outcome } in all {
                    match outcome {
                        Outcome::Stored(entry) => {
                            if known(&self.manifest, &job.path) {
                                self.counts.unchanged += 1;
                            } else {
                                self.counts.stored += 1;
                                self.counts.bytes += size(&entry);
                            }
                            bar.inc(1);
                            self.finish(job, entry);
                        }
                        Outcome::Differs => differing.push(job),
                        Outcome::Failed(failure) => {
                            bar.inc(1);
                            let is_new = job.earlier.is_empty();
                            self.fail(job, is_new, failure, bar);
                        }
                    }
                }
                self.write_checkpoint()
            },
        )?;
        Ok(differing)
    }

    /// Replaces the records of files, each under a new key.
    fn replace(&mut self, mut jobs: Vec<Job>, bar: &ProgressBar) -> Result<(), Failure> {
        for job in &mut jobs {
            let unused = std::mem::replace(&mut job.key, RecordKey::generate()?);
            if job.earlier.is_empty() {
                self.unused.push((self.ids.file(&job.path), unused));
            }
        }
        self.keep_keys(jobs.iter())?;
        let files = self.files();
        workers::for_each(
            self.workers,
            jobs,
            |job| files.replace(job),
            |Done { job, outcome }| {
                bar.inc(1);
                match outcome {
                    Outcome::Stored(entry) => {
                        self.counts.replaced += 1;
                        self.counts.bytes += size(&entry);
                        self.finish(job, entry);
                    }
                    Outcome::Differs => {
                        const FOREIGN: &str = "there is a record with its id, and the keyring does not have its key";
                        self.fail(job, true, Failure::argument(FOREIGN), bar);
                    }
                    Outcome::Failed(failure) => self.fail(job, true, failure, bar),
                }
                self.write_checkpoint()
            },
        )
    }

    fn files(&self) -> Files<'r> {
        let Self { folder, ids, store, write_options, .. } = *self;
        Files { folder, ids, store, write_options }
    }

    /// Puts the keys of jobs into the keyring.
    fn keep_keys<'j>(&mut self, mut jobs: impl Iterator<Item = &'j Job>) -> Result<(), Failure> {
        let ids = self.ids;
        self.kept.update(|entries, namespace| {
            jobs.try_for_each(|job| entries.insert(namespace, ids.file(&job.path), &job.key))
        })
    }

    fn finish(&mut self, job: Job, entry: Entry) {
        if job.earlier.len() > 1 || job.earlier.first().is_some_and(|earlier| !earlier.ct_eq(&job.key)) {
            self.unsettled.push((self.ids.file(&job.path), job.key));
        }
        self.manifest.entries.insert(job.path, entry);
    }

    /// Reports a file that was not stored. `is_new`: its key has no record.
    fn fail(&mut self, job: Job, is_new: bool, failure: Failure, bar: &ProgressBar) {
        if is_new {
            self.unused.push((self.ids.file(&job.path), job.key));
        }
        self.problems.add(&job.path, failure, bar);
    }

    fn write_checkpoint(&mut self) -> Result<(), Failure> {
        if self.written.elapsed() < self.checkpoint {
            return Ok(());
        }
        self.write_manifest()?;
        self.settle()
    }

    /// Replaces the manifest by the present one.
    fn write_manifest(&mut self) -> Result<(), Failure> {
        let id = self.ids.manifest();
        let mut manifest = self.manifest.clone();
        manifest.remove_orphans();
        let document = manifest.to_document()?;
        let (earlier, key) = (self.kept.newest_first(id), RecordKey::generate()?);
        self.kept.update(|entries, namespace| entries.insert(namespace, id, &key))?;
        let options = self.write_options.key(&key);
        if self.store.contains(id)? {
            let (_, old) = with_each(&earlier, |old| self.store.replace_with(id, old, &document, options))?;
            self.unused.push((id.to_vec(), old.duplicate()));
        } else {
            self.store.store_with(id, &document, options)?;
        }
        self.written = Instant::now();
        Ok(())
    }

    /// Removes the keys that open nothing any more.
    fn settle(&mut self) -> Result<(), Failure> {
        let (settled, unused) = (std::mem::take(&mut self.unsettled), std::mem::take(&mut self.unused));
        self.kept.update(|entries, namespace| {
            for (id, key) in settled {
                entries.keep_only(namespace, id, &key);
            }
            for (id, key) in unused {
                entries.remove_key(namespace, id, &key);
            }
            Ok(())
        })
    }

    /// The records of the tree whose files are no longer in the folder, and their keys. The files leave the manifest.
    fn absent(&mut self, found: &BTreeMap<Vec<u8>, Entry>) -> Vec<(Vec<u8>, Vec<RecordKey>)> {
        let is_file = |path: &[u8]| matches!(found.get(path), Some(Entry { kind: Kind::File { .. }, .. }));
        self.manifest.entries.retain(|path, _| found.contains_key(path));
        let absent = self.ids.files(&self.kept).filter(|id| self.ids.path(id).is_some_and(|path| !is_file(path)));
        absent.map(|id| (id.to_vec(), self.kept.newest_first(id))).collect()
    }

    /// Deletes records. A key that opens none is left alone: it may be another store's.
    fn remove(&mut self, records: Vec<(Vec<u8>, Vec<RecordKey>)>) -> Result<(), Failure> {
        let store = self.store;
        let delete = |(id, keys): (Vec<u8>, Vec<RecordKey>)| match with_each(&keys, |key| store.delete(&id, key)) {
            Ok(((), key)) => Ok(Some((id, key.duplicate()))),
            Err(Failure::Strongroom(Error::NotFound | Error::WrongKey)) => Ok(None),
            Err(failure) => Err(failure),
        };
        workers::for_each(self.workers, records, delete, |deleted| {
            self.counts.removed += usize::from(deleted.is_some());
            self.unused.extend(deleted);
            Ok(())
        })
    }
}

fn size(entry: &Entry) -> u64 {
    match entry.kind {
        Kind::File { size, .. } => size,
        _ => 0,
    }
}
