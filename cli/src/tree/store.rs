//! Storing a folder. Each new key is in the keyring before its record is stored. The keyring is written a few times for
//! the whole tree, not once for each file.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::json;
use strongroom::{Error, RecordKey, Strongroom, WriteOptions};

use super::files::{Done, Files, Job, Outcome, Unwritten};
use super::folders::Root;
use super::manifest::{Entry, KeyCheck, Kind, Limits, Manifest, has_lost_folder_of, too_many};
use super::problems::Problems;
use super::walk::{Found, walk};
use super::{PROGRESS, TreeIds, batches, stored_manifest, worker_count, workers};
use crate::failure::Failure;
use crate::in_use::InUse;
use crate::kept_keys::{KeptKeys, with_each};
use crate::open;
use crate::options::Options;
use crate::progress::progress_bar;
use crate::reply::reply;
use crate::tree_args::TreeOptions;

/// The time after which the manifest is written during a long run, so that an interrupted one need not read again what
/// it has stored.
const CHECKPOINT: Duration = Duration::from_secs(60);

/// The keyring gets the keys of so many files at once, or one of so many parts of all if that is more: an interrupted
/// run leaves few keys without a record.
const KEYS_AT_ONCE: usize = 1000;
const PARTS: usize = 16;

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
    let root = Root::open(folder).map_err(Failure::io("cannot read the folder"))?;
    let mut problems = Problems::new(options.json);
    let found = walk(&root, &ids, in_use, &mut problems);
    if found.entries.is_empty() && mirror {
        return Err(Failure::argument("the folder is empty, so --mirror would remove the whole tree"));
    }
    let store = open::or_create(options)?;
    let old = stored_manifest(&store, &kept, &ids)?;
    if old.is_none() && store.contains(ids.manifest())? {
        return Err(Failure::argument("there is a tree under this prefix whose key the keyring does not have"));
    }
    // Before a key or a record is stored.
    Limits::FORMAT.check(planned(&found, old.as_ref(), mirror))?;
    let unwritten = Unwritten::default();
    let storing = Storing {
        folder: &root,
        ids: &ids,
        store: &store,
        write_options,
        workers: worker_count(tree),
        kept,
        manifest: old.clone().unwrap_or_default(),
        problems,
        unwritten: &unwritten,
        unused: Vec::new(),
        counts: Counts::default(),
        limits: Limits::FORMAT,
        checkpoint: CHECKPOINT,
        written: Instant::now(),
    };
    let (counts, problems) = storing.run(&found, old.as_ref(), mirror)?;
    let Counts { stored, replaced, unchanged, removed, bytes, without_manifest } = counts;
    let failed = problems.failed();
    let text = format!(
        "stored: {stored}\nreplaced: {replaced}\nunchanged: {unchanged}\nremoved: {removed}\nfailed: {failed}\nbytes: {bytes}"
    );
    let object = json!({
        "stored": stored, "replaced": replaced, "unchanged": unchanged, "removed": removed, "failed": failed,
        "bytes": bytes,
    });
    reply(options, &object, &text)?;
    problems.outcome(match mirror {
        _ if without_manifest => WITHOUT_MANIFEST,
        true => "stored, and nothing was removed",
        false => "stored",
    })
}

const WITHOUT_MANIFEST: &str = "stored (and nothing was removed, nor the manifest written: the tree has too many \
                                files until --mirror removes those that are gone)";

/// The new manifest's entries: those that are gone from the folder remain, unless `mirror` removes them.
fn planned<'p>(
    found: &'p Found,
    old: Option<&'p Manifest>,
    mirror: bool,
) -> impl Iterator<Item = (&'p Vec<u8>, &'p Entry)> {
    let remains = move |path: &[u8]| {
        let is_kept = if mirror { found.is_skipped(path) } else { !has_lost_folder_of(&found.entries, path) };
        is_kept && !found.entries.contains_key(path)
    };
    let old = old.into_iter().flat_map(|old| &old.entries);
    found.entries.iter().chain(old.filter(move |(path, _)| remains(path)))
}

#[derive(Debug, Default)]
struct Counts {
    stored: usize,
    replaced: usize,
    unchanged: usize,
    removed: usize,
    /// The bytes of the files that were stored or replaced.
    bytes: u64,
    /// The manifest would exceed the limits: a failure keeps `--mirror` from removing its entries.
    without_manifest: bool,
}

