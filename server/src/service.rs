//! What both services have in common: routes, and what each request passes on its way to its handler and back.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::Body as _;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use strongroom::Error;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::body::{self, RequestBody, Source};
use crate::config::{Config, Limits};
use crate::counted::Counted;
use crate::gate::{Gate, OnThread, Threads};
use crate::host::Hosts;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::start::StartError;
use crate::token::{Scope, TokenHashes, Tokens};

pub(crate) const STRONGROOM_ID: HeaderName = HeaderName::from_static("strongroom-id");
pub(crate) const STRONGROOM_KEY: HeaderName = HeaderName::from_static("strongroom-key");
pub(crate) const STRONGROOM_NEW_KEY: HeaderName = HeaderName::from_static("strongroom-new-key");
const REQUEST_ID: HeaderName = HeaderName::from_static("strongroom-request-id");

/// Batches that are held in memory at once.
const BATCHES: usize = 2;
/// How long the storage may take to prove that it can be reached.
const READY: Duration = Duration::from_secs(5);

/// One of the two services, ready to be served.
pub struct Service {
    pub(crate) router: Router,
    pub(crate) shared: Arc<Shared>,
    /// Where it listens, if the configuration names no address.
    pub(crate) port: u16,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) threads: Threads,
    /// Places for long bodies, and for those that are held in memory.
    pub(crate) long: Arc<Gate>,
    pub(crate) batches: Arc<Gate>,
    pub(crate) tokens: Option<Tokens>,
    request_ids: RequestIds,
}

/// What is behind a service.
pub(crate) trait Backend: Send + Sync + 'static {
    /// The OpenAPI document.
    const OPENAPI: &'static str;
    /// Where it listens, if the configuration names no address.
    const PORT: u16;

    /// Fails where the storage cannot be reached.
    fn ready(&self) -> Result<(), Error>;
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

/// A path, a method, and what answers there.
pub(crate) struct Route<B: 'static> {
    pub(crate) method: MethodFilter,
    pub(crate) path: &'static str,
    /// What the token must allow; without one, no token is needed.
    pub(crate) scope: Option<Scope>,
    pub(crate) handler: Handler<B>,
}

pub(crate) type Handler<B> = fn(Call<B>) -> Answer;

/// A request on its way to its handler.
pub(crate) struct Call<B> {
    pub(crate) backend: Arc<B>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) head: Parts,
    pub(crate) body: RequestBody,
}

impl Service {
    pub(crate) fn new<B: Backend>(
        backend: B,
        routes: &'static [Route<B>],
        config: &Config,
    ) -> Result<Self, StartError> {
        let limits = &config.limits;
        if let Some((name, least)) = limits.unusable() {
            return Err(StartError::Limit { name, least });
        }
        let tokens = match &config.tokens {
            Some(path) => Some(Tokens::new(TokenHashes::read(path)?, limits.wrong_tokens_per_minute)),
            None => None,
        };
        let shared = Arc::new(Shared {
            metrics: Metrics::default(),
            threads: Threads::new(limits),
            long: Arc::new(Gate::new(limits.long, limits)),
            batches: Arc::new(Gate::new(BATCHES, limits)),
            tokens,
            request_ids: RequestIds::new()?,
            limits: limits.clone(),
        });
        Ok(Self { router: router(Arc::new(backend), routes, &shared), shared, port: B::PORT })
    }
}

fn router<B: Backend>(backend: Arc<B>, routes: &'static [Route<B>], shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in routes.iter().chain(operations()) {
        let (backend, shared) = (Arc::clone(&backend), Arc::clone(shared));
        let (path, scope, handler) = (route.path, route.scope, route.handler);
        let answer = move |request: Request| {
            let (backend, shared) = (Arc::clone(&backend), Arc::clone(&shared));
            observed(Arc::clone(&shared), path, request, move |head, body| async move {
                if let (Some(scope), Some(tokens)) = (scope, &shared.tokens) {
                    tokens.check(&head.headers, scope)?;
                }
                handler(Call { backend, shared, head, body }).await
            })
        };
        router = router.route(path, MethodRouter::new().on(route.method, answer));
    }
    let (no_path, no_method) = (Arc::clone(shared), Arc::clone(shared));
    router
        .fallback(move |request| {
            observed(no_path, "unknown", request, |_, _body| async { Err(Problem::no_such_path()) })
        })
        .method_not_allowed_fallback(move |request| {
            observed(no_method, "unknown", request, |_, _body| async { Err(Problem::no_such_method()) })
        })
}

