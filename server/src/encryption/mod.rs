//! The encryption server: the operations of a [`Strongroom`] over HTTP.

mod backend;
mod decoy_records;
mod fields;
mod hidden_existence;
mod json;
mod many;
mod octet_stream;
mod response_delay;
pub(crate) mod store_slot;

use std::sync::Arc;

use axum::routing::MethodFilter;
use strongroom::Strongroom;
use strongroom::protocol::names::{self, OCTET_STREAM};
#[cfg(feature = "cluster")]
use strongroom::{Error, ServiceList};

use backend::EncryptionBackend;
use store_slot::StoreSlot;

#[cfg(feature = "cluster")]
use crate::cluster::{LateStore, Storages};
use crate::config::document::Config;
use crate::route::{Access, Handler, Route};
use crate::service::Service;
use crate::start_error::StartError;
use crate::tokens::scope::Scope;

impl Service {
    /// The encryption server for `store`.
    ///
    /// # Errors
    ///
    /// If the file of tokens cannot be read, or the system provides no random bytes.
    pub fn encryption(store: Arc<Strongroom>, config: &Config) -> Result<Self, StartError> {
        Self::new(EncryptionBackend::new(Arc::new(StoreSlot::new(store)))?, ROUTES, config)
    }

    /// The encryption server of the store whose storage services it finds in the cluster. It starts without a store,
    /// and calls `open` once it knows the services, with a list of them that changes from then on; again, if that
    /// fails. Until the store is open, requests are answered with 503.
    ///
    /// # Errors
    ///
    /// As [`encryption`](Self::encryption); [`StartError::NeedsJoin`]; [`StartError::NeedsTrustedNames`] and
    /// [`StartError::TokenNeedsClusterKey`] if any host or user could get the token.
    #[cfg(feature = "cluster")]
    pub fn encryption_in_cluster(
        open: impl Fn(ServiceList) -> Result<Strongroom, Error> + Send + Sync + 'static,
        config: &Config,
    ) -> Result<Self, StartError> {
        let storages = Arc::new(Storages::new(config)?);
        let store = Arc::new(StoreSlot::empty());
        let mut service = Self::new(EncryptionBackend::new(Arc::clone(&store))?, ROUTES, config)?;
        service.late_store = Some(LateStore { storages, store, open: Arc::new(open) });
        Ok(service)
    }
}

const fn route(path: &'static str, scope: Scope, handler: Handler<EncryptionBackend>) -> Route<EncryptionBackend> {
    Route { method: MethodFilter::POST, path, access: Access::Scope(scope), handler }
}

const ROUTES: &[Route<EncryptionBackend>] = &[
    route(names::STORE, Scope::Store, |call| match call.media_type() {
        Some(OCTET_STREAM) => Box::pin(octet_stream::store(call)),
        _ => Box::pin(json::store(call)),
    }),
    route(names::RETRIEVE, Scope::Retrieve, |call| match call.media_type() {
        Some(OCTET_STREAM) => Box::pin(octet_stream::retrieve(call)),
        _ => Box::pin(json::retrieve(call)),
    }),
    route(names::REPLACE, Scope::Store, |call| match call.media_type() {
        Some(OCTET_STREAM) => Box::pin(octet_stream::replace(call)),
        _ => Box::pin(json::replace(call)),
    }),
    route(names::REKEY, Scope::Store, |call| Box::pin(json::rekey(call))),
    route(names::TAKE, Scope::Take, |call| match call.media_type() {
        Some(OCTET_STREAM) => Box::pin(octet_stream::take(call)),
        _ => Box::pin(json::take(call)),
    }),
    route(names::CONTAINS, Scope::Store, |call| Box::pin(json::contains(call))),
    route(names::STORE_MANY, Scope::Store, |call| Box::pin(many::store(call))),
    route(names::RETRIEVE_MANY, Scope::Retrieve, |call| Box::pin(many::retrieve(call))),
    route(names::DELETE, Scope::Erase, |call| Box::pin(json::delete(call))),
    route(names::ERASE, Scope::Erase, |call| Box::pin(json::erase(call))),
    route(names::PURGE, Scope::Erase, |call| Box::pin(json::purge(call))),
    route(names::STATS, Scope::Erase, |call| Box::pin(json::stats(call))),
];

#[cfg(test)]
mod tests {
    #[test]
    fn the_openapi_document_has_all_routes_and_no_other() {
        crate::operator_routes::check_openapi(super::ROUTES);
    }
}
