//! Requests to any host, for the clients of other protocols.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::connector::{Connector, Target};
use super::exchange::send;
use super::failure::Failure;
use super::invalid_endpoint::InvalidEndpoint;
use super::request::OutgoingBody;
use super::retry::ATTEMPTS;
use super::timing::{IdleTimer, TimeBudget};
use super::tls::{Files, Tls};

/// How long an idle connection is kept: less than servers keep it.
const IDLE: Duration = Duration::from_secs(4);
/// The maximum number of idle connections to a host.
const KEPT: usize = 64;

/// Connections to any host with TLS 1.3, or over loopback.
#[derive(Clone)]
pub(crate) struct AnyHost {
    client: Client<Connector, OutgoingBody>,
    time: Duration,
}

impl AnyHost {
    /// `time` is the time limit of a call; `plain` are the hosts that are reached without TLS.
    pub(crate) fn new(
        authorities: Option<PathBuf>,
        time: Duration,
        plain: &'static [&'static str],
    ) -> Result<Self, InvalidEndpoint> {
        let tls = Arc::new(Tls::open(&Files { authorities, ..Files::default() })?);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(KEPT);
        let connector = Connector { target: Target::Any(tls, plain), time: time / ATTEMPTS };
        Ok(Self { client: builder.build(connector), time })
    }

    /// The whole answer, of at most `max_len` bytes, with any status. `time` is what is left of the call's time; each
    /// byte adds to it.
    pub(crate) async fn send(
        &self,
        request: Request<Bytes>,
        max_len: usize,
        time: Duration,
    ) -> Result<Response<Bytes>, Failure> {
        let (idle, mut budget) = (IdleTimer::new(time.min(self.time / ATTEMPTS)), TimeBudget::new(time.min(self.time)));
        budget.earn(request.body().len());
        let request = request.map(|body| OutgoingBody::Whole(body, idle.clone()));
        let mut answer = budget.watch(send(self.client.clone(), request, idle, budget)).await?;
        answer.budget = budget;
        let announced = answer.len().and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        let mut body = Vec::new();
        body.try_reserve_exact(announced.min(max_len)).map_err(|_| Failure::TooLarge)?;
        while let Some(data) = answer.next().await? {
            if body.len() + data.len() > max_len {
                return Err(Failure::TooLong);
            }
            body.extend_from_slice(&data);
        }
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

impl fmt::Debug for AnyHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyHost(..)")
    }
}
