//! The HTTP client of a service: runs calls on a thread that drives its connections, and waits for them.

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
#[cfg(feature = "tokio")]
use tokio::sync::Semaphore;

use super::endpoint::Endpoint;
use super::exchanges::{Connections, Exchanges};
use super::failure::Failure;
use super::invalid_endpoint::InvalidEndpoint;
use super::request::ApiRequest;
use super::response::{ApiResponse, StreamingResponse};
use super::retry::RetryPolicy;
#[cfg(feature = "tokio")]
use super::service::MOST_AWAITED;
use super::timing::TimeBudget;
use super::upload::StreamingRequest;
use crate::protocol::nodes::Role;
use crate::util::runtime::Runtime;

/// A service, or several ones of one store, and the connections to them.
pub(crate) struct HttpClient {
    /// `None` only during the drop.
    connections: Option<Arc<Connections>>,
    pub(super) runtime: Runtime,
    #[cfg(feature = "tokio")]
    pub(super) awaited: Arc<Semaphore>,
}

impl HttpClient {
    /// A client of services with this role.
    pub(crate) fn open(endpoint: &Endpoint, role: Role) -> Result<Self, InvalidEndpoint> {
        Ok(Self {
            connections: Some(Arc::new(Connections::open(endpoint, role)?)),
            runtime: Runtime::start("strongroom-http").map_err(InvalidEndpoint::Thread)?,
            #[cfg(feature = "tokio")]
            awaited: Arc::new(Semaphore::new(MOST_AWAITED)),
        })
    }

    fn connections(&self) -> Result<&Arc<Connections>, Failure> {
        self.runtime.check_process()?;
        self.connections.as_ref().ok_or(Failure::Closed)
    }

    pub(crate) fn close(&self) -> Result<(), Failure> {
        self.connections()?.close();
        Ok(())
    }

    pub(crate) fn check_open(&self) -> Result<(), Failure> {
        self.connections()?.check_open()
    }

    /// The deadline of a call that begins now.
    pub(crate) fn end(&self) -> Instant {
        let time = self.connections.as_ref().map(|connections| connections.time());
        Instant::now() + time.unwrap_or_default()
    }

    /// The total time to wait for an answer that is read piece by piece.
    pub(crate) fn time_budget(&self) -> TimeBudget {
        TimeBudget::new(self.connections.as_ref().map(|connections| connections.time()).unwrap_or_default())
    }

    /// The requests of a new call.
    pub(super) fn exchanges(&self) -> Result<Exchanges, Failure> {
        Ok(Exchanges::new(Arc::clone(self.connections()?)))
    }

    /// The answer to a request that changes nothing. An error answer is [`Failure::Problem`].
    pub(crate) fn read(&self, request: &ApiRequest, end: Instant) -> Result<ApiResponse, Failure> {
        let (exchanges, request) = (self.exchanges()?, request.clone());
        let this = exchanges.clone();
        exchanges.own(self.runtime.call(async move { Ok(this.read(&request, end).await) }))?
    }

    /// The answer to a request that changes something, and whether an earlier attempt with an unknown outcome may have
    /// succeeded.
    pub(crate) fn write(
        &self,
        request: &ApiRequest,
        policy: RetryPolicy,
        end: Instant,
    ) -> (Result<ApiResponse, Failure>, bool) {
        let exchanges = match self.exchanges() {
            Ok(exchanges) => exchanges,
            Err(failure) => return (Err(failure), false),
        };
        let (this, request) = (exchanges.clone(), request.clone());
        let outcome = self.runtime.call(async move { Ok(this.write(&request, policy, end).await) });
        exchanges.own(outcome).unwrap_or_else(|failure| (Err(failure), false))
    }

    /// As [`read`](Self::read), or for [`RetryPolicy::UnlessDone`] as [`write`](Self::write), for an answer that
    /// [`next`](Self::next) reads piece by piece.
    pub(crate) fn begin(&self, request: &ApiRequest, policy: RetryPolicy) -> Result<StreamingResponse, Failure> {
        let (exchanges, request) = (self.exchanges()?, request.clone());
        let this = exchanges.clone();
        exchanges.own(self.runtime.wait(async move { Ok(this.begin(&request, policy).await) }))?
    }

    /// The next bytes of an answer, and the answer.
    pub(crate) fn next(&self, mut answer: StreamingResponse) -> Result<(StreamingResponse, Option<Bytes>), Failure> {
        self.check_open()?;
        self.runtime.wait(async move {
            let piece = answer.next().await?;
            Ok((answer, piece))
        })
    }

    /// Begins a request whose body comes piece by piece, with retries until a service accepts the connection: later,
    /// the body cannot be sent again.
    pub(crate) fn upload(&self, request: &ApiRequest) -> Result<StreamingRequest, Failure> {
        let (exchanges, request) = (self.exchanges()?, request.clone());
        let this = exchanges.clone();
        exchanges.own(self.runtime.wait(async move { Ok(this.upload(&request).await) }))?
    }

    /// Sends a piece. An answer before the end of the body is a failure, and the service did nothing.
    pub(crate) fn push(&self, request: StreamingRequest, piece: Bytes) -> Result<StreamingRequest, Failure> {
        self.check_open()?;
        self.runtime.wait(request.push(Some(piece))).map_err(Failure::before_end)
    }

    /// Ends the body, and waits for the answer.
    pub(crate) fn finish(&self, request: StreamingRequest) -> Result<ApiResponse, Failure> {
        self.check_open()?;
        self.runtime.wait(request.finish())
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
        fmt::Debug::fmt(&self.connections, f)
    }
}
