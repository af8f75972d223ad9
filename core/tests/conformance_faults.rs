//! The conformance suite fails for a storage that breaks a promise: one fault, one promise, one panic.

use std::path::Path;
use std::sync::Arc;

use strongroom::storage::conformance as suite;
use strongroom::storage::{
    Entry, Error, Fetched, Head, Info, Limits, Locator, MemoryStorage, PutMode, Stats, Storage, Upload, Verified,
    VerifyPosition,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    CreateOverwrites,
    OverwriteCreates,
    ReplaceIgnoresTheHead,
    DeleteIgnoresTheHead,
    DeleteDoesNothing,
    BatchStopsHalfWay,
    BatchLosesOne,
    TakesShortRecords,
    GetLosesAByte,
    MissingIsEmpty,
    LocatorsAreCutShort,
    LongRecordsAreShortened,
    ManyComeBackwards,
    ManyHaveNoLimit,
    InfoForgetsTheHead,
    ListIsBackwards,
    ReadIgnoresTheHead,
    ReadIgnoresTheOffset,
    ReadStopsAtTheEnd,
    SettingsAreOverwritten,
    RenameIgnoresTheHead,
    RenameCopies,
    ExpiredForgetsTheFirst,
    EndIsTheStart,
    EachStopsAtAnError,
    VerifySkipsTheLast,
    VerifyOfOneGoesOn,
    VerifyStartsAgain,
    LimitsDenyBatches,
    StatsCountNothing,
    StatsForgetExpired,
    PurgeIsEarly,
    MaintenanceRemovesAll,
    CloseIsForgotten,
    UploadsShowEarly,
    UploadsOverwrite,
    UploadsLoseAByte,
    UploadsAlwaysSucceed,
    DroppedUploadsStay,
}

/// A storage in memory with one fault.
#[derive(Debug)]
struct Faulty {
    inner: Arc<MemoryStorage>,
    fault: Fault,
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn locator(&self, locator: &Locator) -> Locator {
        let mut bytes = *locator.as_bytes();
        if self.has(Fault::LocatorsAreCutShort) {
            bytes[8..].fill(0);
        }
        Locator::from_bytes(bytes)
    }
}

