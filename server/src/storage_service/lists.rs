//! Lists of records, in pages.

use hyper::StatusCode;
use strongroom::protocol::documents;
use strongroom::protocol::limits::PAGE_ENTRIES;
use strongroom::protocol::names;
use strongroom::storage::{self, Storage};

use super::backend::StorageBackend;
use crate::blocking_pool::Effect;
use crate::body::unsent_answer::Response;
use crate::call::Call;
use crate::problem::Problem;
use crate::request_text;
use crate::response::json;

/// The most bytes of an entry.
const ENTRY_LEN: u64 = 256;

pub(super) async fn list(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let (mut after, mut limit) = (None, PAGE_ENTRIES);
    for (name, value) in request_text::query(call.head.uri.query()) {
        match name {
            names::AFTER => after = Some(request_text::locator(value)?),
            names::LIMIT => limit = request_text::number(name, value)?,
            _ => return Err(unknown_name()),
        }
    }
    page(call, limit, move |storage, limit| storage.list(after.as_ref(), limit)).await
}

pub(super) async fn list_expired(call: Call<StorageBackend>) -> Result<Response, Problem> {
    let (mut now, mut limit) = (None, PAGE_ENTRIES);
    for (name, value) in request_text::query(call.head.uri.query()) {
        match name {
            names::NOW => now = Some(request_text::number(name, value)?),
            names::LIMIT => limit = request_text::number(name, value)?,
            _ => return Err(unknown_name()),
        }
    }
    let now = now.ok_or_else(|| Problem::bad_request("the query needs `now`, a Unix time in seconds"))?;
    page(call, limit, move |storage, limit| storage.list_expired(now, limit)).await
}

fn unknown_name() -> Problem {
    Problem::bad_request("the query has an unknown name")
}

/// A page of records, made after its memory is reserved.
async fn page(
    call: Call<StorageBackend>,
    limit: usize,
    list: impl FnOnce(&dyn Storage, usize) -> Result<Vec<storage::Entry>, storage::Error> + Send + 'static,
) -> Result<Response, Problem> {
    let limit = limit.min(PAGE_ENTRIES);
    let permits = call.reserve(limit as u64 * ENTRY_LEN).await?;
    let entries = call.run(Effect::None, move |backend| list(&*backend.0, limit)).await?;
    let lines = entries.iter().map(|entry| (entry.locator, &entry.info.head.as_bytes()[..], entry.info.len));
    let page = json(StatusCode::OK, &documents::page(lines));
    Ok(page.map(|content| content.with_permits(permits)))
}
