//! The contents of a keyring in memory: the keys of each id, wiped on drop.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use zeroize::Zeroizing;

use crate::error::{Error, long_namespace};
use crate::key::RecordKey;
use crate::record::{is_id, is_namespace};

/// The maximum number of keys of one id.
pub(super) const MAX_KEYS: usize = 255;

/// The keys of a keyring by namespace and id, the newest key of an id last. `Debug` shows only their number.
///
/// An id has several keys while a record is replaced, or after a failure: of them, the newest that opens the record is
/// the right one.
#[derive(Default)]
pub struct KeyringEntries {
    keys: BTreeMap<Name, Vec<RecordKey>>,
}

/// `len(namespace) || namespace || id`: entries are ordered by these bytes.
#[derive(Clone, PartialEq, Eq)]
struct Name(Zeroizing<Vec<u8>>);

impl Name {
    fn new(namespace: &[u8], id: &[u8]) -> Result<Self, Error> {
        if !is_id(id) {
            return Err(Error::InvalidId);
        }
        let len = u8::try_from(namespace.len()).ok().filter(|_| is_namespace(namespace));
        let len = len.ok_or_else(long_namespace)?;
        // Full capacity from the start: growth would leave a copy in memory.
        let mut name = Zeroizing::new(Vec::with_capacity(1 + namespace.len() + id.len()));
        name.push(len);
        name.extend_from_slice(namespace);
        name.extend_from_slice(id);
        Ok(Self(name))
    }

    /// The namespace and the id.
    fn parts(&self) -> (&[u8], &[u8]) {
        let (len, rest) = self.0.split_first().unwrap_or((&0, &[]));
        rest.split_at_checked(usize::from(*len)).unwrap_or_default()
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_slice().cmp(other.0.as_slice())
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl KeyringEntries {
    /// The number of ids.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no id.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys of an id, the newest last; none if the keyring does not have the id.
    #[must_use]
    pub fn keys(&self, namespace: impl AsRef<[u8]>, id: impl AsRef<[u8]>) -> &[RecordKey] {
        let name = Name::new(namespace.as_ref(), id.as_ref());
        name.ok().and_then(|name| self.keys.get(&name)).map(Vec::as_slice).unwrap_or_default()
    }

    /// All ids in the order of their bytes, with their namespaces and keys: `(namespace, id, keys)`.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], &[RecordKey])> {
        self.keys.iter().map(|(name, keys)| {
            let (namespace, id) = name.parts();
            (namespace, id, keys.as_slice())
        })
    }

    /// Adds the newest key of an id. Its earlier keys remain, so that no record loses its key.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`], and [`Error::InvalidArgument`] for a namespace of more than 255 bytes or for the 256th key
    /// of an id.
    pub fn insert(&mut self, namespace: impl AsRef<[u8]>, id: impl AsRef<[u8]>, key: &RecordKey) -> Result<(), Error> {
        let keys = self.keys.entry(Name::new(namespace.as_ref(), id.as_ref())?).or_default();
        if keys.last().is_some_and(|newest| newest.ct_eq(key)) {
            return Ok(());
        }
        keys.retain(|other| !other.ct_eq(key));
        if keys.len() >= MAX_KEYS {
            let text = "the keyring has 255 keys of this id: remove those that open no record";
            return Err(Error::InvalidArgument(text.into()));
        }
        keys.push(key.duplicate());
        Ok(())
    }

    /// Removes an id with all of its keys. Returns whether the keyring had it.
    pub fn remove(&mut self, namespace: impl AsRef<[u8]>, id: impl AsRef<[u8]>) -> bool {
        self.retain_keys(namespace.as_ref(), id.as_ref(), |_| false)
    }

    /// Removes one key of an id. Returns whether the id had it.
    pub fn remove_key(&mut self, namespace: impl AsRef<[u8]>, id: impl AsRef<[u8]>, key: &RecordKey) -> bool {
        self.retain_keys(namespace.as_ref(), id.as_ref(), |other| !other.ct_eq(key))
    }

    /// Returns whether a key was removed.
    fn retain_keys(&mut self, namespace: &[u8], id: &[u8], keep: impl FnMut(&RecordKey) -> bool) -> bool {
        let Ok(name) = Name::new(namespace, id) else { return false };
        let Entry::Occupied(mut keys) = self.keys.entry(name) else { return false };
        let before = keys.get().len();
        keys.get_mut().retain(keep);
        let after = keys.get().len();
        if after == 0 {
            keys.remove();
        }
        after < before
    }

    /// Adds an entry of a document. Returns `None` if it is not in order.
    pub(super) fn push(&mut self, namespace: &[u8], id: &[u8], keys: Vec<RecordKey>) -> Option<()> {
        let name = Name::new(namespace, id).ok()?;
        if keys.is_empty() || self.keys.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return None;
        }
        self.keys.insert(name, keys);
        Some(())
    }

    /// Whether both have the same keys in the same order.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let are_same = |keys: &[RecordKey], others: &[RecordKey]| {
            keys.len() == others.len() && keys.iter().zip(others).all(|(key, other)| key.ct_eq(other))
        };
        let mut pairs = self.keys.iter().zip(&other.keys);
        self.keys.len() == other.keys.len()
            && pairs.all(|((name, keys), (other_name, others))| name == other_name && are_same(keys, others))
    }

    pub(super) fn duplicate(&self) -> Self {
        let copy =
            |(name, keys): (&Name, &Vec<RecordKey>)| (name.clone(), keys.iter().map(RecordKey::duplicate).collect());
        Self { keys: self.keys.iter().map(copy).collect() }
    }
}

impl fmt::Debug for KeyringEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyringEntries").field("len", &self.len()).finish_non_exhaustive()
    }
}
