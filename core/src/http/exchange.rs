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
use crate::protocol::names::STRONGROOM_REQUEST_ID;
use crate::util::fork_check::ProcessOwned;

/// As [`send`], to one of our services, which put a header of their own on each answer. A success without it is from
/// somebody else, such as a proxy's login page, and proves nothing.
pub(super) async fn send_to_service(
    client: Client<Connector, OutgoingBody>,
    request: Request<OutgoingBody>,
    idle: IdleTimer,
    budget: TimeBudget,
) -> Result<StreamingResponse, Failure> {
    let answer = send(client, request, idle, budget).await?;
    let is_ours = answer.headers.contains_key(STRONGROOM_REQUEST_ID);
    if answer.status.is_success() && !is_ours { Err(Failure::ProtocolViolation) } else { Ok(answer) }
}

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
    Ok(StreamingResponse { status: head.status, headers: head.headers, body: ProcessOwned::new(body), idle, budget })
}
