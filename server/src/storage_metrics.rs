//! Metrics of the operations of the store's storage, in Prometheus's text format.

use std::fmt::{self, Write};

use strongroom::storage::StorageMetrics;

use crate::metrics::{header, histogram};

/// The most bytes of these metrics: 20 operations with some outcomes each.
pub(crate) const STORAGE_BYTES: u64 = 64 << 10;

pub(crate) fn write(to: &mut String, metrics: &StorageMetrics) -> fmt::Result {
    let Some(backend) = metrics.backend() else { return Ok(()) };
    let operations = metrics.operations();
    header(to, "storage_operations_total", "counter", "Operations of the storage, by outcome: ok, or the error.")?;
    for operation in &operations {
        for (outcome, count) in &operation.outcomes {
            let labels = format!("backend=\"{backend}\",operation=\"{}\",outcome=\"{outcome}\"", operation.name);
            writeln!(to, "strongroom_storage_operations_total{{{labels}}} {count}")?;
        }
    }
    let name = "storage_operation_duration_seconds";
    header(to, name, "histogram", "Time of an operation of the storage.")?;
    for operation in &operations {
        let labels = format!("backend=\"{backend}\",operation=\"{}\"", operation.name);
        let count: u64 = operation.outcomes.iter().map(|(_, count)| count).sum();
        histogram(to, name, &labels, operation.buckets.iter().copied(), operation.seconds, count)?;
    }
    Ok(())
}
