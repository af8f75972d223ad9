//! The requests of a call, with retries, on the connections that all calls share. The futures run on the client's
//! runtime.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::header::AUTHORIZATION;
use hyper::{Request, Uri};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use super::endpoint::Endpoint;
use super::exchange::send_to_service;
use super::failure::Failure;
use super::invalid_endpoint::InvalidEndpoint;
use super::request::{ApiRequest, OutgoingBody, Pieces};
use super::response::{ApiResponse, StreamingResponse, accepted};
use super::retry::{ATTEMPTS, Retries, RetryPolicy};
use super::service::Service;
use super::services::{Choice, InFlight, Services};
use super::timing::{IdleTimer, TimeBudget};
use super::upload::{Channels, StreamingRequest};
use crate::protocol::nodes::Role;
use crate::util::fork_check::ProcessOwned;
use crate::util::runtime::Unfinished;

/// The connections to the services of an endpoint.
pub(super) struct Connections {
    endpoint: Endpoint,
    services: Arc<Services>,
    closed: AtomicBool,
}

impl Connections {
    pub(super) fn open(endpoint: &Endpoint, role: Role) -> Result<Self, InvalidEndpoint> {
        let services = Arc::new(Services::open(endpoint, role)?);
        Ok(Self { endpoint: endpoint.clone(), services, closed: AtomicBool::new(false) })
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(super) fn check_open(&self) -> Result<(), Failure> {
        if self.closed.load(Ordering::Acquire) { Err(Failure::Closed) } else { Ok(()) }
    }

    /// The time limit of a call.
    pub(super) fn time(&self) -> Duration {
        self.endpoint.time()
    }

    fn request(
        &self,
        service: &Service,
        request: &ApiRequest,
        body: OutgoingBody,
    ) -> Result<Request<OutgoingBody>, Failure> {
        let not_sent = |error: hyper::http::Error| Failure::NotSent(error.into());
        let uri = Uri::try_from(service.base.clone() + &request.path).map_err(|error| not_sent(error.into()))?;
        let mut sent = Request::builder().method(request.method.clone()).uri(uri).body(body).map_err(not_sent)?;
        sent.headers_mut().extend(request.headers.iter().cloned());
        sent.headers_mut().extend(self.services.authorization().map(|value| (AUTHORIZATION, value)));
        Ok(sent)
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.endpoint, f)
    }
}

/// The requests of one call.
#[derive(Clone)]
pub(crate) struct Exchanges {
    connections: Arc<Connections>,
    /// Whether a service may have received a request that changes something, and the outcome is unknown.
    may_be_done: Arc<AtomicBool>,
}

impl Exchanges {
    pub(super) fn new(connections: Arc<Connections>) -> Self {
        Self { connections, may_be_done: Arc::default() }
    }

    /// The deadline of a call that begins now.
    pub(crate) fn end(&self) -> Instant {
        Instant::now() + self.connections.time()
    }

    /// The failure of a call without an outcome of its own.
    pub(super) fn failure(&self, unfinished: Unfinished) -> Failure {
        match unfinished {
            Unfinished::Interrupted if !self.may_be_done.load(Ordering::Relaxed) => Failure::Interrupted,
            unfinished => unfinished.into(),
        }
    }

    /// The outcome of a call.
    pub(super) fn own<T>(&self, outcome: Result<T, Unfinished>) -> Result<T, Failure> {
        outcome.map_err(|unfinished| self.failure(unfinished))
    }

    /// The answer to a request that changes nothing. An error answer is [`Failure::Problem`].
    pub(crate) async fn read(&self, request: &ApiRequest, end: Instant) -> Result<ApiResponse, Failure> {
        self.call(request, RetryPolicy::Idempotent, end, false).await.0
    }

    /// The answer to a request that changes something, and whether an earlier attempt with an unknown outcome may have
    /// succeeded.
    pub(crate) async fn write(
        &self,
        request: &ApiRequest,
        policy: RetryPolicy,
        end: Instant,
    ) -> (Result<ApiResponse, Failure>, bool) {
        let (outcome, lost) = self.call(request, policy, end, true).await;
        let are_several = self.connections.services.are_several();
        (if lost { outcome.map_err(|failure| failure.after_lost(are_several)) } else { outcome }, lost)
    }

    async fn call(
        &self,
        request: &ApiRequest,
        policy: RetryPolicy,
        end: Instant,
        changes: bool,
    ) -> (Result<ApiResponse, Failure>, bool) {
        let max_len = request.max_len;
        let all = |response: StreamingResponse| async move { accepted(response.all(max_len).await?) };
        let budget = || TimeBudget::new(end.saturating_duration_since(Instant::now()));
        self.with_retries(request, policy, end, changes, budget, all).await
    }

    /// As [`read`](Self::read), or for [`RetryPolicy::UnlessDone`] as [`write`](Self::write), for an answer that is
    /// read piece by piece.
    pub(super) async fn begin(&self, request: &ApiRequest, policy: RetryPolicy) -> Result<StreamingResponse, Failure> {
        let beginning = |response: StreamingResponse| async move {
            if response.status.is_success() {
                return Ok(response);
            }
            Err(accepted(response.all(0).await?).err().unwrap_or(Failure::ProtocolViolation))
        };
        let budget = || TimeBudget::new(self.connections.time());
        let changes = policy == RetryPolicy::UnlessDone;
        self.with_retries(request, policy, self.end(), changes, budget, beginning).await.0
    }

