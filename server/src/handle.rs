//! The steps of each request around its handler: host, token, scope and limits before, headers, metrics and the log
//! line after.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use futures_util::FutureExt;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Version};
use strongroom::protocol::names::{
    STRONGROOM_ID, STRONGROOM_KEY, STRONGROOM_NAMESPACE, STRONGROOM_NEW_KEY, STRONGROOM_REQUEST_ID,
};

use crate::answer_memory::Requester;
use crate::body::answer;
use crate::body::request::RequestBody;
use crate::body::unsent_answer::Response;
use crate::connection::Connection;
use crate::headers;
use crate::host::Hosts;
use crate::observation::Observation;
use crate::problem::Problem;
use crate::route::Access;
use crate::shared::Shared;
use crate::tls::CertificateNamespace;

/// Answers a request with `handler`. Host and token are checked before, and the answer's rate is controlled after it.
/// Request and answer are counted and logged, without data from the client.
pub(crate) async fn handle<F>(
    shared: Arc<Shared>,
    route: &'static str,
    access: Access,
    request: Request,
    handler: impl FnOnce(Arc<Connection>, Parts, RequestBody) -> F,
) -> hyper::Response<Body>
where
    F: Future<Output = Result<Response, Problem>>,
{
    let (mut head, body) = request.into_parts();
    let method = head.method.clone();
    let mut observation = Observation::new(&shared, route, access, method.clone());
    hide_secrets(&mut head.headers);
    let connection = head.extensions.remove::<Arc<Connection>>().unwrap_or_else(Connection::new);
    observation.connection = Some(Arc::clone(&connection));
    if shared.audit.is_some() {
        head.extensions.insert(observation.record.clone());
    }
    let under_way = connection.begin(head.version == Version::HTTP_2);
    let received = Arc::clone(&shared.metrics.received);
    let body = RequestBody::new(body, head.version, &shared.limits, received, Arc::clone(&shared.long));

    let hosts = head.extensions.get::<Hosts>().cloned();
    let known_host = hosts.map_or(Ok(()), |hosts| hosts.check(&head));
    let authorized =
        known_host.and_then(|()| authorize(&shared, &connection, &mut head, access, &mut observation.token));
    let requester = authorized.as_ref().map_or(Requester::Unauthenticated, |requester| *requester);
    let unauthenticated = match requester {
        Requester::Authenticated => None,
        Requester::Unauthenticated => match connection.admit_unauthenticated() {
            Some(request) => Some(request),
            None => return observation.refuse(),
        },
    };
    let outcome = match authorized {
        Ok(_) => {
            let handled = async {
                if requester == Requester::Authenticated {
                    headers::check(route, &head.method, &head.headers)?;
                }
                handler(Arc::clone(&connection), head, body).await
            };
            let outcome = AssertUnwindSafe(handled).catch_unwind().await;
            outcome.unwrap_or_else(|_| Err(Problem::internal("a handler panicked")))
        }
        Err(problem) => {
            drop((head, body));
            Err(problem)
        }
    };
    let outcome = match outcome {
        Ok(response) => shared.reserve_for(&connection, response, requester).await,
        problem => problem,
    };
    let mut response = observation.answered(outcome);
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.extend(HeaderValue::from_str(&observation.request_id).ok().map(|id| (STRONGROOM_REQUEST_ID, id)));
    if method == Method::HEAD {
        // The length of the answer to a GET (RFC 9110 section 8.6).
        let len = response.body().len();
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(len.into());
        observation.sent();
        return response.map(|_| Body::empty());
    }
    response.map(|content| answer::send(content, &shared, (under_way, unauthenticated), observation))
}

/// Fails if the route needs a token and the request has none with its scope. The namespace to which the token or the
/// client's certificate is bound becomes an extension of the request. `token` gets the token's name.
fn authorize(
    shared: &Shared,
    connection: &Connection,
    head: &mut Parts,
    access: Access,
    token: &mut Option<Arc<str>>,
) -> Result<Requester, Problem> {
    let scope = match access {
        Access::Everybody => return Ok(Requester::Unauthenticated),
        Access::AnyToken => None,
        Access::Scope(scope) => Some(scope),
    };
    if let Some(authentication) = &shared.authentication {
        headers::check_single(&head.headers, &AUTHORIZATION)?;
        if let Some(namespace) = authentication.check(&head.headers, scope, token)? {
            head.extensions.insert(namespace);
        }
    }
    if let Some(CertificateNamespace(namespace)) = head.extensions.remove() {
        let namespace = namespace.ok_or_else(Problem::other_namespace)?;
        if head.extensions.insert(namespace.clone()).is_some_and(|of_token| of_token != namespace) {
            return Err(Problem::other_namespace());
        }
    }
    connection.authenticate();
    Ok(Requester::Authenticated)
}

/// Marks secret headers, so that a header printed by mistake shows no secret.
fn hide_secrets(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, STRONGROOM_ID, STRONGROOM_KEY, STRONGROOM_NAMESPACE, STRONGROOM_NEW_KEY] {
        if let hyper::header::Entry::Occupied(mut entry) = headers.entry(name) {
            entry.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
}
