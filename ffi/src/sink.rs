//! Results of a storage's callbacks: each is accepted once, and only if the library asked for it.

use std::borrow::Cow;
use std::ffi::c_int;
use std::sync::Arc;

use ::strongroom::storage::{Entry, Error, HEAD_LEN, Head, Info, LOCATOR_LEN, Locator, MAX_SETTINGS_LEN};

use crate::callback_storage::CallbackStorage;
use crate::status::strongroom_status::{self, *};

/// The result that a call asks for.
pub(crate) enum Wanted {
    /// A record of at most `max_len` bytes, or the info of a longer one.
    Record { max_len: u64 },
    /// A record's info.
    Info,
    /// The settings document.
    Settings,
    /// At most `limit` entries after `after`.
    List { after: Option<Locator>, limit: usize },
    /// At most `limit` entries that expire at or before `now`.
    Expired { now: u64, limit: usize },
    /// A storage.
    Storage,
}

pub(crate) enum Given {
    Nothing,
    Bytes(Vec<u8>),
    Info(Info),
    Entries(Vec<Entry>),
    Storage(Arc<CallbackStorage>),
}

/// Receives the result of one call of a callback.
pub(crate) struct Sink {
    wanted: Wanted,
    given: Given,
    /// Why the result is refused.
    refused: Option<Refusal>,
}

pub(crate) enum Refusal {
    /// The callback broke its contract.
    Contract(Cow<'static, str>),
    NoMemory,
}

fn contract(what: &'static str) -> Refusal {
    Refusal::Contract(what.into())
}

impl From<::strongroom::Error> for Refusal {
    /// That of an invalid argument.
    fn from(error: ::strongroom::Error) -> Self {
        Self::Contract(format!("gave an invalid argument: {error}").into())
    }
}

impl Sink {
    pub(crate) fn new(wanted: Wanted) -> Self {
        let given = match wanted {
            Wanted::List { .. } | Wanted::Expired { .. } => Given::Entries(Vec::new()),
            _ => Given::Nothing,
        };
        Self { wanted, given, refused: None }
    }

    pub(crate) fn give_bytes(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let len = bytes.len() as u64;
        self.require_nothing()?;
        match self.wanted {
            Wanted::Record { .. } if bytes.len() < HEAD_LEN => Err(contract("gave a record of less than 68 bytes")),
            Wanted::Record { max_len } if len > max_len => Err(contract("gave a record that is longer than wanted")),
            Wanted::Settings if bytes.len() > MAX_SETTINGS_LEN => {
                Err(contract("gave a settings document of more than 4096 bytes"))
            }
            Wanted::Record { .. } | Wanted::Settings => Ok(()),
            _ => Err(contract("gave bytes, which it must not")),
        }?;
        let mut copy = Vec::new();
        copy.try_reserve_exact(bytes.len()).map_err(|_| Refusal::NoMemory)?;
        copy.extend_from_slice(bytes);
        self.given = Given::Bytes(copy);
        Ok(())
    }

    pub(crate) fn give_info(&mut self, head: &[u8; HEAD_LEN], len: u64) -> Result<(), Refusal> {
        self.require_nothing()?;
        let info = info(head, len)?;
        match self.wanted {
            Wanted::Record { max_len } if len <= max_len => Err(contract("gave only the info of a short record")),
            Wanted::Record { .. } | Wanted::Info => {
                self.given = Given::Info(info);
                Ok(())
            }
            _ => Err(contract("gave an info, which it must not")),
        }
    }

    pub(crate) fn give_entry(
        &mut self,
        locator: &[u8; LOCATOR_LEN],
        head: &[u8; HEAD_LEN],
        len: u64,
    ) -> Result<(), Refusal> {
        let Given::Entries(entries) = &mut self.given else { return Err(contract("gave an entry, which it must not")) };
        let entry = Entry::new(Locator::from_bytes(*locator), info(head, len)?);
        let last = entries.last();
        let limit = match self.wanted {
            Wanted::List { after, limit } => {
                if last.map(|last| last.locator).or(after).is_some_and(|last| entry.locator <= last) {
                    return Err(contract("gave entries in the wrong order"));
                }
                limit
            }
            Wanted::Expired { now, limit } => {
                let time = entry.info.head.expires_at().filter(|time| *time <= now);
                let time = time.ok_or(contract("gave an entry that has not expired"))?;
                if last.and_then(|last| last.info.head.expires_at()).is_some_and(|last| time < last) {
                    return Err(contract("gave entries in the wrong order"));
                }
                limit
            }
            _ => 0,
        };
        if entries.len() >= limit {
            return Err(contract("gave more entries than wanted"));
        }
        entries.try_reserve(1).map_err(|_| Refusal::NoMemory)?;
        entries.push(entry);
        Ok(())
    }

