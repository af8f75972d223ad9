//! The operations before anybody waits for them: the blocking methods wait, and `aio` awaits.

use std::ops::Range;

use super::Strongroom;
use crate::error::{Error, same_key};
use crate::key::RecordKey;
#[cfg(feature = "tokio")]
use crate::operations::Operations;
use crate::operations::{Call, NewVersion};
use crate::options::WriteOptions;

impl Strongroom {
    #[cfg(feature = "tokio")]
    pub(crate) fn operations(&self) -> &dyn Operations {
        &*self.operations
    }

    pub(crate) fn begin_store(
        &self,
        id: &[u8],
        data: &[u8],
        options: WriteOptions<'_>,
    ) -> Result<Call<RecordKey>, Error> {
        let key = options.sealing_key()?;
        let call = self.operations.store(id, data, self.new_version(&key, options)?)?;
        Ok(call.map(|()| key))
    }

    pub(crate) fn begin_replace(
        &self,
        id: &[u8],
        old: &RecordKey,
        data: &[u8],
        options: WriteOptions<'_>,
    ) -> Result<Call<RecordKey>, Error> {
        let key = replacing_key(old, options)?;
        let call = self.operations.replace(id, old, data, self.new_version(&key, options)?)?;
        Ok(call.map(|()| key))
    }

    pub(crate) fn begin_rekey(
        &self,
        id: &[u8],
        old: &RecordKey,
        options: WriteOptions<'_>,
    ) -> Result<Call<RecordKey>, Error> {
        let key = replacing_key(old, options)?;
        let call = self.operations.rekey(id, old, self.new_version(&key, options)?)?;
        Ok(call.map(|()| key))
    }

    pub(crate) fn begin_store_many<I: AsRef<[u8]>, D: AsRef<[u8]>>(
        &self,
        items: &[(I, D)],
    ) -> Result<Call<Vec<RecordKey>>, Error> {
        let keys = RecordKey::generate_many(items.len())?;
        let version = |key| NewVersion { key, is_callers: false, expires_at: 0, padded: self.padded };
        let records = items.iter().zip(&keys).map(|((id, data), key)| (id.as_ref(), data.as_ref(), version(key)));
        let call = self.operations.store_many(&records.collect::<Vec<_>>())?;
        Ok(call.map(|()| keys))
    }

    pub(crate) fn begin_store_many_with<I: AsRef<[u8]>, D: AsRef<[u8]>>(
        &self,
        items: &[(I, D, WriteOptions<'_>)],
    ) -> Result<Call<Vec<RecordKey>>, Error> {
        let keys = items.iter().map(|(.., options)| options.sealing_key()).collect::<Result<Vec<_>, _>>()?;
        let records = items
            .iter()
            .zip(&keys)
            .map(|((id, data, options), key)| Ok((id.as_ref(), data.as_ref(), self.new_version(key, *options)?)));
        let call = self.operations.store_many(&records.collect::<Result<Vec<_>, Error>>()?)?;
        Ok(call.map(|()| keys))
    }

    pub(super) fn new_version<'k>(
        &self,
        key: &'k RecordKey,
        options: WriteOptions<'_>,
    ) -> Result<NewVersion<'k>, Error> {
        let expires_at = options.expiry_time(&self.clock)?;
        let padded = self.padded || options.is_padded();
        Ok(NewVersion { key, is_callers: options.caller_key().is_some(), expires_at, padded })
    }
}

/// The key of a version that replaces the one that `old` opens.
pub(super) fn replacing_key(old: &RecordKey, options: WriteOptions<'_>) -> Result<RecordKey, Error> {
    match options.caller_key() {
        Some(new) if old.ct_eq(new) => Err(same_key()),
        _ => options.sealing_key(),
    }
}

/// The steps of a call for many records: one that exceeds the limit of a step is halved.
pub(crate) struct Steps<T> {
    /// Each with whether it is a single record that exceeds the limit.
    waiting: Vec<(Range<usize>, bool)>,
    found: Vec<Result<T, Error>>,
}

impl<T> Steps<T> {
    pub(crate) fn new(count: usize) -> Self {
        Self { waiting: vec![(0..count, false)], found: Vec::new() }
    }

    /// The records of the next step, and whether it is a single one that is retrieved as such.
    pub(crate) fn next(&mut self) -> Option<(Range<usize>, bool)> {
        self.waiting.pop()
    }

    /// Takes the outcome of a step.
    pub(crate) fn note(
        &mut self,
        step: Range<usize>,
        outcome: Result<Vec<Result<T, Error>>, Error>,
    ) -> Result<(), Error> {
        match outcome {
            Err(Error::TooLarge) if step.len() == 1 => self.waiting.push((step, true)),
            Err(Error::TooLarge) if step.len() > 1 => {
                let middle = step.start + step.len() / 2;
                self.waiting.extend([(middle..step.end, false), (step.start..middle, false)]);
            }
            outcome => self.found.extend(outcome?),
        }
        Ok(())
    }

    pub(crate) fn into_found(self) -> Vec<Result<T, Error>> {
        self.found
    }
}
