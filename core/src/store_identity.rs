//! The identity of a store, by which the services of one store find each other.

use crate::locator;
use crate::settings::Settings;
use crate::util::hex::to_hex;

/// The identity of a store: its id, and a hint at its index key. Neither is secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreIdentity {
    /// 16 random bytes that distinguish the store from others. A copy of a store has the same id.
    pub id: [u8; 16],
    /// Four bytes of a hash of the current index key's check value, equal for equal keys. `None` until a program with
    /// an index key opens the store.
    pub index_key_hint: Option<[u8; 4]>,
}

impl StoreIdentity {
    pub(crate) fn new(settings: &Settings) -> Self {
        let current = settings.generations.first();
        Self { id: settings.store_id, index_key_hint: current.map(|current| locator::hint(&current.check_value)) }
    }

    /// The id in hexadecimal.
    #[must_use]
    pub fn id_text(&self) -> String {
        to_hex(&self.id)
    }

    /// The hint in hexadecimal.
    #[must_use]
    pub fn index_key_hint_text(&self) -> Option<String> {
        self.index_key_hint.map(|hint| to_hex(&hint))
    }
}
