//! The service's side of requests with many records.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use strongroom::protocol::batch::{CreateManyDecoder, InvalidBatch, decode_locators, encode_get_many};
use strongroom::protocol::limits::GET_MANY_REQUEST_BYTES;
use strongroom::protocol::names::OCTET_STREAM;
use strongroom::storage;

use super::backend::StorageBackend;
use crate::blocking_pool::Effect;
use crate::body::answer_chunks::from_parts;
use crate::body::unsent_answer::{Content, Permits, Response};
use crate::call::Call;
use crate::problem::Problem;
use crate::response::empty;

/// Decodes each record as the body arrives, so that a batch is in memory only once.
pub(super) async fn create_many(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    call.require_type(OCTET_STREAM)?;
    let max_len = call.shared.limits.batch_bytes;
    call.body.check_announced(max_len)?;
    call.body.use_limit(&call.shared.batches);
    let mut batch = CreateManyDecoder::new(max_len);
    while let Some(bytes) = call.body.frame(max_len).await? {
        batch.push(&bytes).map_err(invalid_batch)?;
    }
    let records = batch.finish().map_err(invalid_batch)?;
    let permit = call.body.take_permit();
    call.run(Effect::Write, move |backend| {
        let _permit = permit; // the work is finished even if the client has disconnected
        let records: Vec<_> = records.iter().map(|(locator, record)| (*locator, record.as_slice())).collect();
        backend.0.create_many(&records)
    })
    .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The answer has the records as they were read, without a copy, and holds its permit until it is sent.
pub(super) async fn get_many(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    call.require_type(OCTET_STREAM)?;
    let body = call.body.all(GET_MANY_REQUEST_BYTES).await?;
    let locators = decode_locators(&body);
    let locators = locators.ok_or_else(|| Problem::bad_request("the body must be locators of 32 bytes each"))?;
    let max_len = call.shared.limits.batch_bytes;
    let batches = Arc::clone(&call.shared.batches);
    let permit = batches.acquire().await?;
    // The work holds the permit, because it is finished even if the client has disconnected.
    let answer = call.run(Effect::None, move |backend| {
        Ok::<_, storage::Error>((encode_get_many(backend.0.get_many(&locators, max_len)?), permit))
    });
    let (parts, permit) = answer.await?;
    let mut permits = Permits::default();
    permits.add(permit, Some(&batches));
    let mut response = Response::new(Content::new(from_parts(parts), permits));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OCTET_STREAM));
    Ok(response)
}

fn invalid_batch(error: InvalidBatch) -> Problem {
    match error {
        InvalidBatch::TooLarge => Problem::too_large(),
        InvalidBatch::Malformed => Problem::bad_request(
            "the body must be, for each record, its locator (32 bytes), its length (8 bytes) and its bytes",
        ),
    }
}
