//! A store's location and the arguments for a service.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyString;
use strongroom::{Builder, EndpointOptions, Error, Location, Strongroom};
use zeroize::Zeroizing;

use crate::error::Failure;

/// The text of a token.
pub(crate) fn token_text(token: Option<&Bound<'_, PyString>>) -> Result<Option<Zeroizing<String>>, Failure> {
    // The error of Python's own would carry the token.
    let text = token.map(|token| {
        let invalid = |_| Error::InvalidArgument("the text is not a token: a token starts with \"srt1\"".into());
        token.to_str().map_err(invalid)
    });
    Ok(text.transpose()?.map(|text| Zeroizing::new(text.to_owned())))
}

/// The seconds as a timeout. Those that are no duration are none at all, which the library refuses.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}

/// A builder that opens the store at `path`.
pub(crate) fn builder_at(path: PathBuf, options: EndpointOptions) -> Result<Builder, Error> {
    Ok(Strongroom::builder().location(Location::parse(path)?.with_options(options)?))
}