/// The id of a record, and its keys in the keyring.
type KnownRecord = (Vec<u8>, Vec<RecordKey>);

struct Storing<'r> {
    folder: &'r Root,
    ids: &'r TreeIds,
    store: &'r Strongroom,
    write_options: WriteOptions<'r>,
    workers: usize,
    kept: KeptKeys,
    /// The tree as it is stored.
    manifest: Manifest,
    problems: Problems,
    unwritten: &'r Unwritten,
    /// Keys of this store that have no record, or none any more. They leave the keyring at the next checkpoint, and at
    /// the end, even that of a failed run; all other keys remain, because they may open records of other stores.
    unused: Vec<(Vec<u8>, RecordKey)>,
    counts: Counts,
    limits: Limits,
    checkpoint: Duration,
    written: Instant,
}

impl<'r> Storing<'r> {
    fn run(mut self, found: &Found, old: Option<&Manifest>, mirror: bool) -> Result<(Counts, Problems), Failure> {
        let outcome = self.store_all(found, old, mirror);
        if outcome.is_err() {
            self.unused.extend(self.unwritten.take());
        }
        let settled = self.settle();
        outcome.and(settled)?;
        Ok((self.counts, self.problems))
    }

    fn store_all(&mut self, found: &Found, old: Option<&Manifest>, mirror: bool) -> Result<(), Failure> {
        let (mut new, mut known) = (Vec::new(), Vec::new());
        for (path, entry) in &found.entries {
            let Kind::File { size, .. } = entry.kind else {
                self.manifest.entries.insert(path.clone(), entry.clone());
                continue;
            };
            match self.kept.entries().keys(self.kept.namespace(), self.ids.file(path)) {
                [] => new.push(self.job(path, size)?),
                [key] if self.is_unchanged(path, entry, key) => self.keep_unchanged(path, entry),
                _ => known.push(self.job(path, size)?),
            }
        }
        let jobs = self.find_records(new, known, found)?;
        let bar = progress_bar(Some(jobs.len() as u64), PROGRESS);
        let mut differing = Vec::new();
        for jobs in parts(jobs) {
            self.create(jobs, &mut differing, &bar)?;
        }
        for jobs in parts(differing) {
            self.replace(jobs, &bar)?;
        }
        bar.finish_and_clear();
        let absent = match old {
            Some(old) if mirror && self.problems.failed() == 0 => self.absent(found, old)?,
            _ => Vec::new(),
        };
        self.manifest.remove_orphans();
        let mut document = None;
        if old.is_none_or(|old| *old != self.manifest) {
            document = self.manifest.to_document(self.limits)?;
            match document {
                Some(_) => {}
                None if self.problems.failed() > 0 => self.counts.without_manifest = true,
                None => return Err(too_many()),
            }
        }
        // If this is interrupted, the earlier manifest still tells the next run what to remove.
        self.remove(absent)?;
        document.map_or(Ok(()), |document| self.write_manifest(&document))
    }

    /// Whether the file is that of the manifest, if its record is under `key`.
    fn is_unchanged(&self, path: &[u8], entry: &Entry, key: &RecordKey) -> bool {
        self.manifest.entries.get(path).is_some_and(|known| {
            known.kind == entry.kind && known.modified == entry.modified && known.key == Some(KeyCheck::of(key))
        })
    }

    fn keep_unchanged(&mut self, path: &[u8], entry: &Entry) {
        self.manifest.entries.entry(path.to_vec()).and_modify(|known| known.mode = entry.mode);
        self.counts.unchanged += 1;
    }

    /// Stores the file under a new key, unless an earlier one opens its record.
    fn job(&self, path: &[u8], size: u64) -> Result<Job, Failure> {
        let earlier = self.kept.newest_first(&self.ids.file(path));
        Ok(Job { path: path.to_vec(), size, key: RecordKey::generate()?, has_record: false, earlier })
    }

    /// Adds to `new` those of the files with earlier keys that may have changed.
    fn find_records(&mut self, mut new: Vec<Job>, known: Vec<Job>, found: &Found) -> Result<Vec<Job>, Failure> {
        let files = self.files();
        workers::for_each(
            self.workers,
            known,
            |job| files.find_record(job),
            |job| {
                match found.entries.get(&job.path) {
                    Some(entry) if job.has_record && self.is_unchanged(&job.path, entry, &job.key) => {
                        self.keep_unchanged(&job.path, entry);
                    }
                    _ => new.push(job),
                }
                Ok(())
            },
        )?;
        Ok(new)
    }

