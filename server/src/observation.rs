//! The log line and the metrics of a request. They contain no data from the client.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use hyper::{Method, StatusCode};

use crate::body::unsent_answer::Response;
use crate::counted::Counted;
use crate::problem::Problem;
use crate::response;
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
    _in_flight: Counted,
}

impl Observation {
    pub(crate) fn new(shared: &Arc<Shared>, route: &'static str, method: Method) -> Self {
        Self {
            request_id: shared.request_ids.next(),
            start: Instant::now(),
            answered: false,
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
        if status >= 500 {
            tracing::error!(target: "strongroom", request_id, route, status, micros, error, cause, "answered");
        } else {
            tracing::info!(target: "strongroom", request_id, route, status, micros, error, "answered");
        }
        response
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
        tracing::info!(target: "strongroom", request_id, route, status, micros, "the client gave up");
    }
}

/// Marks an answer that HTTP/2 replaces with a refused stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefusedStream;
