//! Many records in one request, in JSON.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use hyper::StatusCode;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use strongroom::protocol::limits::BATCH_RECORDS;
use strongroom::protocol::names::JSON;
use strongroom::{Error, RecordKey, Wiped};

use super::backend::{EncryptionBackend, record_error, write_options};
use super::fields::{Fields, Request, refuse, required};
use super::response_delay;
use crate::blocking_pool::Effect;
use crate::body::unsent_answer::{Permits, Response};
use crate::call::Call;
use crate::problem::Problem;
use crate::request_text;
use crate::response::text;

/// The bytes of a key in an answer: its text, quotes and a comma.
const KEY_ITEM_LEN: usize = 65;
/// The most bytes of an answer beside its items.
const BRACKETS_LEN: usize = 16;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ManyFields<'b> {
    #[serde(borrow, deserialize_with = "at_most_a_batch")]
    records: Option<Vec<Fields<'b>>>,
}

/// The records of a request. Parsing stops after one above the limit, because a short text can have many.
fn at_most_a_batch<'b, D: Deserializer<'b>>(field: D) -> Result<Option<Vec<Fields<'b>>>, D::Error> {
    struct Records;

    impl<'b> Visitor<'b> for Records {
        type Value = Vec<Fields<'b>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("records")
        }

        fn visit_seq<A: SeqAccess<'b>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut records = Vec::new();
            while records.len() <= BATCH_RECORDS
                && let Some(record) = items.next_element()?
            {
                records.push(record);
            }
            while items.next_element::<IgnoredAny>()?.is_some() {}
            Ok(records)
        }
    }

    field.deserialize_seq(Records).map(Some)
}

async fn requests(call: &mut Call<EncryptionBackend>) -> Result<Vec<Request>, Problem> {
    call.require_type(JSON)?;
    call.refuse_record_headers()?;
    call.body.use_limit(&Arc::clone(&call.shared.batches));
    let body = call.body.all(call.shared.limits.batch_bytes).await?;
    let ManyFields { records } = request_text::object(&body)?;
    let records = required(records, "records")?;
    if records.len() > BATCH_RECORDS {
        return Err(Problem::too_large());
    }
    let records = records.into_iter().map(|fields| {
        let request = Request::try_from(fields)?;
        refuse(&request.limit, "limit")?;
        Ok(request)
    });
    records.collect()
}

pub(super) async fn store(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let mut records = Vec::new();
    for request in requests(&mut call).await? {
        refuse(&request.new_key, "new_key")?;
        let (id, data) = (required(request.id, "id")?, required(request.data, "data")?);
        records.push((id, data, request.key, request.options));
    }
    // Before the write: if it failed for want of memory after the write, the keys would be lost.
    let len = records.len() * KEY_ITEM_LEN + BRACKETS_LEN;
    let permits = call.reserve(len as u64).await?;
    let mut answer = Answer::with_capacity("keys", len)?;
    let permit = call.body.take_permit();
    let keys = call.run(Effect::Write, move |backend| {
        let _permit = permit; // the work is finished even if the client has disconnected
        let records = records.iter().map(|(id, data, key, options)| (id, data, write_options(key.as_ref(), *options)));
        backend.store()?.store_many_with(&records.collect::<Vec<_>>())
    });
    for key in keys.await? {
        answer.push(&[b"\"", key.to_text().as_bytes(), b"\""])?;
    }
    Ok(answer.into_response(StatusCode::CREATED)?.map(|content| content.with_permits(permits)))
}

