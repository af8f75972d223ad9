//! The state of a connection: its running requests, the bytes of its answers, and the start of its idle time. Traffic
//! alone does not count as progress, because HTTP/2 has frames without requests.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use crate::body::transfer_deadline::TICK;
use crate::config::limits::Limits;
use crate::counted::Counted;

/// Bytes of unsent answers that are reserved for each connection, so that other connections cannot delay its short
/// answers.
pub(crate) const ALLOWANCE: u32 = 64 << 10;
/// Concurrent requests without a valid token; HTTP/2 refuses further streams.
const MAX_UNAUTHENTICATED: usize = 8;

/// An answer whose deadline its connection checks.
pub(crate) trait Deadline: fmt::Debug + Send + Sync {
    /// Ends the answer if its client is too slow. Returns whether that was so at the last call, too.
    fn end_if_overdue(&self) -> bool;
}

/// A connection, shared by its requests and the loop that serves it.
#[derive(Debug)]
pub(crate) struct Connection {
    start: Instant,
    /// The number of requests, each from its head to the last byte of its answer.
    active_requests: AtomicUsize,
    /// Milliseconds from the start to the end of the last request.
    quiet_since: AtomicU64,
    /// Milliseconds from the start to the moment a write was blocked; 0 while none is blocked.
    blocked_since: AtomicU64,
    unblocked: Notify,
    requested: AtomicBool,
    http2: AtomicBool,
    authenticated: AtomicBool,
    unauthenticated: Arc<AtomicUsize>,
    allowance: Arc<Semaphore>,
    answers: Mutex<Vec<Weak<dyn Deadline>>>,
    /// Notified when another connection needs this one's permit.
    evicted: Notify,
    /// Known after the TLS handshake.
    client: OnceLock<Client>,
}

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// Its address; `unix` on a Unix socket.
    pub(crate) peer: String,
    /// The first DNS name of its certificate, or else its subject.
    pub(crate) certificate: Option<String>,
}

/// How long a connection may wait for its client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionTimeouts {
    /// For a first request, and in HTTP/1 for the next one.
    head: Duration,
    /// For the next request in HTTP/2.
    idle: Duration,
    /// For the client to receive any byte.
    blocked: Duration,
}

impl ConnectionTimeouts {
    pub(crate) fn new(limits: &Limits) -> Self {
        let [head, idle] = [limits.head_seconds, limits.idle_seconds].map(Duration::from_secs);
        Self { head, idle, blocked: idle }
    }

    /// For a connection that is being closed: it ends once no request is running and all answers are sent.
    pub(crate) fn closing(self) -> Self {
        Self { head: Duration::ZERO, idle: Duration::ZERO, ..self }
    }
}

