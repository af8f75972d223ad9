//! The settings document, and maintenance by operators.

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use strongroom::protocol::documents::{self, Verification};
use strongroom::protocol::limits::VERIFY_RECORDS;
use strongroom::protocol::names::{self, OCTET_STREAM};
use strongroom::storage::VerifyPosition;

use super::backend::StorageBackend;
use crate::backend::Backend;
use crate::blocking_pool::Effect;
use crate::body::unsent_answer::Response;
use crate::call::Call;
use crate::problem::Problem;
use crate::request_text;
use crate::response::{empty, json};
use crate::unix_time::unix_time;

pub(super) async fn settings(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let settings = call.run(Effect::None, |backend| backend.0.settings()).await?.ok_or_else(Problem::not_found)?;
    let mut response = Response::new(settings.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OCTET_STREAM));
    Ok(response)
}

pub(super) async fn swap_settings(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    const BODY: &str = "the body must be {expected, new}: both in base64url, without padding";
    let (expected, new) = call.json_body(documents::read_swap_settings, BODY).await?;
    call.run(Effect::Write, move |backend| backend.0.swap_settings(expected.as_deref(), &new)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn verify(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    const BODY: &str = "the body must be {position, limit}: the text of a position or null, and a number";
    let (position, limit) = call.json_body(documents::read_verify, BODY).await?;
    let position: Option<VerifyPosition> =
        position.map(|text| text.parse()).transpose().map_err(|_| Problem::bad_request(BODY))?;
    if let Some(VerifyPosition::Record(locator)) = position {
        call.audit(|| Some(locator));
    }
    let limit = limit.min(VERIFY_RECORDS);
    let verified = call.run(Effect::None, move |backend| backend.0.verify(position.as_ref(), limit)).await?;
    let damage = verified.damage.into_iter().map(|damage| (damage.locator, damage.place, damage.kind.to_string()));
    let step = Verification {
        records: verified.records,
        bytes: verified.bytes,
        damage: damage.collect(),
        next: verified.next.map(|next| next.to_string()),
    };
    Ok(json(StatusCode::OK, &documents::verification(&step)))
}

pub(super) async fn purge(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    const BODY: &str = "the body must be {now, limit}: a Unix time in seconds or null, and a number";
    let (time, limit) = call.json_body(documents::read_purge, BODY).await?;
    let purge = move |backend: &StorageBackend| match time {
        None => backend.purge(limit),
        // A store removes abandoned claims itself, by its own clock.
        Some(time) => Ok(backend.0.purge(time, limit)?),
    };
    let purged = call.run(Effect::Write, purge).await?;
    Ok(json(StatusCode::OK, &documents::purged(purged)))
}

pub(super) async fn compact(mut call: Call<StorageBackend>) -> Result<Response, Problem> {
    const BODY: &str = "the body must be {limit}: a number of bytes";
    let limit = call.json_body(documents::read_compact, BODY).await?;
    let compacted = call.run(Effect::Write, move |backend| backend.0.compact(limit)).await?;
    Ok(json(StatusCode::OK, &documents::compacted(compacted)))
}

pub(super) async fn stats(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let mut time = None;
    for (name, value) in request_text::query(call.head.uri.query()) {
        match name {
            names::NOW => time = Some(request_text::number(name, value)?),
            _ => return Err(Problem::bad_request("the query has an unknown name")),
        }
    }
    let stats = call.run(Effect::None, move |backend| backend.0.stats(time.unwrap_or_else(unix_time))).await?;
    Ok(json(StatusCode::OK, &documents::stats(stats.records, stats.bytes, stats.expired, stats.free)))
}

pub(super) async fn maintain(call: Call<StorageBackend>) -> Result<Response, Problem> {
    call.run(Effect::Write, StorageBackend::maintain).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
