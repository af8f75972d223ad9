//! The listener for probes and monitoring: `/healthz`, `/readyz` and `/metrics`, without TLS, tokens and client
//! certificates, apart from the clients' connections.

use std::sync::Arc;

use axum::Router;

use crate::backend::Backend;
use crate::operator_routes::operations;
use crate::service::{add_route, with_fallbacks};
use crate::shared::Shared;

const PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The routes of the listener.
pub(crate) fn router<B: Backend>(backend: &Arc<B>, shared: &Arc<Shared>) -> Router {
    let routes = operations().iter().filter(|route| PATHS.contains(&route.path));
    let router = routes.fold(Router::new(), |router, route| add_route(router, route, backend, shared));
    with_fallbacks(router, shared, "the listener for probes")
}
