//! One service: the connections to it, and its answers about itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::address::{Address, without_brackets};
use super::connector::{Connector, Host, Target};
use super::exchange::send_to_service;
use super::failure::Failure;
use super::request::OutgoingBody;
use super::resolver::KnownNames;
use super::response::{ApiResponse, accepted};
use super::timing::{IdleTimer, TimeBudget};
use super::tls::Tls;
use super::upstreams::{Counters, Upstreams};
use crate::protocol::limits::{DOCUMENT_BYTES, NODES_BYTES};
use crate::protocol::names::{NODES, STRONGROOM_STORE};
use crate::protocol::nodes::Nodes;

/// How long an idle connection is kept: less than services keep it, so that the client does not use a closed one.
const IDLE: Duration = Duration::from_secs(5);
/// The maximum number of concurrent calls that are awaited; others wait for them. A service works on as many requests
/// by default: more would wait there, and each costs a connection.
pub(super) const MOST_AWAITED: usize = 64;
/// The longest time limit of a question about the service itself.
const QUESTION: Duration = Duration::from_secs(5);

/// Where a service is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: Address,
    /// One of the addresses of its name, if that has several.
    pub(super) socket: Option<SocketAddr>,
}

/// A service, and the connections to it.
pub(super) struct Service {
    pub(super) place: Place,
    /// The part of the URL before each path.
    pub(super) base: String,
    pub(super) kept: Client<Connector, OutgoingBody>,
    /// For bodies that cannot be sent again: a kept connection may have been closed by the service.
    pub(super) once: Client<Connector, OutgoingBody>,
    pub(super) counters: Arc<Counters>,
    is_checked: AtomicBool,
    /// The time limit of a question.
    time: Duration,
}

/// The common part of the connections to all services.
pub(super) struct Opener {
    /// `None` if no service needs TLS.
    pub(super) tls: Option<Arc<Tls>>,
    /// The time limit of an attempt.
    pub(super) time: Duration,
    pub(super) names: Arc<KnownNames>,
    pub(super) upstreams: Upstreams,
}

impl Opener {
    /// Prepares connections to a service. `None` if it needs TLS and there is none.
    pub(super) fn open(&self, place: Place) -> Option<Arc<Service>> {
        let host = |host: &str| match place.socket {
            Some(socket) => Host::Address(socket),
            None => Host::Name(without_brackets(host), Some(Arc::clone(&self.names))),
        };
        let target = match (&place.address, &self.tls) {
            (Address::Https { host: text, port, name }, Some(tls)) => {
                Target::Tls { host: host(text), port: *port, name: name.clone(), tls: Arc::clone(tls) }
            }
            (Address::Https { .. }, None) => return None,
            (Address::Loopback { host: text, port }, _) => Target::Loopback(host(text), *port),
            (Address::Unix(path), _) => Target::Unix(path.clone()),
        };
        let connector = Connector { target, time: self.time };
        let build = |kept| {
            let mut builder = Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(kept);
            builder.build(connector.clone())
        };
        let name = match place.socket {
            Some(socket) => format!("{} ({})", place.address, socket.ip()),
            None => place.address.to_string(),
        };
        Some(Arc::new(Service {
            base: place.address.base(),
            kept: build(MOST_AWAITED), // a connection for each
            once: build(0),
            counters: self.upstreams.counters(name),
            is_checked: AtomicBool::new(false),
            time: self.time.min(QUESTION),
            place,
        }))
    }
}

impl Service {
    /// Whether its store is known to be that of the other services.
    pub(super) fn is_checked(&self) -> bool {
        self.is_checked.load(Ordering::Relaxed)
    }

    pub(super) fn set_checked(&self, is_checked: bool) {
        self.is_checked.store(is_checked, Ordering::Relaxed);
    }

    /// Fails unless it is ready. Returns its store, if it says so. An answer other than a server's error shows that it
    /// is ready: a proxy may not forward the question.
    pub(super) async fn ready(&self) -> Result<Option<HeaderValue>, Failure> {
        let answer = self.ask("/readyz", None, DOCUMENT_BYTES as u64).await?;
        let store = answer.headers.get(STRONGROOM_STORE).filter(|_| answer.status == StatusCode::OK).cloned();
        if answer.status.is_server_error() {
            return accepted(answer).map(|_| None);
        }
        Ok(store)
    }

    /// The services of its cluster.
    pub(super) async fn nodes(&self, authorization: Option<HeaderValue>) -> Result<Nodes, Failure> {
        let answer = accepted(self.ask(NODES, authorization, NODES_BYTES).await?)?;
        serde_json::from_slice(&answer.body).map_err(|_| Failure::ProtocolViolation)
    }

    /// The whole answer, with any status.
    async fn ask(&self, path: &str, token: Option<HeaderValue>, max_len: u64) -> Result<ApiResponse, Failure> {
        let not_sent = |error: hyper::http::Error| Failure::NotSent(error.into());
        let idle = IdleTimer::new(self.time);
        let uri = Uri::try_from(format!("{}{path}", self.base)).map_err(|error| not_sent(error.into()))?;
        let body = OutgoingBody::Whole(Bytes::new(), idle.clone());
        let mut request = Request::builder().uri(uri).body(body).map_err(not_sent)?;
        request.headers_mut().extend(token.map(|token| (AUTHORIZATION, token)));
        send_to_service(self.kept.clone(), request, idle, TimeBudget::new(self.time)).await?.all(max_len).await
    }
}