/// The routes that both services have.
fn operations<B: Backend>() -> &'static [Route<B>] {
    const {
        &[
            Route { method: MethodFilter::GET, path: "/healthz", scope: None, handler: |_| Box::pin(health()) },
            Route { method: MethodFilter::GET, path: "/readyz", scope: None, handler: |call| Box::pin(ready(call)) },
            Route { method: MethodFilter::GET, path: "/metrics", scope: None, handler: |call| Box::pin(metrics(call)) },
            Route {
                method: MethodFilter::GET,
                path: "/openapi.json",
                scope: None,
                handler: |_| Box::pin(openapi::<B>()),
            },
        ]
    }
}

async fn health() -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &serde_json::json!({"status": "ok"})))
}

async fn ready<B: Backend>(call: Call<B>) -> Result<Response, Problem> {
    let backend = Arc::clone(&call.backend);
    match timeout(READY, call.shared.threads.run(move || backend.ready())).await {
        Ok(Ok(Ok(()))) => Ok(json(StatusCode::OK, &serde_json::json!({"status": "ready"}))),
        Ok(Ok(Err(error))) => Err(Problem::unreachable(Some(error.full_message()))),
        _ => Err(Problem::unreachable(None)),
    }
}

async fn metrics<B>(call: Call<B>) -> Result<Response, Problem> {
    Ok(text("text/plain; version=0.0.4", call.shared.metrics.text(call.shared.threads.waiting())))
}

async fn openapi<B: Backend>() -> Result<Response, Problem> {
    Ok(text("application/json", B::OPENAPI))
}

/// Answers a request by `handler`, and counts and logs that it was. Nothing that a client sent is logged.
async fn observed<F>(
    shared: Arc<Shared>,
    route: &'static str,
    request: Request,
    handler: impl FnOnce(Parts, RequestBody) -> F,
) -> Response
where
    F: Future<Output = Result<Response, Problem>>,
{
    let start = Instant::now();
    let request_id = shared.request_ids.next();
    let (mut head, body) = request.into_parts();
    hide_secrets(&mut head.headers);
    let method = head.method.clone();
    let _in_flight = Counted::new(&shared.metrics.in_flight);
    let received = Arc::clone(&shared.metrics.received);
    let body = RequestBody::new(body, &shared.limits, received, Arc::clone(&shared.long));

    let hosts = head.extensions.get::<Hosts>().cloned();
    let answer = async {
        hosts.map_or(Ok(()), |hosts| hosts.check(&head))?;
        handler(head, body).await
    };
    let outcome = AssertUnwindSafe(answer).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| Err(Problem::internal("a handler has panicked")));
    let (mut response, problem) = match outcome {
        Ok(response) => (response, None),
        Err(mut problem) => {
            let told = (problem.title, problem.cause.take());
            (problem.into_response(), Some(told))
        }
    };
    let (error, cause) = problem.map_or((None, None), |(title, cause)| (Some(title), cause));
    let (status, duration) = (response.status(), start.elapsed());
    shared.metrics.count(route, &method, status, error, duration);
    let (status, micros) = (status.as_u16(), u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    if status >= 500 {
        tracing::error!(target: "strongroom", request_id, route, status, micros, error, cause, "answered");
    } else {
        tracing::info!(target: "strongroom", request_id, route, status, micros, error, "answered");
    }
    shared.metrics.sent.fetch_add(response.body().size_hint().lower(), Ordering::Relaxed);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(HeaderValue::from_str(&request_id).ok().map(|id| (REQUEST_ID, id)));
    response
}

