//! The page for operators, on a listener of its own: one static page, and the status that it shows. The page has no
//! data; it gets the status with the operator's token, where one is needed.

mod expiry;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use hyper::StatusCode;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use strongroom::protocol::names::JSON;

use crate::handle::handle;
use crate::problem::Problem;
use crate::response::{json, text};
use crate::route::Access;
use crate::shared::Shared;
use crate::tokens::bound_namespace::BoundNamespace;
use crate::tokens::scope::Scope;

pub(crate) use status::Node;

const STATUS: &str = "/admin/status";

/// The files of the page: path, type and content.
const FILES: [(&str, &str, &str); 5] = [
    ("/", "text/html; charset=utf-8", include_str!("page.html")),
    ("/admin/page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("/admin/page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
    ("/admin/icon.svg", "image/svg+xml", include_str!("icon.svg")),
    ("/openapi.json", JSON, include_str!("../../openapi/admin.json")),
];

/// The browser loads only the files above, runs only the script among them, and inserts no text as HTML: names and
/// addresses come from other nodes. No other site can show the page in a frame or read its answers.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
             trusted-types 'none'",
        ),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// The routes of the listener for operators. Only users of this machine can connect to a local one: the status then
/// needs no token.
pub(crate) fn router(shared: &Arc<Shared>, node: &Arc<Node>, is_local: bool) -> Router {
    let mut router = Router::new();
    for (path, media_type, content) in FILES {
        let shared = Arc::clone(shared);
        let file = move |request| async move {
            with_headers(
                handle(shared, path, Access::Everybody, request, |_, _, _| async { Ok(text(media_type, content)) })
                    .await,
            )
        };
        router = router.route(path, get(file));
    }
    let access = if is_local { Access::Everybody } else { Access::Scope(Scope::Monitor) };
    let (of_status, node) = (Arc::clone(shared), Arc::clone(node));
    let status = move |request| async move {
        let shared = Arc::clone(&of_status);
        let handler = |_, head: hyper::http::request::Parts, _| async move {
            if head.extensions.get::<BoundNamespace>().is_some() {
                return Err(Problem::other_namespace());
            }
            Ok(json(StatusCode::OK, &node.status(&shared).await))
        };
        with_headers(handle(of_status, STATUS, access, request, handler).await)
    };
    let (no_path, no_method) = (Arc::clone(shared), Arc::clone(shared));
    router
        .route(STATUS, get(status))
        .fallback(|request| refuse(no_path, request, || Problem::no_such_path("the operators' page")))
        .method_not_allowed_fallback(|request| refuse(no_method, request, Problem::no_such_method))
}

async fn refuse(shared: Arc<Shared>, request: Request, problem: fn() -> Problem) -> hyper::Response<Body> {
    with_headers(handle(shared, "unknown", Access::Everybody, request, |_, _, _| async move { Err(problem()) }).await)
}

fn with_headers(mut response: hyper::Response<Body>) -> hyper::Response<Body> {
    response.headers_mut().extend(HEADERS);
    response
}
