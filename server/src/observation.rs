//! The log line of a request, its count in the metrics by route and outcome, and its line in the audit log. They contain
//! no data from the client.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::body::Body;
use hyper::{Method, StatusCode};
use tokio::sync::watch;

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

/// A request's log line, metrics and line in the audit log, recorded even if the client disconnected before the end of
/// the answer.
pub(crate) struct Observation {
    shared: Arc<Shared>,
    route: &'static str,
    method: Method,
    pub(crate) request_id: String,
    start: Instant,
    progress: Progress,
    /// Whether the request is a probe, or another one that everybody may send.
    is_public: bool,
    pub(crate) connection: Option<Arc<Connection>>,
    /// The name of the request's token.
    pub(crate) token: Option<Arc<str>>,
    pub(crate) record: AuditedRecord,
    in_flight: Option<Counted>,
    /// The stop of the service waits until this is dropped.
    _observed: watch::Receiver<()>,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug)]
enum Progress {
    Unanswered,
    /// The answer has begun.
    Answered {
        status: u16,
        error: Option<&'static str>,
    },
    Over,
}

impl Observation {
    pub(crate) fn new(shared: &Arc<Shared>, route: &'static str, access: Access, method: Method) -> Self {
        Self {
            request_id: shared.request_ids.next(),
            start: Instant::now(),
            progress: Progress::Unanswered,
            is_public: access == Access::Everybody,
            connection: None,
            token: None,
            record: AuditedRecord::default(),
            in_flight: Some(Counted::new(&shared.metrics.in_flight)),
            _observed: shared.observed.subscribe(),
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
        let (status, micros) = self.count(response.status(), error);
        (self.progress, self.in_flight) = (Progress::Answered { status, error }, None);
        let (request_id, route) = (self.request_id.as_str(), self.route);
        let (peer, token) = (self.peer(), self.token.as_deref());
        if status >= 500 {
            tracing::error!(target: "strongroom", request_id, route, status, micros, error, cause, peer, token, "answered");
        } else if self.is_public && status < 400 {
            tracing::debug!(target: "strongroom", request_id, route, status, micros, peer, "answered");
        } else {
            tracing::info!(target: "strongroom", request_id, route, status, micros, error, peer, token, "answered");
        }
        response
    }

    /// Ends the observation: the answer was sent.
    pub(crate) fn sent(mut self) {
        if let Progress::Answered { status, error } = std::mem::replace(&mut self.progress, Progress::Over) {
            self.audit(status, error);
        }
    }

    /// Ends the observation: `problem` has cut the answer.
    pub(crate) fn failed(mut self, problem: Problem) {
        if let Progress::Answered { status, .. } = std::mem::replace(&mut self.progress, Progress::Over) {
            self.cut(status, problem);
        }
    }

    /// Records that this service has cut the answer, or the request before it.
    fn cut(&self, status: u16, problem: Problem) {
        let (error, cause) = (problem.title, problem.cause);
        self.shared.metrics.count_error(error);
        let (request_id, route) = (self.request_id.as_str(), self.route);
        let (peer, token) = (self.peer(), self.token.as_deref());
        tracing::error!(target: "strongroom", request_id, route, error, cause, peer, token, "the answer was cut");
        self.audit(status, Some(error));
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
        self.sent();
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
        let (request_id, route) = (self.request_id.as_str(), self.route);
        let (peer, token) = (self.peer(), self.token.as_deref());
        match (self.progress, self.shared.is_stopped()) {
            (Progress::Over, _) => {}
            (Progress::Unanswered, true) => {
                let (status, _) = self.count(StatusCode::SERVICE_UNAVAILABLE, None);
                self.cut(status, Problem::stopped());
            }
            (Progress::Unanswered, false) => {
                let (status, micros) = self.count(StatusCode::from_u16(CLIENT_GONE).unwrap_or_default(), None);
                tracing::info!(target: "strongroom", request_id, route, status, micros, peer, token, "the client gave up");
                self.audit(status, Some("ClientGone"));
            }
            (Progress::Answered { status, .. }, true) => self.cut(status, Problem::stopped()),
            (Progress::Answered { status, error }, false) => {
                self.shared.metrics.cut.fetch_add(1, Ordering::Relaxed);
                let message = "the client did not take the answer to its end";
                tracing::info!(target: "strongroom", request_id, route, peer, token, "{message}");
                self.audit(status, error.or(Some("ClientGone")));
            }
        }
    }
}

/// Marks an answer that HTTP/2 replaces with a refused stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefusedStream;