    /// Sends a request until an attempt succeeds or fails for good, at another service if there is one. `finish` gets
    /// the answer, whose time limit is a `budget`.
    async fn with_retries<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        request: &ApiRequest,
        policy: RetryPolicy,
        end: Instant,
        changes: bool,
        budget: impl Fn() -> TimeBudget,
        finish: impl Fn(StreamingResponse) -> F,
    ) -> (Result<T, Failure>, bool) {
        let Connections { endpoint, services, .. } = &*self.connections;
        let mut choice = Choice::new(Arc::clone(services));
        let mut retries = Retries::new(policy, endpoint.time(), end, Instant::now());
        let mut last_problem = None;
        loop {
            self.may_be_done.store(changes, Ordering::Relaxed);
            let outcome = match self.connections.check_open() {
                Ok(()) => self.attempt(&mut choice, request, end, &budget, &finish).await,
                Err(closed) => Err(closed),
            };
            if outcome.is_err() {
                services.update().await; // the attempt may have found more addresses of a name
            }
            let pause = retries.pause(&outcome, Instant::now(), || choice.elsewhere(&outcome));
            let Some(pause) = pause else {
                // A read that ran out of time fails for the reason of its last answer.
                let outcome = outcome.map_err(|failure| match last_problem {
                    Some(problem) if !changes && failure.is_too_late() => Failure::Problem(problem),
                    _ => failure,
                });
                return (outcome, retries.is_lost());
            };
            self.may_be_done.store(changes && retries.is_lost(), Ordering::Relaxed);
            services.upstreams().count_retry(&outcome);
            if let Err(Failure::Problem(problem)) = outcome {
                last_problem = Some(problem);
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// One attempt, at the service that `choice` chooses.
    async fn attempt<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        choice: &mut Choice,
        request: &ApiRequest,
        end: Instant,
        budget: impl Fn() -> TimeBudget,
        finish: impl Fn(StreamingResponse) -> F,
    ) -> Result<T, Failure> {
        let mut chosen = choice.next().await?;
        let service = Arc::clone(chosen.service());
        let outcome = async {
            choice.check(&service).await?;
            let left = end.saturating_duration_since(Instant::now());
            let idle = IdleTimer::new(left.min(self.connections.time() / ATTEMPTS + request.work));
            let body = OutgoingBody::Whole(request.body.clone(), idle.clone());
            let sent = self.connections.request(&service, request, body)?;
            finish(send_to_service(service.kept.clone(), sent, idle, budget()).await?).await
        };
        let outcome = outcome.await;
        chosen.note(&outcome);
        choice.note(&service, outcome)
    }

    /// Begins a request whose body comes piece by piece, with retries until a service accepts the connection: later,
    /// the body cannot be sent again.
    pub(super) async fn upload(&self, request: &ApiRequest) -> Result<StreamingRequest, Failure> {
        let services = &self.connections.services;
        let mut choice = Choice::new(Arc::clone(services));
        let end = self.end();
        let mut retries = Retries::new(RetryPolicy::UnlessDone, self.connections.time(), end, Instant::now());
        loop {
            let outcome = self.begin_upload(&mut choice, request, end).await;
            if outcome.is_err() {
                services.update().await; // as above
            }
            let pause = retries.pause(&outcome, Instant::now(), || choice.elsewhere(&outcome));
            let Some(pause) = pause else { return outcome };
            services.upstreams().count_retry(&outcome);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// One attempt of [`upload`](Self::upload), at the service that `choice` chooses.
    async fn begin_upload(
        &self,
        choice: &mut Choice,
        request: &ApiRequest,
        end: Instant,
    ) -> Result<StreamingRequest, Failure> {
        self.connections.check_open()?;
        let attempt = choice.next().await?;
        let service = Arc::clone(attempt.service());
        let begun = async {
            choice.check(&service).await?;
            self.send_pieces(attempt, request)?.connected().await
        };
        let begun = timeout_at(end.into(), begun).await;
        choice.note(&service, begun.unwrap_or_else(|_| Err(Failure::too_late().before_end())))
    }

    fn send_pieces(&self, mut attempt: InFlight, request: &ApiRequest) -> Result<StreamingRequest, Failure> {
        let (pieces, inbox) = mpsc::channel(1);
        let (connecting, connected) = oneshot::channel();
        let (outbox, answer) = oneshot::channel();
        let time = self.connections.time();
        let idle = IdleTimer::new(time);
        let body = OutgoingBody::Pieces(Pieces { inbox, connected: Some(connecting), idle: idle.clone() });
        let sent = self.connections.request(attempt.service(), request, body)?;
        let exchange = send_to_service(attempt.service().once.clone(), sent, idle.clone(), TimeBudget::new(time));
        let max_len = request.max_len;
        tokio::spawn(async move {
            let answer = async { accepted(exchange.await?.all(max_len).await?) }.await;
            attempt.note(&answer);
            let _ = outbox.send(answer); // fails if the upload was abandoned
        });
        Ok(StreamingRequest { channels: ProcessOwned::new(Channels { pieces, connected, answer }), idle })
    }
}
