//! Calls of the two services over HTTP (`docs/HTTP.md`): connections that are kept, deadlines on all, and repetition where
//! it does no harm.

mod address;
mod connector;
mod endpoint;
mod exchange;
mod failure;
mod problem;
mod runtime;
mod tls;
mod token_file;

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{mpsc, oneshot};

use connector::Connector;
use exchange::{Clock, Outgoing, send};
use runtime::Runtime;

pub use endpoint::{Endpoint, InvalidEndpoint};
pub(crate) use exchange::{Answer, Arriving, Ask, Patience};
pub(crate) use failure::{Failure, TooLate};
pub(crate) use problem::Problem;

use crate::protocol::range::parse_content_range;
use crate::util::interrupt;
use crate::util::random;

/// How long a connection is kept that nobody uses: less than services do, so that none is used that they have closed.
const IDLE: Duration = Duration::from_secs(5);
/// Connections that are kept.
const KEPT: usize = 32;
/// The first wait before a repetition, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// So many attempts a call has time for, if none is answered.
const ATTEMPTS: u32 = 3;

/// Whether a call may be repeated where it is not known whether the service has done it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Twice is as good as once.
    Always,
    /// Only where it has certainly not been done.
    Undone,
}

/// A service, and the connections to it.
pub(crate) struct Http {
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
    /// Always there, until it is dropped.
    connections: Option<Connections>,
    closed: AtomicBool,
    runtime: Runtime,
}

struct Connections {
    kept: Client<Connector, Outgoing>,
    /// For bodies that cannot be sent again: a kept connection may break at the first byte.
    once: Client<Connector, Outgoing>,
}

