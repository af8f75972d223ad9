//! What both services have in common: routes, and what each request passes on its way to its handler and back.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::{MethodFilter, MethodRouter};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode, Version};
use strongroom::Error;
use strongroom::protocol::names::{
    JSON, OCTET_STREAM, STRONGROOM_ID, STRONGROOM_KEY, STRONGROOM_NEW_KEY, STRONGROOM_REQUEST_ID,
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::answer::{Content, Held, Response};
use crate::body::{self, RequestBody, Source};
use crate::charge::Payer;
use crate::config::{Config, Limits};
use crate::connection::Connection;
use crate::gate::{Effect, Gate, OnThread, Threads};
use crate::headers;
use crate::host::Hosts;
use crate::metrics::Metrics;
use crate::observation::{Observation, RequestIds};
use crate::problem::Problem;
use crate::readiness::Readiness;
use crate::start::StartError;
use crate::token::{Scope, TokenHashes, Tokens};

/// Batches that are held in memory at once.
const BATCHES: usize = 2;
/// Room for the text of the metrics.
const METRICS: u64 = 16 << 10;

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
    /// Bytes of answers that are not sent, beside each connection's allowance.
    pub(crate) answers: Arc<Gate>,
    readiness: Arc<Readiness>,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) request_ids: RequestIds,
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
    connection: Arc<Connection>,
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
        let backend = Arc::new(backend);
        let looked_at = Arc::clone(&backend);
        let readiness = Arc::new(Readiness::new(move || looked_at.ready()));
        let elsewhere = config.has_storage_elsewhere().then(|| Arc::clone(&readiness));
        let shared = Arc::new(Shared {
            metrics: Metrics::default(),
            threads: Threads::new(limits, elsewhere),
            long: Arc::new(Gate::new(limits.long, limits)),
            batches: Arc::new(Gate::new(BATCHES, limits)),
            answers: Arc::new(Gate::new(
                usize::try_from(limits.answer_bytes).unwrap_or(Semaphore::MAX_PERMITS),
                limits,
            )),
            readiness,
            tokens,
            request_ids: RequestIds::new()?,
            limits: limits.clone(),
        });
        Ok(Self { router: router(backend, routes, &shared), shared, port: B::PORT })
    }
}