    /// Stores files that have no record, and compares the others. Those with other data get into `differing`.
    fn create(&mut self, jobs: Vec<Job>, differing: &mut Vec<Job>, bar: &ProgressBar) -> Result<(), Failure> {
        let jobs = self.keep_keys(jobs, bar)?;
        let (known, new): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.has_record);
        let work = batches(new.into_iter(), |job| job.size).into_iter().chain(known.into_iter().map(|job| vec![job]));
        let files = self.files();
        let is_known = |manifest: &Manifest, path: &[u8]| {
            matches!(manifest.entries.get(path), Some(Entry { kind: Kind::File { .. }, .. }))
        };
        workers::for_each(
            self.workers,
            work,
            |jobs| files.create_many(jobs),
            |all| {
                for Done { job, outcome } in all {
                    match outcome {
                        Outcome::Stored(entry) => {
                            if job.has_record && is_known(&self.manifest, &job.path) {
                                self.counts.unchanged += 1;
                            } else {
                                self.counts.stored += 1;
                                self.counts.bytes += entry.size();
                            }
                            bar.inc(1);
                            self.finish(job, entry, None);
                        }
                        Outcome::Differs => differing.push(job),
                        Outcome::Failed(failure) => {
                            bar.inc(1);
                            self.fail(job, failure, bar);
                        }
                    }
                }
                self.write_checkpoint()
            },
        )
    }

    /// Replaces the records of files, each under a new key.
    fn replace(&mut self, mut jobs: Vec<Job>, bar: &ProgressBar) -> Result<(), Failure> {
        for job in jobs.iter_mut().filter(|job| job.has_record) {
            job.earlier = vec![std::mem::replace(&mut job.key, RecordKey::generate()?)];
            job.has_record = false;
        }
        let jobs = self.keep_keys(jobs, bar)?;
        let files = self.files();
        workers::for_each(
            self.workers,
            jobs,
            |job| files.replace(job),
            |(Done { job, outcome }, old)| {
                bar.inc(1);
                match outcome {
                    Outcome::Stored(entry) => {
                        self.counts.replaced += 1;
                        self.counts.bytes += entry.size();
                        self.finish(job, entry, old);
                    }
                    Outcome::Differs => {
                        const FOREIGN: &str = "there is a record with its id, and the keyring does not have its key";
                        self.fail(job, Failure::argument(FOREIGN), bar);
                    }
                    Outcome::Failed(failure) => self.fail(job, failure, bar),
                }
                self.write_checkpoint()
            },
        )
    }

    fn files(&self) -> Files<'r> {
        let Self { folder, ids, store, write_options, unwritten, .. } = *self;
        Files { folder, ids, store, write_options, unwritten }
    }

    /// Puts the new keys of jobs into the keyring, and returns the jobs. One fails if the keyring has too many keys of
    /// its id.
    fn keep_keys(&mut self, jobs: Vec<Job>, bar: &ProgressBar) -> Result<Vec<Job>, Failure> {
        let ids = self.ids;
        for job in jobs.iter().filter(|job| !job.has_record) {
            self.unwritten.add(&ids.file(&job.path), &job.key);
        }
        let outcomes: Vec<_> = self.kept.update(|entries, namespace| {
            let keep = |job: &Job| match job.has_record {
                true => Ok(()),
                false => entries.insert(namespace, ids.file(&job.path), &job.key),
            };
            Ok(jobs.iter().map(keep).collect())
        })?;
        let mut kept = Vec::with_capacity(jobs.len());
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => kept.push(job),
                Err(error) => {
                    bar.inc(1);
                    self.fail(job, error.into(), bar);
                }
            }
        }
        Ok(kept)
    }

    /// Notes that the record of the file is under the job's key, and no longer under `old`, nor the earlier manifest's.
    fn finish(&mut self, job: Job, mut entry: Entry, old: Option<RecordKey>) {
        let id = self.ids.file(&job.path);
        entry.key = Some(KeyCheck::of(&job.key));
        let known = self.manifest.entries.insert(job.path, entry).and_then(|known| known.key);
        let keys = self.kept.entries().keys(self.kept.namespace(), &id).iter();
        let superseded = keys.filter(|key| known == Some(KeyCheck::of(key)) && !key.ct_eq(&job.key));
        let unused = superseded.map(RecordKey::duplicate).chain(old).map(|key| (id.clone(), key));
        self.unused.extend(unused);
    }

    /// Reports a file that was not stored. A new key has no record.
    fn fail(&mut self, job: Job, failure: Failure, bar: &ProgressBar) {
        if !job.has_record {
            self.unused.push((self.ids.file(&job.path), job.key));
        }
        self.problems.add(&job.path, failure, bar);
    }

    fn write_checkpoint(&mut self) -> Result<(), Failure> {
        if self.written.elapsed() < self.checkpoint {
            return Ok(());
        }
        let mut manifest = self.manifest.clone();
        manifest.remove_orphans();
        self.written = Instant::now();
        // Only the last manifest must be within the limits: `--mirror` removes entries from it.
        if let Some(document) = manifest.to_document(self.limits)? {
            self.write_manifest(&document)?;
        }
        self.settle()
    }

    /// Replaces the manifest.
    fn write_manifest(&mut self, document: &[u8]) -> Result<(), Failure> {
        let id = self.ids.manifest();
        let (earlier, key) = (self.kept.newest_first(id), RecordKey::generate()?);
        self.unwritten.add(id, &key);
        let of_manifest = |error: Error| {
            let text = format!("the manifest, whose id is the prefix with a slash at its end: {error}");
            Error::InvalidArgument(text.into())
        };
        self.kept.update(|entries, namespace| entries.insert(namespace, id, &key).map_err(of_manifest))?;
        let options = self.write_options.key(&key);
        let write = |outcome: Result<RecordKey, Error>| {
            self.unwritten.note(id, &outcome);
            outcome
        };
        if self.store.contains(id)? {
            let (_, old) = with_each(&earlier, |old| write(self.store.replace_with(id, old, document, options)))?;
            self.unused.push((id.to_vec(), old.duplicate()));
        } else {
            write(self.store.store_with(id, document, options))?;
        }
        self.written = Instant::now();
        Ok(())
    }

    /// Removes the keys that open nothing any more.
    fn settle(&mut self) -> Result<(), Failure> {
        let unused = std::mem::take(&mut self.unused);
        if unused.is_empty() {
            return Ok(());
        }
        self.kept.update(|entries, namespace| {
            for (id, key) in unused {
                entries.remove_key(namespace, id, &key);
            }
            Ok(())
        })
    }

    /// The records of the earlier manifest's tree whose files are no longer in the folder, and their keys. The files
    /// leave the manifest. Other records under the prefix are not the tree's, also those of a tree below it.
    fn absent(&mut self, found: &Found, old: &Manifest) -> Result<Vec<KnownRecord>, Failure> {
        self.manifest.entries.retain(|path, _| found.entries.contains_key(path) || found.is_skipped(path));
        let mut trees = Vec::new();
        for id in self.ids.files(&self.kept).filter(|id| id.ends_with(b"/")) {
            if self.store.contains(id)? {
                trees.push(id);
            }
        }
        let is_absent = |path: &[u8]| old.covers(path) && !found.is_file(path) && !found.is_skipped(path);
        let absent = self.ids.files(&self.kept).filter(|id| self.ids.path(id).is_some_and(is_absent));
        let absent = absent.filter(|id| !trees.iter().any(|tree| id.starts_with(tree)));
        Ok(absent.map(|id| (id.to_vec(), self.kept.newest_first(id))).collect())
    }

    /// Deletes records. A key that opens none is left alone: it may be another store's.
    fn remove(&mut self, records: Vec<KnownRecord>) -> Result<(), Failure> {
        let store = self.store;
        let delete = |(id, keys): KnownRecord| match with_each(&keys, |key| store.delete(&id, key)) {
            Ok(((), key)) => Ok(Some((id, key.duplicate()))),
            Err(Failure::Strongroom(Error::NotFound | Error::WrongKey)) => Ok(None),
            Err(failure) => Err(failure),
        };
        workers::for_each(self.workers, records, delete, |deleted| {
            if let Some((id, key)) = deleted {
                self.problems.removed(self.ids.path(&id).unwrap_or_default());
                self.counts.removed += 1;
                self.unused.push((id, key));
            }
            Ok(())
        })
    }
}

