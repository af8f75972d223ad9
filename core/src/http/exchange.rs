//! One request and the head of its answer. Each wait is bounded: a connection without progress, or with too little, is
//! abandoned.

use hyper::Request;
use hyper::header::CONTENT_ENCODING;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;

use super::connector::Connector;
use super::failure::Failure;
use super::request::OutgoingBody;
use super::response::StreamingResponse;
use super::timing::{IdleTimer, TimeBudget};

/// Sends a request, and waits for the head of its answer.
pub(super) async fn send(
    client: Client<Connector, OutgoingBody>,
    mut request: Request<OutgoingBody>,
    idle: IdleTimer,
    budget: TimeBudget,
) -> Result<StreamingResponse, Failure> {
    let connection = capture_connection(&mut request);
    let answer =
        idle.watch(client.request(request)).await.map_err(|too_late| match &*connection.connection_metadata() {
            Some(_) => too_late,
            None => too_late.before_end(),
        })?;
    let answer = answer.map_err(Failure::of_client)?;
    idle.tick();
    let (head, body) = answer.into_parts();
    if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(Failure::ProtocolViolation); // no coding was requested, and the coded bytes would be read as data
    }
    Ok(StreamingResponse { status: head.status, headers: head.headers, body, idle, budget })
}
