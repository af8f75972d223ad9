//! The end of the server certificate's validity: for the metrics, and for warnings in the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::time::sleep;
use x509_cert::der::Decode;

use crate::shared::Shared;
use crate::unix_time::unix_time;

/// The time before the end in which the log has warnings: 30 days.
const WARNING_SECONDS: u64 = 30 * 24 * 60 * 60;
/// The interval of the warnings.
const INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// The Unix time in seconds at which the first certificate of a chain ceases to be valid; `None` if one of them is not
/// understood.
pub(crate) fn first_end(chain: &[CertificateDer<'_>]) -> Option<u64> {
    chain.iter().map(|certificate| not_after(certificate)).min().flatten()
}

/// Repeats the warning.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        sleep(INTERVAL).await;
        warn(&shared);
    }
}

/// Logs a warning if the certificate is about to expire.
pub(crate) fn warn(shared: &Shared) {
    let end = shared.metrics.certificate_end.load(Ordering::Relaxed);
    match end.checked_sub(unix_time()) {
        _ if end == 0 => {}
        None => tracing::error!(target: "strongroom", "the certificate of tls.certificate has expired: renew it"),
        Some(left) if left < WARNING_SECONDS => {
            let days = left / (24 * 60 * 60);
            tracing::warn!(target: "strongroom", days, "the certificate of tls.certificate expires soon: renew it");
        }
        Some(_) => {}
    }
}

/// The end of a certificate's validity in Unix time.
fn not_after(certificate: &[u8]) -> Option<u64> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_found() {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2041, 5, 6);
        let key = rcgen::KeyPair::generate().unwrap();
        let later = params.self_signed(&key).unwrap();
        params.not_after = rcgen::date_time_ymd(2052, 1, 1);
        let latest = params.self_signed(&key).unwrap();
        assert_eq!(not_after(latest.der()), Some(2_587_680_000));
        assert_eq!(first_end(&[latest.der().clone(), later.der().clone()]), Some(2_251_411_200));
        assert_eq!(first_end(&[]), None);
        let der = later.der();
        (0..der.len()).for_each(|len| assert_eq!(not_after(&der[..len]), None));
    }
}