/// The parts of the jobs whose keys the keyring gets at once.
fn parts(jobs: Vec<Job>) -> impl Iterator<Item = Vec<Job>> {
    let most = KEYS_AT_ONCE.max(jobs.len().div_ceil(PARTS));
    let mut jobs = jobs.into_iter();
    std::iter::from_fn(move || Some(jobs.by_ref().take(most).collect()).filter(|part: &Vec<_>| !part.is_empty()))
}

#[cfg(test)]
mod tests {
    use strongroom::{Keyring, KeyringProtection, KeyringSecret};

    use super::super::manifest::Modified;
    use super::*;

    #[test]
    fn few_keys_of_many_are_stored_at_once() {
        let job = |n: usize| Job {
            path: n.to_string().into(),
            size: 0,
            key: RecordKey::from_bytes(&[1; 32]).unwrap(),
            has_record: false,
            earlier: Vec::new(),
        };
        let lens = |count| parts((0..count).map(job).collect()).map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(lens(0), [0; 0]);
        assert_eq!(lens(2500), [1000, 1000, 500]);
        assert_eq!(lens(17_600), [1100; 16]);
    }

    #[test]
    fn files_that_are_gone_remain_unless_they_are_removed() {
        // A path with a slash at its end is a folder.
        let entries = |paths: &[&str]| {
            let entry = |path: &&str| {
                let kind = match path.strip_suffix('/') {
                    Some(_) => Kind::Folder,
                    None => Kind::File { size: 1, is_recent: false },
                };
                let entry = Entry { kind, mode: 0o755, modified: Modified(0, 0), key: None };
                (path.trim_end_matches('/').as_bytes().to_vec(), entry)
            };
            paths.iter().map(entry).collect()
        };
        let found = Found {
            entries: entries(&["a", "b", "file"]),
            skipped: [b"d".to_vec(), b"skipped".to_vec()].into_iter().collect(),
        };
        let old = Manifest { entries: entries(&["b", "c", "d/", "d/e", "file/", "file/f/", "file/f/g", "skipped"]) };
        let planned = |old, mirror| {
            planned(&found, old, mirror).map(|(path, _)| str::from_utf8(path).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(planned(None, false), ["a", "b", "file"]);
        assert_eq!(planned(Some(&old), false), ["a", "b", "file", "c", "d", "d/e", "skipped"]);
        assert_eq!(planned(Some(&old), true), ["a", "b", "file", "d", "d/e", "skipped"]);
    }

    /// A tree, its store and its keyring.
    struct World {
        folder: tempfile::TempDir,
        tree: Root,
        ids: TreeIds,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (identity, recipient) = KeyringSecret::generate_identity();
            std::fs::write(folder.path().join("identity"), identity.as_bytes()).unwrap();
            Keyring::create(folder.path().join("keys"), KeyringProtection::recipients([recipient]).unwrap()).unwrap();
            let tree = Root::open_or_create(&folder.path().join("tree")).unwrap();
            let ids = TreeIds { prefix: b"tree/".to_vec() };
            Self { folder, tree, ids }
        }

        fn store(&self) -> Strongroom {
            Strongroom::open(self.folder.path().join("records.db")).unwrap()
        }

        fn keyring(&self) -> Keyring {
            let identity = std::fs::read_to_string(self.folder.path().join("identity")).unwrap();
            Keyring::open(self.folder.path().join("keys"), KeyringSecret::identities(&identity).unwrap()).unwrap()
        }

        /// The ids of the keyring, and the number of the keys of each.
        fn keys(&self) -> Vec<(String, usize)> {
            let id = |(_, id, keys): (_, &[u8], &[RecordKey])| (String::from_utf8(id.to_vec()).unwrap(), keys.len());
            self.keyring().entries().iter().map(id).collect()
        }

        fn write(&self, names: &[&str], data: &str) {
            names.iter().for_each(|name| std::fs::write(self.folder.path().join("tree").join(name), data).unwrap());
        }

        fn remove(&self, names: &[&str]) {
            names.iter().for_each(|name| std::fs::remove_file(self.folder.path().join("tree").join(name)).unwrap());
        }

        fn manifest(&self) -> Option<Manifest> {
            stored_manifest(&self.store(), &KeptKeys::of(self.keyring()), &self.ids).unwrap()
        }

        fn run(&self, names: &[&str], mirror: bool, limits: Limits) -> Result<Counts, Failure> {
            self.run_after(|_| {}, names, mirror, limits)
        }

        /// Stores these files of the folder, with a checkpoint after each batch.
        fn run_after(
            &self,
            change: impl FnOnce(&Strongroom),
            names: &[&str],
            mirror: bool,
            limits: Limits,
        ) -> Result<Counts, Failure> {
            let entry = |name: &&str| (name.as_bytes().to_vec(), super::super::walk::open(&self.tree, name.as_bytes()));
            let entries = names.iter().map(entry).map(|(name, opened)| (name, opened.unwrap().0)).collect();
            let found = Found { entries, ..Found::default() };
            let (old, store, unwritten) = (self.manifest(), self.store(), Unwritten::default());
            change(&store);
            let storing = Storing {
                folder: &self.tree,
                ids: &self.ids,
                store: &store,
                write_options: WriteOptions::new(),
                workers: 2,
                kept: KeptKeys::of(self.keyring()),
                manifest: old.clone().unwrap_or_default(),
                problems: Problems::new(false),
                unwritten: &unwritten,
                unused: Vec::new(),
                counts: Counts::default(),
                limits,
                checkpoint: Duration::ZERO,
                written: Instant::now(),
            };
            Ok(storing.run(&found, old.as_ref(), mirror)?.0)
        }
    }

    /// A tree of three files, which were replaced by three others since.
    fn with_other_files() -> World {
        let world = World::new();
        world.write(&["1", "2", "3"], "data");
        world.run(&["1", "2", "3"], false, Limits::FORMAT).unwrap();
        world.remove(&["1", "2", "3"]);
        world.write(&["4", "5", "6"], "data");
        world
    }

    #[test]
    fn a_checkpoint_above_the_limits_is_left_out() {
        let world = with_other_files();
        let limits = Limits { entries: 3, ..Limits::FORMAT };
        let counts = world.run(&["4", "5", "6"], true, limits).unwrap();
        assert_eq!((counts.stored, counts.removed), (3, 3));
        let keys = ["tree/", "tree/4", "tree/5", "tree/6"].map(|id| (id.to_owned(), 1));
        assert_eq!(world.keys(), keys);
        assert_eq!(world.manifest().unwrap().entries.len(), 3);
    }

    #[test]
    fn a_failure_may_leave_a_mirror_without_its_manifest() {
        let world = with_other_files();
        let limits = Limits { entries: 3, ..Limits::FORMAT };
        let counts = world.run_after(|_| world.remove(&["6"]), &["4", "5", "6"], true, limits).unwrap();
        assert_eq!((counts.stored, counts.removed, counts.without_manifest), (2, 0, true));
        let ids = ["tree/", "tree/1", "tree/2", "tree/3", "tree/4", "tree/5"];
        assert_eq!(world.keys(), ids.map(|id| (id.to_owned(), 1)));
        // The same command continues it.
        let counts = world.run(&["4", "5"], true, limits).unwrap();
        assert_eq!((counts.stored, counts.removed, counts.without_manifest), (2, 3, false));
        assert_eq!(world.manifest().unwrap().entries.len(), 2);
    }

    #[test]
    fn a_failed_run_leaves_no_key_without_a_record() {
        let world = World::new();
        let one = |ids: &[&str]| ids.iter().map(|id| ((*id).to_owned(), 1)).collect::<Vec<_>>();
        world.write(&["1", "2"], "data");
        // The manifest is not written, and the records of the files remain.
        let none = Limits { entries: 0, len: 0 };
        assert!(world.run(&["1", "2"], false, none).unwrap_err().message().contains("too many files"));
        assert_eq!(world.keys(), one(&["tree/1", "tree/2"]));
        assert_eq!(world.run(&["1", "2"], false, Limits::FORMAT).unwrap().stored, 2);
        let stored = one(&["tree/", "tree/1", "tree/2"]);
        assert_eq!(world.keys(), stored);
        for id in ["tree/", "tree/1", "tree/2"] {
            world.store().open_record(id, world.keyring().get("", id).unwrap()).unwrap();
        }
        // Neither a file nor the manifest is written.
        world.write(&["3"], "other");
        for names in [&["1", "2", "3"][..], &["1"]] {
            assert!(world.run_after(|store| store.close().unwrap(), names, true, Limits::FORMAT).is_err());
            assert_eq!(world.keys(), stored, "{names:?}");
        }
    }
}
