//! The calls of clients: each is chosen, made, and tells what it did.

use std::io::Read;
use std::ops::ControlFlow;
use std::time::Duration;

use strongroom::{Error, RecordKey, RecordReader, Strongroom, WriteOptions};

use super::checker::{Effect, Version};
use super::random::Random;

/// A version of a record: its key, its data, and when it expires.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) key: [u8; 32],
    pub(crate) seed: u64,
    pub(crate) len: usize,
    pub(crate) lifetime: Option<Duration>,
}

impl Content {
    pub(crate) fn key(&self) -> RecordKey {
        RecordKey::from_bytes(&self.key).unwrap()
    }

    pub(crate) fn data(&self) -> Vec<u8> {
        // The length of the pattern and that of a chunk have no common divisor.
        let mut data = format!("{:061x}", self.seed).into_bytes().repeat(self.len.div_ceil(61));
        data.truncate(self.len);
        data
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    Store(Version),
    StoreStream(Version),
    StoreMany(Version),
    Retrieve(Version),
    RetrieveRange(Version),
    RetrieveStream(Version),
    RetrieveMany(Version),
    Replace(Version, Version),
    ReplaceStream(Version, Version),
    Rekey(Version, Version),
    Take(Version),
    TakeStream(Version),
    Delete(Version),
    Erase,
    Contains,
}

/// Hands out data in pieces, without its length.
struct Pieces<'d>(&'d [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(100_000);
        self.0.read(&mut buffer[..len])
    }
}

impl Plan {
    /// The version whose key the operation needs, and the one that it stores.
    pub(crate) fn versions(self) -> [Option<Version>; 2] {
        match self {
            Self::Store(new) | Self::StoreStream(new) | Self::StoreMany(new) => [None, Some(new)],
            Self::Replace(old, new) | Self::ReplaceStream(old, new) | Self::Rekey(old, new) => [Some(old), Some(new)],
            Self::Retrieve(old) | Self::RetrieveRange(old) | Self::RetrieveStream(old) | Self::RetrieveMany(old) => {
                [Some(old), None]
            }
            Self::Take(old) | Self::TakeStream(old) | Self::Delete(old) => [Some(old), None],
            Self::Erase | Self::Contains => [None, None],
        }
    }

    /// Its effect if it succeeds.
    pub(crate) fn effect(self) -> Effect {
        match (self, self.versions()) {
            (Self::Erase, _) => Effect::Erased,
            (Self::Take(old) | Self::TakeStream(old), _) => Effect::Removed(old),
            (Self::Delete(old), _) => Effect::Deleted(old),
            (_, [Some(old), Some(new)]) => Effect::Replaced(old, new),
            (_, [None, Some(new)]) => Effect::Stored(new),
            (_, [Some(old), None]) => Effect::Found(old),
            (_, [None, None]) => Effect::Present,
        }
    }

    pub(crate) fn changes(self) -> bool {
        !matches!(self.effect(), Effect::Found(_) | Effect::Present)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::StoreStream(_) => "store a stream",
            Self::StoreMany(_) => "store a batch",
            Self::Retrieve(_) => "retrieve",
            Self::RetrieveRange(_) => "retrieve a range",
            Self::RetrieveStream(_) => "retrieve a stream",
            Self::RetrieveMany(_) => "retrieve a batch",
            Self::Replace(..) => "replace",
            Self::ReplaceStream(..) => "replace by a stream",
            Self::Rekey(..) => "rekey",
            Self::Take(_) => "take",
            Self::TakeStream(_) => "take a stream",
            Self::Delete(_) => "delete",
            Self::Erase => "erase",
            Self::Contains => "contains",
        }
    }
}

/// Executes an operation. Returns its effect; `None` if the data is not that of the version.
pub(crate) fn execute(
    client: &Strongroom,
    name: &str,
    plan: Plan,
    old: Option<&Content>,
    new: Option<&Content>,
    random: &mut Random,
) -> Result<Option<Effect>, Error> {
    let [old_key, new_key] = [old, new].map(|content| content.map(Content::key));
    let data = old.filter(|_| !plan.changes() || new.is_none()).map(Content::data).unwrap_or_default();
    let new_data = new.map(Content::data).unwrap_or_default();
    let unused = RecordKey::generate()?;
    let (old_key, new_key) = (old_key.as_ref().unwrap_or(&unused), new_key.as_ref().unwrap_or(&unused));
    let mut options = WriteOptions::new().key(new_key);
    if let Some(lifetime) = new.and_then(|content| content.lifetime) {
        options = options.expires_in(lifetime);
    }
    let effect = plan.effect();
    let compare = |found: &[u8]| (found == data).then_some(effect);
    let read = |mut reader: RecordReader| {
        let mut found = Vec::new();
        reader.read_to_end(&mut found).map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::Storage(error.into()),
        })?;
        Ok(compare(&found))
    };
    match plan {
        Plan::Store(_) => client.store_with(name, new_data, options).map(|_| Some(effect)),
        Plan::StoreStream(_) => client.store_reader_with(name, Pieces(&new_data), options).map(|_| Some(effect)),
        Plan::StoreMany(_) => client.store_many_with(&[(name, new_data, options)]).map(|_| Some(effect)),
        Plan::Retrieve(_) => client.retrieve(name, old_key).map(|found| compare(&found)),
        Plan::RetrieveRange(_) => {
            let start = random.index(data.len() + 1);
            let end = start + random.index(data.len() - start + 1);
            let [from, to] = [start, end].map(|offset| u64::try_from(offset).unwrap());
            let found = client.retrieve_range(name, old_key, from..to)?;
            Ok((found == data[start..end]).then_some(effect))
        }
        Plan::RetrieveStream(_) => read(client.open_record(name, old_key)?),
        Plan::RetrieveMany(_) => client.retrieve_many(&[(name, old_key)])?.remove(0).map(|found| compare(&found)),
        Plan::Replace(..) => client.replace_with(name, old_key, new_data, options).map(|_| Some(effect)),
        Plan::ReplaceStream(..) => {
            client.replace_reader_with(name, old_key, Pieces(&new_data), options).map(|_| Some(effect))
        }
        Plan::Rekey(..) => client.rekey_with(name, old_key, WriteOptions::new().key(new_key)).map(|_| Some(effect)),
        Plan::Take(_) => client.take(name, old_key).map(|found| compare(&found)),
        // Once the reader is there, the record is gone, whether or not it can be read.
        Plan::TakeStream(_) => {
            let reader = client.take_record(name, old_key)?;
            read(reader).or_else(|error| if is_expected(&error).is_break() { Err(error) } else { Ok(Some(effect)) })
        }
        Plan::Delete(_) => client.delete(name, old_key).map(|()| Some(effect)),
        Plan::Erase => client.erase(name).map(|found| Some(if found { effect } else { Effect::Absent })),
        Plan::Contains => client.contains(name).map(|found| Some(if found { effect } else { Effect::Absent })),
    }
}

/// Whether an error may occur under faults.
pub(crate) fn is_expected(error: &Error) -> ControlFlow<()> {
    match error {
        Error::NotFound
        | Error::AlreadyExists
        | Error::WrongKey
        | Error::Conflict
        | Error::Busy
        | Error::StorageFull
        | Error::Storage(_)
        | Error::Indeterminate(_)
        | Error::Poisoned
        | Error::Expired => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    }
}
