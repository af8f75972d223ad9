//! PostgreSQL keeps every promise of the trait.

use std::path::Path;
use std::sync::Arc;

use strongroom::storage::{PostgresConfig, PostgresStorage, Storage};

use crate::support::postgres::Postgres;

fn open(folder: &Path) -> Arc<dyn Storage> {
    let config = PostgresConfig::new(&Postgres::shared().url_for(folder)).unwrap();
    Arc::new(PostgresStorage::open(&config).unwrap())
}

strongroom::storage_conformance!(open);
