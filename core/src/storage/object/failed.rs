//! The failures of requests to a server, and their conversion to storage errors.

use std::error::Error as StdError;

use hyper::StatusCode;

use super::super::Error;
use crate::http::{Failure, TooLate};

/// The reason why a request has no useful answer. It shows no URL, because a signed one is a secret.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failed {
    /// An error answer, with the server's own code, such as `NoSuchKey`.
    #[error("the object store answered {status}{}", advice(code))]
    Status { status: StatusCode, code: String },
    /// Nothing was done.
    #[error("{0}")]
    NotSent(String),
    /// Nothing was done: the call's time is over.
    #[error("the object store did not answer in time")]
    NoTime,
    /// Nothing was done, and a retry will not help.
    #[error("{0}")]
    Refused(String),
    /// The outcome is unknown.
    #[error("the connection to the object store broke: {0}")]
    Lost(String),
    /// The outcome is unknown.
    #[error("the object store did not answer in time")]
    TooLate,
    /// The answer, or the configuration, is not valid.
    #[error("{0}")]
    Invalid(String),
}

/// Server errors that are refusals, which a retry does not change.
const REFUSALS: [StatusCode; 3] =
    [StatusCode::NOT_IMPLEMENTED, StatusCode::HTTP_VERSION_NOT_SUPPORTED, StatusCode::INSUFFICIENT_STORAGE];

/// The server's code, and what to do about it.
fn advice(code: &str) -> String {
    let advice = match code {
        "" => return String::new(),
        "NoSuchBucket" | "ContainerNotFound" => ": there is no such bucket; create it",
        "RequestTimeTooSkewed" => ": set this machine's clock",
        "SignatureDoesNotMatch" | "InvalidAccessKeyId" | "AuthenticationFailed" => ": check the access key",
        "AccessDenied" => ": the access key's policy does not allow this",
        "ExpiredToken" | "InvalidToken" => ": get a new session token",
        "PermanentRedirect" | "AuthorizationHeaderMalformed" => ": set the bucket's region",
        _ => "",
    };
    format!(" ({code}){advice}")
}

impl Failed {
    pub(super) fn of_transport(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(source) => Self::NotSent(source.to_string()),
            Failure::Untrusted(source) | Failure::Denied(source) => Self::Refused(source.to_string()),
            Failure::Lost(source) if source.is::<TooLate>() => Self::TooLate,
            Failure::Lost(source) => Self::Lost(source.to_string()),
            other => Self::Lost(format!("{other:?}")),
        }
    }

    /// The failure inside an error of the crate `object_store`.
    pub(super) fn of(error: &object_store::Error) -> Self {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(found) = cause {
            if let Some(own) = found.downcast_ref::<Self>() {
                return own.clone();
            }
            cause = found.source();
        }
        Self::Invalid(format!("the object store cannot be used: {error}"))
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        if let Self::Status { status, .. } = self { Some(*status) } else { None }
    }

    /// Whether there is no such object.
    pub(super) fn is_missing(&self) -> bool {
        let Self::Status { status, code } = self else { return false };
        *status == StatusCode::NOT_FOUND && !["NoSuchBucket", "ContainerNotFound"].contains(&code.as_str())
    }

    /// Whether the server refused because of the request's condition: nothing was done.
    pub(super) fn is_condition(&self) -> bool {
        self.status()
            .is_some_and(|status| [StatusCode::PRECONDITION_FAILED, StatusCode::NOT_MODIFIED].contains(&status))
    }

    /// Whether another request was under way: nothing was done, and the condition was not decided.
    pub(super) fn is_overlap(&self) -> bool {
        self.status() == Some(StatusCode::CONFLICT)
    }

    /// Whether a retry may succeed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                status.is_server_error() && !REFUSALS.contains(status)
                    || [StatusCode::TOO_MANY_REQUESTS, StatusCode::CONFLICT].contains(status)
                    || self.is_request_timeout()
            }
            Self::NotSent(_) | Self::Lost(_) | Self::TooLate => true,
            Self::NoTime | Self::Refused(_) | Self::Invalid(_) => false,
        }
    }

    /// Whether the server may have done what was requested.
    pub(super) fn is_doubtful(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                status.is_server_error() && *status != StatusCode::SERVICE_UNAVAILABLE && !REFUSALS.contains(status)
                    || self.is_request_timeout()
            }
            Self::Lost(_) | Self::TooLate => true,
            _ => false,
        }
    }

    /// Whether the server waited for too long for the request. S3 answers this with the status 400.
    fn is_request_timeout(&self) -> bool {
        matches!(self, Self::Status { status, code }
            if *status == StatusCode::REQUEST_TIMEOUT || *status == StatusCode::BAD_REQUEST && code == "RequestTimeout")
    }
}

/// The error of a request that did nothing.
impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        let Failed::Status { status, code } = &failed else {
            return if matches!(failed, Failed::TooLate | Failed::NoTime) {
                Self::Busy
            } else {
                Self::Backend(failed.into())
            };
        };
        match *status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if code == "QuotaExceeded" => Self::Full,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::AccessDenied(failed.into()),
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::INSUFFICIENT_STORAGE => Self::Full,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Self::Busy,
            _ if code == "EntityTooLarge" => Self::TooLarge,
            _ => Self::Backend(failed.into()),
        }
    }
}
