//! Limits for each client, and for all clients in total.

use serde::{Deserialize, Serialize};
use strongroom::protocol::limits::{BATCH_BYTES, BYTES_PER_SECOND};

/// Limits for each client, and for all clients in total.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Concurrent connections; more wait to be accepted.
    pub connections: usize,
    /// Threads that work on the storage.
    pub threads: usize,
    /// Concurrent bodies of more than 64 KiB, of requests and answers in total.
    pub long_bodies: usize,
    /// Requests that wait for a thread, or for the permit of a long body; more are answered with 503.
    pub waiting: usize,
    /// Seconds that such a request waits before it is answered with 503.
    pub wait_seconds: u64,
    /// Bytes of a JSON request body, and of the base64 data in a JSON answer.
    pub json_bytes: u64,
    /// Bytes of the body or the answer of a request for many records. Two such requests run concurrently.
    pub batch_bytes: u64,
    /// Bytes of a body that is streamed.
    pub record_bytes: u64,
    /// Bytes of unsent answers of all connections in total; each connection has 64 KiB in addition.
    pub answer_bytes: u64,
    /// Seconds within which a request's head must arrive, in HTTP/1 also that of the next request, and for the TLS
    /// handshake.
    pub head_seconds: u64,
    /// Seconds that a body, of a request or an answer, may wait for the client. See also `body_bytes_per_second`.
    pub body_seconds: u64,
    /// Bytes of a body that extend this time by one second. The calculation restarts after each 256 KiB. While other
    /// requests wait for a long body's permit, the body must be 64 times faster.
    pub body_bytes_per_second: u64,
    /// The longest time of a body in seconds, at any rate.
    pub body_max_seconds: u64,
    /// Seconds without a request after which an HTTP/2 connection is closed, and seconds after which any connection is
    /// closed if its client receives no byte. In HTTP/1, `head_seconds` limits the wait for the next request.
    pub idle_seconds: u64,
    /// Seconds for which a service that stops still accepts requests, while `/readyz` answers 503 and the cluster
    /// knows, so that clients and load balancers go elsewhere. By default 2 in a cluster, and none otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_seconds: Option<u64>,
    /// Seconds that running requests have to finish when the service stops.
    pub grace_seconds: u64,
    /// Requests with wrong tokens per minute, of all clients in total; more are answered with 429.
    pub wrong_tokens_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2048,
            threads: 64,
            long_bodies: 64,
            waiting: 256,
            wait_seconds: 5,
            json_bytes: 3 << 19,
            batch_bytes: BATCH_BYTES,
            record_bytes: 16 << 30,
            answer_bytes: 64 << 20,
            head_seconds: 10,
            body_seconds: 10,
            body_bytes_per_second: BYTES_PER_SECOND,
            body_max_seconds: 3600,
            idle_seconds: 60,
            drain_seconds: None,
            grace_seconds: 30,
            wrong_tokens_per_minute: 60,
        }
    }
}

impl Limits {
    /// The name and the minimum of the first limit that is too small for any work or too large for a timer or counter.
    pub(crate) fn unusable(&self) -> Option<(&'static str, u64)> {
        let max = u64::from(u32::MAX);
        let limits = [
            ("connections", 1, self.connections as u64),
            ("threads", 1, self.threads as u64),
            ("long_bodies", 1, self.long_bodies as u64),
            ("waiting", 0, self.waiting as u64),
            ("wait_seconds", 0, self.wait_seconds),
            ("answer_bytes", 1 << 20, self.answer_bytes),
            ("head_seconds", 1, self.head_seconds),
            ("body_seconds", 0, self.body_seconds),
            ("body_max_seconds", 1, self.body_max_seconds),
            ("idle_seconds", 1, self.idle_seconds),
            ("drain_seconds", 0, self.drain_seconds.unwrap_or_default()),
            ("grace_seconds", 0, self.grace_seconds),
        ];
        let unusable = limits.into_iter().find(|(_, min, value)| !(*min..=max).contains(value));
        unusable.map(|(name, min, _)| (name, min))
    }
}