impl Storage for Faulty {
    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        let locator = &self.locator(locator);
        let mode = match mode {
            PutMode::Overwrite if self.has(Fault::OverwriteCreates) => PutMode::Create,
            PutMode::Create if self.has(Fault::CreateOverwrites) => PutMode::Overwrite,
            PutMode::ReplaceIf(_) if self.has(Fault::ReplaceIgnoresTheHead) => PutMode::Overwrite,
            mode => mode,
        };
        if self.has(Fault::TakesShortRecords) && Head::of(record).is_none() {
            return Ok(());
        }
        self.inner.put(locator, record, mode)
    }

    fn create_many(&self, records: &[(Locator, &[u8])]) -> Result<(), Error> {
        if self.has(Fault::BatchStopsHalfWay) {
            return records.iter().try_for_each(|(locator, record)| self.put(locator, record, PutMode::Create));
        }
        let all = records.len() - usize::from(self.has(Fault::BatchLosesOne) && records.len() > 1);
        self.inner.create_many(&records[..all])
    }

    fn get(&self, locator: &Locator) -> Result<Option<Vec<u8>>, Error> {
        let mut record = self.inner.get(&self.locator(locator))?;
        if record.is_none() && self.has(Fault::MissingIsEmpty) {
            record = Some(Vec::new());
        }
        if let (true, Some(record)) = (self.has(Fault::GetLosesAByte), &mut record) {
            record.pop();
        }
        Ok(record)
    }

    fn get_up_to(&self, locator: &Locator, max_len: u64) -> Result<Option<Fetched>, Error> {
        let info = self.info(locator)?.filter(|info| info.len > max_len && self.has(Fault::LongRecordsAreShortened));
        Ok(match info {
            Some(info) => Some(Fetched::Long { info: Info::new(info.head, info.len - 1), start: Vec::new() }),
            None => self.get(locator)?.map(Fetched::Record),
        })
    }

    fn put_each(&self, records: &[(Locator, &[u8], PutMode)]) -> Vec<Result<(), Error>> {
        let mut outcomes = self.inner.put_each(records);
        if self.has(Fault::EachStopsAtAnError)
            && let Some(at) = outcomes.iter().position(Result::is_err)
        {
            outcomes.truncate(at + 1);
        }
        outcomes
    }

    fn get_end(&self, locator: &Locator, len: usize) -> Result<Option<(Info, Vec<u8>)>, Error> {
        let found = self.inner.get_end(locator, len)?;
        let record = self.inner.get(locator)?.filter(|_| self.has(Fault::EndIsTheStart));
        Ok(found.map(|(info, end)| (info, record.map_or(end.clone(), |record| record[..end.len()].to_vec()))))
    }

    fn get_many(&self, locators: &[Locator], max_len: u64) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let max_len = if self.has(Fault::ManyHaveNoLimit) { u64::MAX } else { max_len };
        let mut records = self.inner.get_many(locators, max_len)?;
        if self.has(Fault::ManyComeBackwards) {
            records.reverse();
        }
        Ok(records)
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        let info = self.inner.info(locator)?;
        let shorter = |info: Info| if self.has(Fault::InfoForgetsTheHead) { info.len - 68 } else { info.len };
        Ok(info.map(|info| Info::new(info.head, shorter(info))))
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
        let offset = if self.has(Fault::ReadIgnoresTheOffset) { 0 } else { offset };
        match self.inner.read_at(locator, head, offset, buffer) {
            Err(Error::Conflict) if self.has(Fault::ReadIgnoresTheHead) => Ok(()),
            Err(Error::InvalidArgument(_)) if self.has(Fault::ReadStopsAtTheEnd) => Ok(()),
            outcome => outcome,
        }
    }

    fn upload(self: Arc<Self>, locator: &Locator, mode: PutMode) -> Result<Box<dyn Upload>, Error> {
        if self.has(Fault::UploadsShowEarly) {
            self.inner.put(locator, &[0; 68], mode)?;
        }
        let mode = if self.has(Fault::UploadsOverwrite) { PutMode::Overwrite } else { mode };
        let inner = Arc::clone(&self.inner).upload(locator, mode)?;
        Ok(Box::new(FaultyUpload { inner: Some(inner), fault: self.fault }))
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        if self.has(Fault::DeleteDoesNothing) {
            return Ok(self.inner.info(locator)?.is_some());
        }
        self.inner.delete(locator, expected.filter(|_| !self.has(Fault::DeleteIgnoresTheHead)))
    }

    fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        if self.has(Fault::RenameCopies) {
            let record = self.inner.get(from)?.ok_or(Error::Conflict)?;
            return self.inner.put(to, &record, PutMode::Create);
        }
        let there = self.inner.info(from)?.filter(|_| self.has(Fault::RenameIgnoresTheHead));
        self.inner.rename(from, &there.map_or(*head, |info| info.head), to)
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        let mut entries = self.inner.list(after, limit)?;
        if self.has(Fault::ListIsBackwards) {
            entries.reverse();
        }
        Ok(entries)
    }

    fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        let mut entries = self.inner.list_expired(now, limit)?;
        if self.has(Fault::ExpiredForgetsTheFirst) && !entries.is_empty() {
            entries.remove(0);
        }
        Ok(entries)
    }

    fn purge(&self, now: u64, limit: usize) -> Result<usize, Error> {
        if self.has(Fault::PurgeIsEarly) { self.inner.purge(now + 100, limit) } else { self.inner.purge(now, limit) }
    }

    fn settings(&self) -> Result<Option<Vec<u8>>, Error> {
        self.inner.settings()
    }

    fn swap_settings(&self, expected: Option<&[u8]>, new: &[u8]) -> Result<(), Error> {
        if self.has(Fault::SettingsAreOverwritten) {
            let there = self.inner.settings()?;
            return self.inner.swap_settings(there.as_deref(), new);
        }
        self.inner.swap_settings(expected, new)
    }

    fn verify(&self, position: Option<&VerifyPosition>, limit: usize) -> Result<Verified, Error> {
        let position = match position {
            Some(VerifyPosition::Record(locator)) if self.has(Fault::VerifyOfOneGoesOn) => {
                let entry = self.inner.list(None, 100)?.into_iter().rfind(|entry| entry.locator < *locator);
                entry.map(|entry| VerifyPosition::After(entry.locator))
            }
            Some(VerifyPosition::After(_)) if self.has(Fault::VerifyStartsAgain) => None,
            position => position.cloned(),
        };
        let mut verified = self.inner.verify(position.as_ref(), limit)?;
        if self.has(Fault::VerifySkipsTheLast) && verified.next.is_none() {
            verified.records = verified.records.saturating_sub(1);
        }
        Ok(verified)
    }

    fn limits(&self) -> Limits {
        let mut limits = self.inner.limits();
        if self.has(Fault::LimitsDenyBatches) {
            limits.batch_bytes = 0;
        }
        limits
    }

    fn stats(&self, now: u64) -> Result<Stats, Error> {
        let stats = self.inner.stats(now)?;
        Ok(match () {
            () if self.has(Fault::StatsCountNothing) => Stats::default(),
            () if self.has(Fault::StatsForgetExpired) => Stats::new(stats.records, stats.bytes, 0),
            () => stats,
        })
    }

    fn maintain(&self) -> Result<(), Error> {
        if self.has(Fault::MaintenanceRemovesAll) {
            for entry in self.inner.list(None, 100)? {
                self.inner.delete(&entry.locator, None)?;
            }
        }
        self.inner.maintain()
    }

    fn close(&self) -> Result<(), Error> {
        if self.has(Fault::CloseIsForgotten) { Ok(()) } else { self.inner.close() }
    }
}