impl Connection {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            active_requests: AtomicUsize::new(0),
            quiet_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            unblocked: Notify::new(),
            requested: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            authenticated: AtomicBool::new(false),
            unauthenticated: Arc::default(),
            allowance: Arc::new(Semaphore::new(ALLOWANCE as usize)),
            answers: Mutex::default(),
            evicted: Notify::new(),
            client: OnceLock::new(),
        })
    }

    pub(crate) fn set_client(&self, client: Client) {
        let _ = self.client.set(client); // a connection has one
    }

    pub(crate) fn client(&self) -> Option<&Client> {
        self.client.get()
    }

    /// Counts a new request, until the result is dropped.
    pub(crate) fn begin(self: &Arc<Self>, http2: bool) -> ActiveRequest {
        self.requested.store(true, Ordering::Relaxed);
        self.http2.store(http2, Ordering::Relaxed);
        self.active_requests.fetch_add(1, Ordering::Relaxed);
        ActiveRequest(Arc::clone(self))
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    /// Notes that the client has presented a valid token, or needs none.
    pub(crate) fn authenticate(&self) {
        self.authenticated.store(true, Ordering::Relaxed);
    }

    /// Counts a request without a valid token; `None` if there are too many.
    pub(crate) fn admit_unauthenticated(&self) -> Option<Counted> {
        Some(Counted::new(&self.unauthenticated)).filter(|request| request.before < MAX_UNAUTHENTICATED)
    }

    /// Reserves bytes of the connection's own allowance, if enough are left.
    pub(crate) fn try_reserve(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.allowance).try_acquire_many_owned(bytes).ok()
    }

    /// As [`try_reserve`](Self::try_reserve), but waits until enough are left.
    pub(crate) async fn reserve(&self, bytes: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.allowance).acquire_many_owned(bytes.min(ALLOWANCE)).await.ok()
    }

    /// Checks the deadline of an answer until it is sent.
    pub(crate) fn watch(&self, answer: &Arc<dyn Deadline>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // The list is short: in HTTP/1, it has one entry.
        answers.retain(|answer| answer.strong_count() > 0);
        answers.push(Arc::downgrade(answer));
    }

    /// Ends the overdue answers. Returns whether one could not be ended, because the client receives nothing.
    fn end_overdue_answers(&self) -> bool {
        let answers: Vec<_> = {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.iter().filter_map(Weak::upgrade).collect()
        };
        // `count` checks every answer, and so ends all overdue ones.
        answers.iter().filter(|answer| answer.end_if_overdue()).count() > 0
    }

    /// Records whether a write made progress.
    pub(crate) fn record_write(&self, progressed: bool) {
        if !progressed {
            let now = self.now().max(1);
            let _ = self.blocked_since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        } else if self.blocked_since.load(Ordering::Relaxed) != 0 {
            self.blocked_since.store(0, Ordering::Relaxed);
            self.unblocked.notify_waiters();
        }
    }

    /// Waits while the client receives nothing: no budget limits answers without a body, and a client can pipeline
    /// requests.
    pub(crate) async fn writable(&self) {
        loop {
            let unblocked = self.unblocked.notified();
            if self.blocked_since.load(Ordering::Relaxed) == 0 {
                return;
            }
            unblocked.await;
        }
    }

    /// Requests that the connection release its permit.
    pub(crate) fn evict(&self) {
        self.evicted.notify_one();
    }

    /// Returns when another connection needs this one's permit and this one is quiet.
    pub(crate) async fn is_evicted(&self) {
        loop {
            self.evicted.notified().await;
            if self.quiet().is_some() {
                return;
            }
        }
    }

    /// If no request is running and no write is blocked: whether the client has ever presented a valid token, and the
    /// time of the last request's end. The end of an answer may be unsent after its request, for example in TLS.
    pub(crate) fn quiet(&self) -> Option<(bool, Instant)> {
        let since = self.start + Duration::from_millis(self.quiet_since.load(Ordering::Relaxed));
        let is_blocked = self.blocked_since.load(Ordering::Relaxed) != 0;
        let is_quiet = self.active_requests.load(Ordering::Relaxed) == 0 && !is_blocked;
        is_quiet.then(|| (self.authenticated.load(Ordering::Relaxed), since))
    }

    /// Returns once the connection has waited too long: for a request, for a client that receives nothing, or for a
    /// client that receives an answer too slowly. HTTP/2 first resets only the slow stream.
    pub(crate) async fn expired(&self, timeouts: ConnectionTimeouts) {
        loop {
            let limit = match (self.requested.load(Ordering::Relaxed), self.http2.load(Ordering::Relaxed)) {
                (true, true) => timeouts.idle,
                _ => timeouts.head,
            };
            let quiet = self.quiet().map(|(_, since)| limit.saturating_sub(since.elapsed()));
            let blocked = match self.blocked_since.load(Ordering::Relaxed) {
                0 => None,
                since => Some(timeouts.blocked.saturating_sub(Duration::from_millis(self.now().saturating_sub(since)))),
            };
            let left = quiet.into_iter().chain(blocked).min();
            if self.end_overdue_answers() || left.is_some_and(|left| left.is_zero()) {
                return;
            }
            // At most one tick, so that a request that begins or ends in the meantime is taken into account.
            sleep(left.unwrap_or(TICK).clamp(Duration::from_millis(1), TICK)).await;
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A running request.
#[derive(Debug)]
pub(crate) struct ActiveRequest(Arc<Connection>);

impl ActiveRequest {
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.quiet_since.store(self.0.now(), Ordering::Relaxed);
        self.0.active_requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_blocked_write_keeps_a_connection_for_its_own_time() {
        let seconds = Duration::from_secs;
        let timeouts = ConnectionTimeouts { head: seconds(10), idle: seconds(60), blocked: seconds(60) };
        let connection = Connection::new();
        drop(connection.begin(false));
        connection.record_write(false);
        assert!(connection.quiet().is_none(), "the end of an answer is unsent");
        for timeouts in [timeouts, timeouts.closing()] {
            assert!(timeout(seconds(29), connection.expired(timeouts)).await.is_err());
        }
        connection.record_write(true);
        assert!(connection.quiet().is_some());
        for timeouts in [timeouts, timeouts.closing()] {
            assert!(timeout(seconds(1), connection.expired(timeouts)).await.is_ok());
        }
        connection.record_write(false);
        assert!(timeout(seconds(59), connection.expired(timeouts.closing())).await.is_err());
        assert!(timeout(seconds(2), connection.expired(timeouts.closing())).await.is_ok());
    }
}
