//! Metrics of the storage services that an encryption server uses, in Prometheus's text format.

use std::fmt::{self, Write};

use strongroom::Upstreams;

use crate::metrics::header;

/// The bytes of the metrics of one service, for the memory that an answer may take.
pub(crate) const UPSTREAM_BYTES: u64 = 1 << 10;

pub(crate) fn write(to: &mut String, upstreams: &Upstreams) -> fmt::Result {
    let services = upstreams.services();
    header(to, "upstream_requests_total", "counter", "Attempts at storage services, by outcome.")?;
    for service in &services {
        let node = label(&service.name);
        for (outcome, count) in &service.attempts {
            writeln!(to, "strongroom_upstream_requests_total{{node=\"{node}\",outcome=\"{outcome}\"}} {count}")?;
        }
    }
    header(to, "upstream_retries_total", "counter", "Retries, by the outcome of the attempt before.")?;
    for (reason, count) in upstreams.retries() {
        writeln!(to, "strongroom_upstream_retries_total{{reason=\"{reason}\"}} {count}")?;
    }
    header(to, "upstream_ejected", "gauge", "Storage services that get no requests because they failed.")?;
    let ejected = services.iter().filter(|service| service.is_ejected).count();
    writeln!(to, "strongroom_upstream_ejected {ejected}")
}

/// The text of a label's value.
fn label(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_label_is_escaped() {
        assert_eq!(super::label("unix:/a\"b\\c\nd"), "unix:/a\\\"b\\\\c\\nd");
    }
}
