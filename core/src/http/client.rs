//! The HTTP client of a service.

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{mpsc, oneshot};

use super::connector::Connector;
use super::endpoint::Endpoint;
use super::exchange::send;
use super::failure::Failure;
use super::invalid_endpoint::InvalidEndpoint;
use super::request::{ApiRequest, OutgoingBody};
use super::response::{ApiResponse, StreamingResponse, accepted};
use super::retry::{ATTEMPTS, RetryPolicy, with_retries};
use super::timing::{IdleTimer, TimeBudget};
use super::upload::StreamingRequest;
use crate::util::runtime::Runtime;

/// How long an idle connection is kept: less than services keep it, so that the client does not use a closed one.
const IDLE: Duration = Duration::from_secs(5);
/// The maximum number of idle connections.
const KEPT: usize = 32;

/// A service, and the connections to it.
pub(crate) struct HttpClient {
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
    /// `None` only during the drop.
    connections: Option<Connections>,
    closed: AtomicBool,
    runtime: Runtime,
}

struct Connections {
    kept: Client<Connector, OutgoingBody>,
    /// For bodies that cannot be sent again: a kept connection may have been closed by the service.
    once: Client<Connector, OutgoingBody>,
}

impl HttpClient {
    pub(crate) fn open(endpoint: &Endpoint) -> Result<Self, InvalidEndpoint> {
        let (target, attempt) = (endpoint.target()?, endpoint.time() / ATTEMPTS);
        let connector = Connector { target, time: attempt };
        let build = |kept| {
            let mut builder = Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(kept);
            builder.build(connector.clone())
        };
        Ok(Self {
            authorization: endpoint.authorization()?,
            connections: Some(Connections { kept: build(KEPT), once: build(0) }),
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
        with_retries(policy, self.endpoint.time(), end, || {
            self.check_open()?;
            let (response, max_len) = (self.attempt(request, end, None)?, request.max_len);
            self.runtime.wait(async move { accepted(response.await?.all(max_len).await?) })
        })
    }

    /// The total time to wait for an answer that is read piece by piece.
    pub(crate) fn time_budget(&self) -> TimeBudget {
        TimeBudget::new(self.endpoint.time())
    }

    /// As [`call`](Self::call), for an answer that [`next`](Self::next) reads piece by piece.
    pub(crate) fn begin(&self, request: &ApiRequest, policy: RetryPolicy) -> Result<StreamingResponse, Failure> {
        let end = self.end();
        let (outcome, _) = with_retries(policy, self.endpoint.time(), end, || {
            self.check_open()?;
            let response = self.attempt(request, end, Some(self.time_budget()))?;
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

    /// Begins a request whose body comes piece by piece.
    pub(crate) fn upload(&self, request: &ApiRequest) -> Result<StreamingRequest, Failure> {
        self.check_open()?;
        let (pieces, inbox) = mpsc::channel(1);
        let (outbox, answer) = oneshot::channel();
        let idle = IdleTimer::new(self.endpoint.time());
        let sent = self.request(request, OutgoingBody::Pieces(inbox, idle.clone()))?;
        let exchange = send(self.connections()?.once.clone(), sent, idle.clone(), self.time_budget());
        let max_len = request.max_len;
        self.runtime.spawn(async move {
            let answer = async { accepted(exchange.await?.all(max_len).await?) };
            let _ = outbox.send(answer.await); // fails if the upload was abandoned
        });
        Ok(StreamingRequest { pieces, answer, idle })
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
        request: &ApiRequest,
        end: Instant,
        budget: Option<TimeBudget>,
    ) -> Result<impl Future<Output = Result<StreamingResponse, Failure>> + Send + use<>, Failure> {
        let left = end.saturating_duration_since(Instant::now());
        let idle = IdleTimer::new(left.min(self.endpoint.time() / ATTEMPTS + request.work));
        let sent = self.request(request, OutgoingBody::Whole(request.body.clone(), idle.clone()))?;
        Ok(send(self.connections()?.kept.clone(), sent, idle, budget.unwrap_or(TimeBudget::new(left))))
    }

    fn connections(&self) -> Result<&Connections, Failure> {
        self.connections.as_ref().ok_or(Failure::Closed)
    }

    fn request(&self, request: &ApiRequest, body: OutgoingBody) -> Result<Request<OutgoingBody>, Failure> {
        let not_sent = |error: hyper::http::Error| Failure::NotSent(error.into());
        let uri = Uri::try_from(self.endpoint.base() + &request.path).map_err(|error| not_sent(error.into()))?;
        let mut sent = Request::builder().method(request.method.clone()).uri(uri).body(body).map_err(not_sent)?;
        sent.headers_mut().extend(request.headers.iter().cloned());
        sent.headers_mut().extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        Ok(sent)
    }
}

impl Drop for HttpClient {
    fn drop(&mut self) {
        if self.runtime.check_process().is_err() {
            // The connections belong to the parent, and its thread may have held their locks at the fork.
            let _ = ManuallyDrop::new(self.connections.take());
        }
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.endpoint, f)
    }
}
