//! The backend of the encryption server: a store, with its keys in the requests.

use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use hyper::StatusCode;
use hyper::http::request::Parts;
use strongroom::protocol::base64url::decode;
use strongroom::protocol::names::STRONGROOM_NAMESPACE;
use strongroom::protocol::nodes::Role;
use strongroom::storage::Locator;
use strongroom::{Error, RecordKey, RecordReader, Stats, StoreIdentity, Strongroom, WriteOptions};

use super::decoy_records::DecoyRecords;
use super::store_slot::StoreSlot;
use crate::backend::Backend;
use crate::body::unsent_answer::Response;
use crate::headers::check_single;
use crate::problem::Problem;
use crate::response::secret;
use crate::tokens::bound_namespace::BoundNamespace;

/// A store, served to clients.
pub(super) struct EncryptionBackend {
    store: Arc<StoreSlot>,
    pub(super) decoys: Arc<DecoyRecords>,
    /// Whether the request has selected a namespace, or its client is bound to one.
    selection: Selection,
}

#[derive(Clone, Copy)]
enum Selection {
    None,
    Requested,
    Bound,
}

impl Backend for EncryptionBackend {
    const OPENAPI: &'static str = include_str!("../../openapi/encryption.json");
    const PORT: u16 = 8420;
    const ROLE: Role = Role::Encryption;
    const NAME: &'static str = "an encryption server";

    fn ready(&self) -> Result<Option<String>, Error> {
        let store = self.store()?;
        store.health()?;
        store.contains("readyz")?;
        Ok(store.identity().map(|identity| identity.id_text()))
    }

    fn identity(&self) -> Result<Option<StoreIdentity>, Error> {
        Ok(self.store()?.identity())
    }

    fn for_request(self: &Arc<Self>, head: &Parts) -> Result<Arc<Self>, Problem> {
        let bound = head.extensions.get::<BoundNamespace>();
        let requested = match head.headers.get(STRONGROOM_NAMESPACE) {
            Some(header) => {
                check_single(&head.headers, &STRONGROOM_NAMESPACE)?;
                let name = header.to_str().ok().and_then(decode);
                let unusable = || Problem::bad_request("Strongroom-Namespace must be base64url without padding");
                Some(name.ok_or_else(unusable)?)
            }
            None => None,
        };
        let store = self.store().map_err(|error| Problem::unreachable(error.full_message()))?;
        let (name, selection) = match (bound, &requested) {
            (None, None) => return Ok(Arc::clone(self)),
            (Some(bound), Some(requested)) if *bound.0 != **requested => return Err(Problem::other_namespace()),
            (Some(bound), _) => (&*bound.0, Selection::Bound),
            (None, Some(requested)) => (&**requested, Selection::Requested),
        };
        let store = Arc::new(StoreSlot::new(Arc::new(store.namespace(name)?)));
        Ok(Arc::new(Self { store, decoys: Arc::clone(&self.decoys), selection }))
    }

    fn expiry_times(&self, until: u64, most: usize) -> Result<Vec<u64>, Error> {
        self.store()?.expiry_times(until, most)
    }

    fn stats(&self) -> Result<Stats, Error> {
        self.store()?.stats()
    }

    fn purge(&self, limit: usize) -> Result<usize, Error> {
        self.store()?.purge(limit)
    }

    fn maintain(&self) -> Result<(), Error> {
        self.store()?.maintain()
    }
}

impl EncryptionBackend {
    pub(super) fn new(store: Arc<StoreSlot>) -> Result<Self, Error> {
        Ok(Self { store, decoys: Arc::new(DecoyRecords::new()?), selection: Selection::None })
    }

    pub(super) fn store(&self) -> Result<&Strongroom, Error> {
        self.store.get()
    }

    /// The locator of a record, for the audit log.
    pub(super) fn locator(&self, id: &[u8]) -> Option<Locator> {
        self.store().ok()?.locator(id).ok()
    }

    /// The record as a stream, and the length of its data.
    pub(super) fn open(&self, id: &[u8], key: &RecordKey) -> Result<(RecordReader, u64), Error> {
        let mut reader = self.hide(self.store()?.open_record(id, key), id, key)?;
        let len = reader.len()?;
        Ok((reader, len))
    }

    /// Fails if the request is for a namespace: its operation concerns the whole store.
    pub(super) fn require_whole_store(&self) -> Result<(), Problem> {
        match self.selection {
            Selection::None => Ok(()),
            Selection::Requested => Err(Problem::bad_request("this concerns the whole store, not a namespace")),
            Selection::Bound => Err(Problem::other_namespace()),
        }
    }
}

/// The options of a write that a request may have; `None` if it has none.
pub(super) fn options(
    expires_at: Option<u64>,
    expires_in: Option<u64>,
    pad: Option<bool>,
) -> Result<Option<WriteOptions<'static>>, Problem> {
    let options = match (expires_at.map(Duration::from_secs), expires_in.map(Duration::from_secs)) {
        (None, None) if pad.is_none() => return Ok(None),
        (None, None) => WriteOptions::new(),
        (None, Some(time)) => WriteOptions::new().expires_in(time),
        (Some(time), None) => match UNIX_EPOCH.checked_add(time) {
            Some(time) => WriteOptions::new().expires_at(time),
            None => return Err(Problem::bad_request("the expiry time is too late")),
        },
        (Some(_), Some(_)) => return Err(Problem::bad_request("give an expiry time or a duration, not both")),
    };
    Ok(Some(if pad == Some(true) { options.pad() } else { options }))
}

/// The options of a write under the client's key, if it has sent one.
pub(super) fn write_options<'k>(
    key: Option<&'k RecordKey>,
    options: Option<WriteOptions<'static>>,
) -> WriteOptions<'k> {
    let options: WriteOptions<'k> = options.unwrap_or_default();
    key.map_or(options, |key| options.key(key))
}

/// The answer with a record's new key.
pub(super) fn key_answer(status: StatusCode, key: &RecordKey) -> Response {
    secret(status, "key", key.to_text().as_bytes())
}

/// The error that a reader or writer of records put into an [`io::Error`].
pub(super) fn record_error(error: io::Error) -> Error {
    error.downcast().unwrap_or_else(|error| Error::Internal(error.into()))
}
