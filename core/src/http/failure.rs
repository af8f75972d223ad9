//! The failures of calls: no answer, or not the requested one. Each says what is known about the outcome.

use std::io;

use hyper_util::client::legacy;

use super::problem::Problem;
use crate::util::runtime::Unfinished;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The reason why a call has no answer, or not the requested one.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The service answered with an error.
    Problem(Problem),
    /// The service was not reached: nothing was done.
    NotSent(BoxError),
    /// The server's certificate is not trusted, or TLS failed: nothing was done, and a retry will not help.
    Untrusted(BoxError),
    /// The service has another store than the others of the endpoint: nothing was done, and a retry will not help.
    OtherStore(BoxError),
    /// The service rejects the client's certificate, or the system denies the connection: nothing was done, and a retry
    /// will not help.
    Denied(BoxError),
    /// The connection was lost after the service may have received the request, so the outcome is unknown.
    Lost(BoxError),
    /// The answer does not fit in memory.
    TooLarge,
    /// The answer is longer than the request accepts.
    TooLong,
    /// The answer violates the protocol.
    ProtocolViolation,
    /// The call was interrupted: nothing was done.
    Interrupted,
    Forked,
    Closed,
}

/// Inside [`Failure::Lost`].
#[derive(Debug, thiserror::Error)]
#[error("the service did not answer in time")]
pub(crate) struct TooLate;

/// Inside [`Failure::NotSent`].
#[derive(Debug, thiserror::Error)]
#[error("the service cannot be reached: {0}")]
struct Unreachable(String);

/// Inside [`Failure::Untrusted`].
#[derive(Debug, thiserror::Error)]
#[error("the service does not answer in TLS: is its address http:// or unix:?")]
struct NoTls;

/// Inside [`Failure::Denied`].
#[derive(Debug, thiserror::Error)]
#[error("the service refused the client's certificate: {0}")]
struct CertificateRefused(String);

/// Inside [`Failure::Lost`].
#[derive(Debug, thiserror::Error)]
#[error("the connection to the service broke: {0}")]
struct Broken(String);

/// Inside [`Failure::Lost`], or before the end of a request [`Failure::NotSent`].
#[derive(Debug, thiserror::Error)]
#[error("the service does not answer in valid HTTP ({0}): is its address https://?")]
struct NoHttp(String);

/// Whether an error's source says that a service denied access, by its answer or during the TLS handshake.
pub(crate) fn is_refusal(source: &(dyn std::error::Error + 'static)) -> bool {
    source.is::<Problem>() || source.is::<CertificateRefused>()
}

fn causes<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The innermost cause of an error of `hyper`.
pub(super) fn root(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error and its causes.
pub(super) fn full_message(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn io_causes<'e>(error: &'e (dyn std::error::Error + 'static)) -> impl Iterator<Item = &'e io::Error> {
    causes(error).filter_map(|error| error.downcast_ref())
}

fn has_kind(error: &(dyn std::error::Error + 'static), kind: io::ErrorKind) -> bool {
    io_causes(error).any(|error| error.kind() == kind)
}

fn tls_causes<'e>(error: &'e (dyn std::error::Error + 'static)) -> impl Iterator<Item = &'e rustls::Error> {
    io_causes(error).filter_map(|error| error.get_ref()?.downcast_ref())
}

/// Whether the service rejected the client's certificate, or requires one. In TLS 1.3 the client learns this only after
/// it has sent its request, which the service then does not read.
fn is_refused(error: &(dyn std::error::Error + 'static)) -> bool {
    use rustls::AlertDescription::*;
    tls_causes(error).any(|error| match error {
        rustls::Error::AlertReceived(alert) => matches!(
            alert,
            AccessDenied
                | BadCertificate
                | CertificateExpired
                | CertificateRequired
                | CertificateRevoked
                | CertificateUnknown
                | DecryptError
                | UnknownCA
                | UnsupportedCertificate
        ),
        _ => false,
    })
}

impl Failure {
    pub(super) fn too_late() -> Self {
        Self::Lost(TooLate.into())
    }

    pub(super) fn is_too_late(&self) -> bool {
        matches!(self, Self::Lost(source) if source.is::<TooLate>())
    }

    /// Whether a retry at the same service may help: not if its certificate is not trusted, or it answers without HTTP.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Untrusted(_) => false,
            Self::Lost(source) | Self::NotSent(source) => !source.is::<NoHttp>(),
            _ => true,
        }
    }

    pub(super) fn no_http(cause: String) -> Self {
        Self::Lost(NoHttp(cause).into())
    }

    pub(super) fn of_client(error: legacy::Error) -> Self {
        let cause = root(&error);
        if is_refused(&error) {
            return Self::Denied(CertificateRefused(cause).into());
        }
        if causes(&error).any(|error| error.downcast_ref().is_some_and(hyper::Error::is_parse)) {
            return Self::no_http(cause);
        }
        if !error.is_connect() {
            return Self::broken(cause);
        }
        if tls_causes(&error).any(|error| matches!(error, rustls::Error::InvalidMessage(_))) {
            return Self::Untrusted(NoTls.into());
        }
        let source = Unreachable(cause).into();
        if has_kind(&error, io::ErrorKind::InvalidData) {
            Self::Untrusted(source)
        } else if has_kind(&error, io::ErrorKind::PermissionDenied) {
            Self::Denied(source) // the mode of a Unix socket, or a firewall
        } else {
            Self::NotSent(source)
        }
    }

    pub(super) fn broken(cause: String) -> Self {
        Self::Lost(Broken(cause).into())
    }

    /// The failure of a retry after a lost attempt: the retry did nothing, but the lost attempt may have. Of several
    /// services, another one may have done it, with other limits than that which refuses the retry.
    pub(super) fn after_lost(self, are_several: bool) -> Self {
        match self {
            Self::NotSent(source) | Self::Untrusted(source) | Self::OtherStore(source) | Self::Denied(source) => {
                Self::Lost(source)
            }
            Self::Problem(problem) if !problem.is_deterministic() || are_several && !problem.is_of_record() => {
                Self::Lost(problem.into())
            }
            Self::Closed => Self::Lost("the handle was closed before the call was answered".into()),
            other => other,
        }
    }

    /// The failure of a request that was not sent to its end: a service does nothing before the end.
    pub(super) fn before_end(self) -> Self {
        match self {
            Self::Lost(source) => Self::NotSent(source),
            other => other,
        }
    }
}

impl From<Unfinished> for Failure {
    fn from(unfinished: Unfinished) -> Self {
        match unfinished {
            Unfinished::Forked => Self::Forked,
            Unfinished::NotBegun => Self::Interrupted,
            Unfinished::Interrupted => Self::too_late(),
            Unfinished::Ended => Self::NotSent("the thread for HTTP has ended".into()),
        }
    }
}