/// So that no header that is printed by mistake shows one.
fn hide_secrets(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, STRONGROOM_ID, STRONGROOM_KEY, STRONGROOM_NEW_KEY] {
        if let hyper::header::Entry::Occupied(mut entry) = headers.entry(name) {
            entry.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
}

impl<B> Call<B> {
    /// The header's value; more than one is an error.
    pub(crate) fn header(&self, name: &HeaderName) -> Result<Option<&HeaderValue>, Problem> {
        let mut values = self.head.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(Problem::bad_request(format!("{name} is given twice"))),
        }
    }

    /// Fails where the body is of another type.
    pub(crate) fn require_type(&self, expected: &'static str) -> Result<(), Problem> {
        if self.media_type() == Some(expected) { Ok(()) } else { Err(Problem::media_type(expected)) }
    }

    /// The body's type without its parameters, if it is one of those that are known here.
    pub(crate) fn media_type(&self) -> Option<&'static str> {
        let value = self.head.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let essence = value.split_once(';').map_or(value, |(essence, _)| essence).trim();
        [JSON, BYTES].into_iter().find(|known| essence.eq_ignore_ascii_case(known))
    }

    /// Works on the storage.
    pub(crate) fn run<T, E, W>(&self, work: W) -> impl Future<Output = Result<T, Problem>> + Send + use<B, T, E, W>
    where
        B: Backend,
        T: Send + 'static,
        E: Send + 'static,
        W: FnOnce(&B) -> Result<T, E> + Send + 'static,
        Problem: From<E>,
    {
        let (backend, threads) = (Arc::clone(&self.backend), self.shared.threads.clone());
        async move { Ok(threads.run(move || work(&backend)).await??) }
    }

    /// The body with `len` bytes of `source`.
    pub(crate) async fn stream(&mut self, source: OnThread<impl Source>, len: u64) -> Result<Body, Problem> {
        body::stream(source, len, &self.shared.long, &self.shared.limits).await
    }
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const BYTES: &str = "application/octet-stream";

pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = text(JSON, value.to_string());
    *response.status_mut() = status;
    response
}

pub(crate) fn text(media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// An answer in JSON that holds a secret. It is wiped once the connection has taken it.
pub(crate) fn secret(status: StatusCode, name: &'static str, value: &str) -> Response {
    // Room for all at once, so that no copy is left behind by growth. No value here needs an escape.
    let mut body = Zeroizing::new(String::with_capacity(value.len() + 32));
    ["{\"", name, "\":\"", value, "\"}"].into_iter().for_each(|part| body.push_str(part));
    let mut response = text(JSON, Bytes::from_owner(body));
    *response.status_mut() = status;
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Names of requests: a keyed hash of their number, so that they tell nobody how many there were.
struct RequestIds {
    key: [u8; 32],
    last: AtomicU64,
}

impl RequestIds {
    fn new() -> Result<Self, StartError> {
        Ok(Self { key: crate::token::random()?, last: AtomicU64::new(0) })
    }

    fn next(&self) -> String {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let hash = blake3::keyed_hash(&self.key, &number.to_le_bytes()).to_hex();
        hash.get(..16).unwrap_or_default().to_owned()
    }
}

/// Whether the OpenAPI document has the routes of the table, and the other way round.
#[cfg(test)]
pub(crate) fn check_openapi<B: Backend>(routes: &'static [Route<B>]) {
    use std::collections::BTreeSet;

    const METHODS: [(MethodFilter, &str); 5] = [
        (MethodFilter::GET, "get"),
        (MethodFilter::HEAD, "head"),
        (MethodFilter::PUT, "put"),
        (MethodFilter::POST, "post"),
        (MethodFilter::DELETE, "delete"),
    ];
    let document: serde_json::Value = serde_json::from_str(B::OPENAPI).unwrap();
    let methods = |(path, item): (&String, &serde_json::Value)| {
        item.as_object()
            .unwrap()
            .iter()
            .map(|(method, operation)| {
                let needs_token = operation.get("security").is_some();
                (path.clone(), method.clone(), needs_token)
            })
            .collect::<Vec<_>>()
    };
    let documented: BTreeSet<_> = document["paths"].as_object().unwrap().iter().flat_map(methods).collect();
    let name = |filter| METHODS.into_iter().find(|(known, _)| *known == filter).unwrap().1.to_owned();
    let routes = routes.iter().chain(operations());
    let served = routes.map(|route| (route.path.to_owned(), name(route.method), route.scope.is_some())).collect();
    assert_eq!(documented, served);
}