fn router<B: Backend>(backend: Arc<B>, routes: &'static [Route<B>], shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in routes.iter().chain(operations()) {
        let (backend, shared) = (Arc::clone(&backend), Arc::clone(shared));
        let (path, scope, handler) = (route.path, route.scope, route.handler);
        let answer = move |request: Request| {
            let (backend, shared) = (Arc::clone(&backend), Arc::clone(&shared));
            observed(Arc::clone(&shared), path, scope, request, move |connection, head, body| async move {
                handler(Call { backend, shared, connection, head, body }).await
            })
        };
        router = router.route(path, MethodRouter::new().on(route.method, answer));
    }
    let (no_path, no_method) = (Arc::clone(shared), Arc::clone(shared));
    router
        .fallback(move |request| {
            observed(no_path, "unknown", None, request, |_, _, _| async { Err(Problem::no_such_path()) })
        })
        .method_not_allowed_fallback(move |request| {
            observed(no_method, "unknown", None, request, |_, _, _| async { Err(Problem::no_such_method()) })
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
    let shared = Arc::clone(&call.shared);
    drop(call); // nothing that a stranger sent is kept while it waits
    shared.readiness.look().await.map_err(Problem::unreachable)?;
    Ok(json(StatusCode::OK, &serde_json::json!({"status": "ready"})))
}

async fn metrics<B>(call: Call<B>) -> Result<Response, Problem> {
    let (shared, connection) = (Arc::clone(&call.shared), Arc::clone(&call.connection));
    drop(call);
    let held = shared.charge(&connection, METRICS, Payer::Stranger).await?;
    let text = text("text/plain; version=0.0.4", shared.metrics.text(shared.threads.waiting()));
    Ok(text.map(|content| content.charged(held)))
}

async fn openapi<B: Backend>() -> Result<Response, Problem> {
    Ok(text(JSON, B::OPENAPI))
}

/// Answers a request by `handler`, and counts and logs that it was. Nothing that a client sent is logged.
async fn observed<F>(
    shared: Arc<Shared>,
    route: &'static str,
    scope: Option<Scope>,
    request: Request,
    handler: impl FnOnce(Arc<Connection>, Parts, RequestBody) -> F,
) -> hyper::Response<Body>
where
    F: Future<Output = Result<Response, Problem>>,
{
    let (mut head, body) = request.into_parts();
    let method = head.method.clone();
    let mut observation = Observation::new(&shared, route, method.clone());
    hide_secrets(&mut head.headers);
    let connection = head.extensions.remove::<Arc<Connection>>().unwrap_or_else(Connection::new);
    let under_way = connection.begin(head.version == Version::HTTP_2);
    let received = Arc::clone(&shared.metrics.received);
    let body = RequestBody::new(body, &shared.limits, received, Arc::clone(&shared.long));

    let hosts = head.extensions.get::<Hosts>().cloned();
    let known_host = hosts.map_or(Ok(()), |hosts| hosts.check(&head));
    let authorized = known_host.and_then(|()| shared.authorize(&connection, &head.headers, scope));
    let payer = authorized.as_ref().map_or(Payer::Stranger, |payer| *payer);
    let stranger = match payer {
        Payer::Client => None,
        Payer::Stranger => match connection.admit_stranger() {
            Some(stranger) => Some(stranger),
            None => return observation.refuse(),
        },
    };
    let outcome = match authorized {
        Ok(_) => {
            let handled = async {
                if payer == Payer::Client {
                    headers::check(&head.method, &head.headers)?;
                }
                handler(Arc::clone(&connection), head, body).await
            };
            let outcome = AssertUnwindSafe(handled).catch_unwind().await;
            outcome.unwrap_or_else(|_| Err(Problem::internal("a handler has panicked")))
        }
        Err(problem) => {
            drop((head, body));
            Err(problem)
        }
    };
    let outcome = match outcome {
        Ok(response) => shared.charge_response(&connection, response, payer).await,
        problem => problem,
    };
    let mut response = observation.answered(outcome);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(HeaderValue::from_str(&observation.request_id).ok().map(|id| (STRONGROOM_REQUEST_ID, id)));
    if method == Method::HEAD {
        return response.map(|_| Body::empty());
    }
    response.map(|content| content.send(&shared, (under_way, stranger), route, observation.request_id.clone()))
}

impl Shared {
    fn authorize(&self, connection: &Connection, headers: &HeaderMap, scope: Option<Scope>) -> Result<Payer, Problem> {
        let Some(scope) = scope else { return Ok(Payer::Stranger) };
        if let Some(tokens) = &self.tokens {
            headers::check_single(headers, &AUTHORIZATION)?;
            tokens.check(headers, scope)?;
        }
        connection.authenticate();
        Ok(Payer::Client)
    }
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
        let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
        let known = [JSON, OCTET_STREAM].into_iter().find(|known| essence.trim().eq_ignore_ascii_case(known))?;
        // Text in another encoding would be taken for what it is not.
        let other_charset =
            parameters.split(';').filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
                name.trim().eq_ignore_ascii_case("charset")
                    && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            });
        (!other_charset).then_some(known)
    }

    /// Works on the storage.
    pub(crate) fn run<T, E, W>(
        &self,
        effect: Effect,
        work: W,
    ) -> impl Future<Output = Result<T, Problem>> + Send + use<B, T, E, W>
    where
        B: Backend,
        T: Send + 'static,
        E: Send + 'static,
        W: FnOnce(&B) -> Result<T, E> + Send + 'static,
        Problem: From<E>,
    {
        let (backend, threads) = (Arc::clone(&self.backend), self.shared.threads.clone());
        async move { Ok(threads.run(effect, move || work(&backend)).await??) }
    }

    /// Room for an answer of so many bytes, before it is made.
    pub(crate) fn charge(&self, bytes: u64) -> impl Future<Output = Result<Held, Problem>> + Send + use<B> {
        let (shared, connection) = (Arc::clone(&self.shared), Arc::clone(&self.connection));
        async move { shared.charge(&connection, bytes, Payer::Client).await }
    }

    /// The answer's body with `len` bytes of `source`.
    pub(crate) async fn stream(&mut self, source: OnThread<impl Source>, len: u64) -> Result<Content, Problem> {
        let mut held = self.charge(body::charge_of(len)).await?;
        let body = body::stream(source, len, &self.shared.long, &mut held).await?;
        Ok(Content::new(body, held))
    }
}

pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    let mut response = text(JSON, value.to_string());
    *response.status_mut() = status;
    response
}

pub(crate) fn text(media_type: &'static str, body: impl Into<Content>) -> Response {
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
    let mut response = Response::new(Content::default());
    *response.status_mut() = status;
    response
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
