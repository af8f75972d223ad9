//! The counters and gauges of a service, and their page in Prometheus's text format.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};
use strongroom::Upstreams;
use strongroom::protocol::ErrorCode;
use strongroom::storage::StorageMetrics;

use crate::storage_metrics::{self, STORAGE_BYTES};
use crate::upstream_metrics::{self, UPSTREAM_BYTES};

/// Memory for the text, without that of other services.
const TEXT_BYTES: u64 = 32 << 10;
/// Upper bounds of the histogram's buckets, in seconds and as text.
const BUCKETS: [(f64, &str); 10] = [
    (0.001, "0.001"),
    (0.0025, "0.0025"),
    (0.005, "0.005"),
    (0.01, "0.01"),
    (0.025, "0.025"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (1.0, "1"),
    (2.5, "2.5"),
    (10.0, "10"),
];

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
    /// Bytes of bodies.
    pub(crate) received: Arc<AtomicU64>,
    pub(crate) sent: Arc<AtomicU64>,
    /// The number of aborted answers.
    pub(crate) cut: AtomicU64,
    /// The number of records that were removed in the background because they had expired.
    pub(crate) purged: AtomicU64,
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) in_flight: Arc<AtomicUsize>,
    /// The Unix time at which the server's certificate expires; 0 without one.
    pub(crate) certificate_end: AtomicU64,
    /// Set if the store is in storage services.
    pub(crate) upstreams: OnceLock<Upstreams>,
    /// Set if the storage's operations are counted.
    pub(crate) storage: OnceLock<StorageMetrics>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: BTreeMap<(&'static str, &'static str, u16), u64>,
    durations: BTreeMap<&'static str, Histogram>,
    errors: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

impl Metrics {
    pub(crate) fn count(
        &self,
        route: &'static str,
        method: &Method,
        status: StatusCode,
        error: Option<&'static str>,
        duration: Duration,
    ) {
        let seconds = duration.as_secs_f64();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.requests.entry((route, method_name(method), status.as_u16())).or_default() += 1;
        if let Some(error) = error {
            *counts.errors.entry(error).or_default() += 1;
        }
        let histogram = counts.durations.entry(route).or_default();
        histogram.count += 1;
        histogram.seconds += seconds;
        for (bucket, _) in histogram.buckets.iter_mut().zip(BUCKETS).filter(|(_, (bound, _))| seconds <= *bound) {
            *bucket += 1;
        }
    }

    /// Counts an error that has cut an answer.
    pub(crate) fn count_error(&self, error: &'static str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.errors.entry(error).or_default() += 1;
    }

    /// The most bytes of the text.
    pub(crate) fn text_bytes(&self) -> u64 {
        let upstreams = self.upstreams.get().map_or(0, |upstreams| upstreams.services().len());
        TEXT_BYTES + STORAGE_BYTES + UPSTREAM_BYTES * upstreams as u64
    }

    /// Prometheus's text format.
    pub(crate) fn text(&self, waiting: usize) -> String {
        let mut text = String::new();
        let _ = self.write(&mut text, waiting); // writing to a string does not fail
        text
    }

