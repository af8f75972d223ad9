//! Whether a service is ready, as its probe says.

use hyper::Method;

use super::errors::of_read;
use crate::error::Error;
use crate::http::{ApiRequest, Endpoint, HttpClient};
use crate::protocol::nodes::Role;

/// Asks the service at `endpoint` for `/readyz`, until it is ready or the endpoint's time limit has passed.
///
/// # Errors
///
/// [`Error::InvalidArgument`] if the endpoint is invalid; [`Error::Storage`], [`Error::Busy`].
pub fn ready(endpoint: &Endpoint) -> Result<(), Error> {
    let http = HttpClient::open(endpoint, Role::Storage)?;
    http.read(&ApiRequest::new(Method::GET, "/readyz"), http.end()).map_err(of_read)?;
    Ok(())
}
