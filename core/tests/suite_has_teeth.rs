//! The conformance suite fails for a storage that breaks a promise: one fault, one promise, one panic.

use std::path::Path;
use std::sync::Arc;

use strongroom::storage::conformance as suite;
use strongroom::storage::{Entry, Error, Fetched, Head, Info, Locator, MemoryStorage, PutMode, Stats, Storage, Upload};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    CreateOverwrites,
    ReplaceIgnoresTheHead,
    DeleteIgnoresTheHead,
    BatchStopsHalfWay,
    TakesShortRecords,
    GetLosesAByte,
    LongRecordsAreShortened,
    ListIsBackwards,
    ReadIgnoresTheHead,
    ReadStopsAtTheEnd,
    CheckValueIsOverwritten,
    StatsCountNothing,
    CloseIsForgotten,
    UploadsShowEarly,
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
}

impl Storage for Faulty {
    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<(), Error> {
        let mode = match mode {
            PutMode::Create if self.has(Fault::CreateOverwrites) => PutMode::Overwrite,
            PutMode::ReplaceIf(_) if self.has(Fault::ReplaceIgnoresTheHead) => PutMode::Overwrite,
            mode => mode,
        };
        if self.has(Fault::TakesShortRecords) && Head::of(record).is_none() {
            return Ok(());
        }
        self.inner.put(locator, record, mode)
    }

    fn create_many(&self, records: &[(Locator, Vec<u8>)]) -> Result<(), Error> {
        if self.has(Fault::BatchStopsHalfWay) {
            return records.iter().try_for_each(|(locator, record)| self.put(locator, record, PutMode::Create));
        }
        self.inner.create_many(records)
    }

    fn get(&self, locator: &Locator) -> Result<Option<Vec<u8>>, Error> {
        let mut record = self.inner.get(locator)?;
        if let (true, Some(record)) = (self.has(Fault::GetLosesAByte), &mut record) {
            record.pop();
        }
        Ok(record)
    }

    fn get_up_to(&self, locator: &Locator, most: u64) -> Result<Option<Fetched>, Error> {
        let info = self.info(locator)?.filter(|info| info.len > most && self.has(Fault::LongRecordsAreShortened));
        Ok(match info {
            Some(info) => Some(Fetched::Long(Info::new(info.head, info.len - 1))),
            None => self.get(locator)?.map(Fetched::Record),
        })
    }

    fn get_many(&self, locators: &[Locator]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.inner.get_many(locators)
    }

    fn info(&self, locator: &Locator) -> Result<Option<Info>, Error> {
        self.inner.info(locator)
    }

    fn read_at(&self, locator: &Locator, head: &Head, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
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
        Arc::clone(&self.inner).upload(locator, PutMode::Overwrite)
    }

    fn delete(&self, locator: &Locator, expected: Option<&Head>) -> Result<bool, Error> {
        self.inner.delete(locator, expected.filter(|_| !self.has(Fault::DeleteIgnoresTheHead)))
    }

    fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        let mut entries = self.inner.list(after, limit)?;
        if self.has(Fault::ListIsBackwards) {
            entries.reverse();
        }
        Ok(entries)
    }

    fn check_value(&self) -> Result<Option<[u8; 16]>, Error> {
        self.inner.check_value()
    }

    fn init_check_value(&self, value: &[u8; 16]) -> Result<[u8; 16], Error> {
        let stored = self.inner.init_check_value(value)?;
        Ok(if self.has(Fault::CheckValueIsOverwritten) { *value } else { stored })
    }

    fn stats(&self) -> Result<Stats, Error> {
        if self.has(Fault::StatsCountNothing) { Ok(Stats::default()) } else { self.inner.stats() }
    }

    fn maintain(&self) -> Result<(), Error> {
        self.inner.maintain()
    }

    fn close(&self) -> Result<(), Error> {
        if self.has(Fault::CloseIsForgotten) { Ok(()) } else { self.inner.close() }
    }
}

macro_rules! each_fault_is_caught {
    ($($fault:ident by $promise:ident;)*) => {
        $(
            #[test]
            #[should_panic]
            fn $promise() {
                fn open(_: &Path) -> Arc<dyn Storage> {
                    Arc::new(Faulty { inner: Arc::new(MemoryStorage::new()), fault: Fault::$fault })
                }
                suite::$promise(open);
            }
        )*
    };
}

each_fault_is_caught! {
    CreateOverwrites by create_refuses_a_taken_locator;
    ReplaceIgnoresTheHead by replace_if_needs_the_head;
    DeleteIgnoresTheHead by delete_heeds_the_expected_head;
    BatchStopsHalfWay by create_many_writes_all_or_none;
    TakesShortRecords by too_short_records_are_refused;
    GetLosesAByte by a_created_record_is_there;
    LongRecordsAreShortened by get_up_to_spares_long_records;
    ListIsBackwards by list_is_in_order_and_paged;
    ReadIgnoresTheHead by read_at_is_pinned_to_a_head;
    ReadStopsAtTheEnd by read_at_refuses_ranges_past_the_end;
    CheckValueIsOverwritten by the_first_check_value_stays;
    StatsCountNothing by stats_count_records_and_bytes;
    CloseIsForgotten by a_closed_storage_does_nothing;
    UploadsShowEarly by an_upload_is_invisible_until_committed;
}
