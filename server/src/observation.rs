//! The log line of a request, and its count in the metrics by route and outcome. They contain no data from the client.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use hyper::{Method, StatusCode};

use crate::audit::{AuditedRecord, AuditedRequest};
use crate::body::unsent_answer::Response;
use crate::connection::Connection;
use crate::counted::Counted;
use crate::problem::Problem;
use crate::response;
use crate::route::Access;
use crate::shared::Shared;

/// The status in the log and the metrics if the client disconnected before the answer.
const CLIENT_GONE: u16 = 499;

/// A request's log line and metrics, recorded even if the client disconnected before the answer.
pub(crate) struct Observation {
    shared: Arc<Shared>,
    route: &'static str,
    method: Method,
    pub(crate) request_id: String,
    start: Instant,
    answered: bool,
    /// Whether the request is a probe, or another one that everybody may send.
    is_public: bool,
    pub(crate) connection: Option<Arc<Connection>>,
    /// The name of the request's token.
    pub(crate) token: Option<Arc<str>>,
    pub(crate) record: AuditedRecord,
    _in_flight: Counted,
}

impl Observation {
    pub(crate) fn new(shared: &Arc<Shared>, route: &'static str, access: Access, method: Method) -> Self {
        Self {
            request_id: shared.request_ids.next(),
            start: Instant::now(),
            answered: false,
            is_public: access == Access::Everybody,
            connection: None,
            token: None,
            record: AuditedRecord::default(),
            _in_flight: Counted::new(&shared.metrics.in_flight),
            shared: Arc::clone(shared),
            route,
            method,
        }
    }

    pub(crate) fn answered(&mut self, outcome: Result<Response, Problem>) -> Response {
        let (response, error, cause) = match outcome {
            Ok(response) => (response, None, None),
            Err(mut problem) => {
                let (error, cause) = (problem.title, problem.cause.take());
                (response::problem(problem), Some(error), cause)
            }
        };
        self.answered = true;
        let (status, micros) = self.count(response.status(), error);
        let (request_id, route) = (self.request_id.as_str(), self.route);
        let (peer, token) = (self.peer(), self.token.as_deref());
        if status >= 500 {
            tracing::error!(target: "strongroom", request_id, route, status, micros, error, cause, peer, token, "answered");
        } else if self.is_public && status < 400 {
            tracing::debug!(target: "strongroom", request_id, route, status, micros, peer, "answered");
        } else {
            tracing::info!(target: "strongroom", request_id, route, status, micros, error, peer, token, "answered");
        }
        self.audit(status, error);
        response
    }

    fn peer(&self) -> Option<&str> {
        self.connection.as_ref()?.client().map(|client| client.peer.as_str())
    }

    fn audit(&self, status: u16, error: Option<&'static str>) {
        let Some(audit) = self.shared.audit.as_ref().filter(|_| !self.is_public) else { return };
        audit.record(&AuditedRequest {
            request_id: &self.request_id,
            client: self.connection.as_ref().and_then(|connection| connection.client()),
            token: self.token.as_deref(),
            method: &self.method,
            route: self.route,
            record: &self.record,
            status,
            error,
        });
    }

    /// Refuses the stream, because there are too many requests without a valid token.
    pub(crate) fn refuse(mut self) -> hyper::Response<Body> {
        let mut response = self.answered(Err(Problem::refused())).map(|_| Body::empty());
        response.extensions_mut().insert(RefusedStream);
        response
    }

    fn count(&self, status: StatusCode, error: Option<&'static str>) -> (u16, u64) {
        let duration = self.start.elapsed();
        self.shared.metrics.count(self.route, &self.method, status, error, duration);
        (status.as_u16(), u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let (status, micros) = self.count(StatusCode::from_u16(CLIENT_GONE).unwrap_or_default(), None);
        let (request_id, route) = (self.request_id.as_str(), self.route);
        let (peer, token) = (self.peer(), self.token.as_deref());
        tracing::info!(target: "strongroom", request_id, route, status, micros, peer, token, "the client gave up");
        self.audit(status, Some("ClientGone"));
    }
}

/// Marks an answer that HTTP/2 replaces with a refused stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefusedStream;
