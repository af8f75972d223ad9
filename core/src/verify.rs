//! The search for damage in a whole storage, and its repair from a copy. Neither needs a key.

use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::settings::{Settings, Unreadable};
use crate::storage::{self, Damage, DamageKind, Repaired, Storage, Verified, VerifyPosition};
use crate::util::interrupt::{self, Cancellation};
use crate::util::parallel;

/// The most records of one step.
const STEP_RECORDS: usize = 10_000;
/// The place of damage in the settings document.
const SETTINGS: &str = "settings";

/// Options of [`verify`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct VerifyOptions {
    position: Option<VerifyPosition>,
    rate: Option<NonZero<u64>>,
    records_only: bool,
}

impl VerifyOptions {
    /// All records and all other data, as fast as possible.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts at this position, such as [`VerifyStep::next`] of an earlier verification that was stopped.
    pub fn start_at(mut self, position: VerifyPosition) -> Self {
        self.position = Some(position);
        self
    }

    /// Checks at most this many bytes of records per second, to leave time for others. SQLite's own check of
    /// the database has no such limit: its log grows until the check ends.
    pub fn bytes_per_second(mut self, rate: NonZero<u64>) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Checks records only. Without this, one step also checks everything outside records, such as a database's pages
    /// and indexes, and reads the whole database once more.
    pub fn records_only(mut self) -> Self {
        self.records_only = true;
        self
    }
}

/// The state of a verification after a step.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct VerifyStep<'a> {
    /// The records checked so far.
    pub records: u64,
    /// The bytes checked so far.
    pub bytes: u64,
    /// The damage that this step found.
    pub damage: &'a [Damage],
    /// Where the next step begins, and where a later verification can go on; `None` after the last record.
    pub next: Option<&'a VerifyPosition>,
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "there may be damage"]
#[non_exhaustive]
pub struct VerifyReport {
    /// The number of checked records.
    pub records: u64,
    /// The number of checked bytes.
    pub bytes: u64,
    /// The number of places with damage, except those of a kind of their own: `unsupported`.
    pub damaged: u64,
    /// The number of intact records with an unknown version, suite or flag: a newer version may have written them.
    pub unsupported: u64,
    /// Where to go on, if `progress` has stopped the verification.
    pub next: Option<VerifyPosition>,
}

impl VerifyReport {
    /// Whether there is neither damage nor an unknown record.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damaged == 0 && self.unsupported == 0
    }

    fn add(&mut self, step: &Verified) {
        let unsupported = step.damage.iter().filter(|damage| damage.kind == DamageKind::Unsupported).count() as u64;
        self.records += step.records;
        self.bytes = self.bytes.saturating_add(step.bytes);
        self.unsupported += unsupported;
        self.damaged += step.damage.len() as u64 - unsupported;
    }
}

