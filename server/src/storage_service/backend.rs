//! The backend of the storage service: a storage of sealed records.

use std::sync::Arc;

use serde_json::Value;
use strongroom::protocol::names::{JSON, NO_STORE};
use strongroom::protocol::nodes::Role;
use strongroom::storage::Storage;
use strongroom::{Error, Stats, StoreIdentity};

use crate::backend::Backend;
use crate::call::Call;
use crate::problem::Problem;
use crate::request_text;
use crate::unix_time::unix_time;

/// A storage, served to libraries and encryption servers.
pub(super) struct StorageBackend(pub(super) Arc<dyn Storage>);

impl Backend for StorageBackend {
    const OPENAPI: &'static str = include_str!("../../openapi/storage.json");
    const PORT: u16 = 8421;
    const ROLE: Role = Role::Storage;
    const NAME: &'static str = "a storage service";

    fn ready(&self) -> Result<Option<String>, Error> {
        self.0.health()?;
        let settings = self.0.settings()?;
        Ok(settings.map_or_else(|| Some(NO_STORE.to_owned()), |settings| strongroom::store_id(&settings)))
    }

    fn identity(&self) -> Result<Option<StoreIdentity>, Error> {
        strongroom::store_identity(&*self.0).map(Some)
    }

    fn expiry_times(&self, until: u64, most: usize) -> Result<Vec<u64>, Error> {
        let due = self.0.list_expired(until, most)?;
        Ok(due.iter().filter_map(|entry| entry.info.head.expires_at()).collect())
    }

    fn stats(&self) -> Result<Stats, Error> {
        Ok(self.0.stats(unix_time())?)
    }

    fn purge(&self, limit: usize) -> Result<usize, Error> {
        strongroom::purge_storage(&*self.0, unix_time(), limit)
    }

    fn maintain(&self) -> Result<(), Error> {
        strongroom::maintain_storage(&*self.0, unix_time())
    }
}

impl Call<StorageBackend> {
    /// The value that `read` decodes from a JSON body.
    pub(super) async fn json_body<T>(
        &mut self,
        read: fn(&Value) -> Option<T>,
        expected: &'static str,
    ) -> Result<T, Problem> {
        self.require_type(JSON)?;
        let body: Value = request_text::object(&self.body.all(self.shared.limits.json_bytes).await?)?;
        read(&body).ok_or_else(|| Problem::bad_request(expected))
    }
}
