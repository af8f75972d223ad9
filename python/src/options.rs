//! The options of a write: the key, the expiry time, and padding.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyDelta};
use strongroom::{Error, WriteOptions};

use crate::arguments::number;
use crate::error::Failure;
use crate::key::Key;

/// The options of a write, under the caller's key if there is one.
pub(crate) fn options<'k>(
    key: Option<&'k Bound<'_, Key>>,
    expires_at: Option<ExpiresAt>,
    expires_in: Option<ExpiresIn>,
    pad: bool,
) -> Result<WriteOptions<'k>, Failure> {
    let options = key.map_or_else(WriteOptions::new, |key| WriteOptions::new().key(key.get().inner()));
    let options = if pad { options.pad() } else { options };
    match (expires_at, expires_in) {
        (None, None) => Ok(options),
        (Some(time), None) => Ok(options.expires_at(time.0)),
        (None, Some(time)) => Ok(options.expires_in(time.0)),
        (Some(_), Some(_)) => Err(invalid("give expires_at or expires_in, not both")),
    }
}

/// A time: an aware `datetime`, or the Unix time in seconds.
#[derive(Clone, Copy)]
pub(crate) struct ExpiresAt(SystemTime);

impl FromPyObject<'_, '_> for ExpiresAt {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let time = if object.is_instance_of::<PyDateTime>() {
            if object.call_method0("utcoffset")?.is_none() {
                return Err(invalid("expires_at has no time zone: use datetime.now(timezone.utc)").into());
            }
            object.call_method0("timestamp")?.extract::<f64>()?.max(0.0) // the library rejects a time before 1970
        } else {
            number(object, "a datetime or a number")?
        };
        let time = duration(time).and_then(|time| UNIX_EPOCH.checked_add(time));
        Ok(Self(time.ok_or(invalid("expires_at is invalid: it is negative, too large or not a number"))?))
    }
}

/// A duration: a `timedelta`, or seconds.
#[derive(Clone, Copy)]
pub(crate) struct ExpiresIn(Duration);

impl FromPyObject<'_, '_> for ExpiresIn {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let seconds = if object.is_instance_of::<PyDelta>() {
            object.call_method0("total_seconds")?.extract()?
        } else {
            number(object, "a timedelta or a number")?
        };
        let time = duration(seconds).ok_or(invalid("expires_in is invalid: it is negative, too large or not a number"));
        Ok(Self(time?))
    }
}

fn duration(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

fn invalid(text: &'static str) -> Failure {
    Error::InvalidArgument(text.into()).into()
}