    fn write(&self, to: &mut String, waiting: usize) -> fmt::Result {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        header(to, "requests_total", "counter", "Requests, by status; 499 if the client gave up before the answer.")?;
        for ((route, method, status), count) in &counts.requests {
            let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
            writeln!(to, "strongroom_requests_total{{{labels}}} {count}")?;
        }
        // From the start, as all errors: a rate does not show the first value of a series.
        let throttled = counts.requests.iter().filter(|((.., status), _)| *status == StatusCode::TOO_MANY_REQUESTS);
        let throttled: u64 = throttled.map(|(_, count)| count).sum();
        header(to, "throttled_requests_total", "counter", "Answers 429, for lack of a valid token.")?;
        writeln!(to, "strongroom_throttled_requests_total {throttled}")?;
        header(to, "errors_total", "counter", "Errors that were answered or cut an answer, by name.")?;
        for error in (0..=u8::MAX).filter_map(ErrorCode::from_number).map(ErrorCode::name) {
            let count = counts.errors.get(error).copied().unwrap_or_default();
            writeln!(to, "strongroom_errors_total{{error=\"{error}\"}} {count}")?;
        }
        let name = "request_duration_seconds";
        header(to, name, "histogram", "Time until the answer began.")?;
        for (route, histogram) in &counts.durations {
            let buckets = BUCKETS.iter().map(|(_, bound)| bound).zip(histogram.buckets);
            let labels = format!("route=\"{route}\"");
            self::histogram(to, name, &labels, buckets, histogram.seconds, histogram.count)?;
        }
        for (name, help, value) in self.totals() {
            header(to, name, "counter", help)?;
            writeln!(to, "strongroom_{name} {value}")?;
        }
        for (name, help, value) in self.gauges(waiting, 0) {
            header(to, name, "gauge", help)?;
            writeln!(to, "strongroom_{name} {value}")?;
        }
        header(to, "build_info", "gauge", "The version of the program.")?;
        writeln!(to, "strongroom_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))?;
        let end = self.certificate_end.load(Ordering::Relaxed);
        if end > 0 {
            header(to, "certificate_expiry_timestamp_seconds", "gauge", "Unix time at which the certificate expires.")?;
            writeln!(to, "strongroom_certificate_expiry_timestamp_seconds {end}")?;
        }
        self.storage.get().map_or(Ok(()), |storage| storage_metrics::write(to, storage))?;
        self.upstreams.get().map_or(Ok(()), |upstreams| upstream_metrics::write(to, upstreams))
    }

    /// Counters without labels: name, help and value.
    fn totals(&self) -> [(&'static str, &'static str, u64); 5] {
        let [received, sent, cut, purged] =
            [&*self.received, &*self.sent, &self.cut, &self.purged].map(|count| count.load(Ordering::Relaxed));
        [
            ("received_bytes_total", "Bytes of request bodies received.", received),
            ("sent_bytes_total", "Bytes of answer bodies sent.", sent),
            ("answers_cut_total", "Answers that the client did not read to the end.", cut),
            ("purged_records_total", "Expired records removed in the background.", purged),
            ("log_lines_dropped_total", "Log lines that stderr did not accept.", crate::log::dropped_lines()),
        ]
    }

    /// `own`: requests that do not count as in flight.
    fn gauges(&self, waiting: usize, own: usize) -> [(&'static str, &'static str, usize); 3] {
        let in_flight = self.in_flight.load(Ordering::Relaxed).saturating_sub(own);
        [
            ("requests_in_flight", "Requests whose answer has not begun.", in_flight),
            ("requests_waiting", "Requests that wait for a storage thread.", waiting),
            ("connections", "Open connections.", self.connections.load(Ordering::Relaxed)),
        ]
    }

    /// The same as JSON, for the page for operators and without its own request. Its size is bounded: all names are
    /// those of this program.
    pub(crate) fn document(&self, waiting: usize) -> Value {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = counts.requests.iter().map(|((route, method, status), count)| {
            json!({"route": route, "method": method, "status": status, "count": count})
        });
        let durations = counts
            .durations
            .iter()
            .map(|(route, histogram)| json!({"route": route, "count": histogram.count, "buckets": histogram.buckets}));
        json!({
            "requests": requests.collect::<Vec<_>>(),
            "bucket_seconds": BUCKETS.map(|(seconds, _)| seconds),
            "durations": durations.collect::<Vec<_>>(),
            "errors": counts.errors,
            "totals": Map::from_iter(self.totals().map(|(name, _, value)| (name.to_owned(), value.into()))),
            "gauges": Map::from_iter(self.gauges(waiting, 1).map(|(name, _, value)| (name.to_owned(), value.into()))),
        })
    }
}

pub(crate) fn write_audit(to: &mut String, dropped: u64) -> fmt::Result {
    header(to, "audit_lines_dropped_total", "counter", "Lines of the audit log that were not written.")?;
    writeln!(to, "strongroom_audit_lines_dropped_total {dropped}")
}

pub(crate) fn header(to: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(to, "# HELP strongroom_{name} {help}\n# TYPE strongroom_{name} {kind}")
}

/// The lines of one histogram: the bounds with the number of values up to each, their sum and their number.
pub(crate) fn histogram(
    to: &mut String,
    name: &str,
    labels: &str,
    buckets: impl IntoIterator<Item = (impl fmt::Display, u64)>,
    sum: f64,
    count: u64,
) -> fmt::Result {
    for (bound, bucket) in buckets {
        writeln!(to, "strongroom_{name}_bucket{{{labels},le=\"{bound}\"}} {bucket}")?;
    }
    writeln!(to, "strongroom_{name}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
    writeln!(to, "strongroom_{name}_sum{{{labels}}} {sum}")?;
    writeln!(to, "strongroom_{name}_count{{{labels}}} {count}")
}

/// The methods that are counted separately; clients may send any others.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::DELETE => "DELETE",
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => "other",
    }
}