/// Searches `storage` for damage, without any key, by the storage's own checksums. It works in short steps, changes
/// nothing, and others may read and write at the same time. It calls `progress` after each step, with the damage that
/// the step found; `progress` may stop it, but must not return in a forked child.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("records.db");
/// use std::ops::ControlFlow;
/// use strongroom::storage::SqliteStorage;
/// use strongroom::{Durability, VerifyOptions, verify};
///
/// let storage = SqliteStorage::open(path, Durability::Full)?;
/// let report = verify(&storage, &VerifyOptions::new(), |step| {
///     step.damage.iter().for_each(|damage| eprintln!("{damage}"));
///     ControlFlow::Continue(())
/// })?;
/// assert!(report.is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::InvalidArgument`] for a position of another storage; [`Error::Corrupt`] if the damage prevents the search;
/// [`Error::Unsupported`] from a storage without checksums; those of the storage. Damage is no error.
pub fn verify(
    storage: &dyn Storage,
    options: &VerifyOptions,
    mut progress: impl FnMut(VerifyStep<'_>) -> ControlFlow<()>,
) -> Result<VerifyReport, Error> {
    let mut report = VerifyReport::default();
    if options.position == Some(VerifyPosition::Structure) {
        finish(&mut report, verify_structure(storage)?, &mut progress);
        return Ok(report);
    }
    if options.records_only {
        let _ = verify_records(storage, options, &mut report, &mut progress)?;
        return Ok(report);
    }
    if options.rate.is_some() {
        if verify_records(storage, options, &mut report, &mut progress)?.is_continue() {
            finish(&mut report, verify_structure(storage)?, &mut progress);
        }
        return Ok(report);
    }
    let cancellation = Cancellation::default();
    let structure = || verify_structure(storage);
    let (records, structure) = parallel::beside(&cancellation, structure, |wait| {
        let outcome = verify_records(storage, options, &mut report, &mut progress);
        if !matches!(outcome, Ok(ControlFlow::Continue(()))) {
            cancellation.cancel();
        }
        while !wait() {
            if interrupt::is_interrupted() {
                cancellation.cancel();
            }
        }
        outcome
    });
    if records?.is_continue() {
        finish(&mut report, structure?, &mut progress);
    }
    Ok(report)
}

/// Adds the last step.
fn finish(report: &mut VerifyReport, step: Verified, progress: &mut impl FnMut(VerifyStep<'_>) -> ControlFlow<()>) {
    report.add(&step);
    let _ = progress(VerifyStep { records: report.records, bytes: report.bytes, damage: &step.damage, next: None });
}

/// `Break` if `progress` stops it.
fn verify_records(
    storage: &dyn Storage,
    options: &VerifyOptions,
    report: &mut VerifyReport,
    progress: &mut impl FnMut(VerifyStep<'_>) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    let (start, mut position) = (Instant::now(), options.position.clone());
    loop {
        if interrupt::is_interrupted() {
            return Err(Error::Busy);
        }
        let step = storage::next_step(storage, position.as_ref(), STEP_RECORDS)?;
        report.add(&step);
        let Verified { damage, next, .. } = step;
        let (records, bytes) = (report.records, report.bytes);
        let flow = progress(VerifyStep { records, bytes, damage: &damage, next: next.as_ref() });
        if flow.is_break() {
            report.next = next.or((!options.records_only).then_some(VerifyPosition::Structure));
            return Ok(flow);
        }
        match next {
            Some(next) => position = Some(next),
            None => return Ok(flow),
        }
        if let Some(rate) = options.rate {
            interrupt::sleep(time_of(bytes, rate).saturating_sub(start.elapsed()));
        }
    }
}

/// The time that `bytes` bytes take at this rate.
fn time_of(bytes: u64, rate: NonZero<u64>) -> Duration {
    let milliseconds = u128::from(bytes) * 1000 / u128::from(rate.get());
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

/// Checks everything outside records: the storage's structure, and the settings document.
fn verify_structure(storage: &dyn Storage) -> Result<Verified, Error> {
    let mut step = storage.verify(Some(&VerifyPosition::Structure), STEP_RECORDS)?;
    let kind = match settings_of(storage) {
        Ok(_) => return Ok(step),
        Err(SettingsFault::Unreadable(Unreadable::NewerVersion)) => DamageKind::Unsupported,
        Err(SettingsFault::Unreadable(Unreadable::Damaged)) => DamageKind::Malformed,
        Err(SettingsFault::Missing) => DamageKind::Missing,
        Err(SettingsFault::Storage(error)) => return Err(error),
    };
    step.damage.push(Damage::new(None, SETTINGS, kind));
    Ok(step)
}

enum SettingsFault {
    Missing,
    Unreadable(Unreadable),
    Storage(Error),
}

/// The settings; `None` in a new storage.
fn settings_of(storage: &dyn Storage) -> Result<Option<Settings>, SettingsFault> {
    let fault = |error: storage::Error| match error {
        storage::Error::Corrupt => SettingsFault::Unreadable(Unreadable::Damaged),
        error => SettingsFault::Storage(error.into()),
    };
    match storage.settings().map_err(fault)? {
        Some(document) => Settings::decode(&document).map(Some).map_err(SettingsFault::Unreadable),
        None if storage::is_empty(storage).map_err(fault)? => Ok(None),
        None => Err(SettingsFault::Missing),
    }
}

/// Replaces each damaged record of `storage` by the one in `copy`, without any key. `copy` is the same store at another
/// place, such as a backup; only its intact records are used. An intact record is never replaced, and a damaged one
/// that the copy lacks stays as it is: a later [`verify`] reports it. Other users should not write in the meantime.
///
/// # Errors
///
/// [`Error::InvalidArgument`] if `copy` is another store, or the same storage; [`Error::Unsupported`] from a storage
/// that cannot be repaired by its users, such as a service, and from a database without a readable record;
/// [`Error::Busy`] if others never stop writing; those of both storages. Some records may have been restored.
pub fn repair(storage: &Arc<dyn Storage>, copy: &dyn Storage) -> Result<Repaired, Error> {
    let refuse = |text: &'static str| Err(Error::InvalidArgument(text.into()));
    if std::ptr::addr_eq(Arc::as_ptr(storage), copy) {
        return refuse("a store cannot be repaired from itself: give a backup");
    }
    let theirs = match settings_of(copy) {
        Ok(Some(theirs)) => theirs,
        Err(SettingsFault::Storage(error)) => return Err(error),
        _ => return refuse("the copy is not a store, or its settings are damaged: give another backup"),
    };
    let has_settings = match settings_of(&**storage) {
        Ok(Some(ours)) if ours.store_id == theirs.store_id => true,
        Ok(_) => return refuse("the copy is another store: give a backup of this store"),
        Err(SettingsFault::Storage(error)) => return Err(error),
        Err(SettingsFault::Unreadable(Unreadable::NewerVersion)) => {
            return Err(Error::Unsupported("the store has settings of a newer version: use a newer Strongroom".into()));
        }
        Err(_) if has_record_of(&**storage, copy)? => false,
        Err(_) => {
            return refuse(
                "the settings of the store are damaged, and the copy has no record that is readable in it: give a \
                 later backup",
            );
        }
    };
    let repaired = Arc::clone(storage).repair(copy)?;
    // Not before: a write to a damaged storage could overwrite intact records.
    if !has_settings {
        match (storage.settings(), copy.settings()?) {
            (Ok(ours), Some(theirs)) if ours.as_ref() != Some(&theirs) => {
                storage.swap_settings(ours.as_deref(), &theirs)?;
            }
            (Err(storage::Error::Corrupt) | Ok(_), _) => {} // a search reports what is still damaged
            (Err(error), _) => return Err(error.into()),
        }
    }
    Ok(repaired)
}

/// Whether a damaged storage has a version of a record in common with a copy: no two stores have.
fn has_record_of(storage: &dyn Storage, copy: &dyn Storage) -> Result<bool, Error> {
    const SAMPLE: usize = 1000;

    for entry in copy.list(None, SAMPLE)? {
        match storage.info(&entry.locator) {
            Ok(Some(info)) if info.head == entry.info.head => return Ok(true),
            Err(error) if !error.is_of_record() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(false)
}
