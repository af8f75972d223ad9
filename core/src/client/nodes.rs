//! The request for the services of a cluster.

use hyper::{Method, StatusCode};

use super::errors::{of_read, protocol_violation};
use crate::error::Error;
use crate::http::{ApiRequest, Endpoint, Failure, HttpClient};
use crate::protocol::limits::NODES_BYTES;
use crate::protocol::names;
use crate::protocol::nodes::{Nodes, Role};

/// Asks the service at `endpoint`, which has this role, for the services of its cluster. Any token of the service
/// suffices.
///
/// # Errors
///
/// [`Error::InvalidArgument`] if the service is in no cluster or the endpoint is invalid, [`Error::AccessDenied`],
/// [`Error::Busy`], [`Error::Storage`].
pub fn nodes(endpoint: &Endpoint, role: Role) -> Result<Nodes, Error> {
    let http = HttpClient::open(endpoint, role)?;
    let request = ApiRequest::new(Method::GET, names::NODES).at_most(NODES_BYTES);
    let answer = match http.read(&request, http.end()) {
        Err(Failure::Problem(problem)) if problem.is_ours() && problem.status == StatusCode::NOT_FOUND => {
            return Err(Error::InvalidArgument("the service is in no cluster: start it with --join".into()));
        }
        answer => answer.map_err(of_read)?,
    };
    serde_json::from_slice(&answer.body).map_err(|_| protocol_violation())
}