/// Each record is opened before it is read, so that a wrong key costs no more than a missing record, at any length.
pub(super) async fn retrieve(mut call: Call<EncryptionBackend>) -> Result<Response, Problem> {
    let mut records = Vec::new();
    for request in requests(&mut call).await? {
        refuse(&request.data, "data")?;
        request.refuse_write_options()?;
        records.push((required(request.id, "id")?, required(request.key, "key")?));
    }
    let (max_len, batches) = (call.shared.limits.batch_bytes, Arc::clone(&call.shared.batches));
    let permit = match call.body.take_permit() {
        Some(permit) => permit,
        None => batches.acquire().await?,
    };
    let start = std::time::Instant::now();
    // The work holds the permit, because it is finished even if the client has disconnected.
    let found = call.run(Effect::None, move |backend| Ok::<_, Error>((backend.find_all(&records, max_len)?, permit)));
    let (found, permit) = found.await?;
    if found.has_missing {
        response_delay::until_next_step(start).await;
    }
    let mut permits = Permits::default();
    permits.add(permit, Some(&batches));
    Ok(found.answer.into_response(StatusCode::OK)?.map(|content| content.with_permits(permits)))
}

/// The answer to a request for many records.
struct Found {
    answer: Answer,
    /// Whether a record is missing, or has another key.
    has_missing: bool,
}

impl EncryptionBackend {
    /// The answer with all records, which has at most `max_len` bytes.
    fn find_all(&self, records: &[(Vec<u8>, RecordKey)], max_len: u64) -> Result<Found, Error> {
        let (mut answer, mut has_missing) = (Answer::new("records"), false);
        for (id, key) in records {
            match self.find(id, key, max_len.saturating_sub(answer.len())) {
                Ok(data) => answer.push(&[b"{\"data\":\"", &data, b"\"}"])?,
                Err(
                    error @ (Error::NotFound
                    | Error::WrongKey
                    | Error::Corrupt
                    | Error::Conflict
                    | Error::Expired
                    | Error::Unsupported(_)),
                ) => {
                    let problem = Problem::from(error);
                    has_missing |= problem.status == StatusCode::NOT_FOUND;
                    let item = format!("{{\"code\":{},\"title\":\"{}\"}}", problem.code, problem.title);
                    answer.push(&[item.as_bytes()])?;
                }
                Err(error) => return Err(error),
            }
            if answer.len() > max_len {
                return Err(Error::TooLarge);
            }
        }
        Ok(Found { answer, has_missing })
    }

    /// A record's data in base64, of at most `max_len` bytes.
    fn find(&self, id: &[u8], key: &RecordKey, max_len: u64) -> Result<Wiped, Error> {
        let (mut reader, len) = self.open(id, key)?;
        if len / 3 * 4 > max_len {
            return Err(Error::TooLarge);
        }
        let mut data = Wiped::zeros(usize::try_from(len).map_err(|_| Error::TooLarge)?).map_err(|_| Error::TooLarge)?;
        reader.read_exact(&mut data).map_err(record_error)?;
        Ok(Base64::encode_string(&data).into())
    }
}

/// An answer in JSON, `{"name":[item, ...]}`, that contains secrets. It is wiped once the connection has taken it.
struct Answer {
    body: Wiped,
    is_empty: bool,
}

impl Answer {
    fn new(name: &'static str) -> Self {
        Self { body: format!("{{\"{name}\":[").into(), is_empty: true }
    }

    /// An answer that has its memory from the start.
    fn with_capacity(name: &'static str, capacity: usize) -> Result<Self, Error> {
        let mut answer = Self::new(name);
        answer.body.grow(capacity).map_err(|_| Error::TooLarge)?;
        Ok(answer)
    }

    fn len(&self) -> u64 {
        self.body.len() as u64
    }

    /// Adds an item. No text here needs an escape.
    fn push(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        if !std::mem::take(&mut self.is_empty) {
            self.append(b",")?;
        }
        parts.iter().try_for_each(|part| self.append(part))
    }

    fn append(&mut self, part: &[u8]) -> Result<(), Error> {
        self.body.append(part).map_err(|_| Error::TooLarge)
    }

    fn into_response(mut self, status: StatusCode) -> Result<Response, Error> {
        self.append(b"]}")?;
        let mut response = text(JSON, Bytes::from_owner(self.body));
        *response.status_mut() = status;
        Ok(response)
    }
}
