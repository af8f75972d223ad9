//! The command that asks a service whether it is ready.

use std::time::Duration;

use serde_json::json;
use strongroom::{Endpoint, Error};

use crate::failure::Failure;
use crate::open;
use crate::options::Options;
use crate::reply::reply;

/// The time limit, unless `--timeout` gives another.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) fn health(options: &Options, url: &str) -> Result<(), Failure> {
    let mut endpoint_options = open::without_token(&options.remote);
    endpoint_options.timeout.get_or_insert(TIMEOUT);
    let endpoint = Endpoint::new(url).map_err(Error::from)?;
    strongroom::ready(&open::with_connection(options, endpoint, endpoint_options)?)?;
    reply(options, &json!({"ready": true}), "ready")
}
