//! The trait that the backends of both services implement.

use std::sync::Arc;

use hyper::http::request::Parts;
#[cfg(doc)]
use strongroom::protocol::names::NO_STORE;
use strongroom::protocol::names::STRONGROOM_NAMESPACE;
use strongroom::protocol::nodes::Role;
use strongroom::{Error, Stats, StoreIdentity};

use crate::headers::{self, RECORD_HEADERS};
use crate::problem::Problem;
use crate::tokens::bound_namespace::BoundNamespace;

/// A store or a storage, with the properties of its service.
pub(crate) trait Backend: Send + Sync + 'static {
    /// The OpenAPI document.
    const OPENAPI: &'static str;
    /// The default port.
    const PORT: u16;

    /// The kind of service, for the cluster and its operators.
    const ROLE: Role;
    /// The same, for people.
    const NAME: &'static str;

    /// Fails if the storage cannot be reached. Returns the store's id, [`NO_STORE`] or, if it is unknown, nothing.
    fn ready(&self) -> Result<Option<String>, Error>;

    /// The identity of the store, for the cluster. A storage without a store gets an id.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "for the cluster"))]
    fn identity(&self) -> Result<Option<StoreIdentity>, Error>;

    /// The backend for a request from a client that may be bound to a namespace. By default, there are no namespaces.
    fn for_request(self: &Arc<Self>, head: &Parts) -> Result<Arc<Self>, Problem> {
        if head.extensions.get::<BoundNamespace>().is_some() {
            return Err(Problem::other_namespace());
        }
        if head.headers.contains_key(STRONGROOM_NAMESPACE) {
            return Err(Problem::bad_request("this service has no namespaces"));
        }
        headers::refuse(&head.headers, &RECORD_HEADERS)?;
        Ok(Arc::clone(self))
    }

    /// The expiry times (Unix time in seconds) of at most `most` records that expire at or before `until`, the earliest
    /// first.
    fn expiry_times(&self, until: u64, most: usize) -> Result<Vec<u64>, Error>;

    /// The number of records, in time proportional to it.
    fn stats(&self) -> Result<Stats, Error>;

    /// Removes at most `limit` expired records, and returns their number; 0 if none is left.
    fn purge(&self, limit: usize) -> Result<usize, Error>;

    /// Removes the remains of deleted records, such as those in a database's log.
    fn maintain(&self) -> Result<(), Error>;
}
