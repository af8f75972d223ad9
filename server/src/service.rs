//! A service: its routes and its state.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::MethodRouter;

use crate::backend::Backend;
use crate::call::Call;
use crate::config::document::Config;
use crate::handle::handle;
use crate::operator_routes::operations;
use crate::problem::Problem;
use crate::purge::Purge;
use crate::readiness::Readiness;
use crate::route::Route;
use crate::shared::Shared;
use crate::start_error::StartError;

/// One of the two services.
pub struct Service {
    pub(crate) router: Router,
    pub(crate) shared: Arc<Shared>,
    pub(crate) purge: Arc<Purge>,
    /// `None` if expired records are removed only on request.
    pub(crate) purge_interval: Option<Duration>,
    /// The default port.
    pub(crate) port: u16,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    pub(crate) fn new<B: Backend>(
        backend: B,
        routes: &'static [Route<B>],
        config: &Config,
    ) -> Result<Self, StartError> {
        let backend = Arc::new(backend);
        let probed = Arc::clone(&backend);
        let readiness = Arc::new(Readiness::new(move || probed.ready()));
        let shared = Arc::new(Shared::new(config, readiness)?);
        let purged = Arc::clone(&backend);
        let purge = Arc::new(Purge::new(move |limit| purged.purge(limit)));
        let purge_interval = Some(config.purge.interval_seconds).filter(|seconds| *seconds > 0);
        let purge_interval = purge_interval.map(Duration::from_secs);
        Ok(Self { router: router(backend, routes, &shared), shared, purge, purge_interval, port: B::PORT })
    }
}

fn router<B: Backend>(backend: Arc<B>, routes: &'static [Route<B>], shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in routes.iter().chain(operations()) {
        let (backend, shared) = (Arc::clone(&backend), Arc::clone(shared));
        let (path, scope, handler) = (route.path, route.scope, route.handler);
        let answer = move |request: Request| {
            let (backend, shared) = (Arc::clone(&backend), Arc::clone(&shared));
            handle(Arc::clone(&shared), path, scope, request, move |connection, head, body| async move {
                let backend = if scope.is_some() { backend.for_request(&head)? } else { backend };
                handler(Call { backend, shared, connection, head, body }).await
            })
        };
        router = router.route(path, MethodRouter::new().on(route.method, answer));
    }
    let (no_path, no_method) = (Arc::clone(shared), Arc::clone(shared));
    router
        .fallback(move |request| {
            handle(no_path, "unknown", None, request, |_, _, _| async { Err(Problem::no_such_path()) })
        })
        .method_not_allowed_fallback(move |request| {
            handle(no_method, "unknown", None, request, |_, _, _| async { Err(Problem::no_such_method()) })
        })
}