#[derive(Debug)]
struct FaultyUpload {
    /// `None` once committed.
    inner: Option<Box<dyn Upload>>,
    fault: Fault,
}

impl Upload for FaultyUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let lost = usize::from(self.fault == Fault::UploadsLoseAByte && !bytes.is_empty());
        self.inner.as_mut().unwrap().write(&bytes[lost..])
    }

    fn commit(mut self: Box<Self>) -> Result<(), Error> {
        let outcome = self.inner.take().unwrap().commit();
        if self.fault == Fault::UploadsAlwaysSucceed { Ok(()) } else { outcome }
    }
}

impl Drop for FaultyUpload {
    fn drop(&mut self) {
        if let (Some(inner), Fault::DroppedUploadsStay) = (self.inner.take(), self.fault) {
            let _ = inner.commit();
        }
    }
}

fn open_with(fault: Fault) -> Arc<dyn Storage> {
    Arc::new(Faulty { inner: Arc::new(MemoryStorage::new()), fault })
}

macro_rules! each_fault_is_caught {
    ($($fault:ident by $promise:ident;)*) => {
        $(
            #[test]
            #[should_panic]
            fn $promise() {
                suite::$promise(&|_: &Path| open_with(Fault::$fault));
            }
        )*

        /// The same storage without a fault.
        mod faultless {
            use super::*;
            $(
                #[test]
                fn $promise() {
                    suite::$promise(&|_: &Path| open_with(Fault::None));
                }
            )*
        }
    };
}

each_fault_is_caught! {
    GetLosesAByte by a_created_record_is_there;
    CreateOverwrites by create_refuses_a_taken_locator;
    OverwriteCreates by overwrite_writes_in_any_case;
    ReplaceIgnoresTheHead by replace_if_needs_the_head;
    MissingIsEmpty by a_missing_record_is_none;
    GetLosesAByte by every_length_comes_back;
    TakesShortRecords by too_short_records_are_refused;
    BatchLosesOne by create_many_writes_all;
    BatchStopsHalfWay by create_many_writes_all_or_none;
    LongRecordsAreShortened by get_up_to_spares_long_records;
    ManyComeBackwards by get_many_keeps_the_order;
    ManyHaveNoLimit by get_many_refuses_more_than_asked_for;
    InfoForgetsTheHead by info_tells_head_and_length;
    ReadIgnoresTheOffset by read_at_reads_any_range;
    ReadStopsAtTheEnd by read_at_refuses_ranges_past_the_end;
    ReadIgnoresTheHead by read_at_is_pinned_to_a_head;
    UploadsShowEarly by an_upload_is_invisible_until_committed;
    UploadsLoseAByte by an_upload_comes_back_however_it_was_cut;
    DroppedUploadsStay by a_dropped_upload_leaves_nothing;
    UploadsOverwrite by an_uploads_mode_counts_at_its_commit;
    UploadsAlwaysSucceed by a_too_short_upload_is_refused;
    MaintenanceRemovesAll by maintenance_spares_what_is_under_way;
    DeleteDoesNothing by delete_removes;
    DeleteIgnoresTheHead by delete_heeds_the_expected_head;
    LocatorsAreCutShort by locators_are_compared_whole;
    ListIsBackwards by list_is_in_order_and_paged;
    SettingsAreOverwritten by settings_are_compared_and_swapped;
    RenameCopies by rename_moves_one_version;
    ExpiredForgetsTheFirst by list_expired_gives_those_that_are_due;
    EndIsTheStart by get_end_gives_the_last_bytes;
    EachStopsAtAnError by put_each_writes_what_it_can;
    VerifySkipsTheLast by verify_looks_at_every_record;
    VerifyOfOneGoesOn by verify_of_one_record_looks_at_no_other;
    VerifyStartsAgain by verify_goes_on_after_a_record;
    LimitsDenyBatches by limits_are_kept;
    BatchStopsHalfWay by overlapping_batches_are_whole;
    UploadsOverwrite by of_concurrent_uploads_one_wins;
    DeleteIgnoresTheHead by of_a_delete_and_a_replace_one_wins;
    StatsCountNothing by stats_count_records_and_bytes;
    StatsForgetExpired by stats_count_expired_records;
    PurgeIsEarly by purge_removes_those_that_are_due;
    CloseIsForgotten by a_closed_storage_does_nothing;
    CreateOverwrites by of_concurrent_creates_one_wins;
    ReplaceIgnoresTheHead by of_concurrent_replaces_one_wins;
    GetLosesAByte by readers_see_whole_records;
}

/// A storage in memory, which is new at each opening.
#[test]
#[should_panic]
fn records_survive_reopening() {
    suite::records_survive_reopening(&|_: &Path| open_with(Fault::None));
}

#[test]
#[should_panic]
fn settings_survive_reopening() {
    suite::settings_survive_reopening(&|_: &Path| open_with(Fault::None));
}
