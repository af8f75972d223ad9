//! Counters of a storage's operations, for the metrics of a program that uses it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::measured::Measured;
use super::{Error, Storage};
use crate::error_code::ErrorCode;

/// Upper bounds of the buckets, in microseconds.
const BOUNDS: [u64; 11] = [100, 250, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 10_000_000];

/// The operations, in the order in which they are shown.
const NAMES: [&str; 21] = [
    "compact",
    "create_many",
    "delete",
    "get",
    "get_end",
    "get_many",
    "info",
    "list",
    "list_expired",
    "maintain",
    "purge",
    "put",
    "put_each",
    "read_at",
    "rename",
    "repair",
    "settings",
    "stats",
    "swap_settings",
    "upload",
    "verify",
];

/// Counters of the operations of one storage. A clone counts in the same place.
///
/// ```
/// use strongroom::Strongroom;
/// use strongroom::storage::StorageMetrics;
///
/// let metrics = StorageMetrics::default();
/// let store = Strongroom::builder().path(":memory:").storage_metrics(&metrics).open()?;
/// store.store("id", b"data")?;
/// let put = metrics.operations().into_iter().find(|operation| operation.name == "put");
/// assert_eq!(put.map(|operation| operation.outcomes), Some(vec![("ok", 1)]));
/// # Ok::<(), strongroom::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct StorageMetrics(Arc<Shared>);

#[derive(Default)]
struct Shared {
    backend: OnceLock<&'static str>,
    operations: [Counters; NAMES.len()],
}

/// Of one operation.
#[derive(Default)]
struct Counters {
    buckets: [AtomicU64; BOUNDS.len()],
    microseconds: AtomicU64,
    succeeded: AtomicU64,
    failed: Mutex<BTreeMap<&'static str, u64>>,
}

/// The calls of one operation of a storage.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OperationMetrics {
    /// The name of the method of [`Storage`], such as `put`. Each step of an upload counts as `upload`.
    pub name: &'static str,
    /// The number of calls with each outcome: `ok`, or the name of an [`Error`], such as `Busy`.
    pub outcomes: Vec<(&'static str, u64)>,
    /// The number of calls that took at most as many seconds, for rising bounds.
    pub buckets: Vec<(f64, u64)>,
    /// The seconds of all calls.
    pub seconds: f64,
}

impl StorageMetrics {
    /// `storage`, whose operations are counted from now on.
    #[must_use]
    pub fn measure(&self, storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
        let _ = self.0.backend.set(storage.kind()); // the same, if it is opened again
        Arc::new(Measured::new(storage, self.clone()))
    }

    /// The [`kind`](Storage::kind) of the storage; `None` before there is one.
    #[must_use]
    pub fn backend(&self) -> Option<&'static str> {
        self.0.backend.get().copied()
    }

    /// The operations that were called.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "metrics")]
    pub fn operations(&self) -> Vec<OperationMetrics> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let operation = |(name, counters): (&'static str, &Counters)| {
            let failed = counters.failed.lock().unwrap_or_else(PoisonError::into_inner);
            let failed = failed.iter().map(|(error, count)| (*error, *count));
            OperationMetrics {
                name,
                outcomes: std::iter::once(("ok", of(&counters.succeeded))).chain(failed).collect(),
                buckets: BOUNDS.iter().map(|bound| *bound as f64 / 1e6).zip(counters.buckets.iter().map(of)).collect(),
                seconds: of(&counters.microseconds) as f64 / 1e6,
            }
        };
        let operations = NAMES.into_iter().zip(&self.0.operations).map(operation);
        operations.filter(|operation| operation.outcomes.iter().any(|(_, count)| *count > 0)).collect()
    }

    /// Runs an operation, and counts it.
    pub(super) fn count<T>(&self, name: &'static str, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let begun = Instant::now();
        let outcome = call();
        self.add(name, begun.elapsed(), outcome.as_ref().err());
        outcome
    }

    /// The same for a call with many outcomes, of which the first failure counts.
    pub(super) fn count_each(
        &self,
        name: &'static str,
        call: impl FnOnce() -> Vec<Result<(), Error>>,
    ) -> Vec<Result<(), Error>> {
        let begun = Instant::now();
        let outcomes = call();
        self.add(name, begun.elapsed(), outcomes.iter().find_map(|outcome| outcome.as_ref().err()));
        outcomes
    }

    fn add(&self, name: &str, time: Duration, error: Option<&Error>) {
        let counters = NAMES.iter().zip(&self.0.operations).find(|(known, _)| **known == name);
        counters.into_iter().for_each(|(_, counters)| counters.add(time, error));
    }
}

impl Counters {
    fn add(&self, time: Duration, error: Option<&Error>) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        for (bucket, _) in self.buckets.iter().zip(BOUNDS).filter(|(_, bound)| time <= *bound) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.microseconds.fetch_add(time, Ordering::Relaxed);
        match error {
            None => drop(self.succeeded.fetch_add(1, Ordering::Relaxed)),
            Some(error) => {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                *failed.entry(name_of(error)).or_default() += 1;
            }
        }
    }
}

/// The name of the library's error for it.
fn name_of(error: &Error) -> &'static str {
    let code = match error {
        Error::AlreadyExists => ErrorCode::AlreadyExists,
        Error::Conflict => ErrorCode::Conflict,
        Error::Corrupt => ErrorCode::Corrupt,
        Error::Busy => ErrorCode::Busy,
        Error::Full => ErrorCode::StorageFull,
        Error::TooLarge => ErrorCode::TooLarge,
        Error::Unsupported(_) => ErrorCode::Unsupported,
        Error::InvalidArgument(_) => ErrorCode::InvalidArgument,
        Error::Backend(_) => ErrorCode::Storage,
        Error::Indeterminate(_) => ErrorCode::Indeterminate,
        Error::Poisoned => ErrorCode::Poisoned,
        Error::Forked => ErrorCode::Forked,
        Error::Closed => ErrorCode::Closed,
        Error::AccessDenied(_) => ErrorCode::AccessDenied,
    };
    code.name()
}

impl fmt::Debug for StorageMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageMetrics").field("backend", &self.backend()).finish_non_exhaustive()
    }
}