impl Http {
    pub(crate) fn open(endpoint: &Endpoint) -> Result<Self, InvalidEndpoint> {
        let (place, attempt) = (endpoint.place()?, endpoint.time() / ATTEMPTS);
        let connector = Connector { place, time: attempt };
        let build = |kept| {
            let mut builder = Client::builder(TokioExecutor::new());
            builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(kept);
            builder.build(connector.clone())
        };
        Ok(Self {
            authorization: endpoint.authorization()?,
            connections: Some(Connections { kept: build(KEPT), once: build(0) }),
            closed: AtomicBool::new(false),
            runtime: Runtime::start().map_err(InvalidEndpoint::Thread)?,
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

    /// When a call that begins now has to end.
    pub(crate) fn end(&self) -> Instant {
        Instant::now() + self.endpoint.time()
    }

    /// The answer to what changes nothing. What the service refuses is [`Failure::Problem`].
    pub(crate) fn read(&self, ask: &Ask, end: Instant) -> Result<Answer, Failure> {
        self.call(ask, Repeat::Always, end).0
    }

    /// The answer to what changes something, and whether an attempt was lost before it, which may have been successful all
    /// the same.
    pub(crate) fn write(&self, ask: &Ask, repeat: Repeat, end: Instant) -> (Result<Answer, Failure>, bool) {
        let (outcome, lost) = self.call(ask, repeat, end);
        (if lost { outcome.map_err(Failure::after_lost) } else { outcome }, lost)
    }

    fn call(&self, ask: &Ask, repeat: Repeat, end: Instant) -> (Result<Answer, Failure>, bool) {
        self.repeated(repeat, end, || {
            let (arriving, most) = (self.attempt(ask, end, None)?, ask.most);
            self.runtime.wait(async move { refused(arriving.await?.all(most).await?) })
        })
    }

    /// How long an answer that is taken piece by piece is waited for in all.
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.endpoint.time())
    }

    /// As [`read`](Self::read), for an answer that is taken piece by piece by [`next`](Self::next).
    pub(crate) fn begin(&self, ask: &Ask) -> Result<Arriving, Failure> {
        let end = self.end();
        let (outcome, _) = self.repeated(Repeat::Always, end, || {
            let arriving = self.attempt(ask, end, Some(self.patience()))?;
            self.runtime.wait(async move {
                let arriving = arriving.await?;
                if arriving.status.is_success() {
                    return Ok(arriving);
                }
                Err(refused(arriving.all(0).await?).err().unwrap_or(Failure::NoSense))
            })
        });
        outcome
    }

    /// The next bytes of an answer, and the answer.
    pub(crate) fn next(&self, mut answer: Arriving) -> Result<(Arriving, Option<Bytes>), Failure> {
        self.check_open()?;
        self.runtime.wait(async move {
            let piece = answer.next().await?;
            Ok((answer, piece))
        })
    }

    /// Begins a request whose body comes piece by piece.
    pub(crate) fn upload(&self, ask: &Ask) -> Result<Sending, Failure> {
        self.check_open()?;
        let (pieces, inbox) = mpsc::channel(1);
        let (outbox, answer) = oneshot::channel();
        let clock = Clock::new(self.endpoint.time());
        let request = self.request(ask, Outgoing::Pieces(inbox, clock.clone()))?;
        let exchange = send(self.connections()?.once.clone(), request, clock.clone(), self.patience());
        let most = ask.most;
        self.runtime.spawn(async move {
            let answer = async { refused(exchange.await?.all(most).await?) };
            let _ = outbox.send(answer.await); // where nobody waits any more, it was given up
        });
        Ok(Sending { pieces, answer, clock })
    }

    /// Sends a piece. Where the service has answered before the end, that is the failure. Nothing has been done then.
    pub(crate) fn push(&self, sending: Sending, piece: Bytes) -> Result<Sending, Failure> {
        self.check_open()?;
        self.runtime.wait(sending.push(Some(piece)))
    }

    /// Ends the body, and waits for the answer.
    pub(crate) fn finish(&self, sending: Sending) -> Result<Answer, Failure> {
        self.check_open()?;
        self.runtime.wait(async move {
            let sending = sending.push(None).await?;
            sending.clock.tick();
            sending.answer.await.unwrap_or_else(|_| Err(gone()))
        })
    }

    /// A future that sends the request once. Without a `patience` of its own, the answer is waited for until the end.
    fn attempt(
        &self,
        ask: &Ask,
        end: Instant,
        patience: Option<Patience>,
    ) -> Result<impl Future<Output = Result<Arriving, Failure>> + Send + use<>, Failure> {
        let left = end.saturating_duration_since(Instant::now());
        let clock = Clock::new(left.min(self.endpoint.time() / ATTEMPTS));
        let request = self.request(ask, Outgoing::Whole(ask.body.clone(), clock.clone()))?;
        Ok(send(self.connections()?.kept.clone(), request, clock, patience.unwrap_or(Patience::new(left))))
    }

    fn connections(&self) -> Result<&Connections, Failure> {
        self.connections.as_ref().ok_or(Failure::Closed)
    }

    fn request(&self, ask: &Ask, body: Outgoing) -> Result<Request<Outgoing>, Failure> {
        let not_sent = |error: hyper::http::Error| Failure::NotSent(error.into());
        let uri = Uri::try_from(self.endpoint.base() + &ask.path).map_err(|error| not_sent(error.into()))?;
        let mut request = Request::builder().method(ask.method.clone()).uri(uri).body(body).map_err(not_sent)?;
        request.headers_mut().extend(ask.headers.iter().cloned());
        request.headers_mut().extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        Ok(request)
    }

    /// Makes attempts until one succeeds, or fails for good, or the time is up. Also tells whether one was lost.
    fn repeated<T>(
        &self,
        repeat: Repeat,
        end: Instant,
        attempt: impl Fn() -> Result<T, Failure>,
    ) -> (Result<T, Failure>, bool) {
        // Who is not there may be starting anew, and has the time of an attempt for it; more where it may have the answer to
        // what was lost.
        let reached_by = Instant::now() + self.endpoint.time() / ATTEMPTS;
        // An attempt that is cut off soon after its beginning would only turn what is known into what is not.
        let latest = end.checked_sub(self.endpoint.time() / (2 * ATTEMPTS)).unwrap_or(end);
        let (mut wait, mut lost) = (FIRST_WAIT, false);
        loop {
            let outcome = self.check_open().and_then(|()| attempt());
            let again = match &outcome {
                Err(Failure::NotSent(_)) => lost || Instant::now() < reached_by,
                Err(Failure::Problem(problem)) => problem.is_passing(),
                Err(Failure::Lost(_)) => repeat == Repeat::Always,
                _ => false,
            };
            let pause = jitter(wait);
            if !again || Instant::now() + pause >= latest || interrupt::was_interrupted() {
                return (outcome, lost);
            }
            lost |= matches!(outcome, Err(Failure::Lost(_)));
            interrupt::sleep(pause);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        if self.runtime.check_process().is_err() {
            // They are the parent's, whose thread may have held their locks at the fork.
            let _ = ManuallyDrop::new(self.connections.take());
        }
    }
}

/// A request whose body is on its way. Dropped, it is taken back.
pub(crate) struct Sending {
    pieces: mpsc::Sender<Option<Bytes>>,
    answer: oneshot::Receiver<Result<Answer, Failure>>,
    clock: Clock,
}

impl Sending {
    async fn push(mut self, piece: Option<Bytes>) -> Result<Self, Failure> {
        let sent = {
            self.clock.tick(); // what its owner did in between is no fault of the service's
            let send = self.clock.watch(self.pieces.send(piece));
            tokio::select! {
                biased;
                early = &mut self.answer => Err(early),
                sent = send => Ok(sent.map_err(Failure::before_end)?.is_ok()),
            }
        };
        let early = match sent {
            Ok(true) => return Ok(self),
            // The connection takes no more.
            Ok(false) => self.answer.await,
            Err(early) => early,
        };
        Err(early.unwrap_or_else(|_| Err(gone())).err().unwrap_or(Failure::NoSense).before_end())
    }
}

fn gone() -> Failure {
    Failure::broken("it has ended".into())
}

/// An answer that is an error as a failure.
fn refused(answer: Answer) -> Result<Answer, Failure> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let problem = Problem::of(&answer);
    Err(if problem.is_of_lost() { Failure::Lost(problem.into()) } else { Failure::Problem(problem) })
}

/// Half of `wait` to all of it, so that many who were refused together do not come again together.
fn jitter(wait: Duration) -> Duration {
    let mut bytes = [0; 4];
    let _ = random::fill(&mut bytes); // without it, all wait for half as long
    wait / 2 + (wait / 2).mul_f64(f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
}

/// Which bytes an answer with a part has, and the length of the whole; `None` where it is no such answer: something on the
/// way may have dropped the range that was asked for.
pub(crate) fn part(status: StatusCode, headers: &HeaderMap) -> Option<(Range<u64>, u64)> {
    let range = headers.get(CONTENT_RANGE).filter(|_| status == StatusCode::PARTIAL_CONTENT)?;
    parse_content_range(range.to_str().ok()?)
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.endpoint, f)
    }
}
