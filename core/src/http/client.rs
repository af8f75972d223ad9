//! The HTTP client of a service.

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use hyper::header::AUTHORIZATION;
use hyper::{Request, Uri};
use tokio::sync::{mpsc, oneshot};

use super::endpoint::Endpoint;
use super::exchange::send;
use super::failure::Failure;
use super::invalid_endpoint::InvalidEndpoint;
use super::request::{ApiRequest, OutgoingBody, Pieces};
use super::response::{ApiResponse, StreamingResponse, accepted};
use super::retry::{ATTEMPTS, Retries, RetryPolicy};
use super::service::Service;
use super::services::{Choice, InFlight, Services};
use super::timing::{IdleTimer, TimeBudget};
use super::upload::StreamingRequest;
use crate::protocol::nodes::Role;
use crate::util::interrupt;
use crate::util::runtime::Runtime;

/// A service, or several ones of one store, and the connections to them.
pub(crate) struct HttpClient {
    endpoint: Endpoint,
    /// `None` only during the drop.
    services: Option<Arc<Services>>,
    closed: AtomicBool,
    runtime: Runtime,
}

impl HttpClient {
    /// A client of services with this role.
    pub(crate) fn open(endpoint: &Endpoint, role: Role) -> Result<Self, InvalidEndpoint> {
        Ok(Self {
            services: Some(Arc::new(Services::open(endpoint, role)?)),
            closed: AtomicBool::new(false),
            runtime: Runtime::start("strongroom-http").map_err(InvalidEndpoint::Thread)?,
            endpoint: endpoint.clone(),
        })
    }

