//! The storage service: any storage over HTTP.

mod backend;
mod batches;
mod lists;
mod maintenance;
mod records;

use std::sync::Arc;

use axum::routing::MethodFilter;
use strongroom::protocol::names;
use strongroom::storage::{Storage, StorageMetrics};

use backend::StorageBackend;

use crate::config::document::Config;
use crate::route::{Access, Handler, Route};
use crate::service::Service;
use crate::start_error::StartError;
use crate::tokens::scope::Scope;

impl Service {
    /// The storage service for `storage`.
    ///
    /// # Errors
    ///
    /// If the file of tokens cannot be read, or the system provides no random bytes.
    pub fn storage(storage: Arc<dyn Storage>, config: &Config) -> Result<Self, StartError> {
        let metrics = StorageMetrics::default();
        let service = Self::new(StorageBackend(metrics.measure(storage)), ROUTES, config)?;
        Ok(service.with_storage_metrics(metrics))
    }
}

const fn route(method: MethodFilter, path: &'static str, handler: Handler<StorageBackend>) -> Route<StorageBackend> {
    Route { method, path, access: Access::Scope(Scope::Storage), handler }
}

const ROUTES: &[Route<StorageBackend>] = &[
    route(MethodFilter::PUT, names::RECORD, |call| Box::pin(records::put(call))),
    route(MethodFilter::GET, names::RECORD, |call| Box::pin(records::get(call))),
    route(MethodFilter::HEAD, names::RECORD, |call| Box::pin(records::info(call))),
    route(MethodFilter::DELETE, names::RECORD, |call| Box::pin(records::delete(call))),
    route(MethodFilter::GET, names::RECORDS, |call| Box::pin(lists::list(call))),
    route(MethodFilter::POST, names::CREATE_MANY, |call| Box::pin(batches::create_many(call))),
    route(MethodFilter::POST, names::GET_MANY, |call| Box::pin(batches::get_many(call))),
    route(MethodFilter::POST, names::RENAME, |call| Box::pin(records::rename(call))),
    route(MethodFilter::GET, names::EXPIRED, |call| Box::pin(lists::list_expired(call))),
    route(MethodFilter::GET, names::SETTINGS, |call| Box::pin(maintenance::settings(call))),
    route(MethodFilter::POST, names::SWAP_SETTINGS, |call| Box::pin(maintenance::swap_settings(call))),
    route(MethodFilter::POST, names::VERIFY, |call| Box::pin(maintenance::verify(call))),
    route(MethodFilter::POST, names::PURGE, |call| Box::pin(maintenance::purge(call))),
    route(MethodFilter::POST, names::COMPACT, |call| Box::pin(maintenance::compact(call))),
    route(MethodFilter::GET, names::STATS, |call| Box::pin(maintenance::stats(call))),
    route(MethodFilter::POST, names::MAINTAIN, |call| Box::pin(maintenance::maintain(call))),
];

#[cfg(test)]
mod tests {
    #[test]
    fn the_openapi_document_has_all_routes_and_no_other() {
        crate::operator_routes::check_openapi(super::ROUTES);
    }
}
