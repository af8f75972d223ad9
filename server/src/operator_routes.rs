//! The operators' routes of both services: health, readiness, metrics, the OpenAPI document, the nodes.

use std::sync::Arc;

use axum::routing::MethodFilter;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use strongroom::protocol::names::{self, JSON, STRONGROOM_STORE};

use crate::answer_memory::Requester;
use crate::backend::Backend;
use crate::body::unsent_answer::Response;
use crate::call::Call;
use crate::problem::Problem;
use crate::response::{json, text};
use crate::route::{Access, Route};

/// How long a client may use the list of nodes.
const NODES_AGE: HeaderValue = HeaderValue::from_static("private, max-age=10");

/// The routes of both services.
pub(crate) fn operations<B: Backend>() -> &'static [Route<B>] {
    const {
        &[
            Route {
                method: MethodFilter::GET,
                path: "/healthz",
                access: Access::Everybody,
                handler: |_| Box::pin(health()),
            },
            Route {
                method: MethodFilter::GET,
                path: "/readyz",
                access: Access::Everybody,
                handler: |call| Box::pin(ready(call)),
            },
            Route {
                method: MethodFilter::GET,
                path: "/metrics",
                access: Access::Everybody,
                handler: |call| Box::pin(metrics(call)),
            },
            Route {
                method: MethodFilter::GET,
                path: "/openapi.json",
                access: Access::Everybody,
                handler: |_| Box::pin(openapi::<B>()),
            },
            // Only in a cluster; see `Service::new`.
            Route {
                method: MethodFilter::GET,
                path: names::NODES,
                access: Access::AnyToken,
                handler: |call| Box::pin(nodes(call)),
            },
        ]
    }
}

async fn health() -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &serde_json::json!({"status": "ok"})))
}

async fn ready<B: Backend>(call: Call<B>) -> Result<Response, Problem> {
    let shared = Arc::clone(&call.shared);
    drop(call); // drops all data of a client without a token while it waits
    if shared.is_draining() {
        return Err(Problem::draining());
    }
    let store = shared.readiness.probe().await.map_err(Problem::unreachable)?;
    let mut response = json(StatusCode::OK, &serde_json::json!({"status": "ready"}));
    response.headers_mut().extend(store.and_then(|id| Some((STRONGROOM_STORE, HeaderValue::try_from(id).ok()?))));
    Ok(response)
}

async fn metrics<B>(call: Call<B>) -> Result<Response, Problem> {
    let (shared, connection) = (Arc::clone(&call.shared), Arc::clone(&call.connection));
    drop(call);
    let permits = shared.reserve(&connection, shared.metrics.text_bytes(), Requester::Unauthenticated).await?;
    let text = text("text/plain; version=0.0.4", shared.metrics_text());
    Ok(text.map(|content| content.with_permits(permits)))
}

/// The services of the cluster.
async fn nodes<B: Backend>(call: Call<B>) -> Result<Response, Problem> {
    let nodes = call.shared.nodes().ok_or_else(|| Problem::no_such_path(B::NAME))?;
    let document = serde_json::to_string(&nodes).map_err(|_| Problem::internal("the list of nodes is no JSON"))?;
    let permits = call.reserve(document.len() as u64).await?;
    let mut response = text(JSON, document).map(|content| content.with_permits(permits));
    response.headers_mut().insert(CACHE_CONTROL, NODES_AGE);
    Ok(response)
}

async fn openapi<B: Backend>() -> Result<Response, Problem> {
    Ok(text(JSON, B::OPENAPI))
}

/// Fails unless the OpenAPI document and the table have the same routes.
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
    let served =
        routes.map(|route| (route.path.to_owned(), name(route.method), route.access != Access::Everybody)).collect();
    assert_eq!(documented, served);
}