    pub(crate) fn close(&self) -> Result<(), Failure> {
        self.runtime.check_process()?;
        self.closed.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn check_open(&self) -> Result<(), Failure> {
        self.runtime.check_process()?;
        if self.closed.load(Ordering::Acquire) { Err(Failure::Closed) } else { Ok(()) }
    }

    /// The deadline of a call that begins now.
    pub(crate) fn end(&self) -> Instant {
        Instant::now() + self.endpoint.time()
    }

    /// The answer to a request that changes nothing. An error answer is [`Failure::Problem`].
    pub(crate) fn read(&self, request: &ApiRequest, end: Instant) -> Result<ApiResponse, Failure> {
        self.call(request, RetryPolicy::Idempotent, end).0
    }

    /// The answer to a request that changes something, and whether an earlier attempt with an unknown outcome may have
    /// succeeded.
    pub(crate) fn write(
        &self,
        request: &ApiRequest,
        policy: RetryPolicy,
        end: Instant,
    ) -> (Result<ApiResponse, Failure>, bool) {
        let (outcome, lost) = self.call(request, policy, end);
        (if lost { outcome.map_err(Failure::after_lost) } else { outcome }, lost)
    }

    fn call(&self, request: &ApiRequest, policy: RetryPolicy, end: Instant) -> (Result<ApiResponse, Failure>, bool) {
        self.with_retries(policy, end, |attempt| {
            let (response, max_len) = (self.attempt(attempt, request, end, None)?, request.max_len);
            self.runtime.call(async move { accepted(response.await?.all(max_len).await?) })
        })
    }

    /// Repeats `attempt`, at another service if there is one.
    fn with_retries<T>(
        &self,
        policy: RetryPolicy,
        end: Instant,
        attempt: impl Fn(&InFlight) -> Result<T, Failure>,
    ) -> (Result<T, Failure>, bool) {
        let Some(services) = &self.services else { return (Err(Failure::Closed), false) };
        let choice = Choice::new(services, &self.runtime);
        let mut retries = Retries::new(policy, self.endpoint.time(), end, Instant::now());
        loop {
            let outcome = self.check_open().and_then(|()| self.attempt_at(&choice, &attempt));
            let pause = match interrupt::was_interrupted() {
                true => None,
                false => retries.pause(&outcome, Instant::now(), || choice.may_retry(&outcome)),
            };
            let Some(pause) = pause else { return (outcome, retries.is_lost()) };
            services.upstreams().count_retry(&outcome);
            if !pause.is_zero() {
                interrupt::sleep(pause);
            }
        }
    }

    /// One attempt, at the service that `choice` chooses.
    fn attempt_at<T>(
        &self,
        choice: &Choice<'_>,
        attempt: impl Fn(&InFlight) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let chosen = choice.next()?;
        let outcome = choice.check(&chosen).and_then(|()| attempt(&chosen));
        chosen.note(&outcome);
        choice.note(chosen.service(), outcome)
    }

    /// The total time to wait for an answer that is read piece by piece.
    pub(crate) fn time_budget(&self) -> TimeBudget {
        TimeBudget::new(self.endpoint.time())
    }

    /// As [`call`](Self::call), for an answer that [`next`](Self::next) reads piece by piece.
    pub(crate) fn begin(&self, request: &ApiRequest, policy: RetryPolicy) -> Result<StreamingResponse, Failure> {
        let end = self.end();
        let (outcome, _) = self.with_retries(policy, end, |attempt| {
            let response = self.attempt(attempt, request, end, Some(self.time_budget()))?;
            self.runtime.wait(async move {
                let response = response.await?;
                if response.status.is_success() {
                    return Ok(response);
                }
                Err(accepted(response.all(0).await?).err().unwrap_or(Failure::ProtocolViolation))
            })
        });
        outcome
    }

    /// The next bytes of an answer, and the answer.
    pub(crate) fn next(&self, mut answer: StreamingResponse) -> Result<(StreamingResponse, Option<Bytes>), Failure> {
        self.check_open()?;
        self.runtime.wait(async move {
            let piece = answer.next().await?;
            Ok((answer, piece))
        })
    }

    /// Begins a request whose body comes piece by piece. With several services, waits until one accepts the connection:
    /// later, the body cannot be sent again.
    pub(crate) fn upload(&self, request: &ApiRequest) -> Result<StreamingRequest, Failure> {
        let services = self.services.as_ref().ok_or(Failure::Closed)?;
        let choice = Choice::new(services, &self.runtime);
        loop {
            self.check_open()?;
            let attempt = choice.next()?;
            if !services.are_several() {
                return self.begin_upload(attempt, request);
            }
            let service = Arc::clone(attempt.service());
            let begun = match choice.check(&attempt) {
                Ok(()) => self.begin_upload(attempt, request),
                Err(failure) => Err(failure),
            };
            let outcome = begun.and_then(|begun| self.runtime.wait(begun.connected()));
            let outcome = choice.note(&service, outcome);
            let is_undone = matches!(outcome, Err(Failure::NotSent(_) | Failure::Untrusted(_)));
            if !is_undone || !choice.may_retry(&outcome) || interrupt::was_interrupted() {
                return outcome;
            }
            services.upstreams().count_retry(&outcome);
        }
    }

    fn begin_upload(&self, attempt: InFlight, request: &ApiRequest) -> Result<StreamingRequest, Failure> {
        let (pieces, inbox) = mpsc::channel(1);
        let (connecting, connected) = oneshot::channel();
        let (outbox, answer) = oneshot::channel();
        let idle = IdleTimer::new(self.endpoint.time());
        let body = Pieces { inbox, connected: Some(connecting), idle: idle.clone() };
        let sent = self.request(attempt.service(), request, OutgoingBody::Pieces(body))?;
        let exchange = send(attempt.service().once.clone(), sent, idle.clone(), self.time_budget());
        let max_len = request.max_len;
        self.runtime.spawn(async move {
            let answer = async { accepted(exchange.await?.all(max_len).await?) }.await;
            attempt.note(&answer);
            let _ = outbox.send(answer); // fails if the upload was abandoned
        });
        Ok(StreamingRequest { pieces, connected, answer, idle })
    }

    /// Sends a piece. An answer before the end of the body is a failure, and the service did nothing.
    pub(crate) fn push(&self, request: StreamingRequest, piece: Bytes) -> Result<StreamingRequest, Failure> {
        self.check_open()?;
        self.runtime.wait(request.push(Some(piece)))
    }

    /// Ends the body, and waits for the answer.
    pub(crate) fn finish(&self, request: StreamingRequest) -> Result<ApiResponse, Failure> {
        self.check_open()?;
        self.runtime.wait(request.finish())
    }

    /// A future that sends the request once. Without a `budget`, it waits for the answer until `end`.
    fn attempt(
        &self,
        attempt: &InFlight,
        request: &ApiRequest,
        end: Instant,
        budget: Option<TimeBudget>,
    ) -> Result<impl Future<Output = Result<StreamingResponse, Failure>> + Send + use<>, Failure> {
        let left = end.saturating_duration_since(Instant::now());
        let idle = IdleTimer::new(left.min(self.endpoint.time() / ATTEMPTS + request.work));
        let service = attempt.service();
        let sent = self.request(service, request, OutgoingBody::Whole(request.body.clone(), idle.clone()))?;
        Ok(send(service.kept.clone(), sent, idle, budget.unwrap_or(TimeBudget::new(left))))
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
        let authorization = self.services.as_ref().and_then(|services| services.authorization());
        sent.headers_mut().extend(authorization.map(|value| (AUTHORIZATION, value)));
        Ok(sent)
    }
}

impl Drop for HttpClient {
    fn drop(&mut self) {
        if self.runtime.check_process().is_err() {
            // The connections belong to the parent, and its thread may have held their locks at the fork.
            let _ = ManuallyDrop::new(self.services.take());
        }
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.endpoint, f)
    }
}