    pub(crate) fn give_storage(&mut self, storage: CallbackStorage) -> Result<(), Refusal> {
        self.require_nothing()?;
        let Wanted::Storage = self.wanted else { return Err(contract("gave a storage, which it must not")) };
        storage.own();
        self.given = Given::Storage(Arc::new(storage));
        Ok(())
    }

    fn require_nothing(&self) -> Result<(), Refusal> {
        match self.given {
            Given::Nothing => Ok(()),
            _ => Err(contract("gave its result twice")),
        }
    }

    /// Refuses the result, even if a later one is right.
    pub(crate) fn refuse(&mut self, refusal: Refusal) -> strongroom_status {
        let status = match refusal {
            Refusal::Contract(_) => STRONGROOM_INVALID_ARGUMENT,
            Refusal::NoMemory => STRONGROOM_TOO_LARGE,
        };
        self.refused.get_or_insert(refusal);
        status
    }

    /// The result of the callback with this name, which returned `status`. `None` for STRONGROOM_NOT_FOUND.
    pub(crate) fn finish(self, name: &'static str, status: c_int) -> Result<Option<Given>, Error> {
        let broken = |what: &str| Err(Error::Backend(format!("the storage's callback `{name}` {what}").into()));
        match (self.refused, self.given, strongroom_status::from_number(status)) {
            (Some(Refusal::Contract(what)), ..) => broken(&what),
            (Some(Refusal::NoMemory), ..) => Err(Error::TooLarge),
            (None, Given::Nothing, Some(STRONGROOM_OK)) => broken("gave no result"),
            (None, given, Some(STRONGROOM_OK)) => Ok(Some(given)),
            (None, Given::Nothing, Some(STRONGROOM_NOT_FOUND)) => Ok(None),
            (None, ..) => Err(failed(name, status, Effect::Reads, &[])),
        }
    }
}

fn info(head: &[u8; HEAD_LEN], len: u64) -> Result<Info, Refusal> {
    let head = Head::of(head).filter(|_| len >= HEAD_LEN as u64);
    Ok(Info::new(head.ok_or(contract("gave the length of a record of less than 68 bytes"))?, len))
}

/// Whether a callback changes the storage.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Effect {
    Reads,
    Writes,
}

/// The error of the callback with this name, which returned `status`. `refusals` are the statuses that its description
/// allows in addition to those of any failure.
pub(crate) fn failed(name: &'static str, status: c_int, effect: Effect, refusals: &[strongroom_status]) -> Error {
    let text = |what: &str| format!("the storage's callback `{name}` {what}");
    match strongroom_status::from_number(status) {
        Some(refusal @ STRONGROOM_ALREADY_EXISTS) if refusals.contains(&refusal) => Error::AlreadyExists,
        Some(refusal @ STRONGROOM_CONFLICT) if refusals.contains(&refusal) => Error::Conflict,
        Some(STRONGROOM_CORRUPT) => Error::Corrupt,
        Some(STRONGROOM_BUSY) => Error::Busy,
        Some(STRONGROOM_STORAGE_FULL) => Error::Full,
        Some(STRONGROOM_TOO_LARGE) => Error::TooLarge,
        Some(STRONGROOM_UNSUPPORTED) => Error::Unsupported(text("does not support this").into()),
        Some(STRONGROOM_INVALID_ARGUMENT) => Error::InvalidArgument(text("refused its arguments").into()),
        Some(STRONGROOM_STORAGE) => Error::Backend(text("failed").into()),
        Some(STRONGROOM_INDETERMINATE) if effect == Effect::Writes => Error::Indeterminate(text("failed").into()),
        Some(STRONGROOM_POISONED) => Error::Poisoned,
        Some(STRONGROOM_FORKED) => Error::Forked,
        Some(STRONGROOM_CLOSED) => Error::Closed,
        Some(STRONGROOM_ACCESS_DENIED) => Error::AccessDenied(text("was denied access").into()),
        // Nothing says whether it has written.
        _ if effect == Effect::Writes => Error::Indeterminate(text(&format!("returned {status}")).into()),
        _ => Error::Backend(text(&format!("returned {status}")).into()),
    }
}
