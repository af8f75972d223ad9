//! An answer before it is sent: its content, and the memory that it reserves.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use hyper::body::Body as _;
use tokio::sync::OwnedSemaphorePermit;

use crate::concurrency_limit::ConcurrencyLimit;
use crate::problem::Problem;
use crate::shared::Shared;

/// The answer of a handler.
pub(crate) type Response = hyper::Response<Content>;

/// An answer's body, and the permits that it holds until it is sent.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(super) body: Body,
    pub(super) permits: Permits,
}

/// Permits, each with its limit, at which other requests may wait.
#[derive(Debug, Default)]
pub(crate) struct Permits(Vec<(OwnedSemaphorePermit, Option<Arc<ConcurrencyLimit>>)>);

impl Permits {
    pub(crate) fn add(&mut self, permit: OwnedSemaphorePermit, limit: Option<&Arc<ConcurrencyLimit>>) {
        self.0.push((permit, limit.cloned()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether other requests wait for one of these permits.
    pub(super) fn are_contended(&self) -> bool {
        self.0.iter().any(|(_, limit)| limit.as_ref().is_some_and(|limit| limit.waiting() > 0))
    }
}

impl From<OwnedSemaphorePermit> for Permits {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self(vec![(permit, None)])
    }
}

impl<B: Into<Body>> From<B> for Content {
    fn from(body: B) -> Self {
        Self { body: body.into(), permits: Permits::default() }
    }
}

impl Content {
    pub(crate) fn new(body: impl Into<Body>, permits: Permits) -> Self {
        Self { body: body.into(), permits }
    }

    /// The body's length, which is always known.
    pub(crate) fn len(&self) -> u64 {
        self.body.size_hint().lower()
    }

    pub(crate) fn has_permits(&self) -> bool {
        !self.permits.is_empty()
    }

    pub(crate) fn with_permits(self, permits: Permits) -> Self {
        Self { permits, ..self }
    }
}

/// The source of an answer's body failed. The failure is logged and counted on drop, if the answer has not taken it.
#[derive(thiserror::Error)]
#[error("the source of the answer failed")]
pub(super) struct SourceFailed {
    problem: Option<Problem>,
    shared: Arc<Shared>,
}

impl SourceFailed {
    pub(super) fn new(problem: Problem, shared: Arc<Shared>) -> Self {
        Self { problem: Some(problem), shared }
    }

    pub(super) fn into_problem(mut self) -> Option<Problem> {
        self.problem.take()
    }
}

impl fmt::Debug for SourceFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.problem, f)
    }
}

impl Drop for SourceFailed {
    fn drop(&mut self) {
        if let Some(problem) = self.problem.take() {
            let (error, cause) = (problem.title, problem.cause);
            self.shared.metrics.count_error(error);
            tracing::error!(target: "strongroom", error, cause, "the source of an answer failed, which the client left");
        }
    }
}

/// The answer could not be sent completely.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut")]
pub(crate) struct Cut;
