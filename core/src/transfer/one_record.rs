//! Copying one record, of any length.

use std::sync::Arc;

use super::check::{altered, at_destination, check_interrupt, is_damaged, is_known_damaged};
use super::range_copy::{RangeCopy, Report, SHORT};
use crate::error::Error;
use crate::locator::Locator;
use crate::storage::{self, Fetched, Head, Info, PutMode};

/// The minimum length of a part of a long record.
const PART_LEN: usize = 1 << 20;
/// How often a record that is changed concurrently is copied again.
const ATTEMPTS: usize = 20;

impl RangeCopy {
    /// Copies a record of any length, whatever its state at the destination.
    pub(super) fn copy_one(&self, locator: &Locator, report: Report<'_>) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            check_interrupt()?;
            let there = self.to.info(locator).map_err(|error| at_destination(error.into()))?;
            let mode = there.map_or(PutMode::Create, |there| PutMode::ReplaceIf(there.head));
            let outcome = match self.fetch(locator) {
                Ok(None) => return Ok(()), // removed concurrently
                Ok(Some(found)) if there == Some(found.info) => {
                    report(&mut |state| state.copied.unchanged += 1);
                    return Ok(());
                }
                Ok(Some(Checked { record: Some(record), .. })) => self.put(locator, &record, mode),
                Ok(Some(Checked { info, record: None })) => self.send(locator, info, mode, report),
                Err(failure) => Err(failure),
            };
            match outcome {
                Ok(len) => {
                    report(&mut |state| {
                        state.copied.records += 1;
                        state.copied.bytes += len;
                    });
                    return Ok(());
                }
                Err(Failure::Changed) => {}
                Err(Failure::Damaged) => {
                    report(&mut |state| state.copied.damaged.push(*locator));
                    return Ok(());
                }
                Err(Failure::TooLarge) => {
                    report(&mut |state| state.copied.too_large.push(*locator));
                    return Ok(());
                }
                Err(Failure::Other(error)) => return Err(error),
            }
        }
        Err(Error::Conflict)
    }

    /// A record of the source that passed its check.
    fn fetch(&self, locator: &Locator) -> Result<Option<Checked>, Failure> {
        let (info, record) = match self.from.get_up_to(locator, SHORT).map_err(Failure::of_read)? {
            None => return Ok(None),
            Some(Fetched::Long { info, .. }) => (info, None),
            Some(Fetched::Record(record)) => {
                let head = Head::of(&record).ok_or(Failure::Damaged)?;
                (Info::new(head, record.len() as u64), Some(record))
            }
        };
        let damaged = is_known_damaged(&*self.from, locator)?;
        // If the record was replaced in the meantime, the check was that of another version.
        match self.from.info(locator).map_err(Failure::of_read)? {
            Some(now) if now != info => Err(Failure::Changed),
            Some(_) if damaged => Err(Failure::Damaged),
            Some(_) => Ok(Some(Checked { info, record })),
            None => Ok(None),
        }
    }

    fn put(&self, locator: &Locator, record: &[u8], mode: PutMode) -> Result<u64, Failure> {
        self.to.put(locator, record, mode).map_err(Failure::of_write)?;
        let found = self.to.get_up_to(locator, SHORT).map_err(|error| at_destination(error.into()))?;
        match found {
            Some(Fetched::Record(found)) if found == record => Ok(record.len() as u64),
            Some(Fetched::Record(found)) if Head::of(&found) == Head::of(record) => Err(altered().into()),
            _ => Err(Failure::Changed),
        }
    }

    /// Copies a long record in parts. Its bytes count as progress at once.
    fn send(&self, locator: &Locator, info: Info, mode: PutMode, report: Report<'_>) -> Result<u64, Failure> {
        let mut sent = 0;
        let outcome = self.send_parts(locator, info, mode, &mut |len| {
            sent += len;
            report(&mut |state| state.copied.bytes += len);
        });
        report(&mut |state| state.copied.bytes -= sent);
        outcome?;
        let found = self.to.info(locator).map_err(|error| at_destination(error.into()))?;
        if found != Some(info) {
            return Err(Failure::Changed);
        }
        let damaged = is_damaged(&*self.to, locator).map_err(|error| at_destination(error.into()))?;
        if damaged { Err(altered().into()) } else { Ok(info.len) }
    }

    fn send_parts(
        &self,
        locator: &Locator,
        info: Info,
        mode: PutMode,
        sent: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let mut upload = Arc::clone(&self.to).upload(locator, mode).map_err(Failure::of_write)?;
        let mut buffer = vec![0; self.from.limits().part_len.max(PART_LEN)];
        let mut offset = 0;
        while offset < info.len {
            check_interrupt()?;
            let len = usize::try_from(info.len - offset).map_or(buffer.len(), |left| left.min(buffer.len()));
            let part = buffer.get_mut(..len).unwrap_or_default();
            self.from.read_at(locator, &info.head, offset, part).map_err(Failure::of_read)?;
            upload.write(part).map_err(Failure::of_write)?;
            offset += len as u64;
            sent(len as u64);
        }
        upload.commit().map_err(Failure::of_write)
    }
}

/// A checked record of the source.
struct Checked {
    info: Info,
    /// `None` for a long one.
    record: Option<Vec<u8>>,
}

/// The reason why a record was not copied.
enum Failure {
    /// It was changed concurrently.
    Changed,
    Damaged,
    TooLarge,
    Other(Error),
}

impl Failure {
    fn of_read(error: storage::Error) -> Self {
        match error {
            storage::Error::Conflict => Self::Changed,
            storage::Error::Corrupt => Self::Damaged,
            error => Self::Other(error.into()),
        }
    }

    fn of_write(error: storage::Error) -> Self {
        match error {
            storage::Error::AlreadyExists | storage::Error::Conflict => Self::Changed,
            storage::Error::TooLarge => Self::TooLarge,
            error => Self::Other(at_destination(error.into())),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}
