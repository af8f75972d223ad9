//! PostgreSQL keeps every promise of the trait. `STRONGROOM_TEST_POSTGRES_URL` names another server or a pooler.

use std::path::Path;
use std::sync::Arc;

use strongroom::storage::{PostgresConfig, PostgresStorage, Storage};

use crate::support::postgres::{Postgres, schema_of};

fn open(folder: &Path) -> Arc<dyn Storage> {
    let url = match std::env::var("STRONGROOM_TEST_POSTGRES_URL") {
        Ok(url) => format!("{url}?schema={}", schema_of(folder)),
        Err(_) => Postgres::shared().url_for(folder),
    };
    let config = PostgresConfig::new(&url).unwrap();
    Arc::new(PostgresStorage::open(&config).unwrap())
}

strongroom::storage_conformance!(open);
