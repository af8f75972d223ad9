//! Small things, as JSON.

use std::borrow::Cow;
use std::io::Read;

use base64ct::{Base64, Encoding};
use hyper::StatusCode;
use serde::{Deserialize, Deserializer};
use strongroom::protocol::documents;
use strongroom::protocol::names::JSON;
use strongroom::{Error, RecordKey, RecordReader};
use zeroize::Zeroizing;

use super::{Records, hand_out, options};
use crate::answer::Response;
use crate::gate::Effect;
use crate::problem::Problem;
use crate::service::{Call, empty, json, secret};
use crate::wire;

/// All that a request may have; each takes what it needs, and no more may be there.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fields<'b> {
    #[serde(borrow, deserialize_with = "text")]
    id: Option<Cow<'b, str>>,
    #[serde(borrow, deserialize_with = "text")]
    id_base64: Option<Cow<'b, str>>,
    #[serde(borrow, deserialize_with = "text")]
    data: Option<Cow<'b, str>>,
    #[serde(borrow, deserialize_with = "text")]
    key: Option<Cow<'b, str>>,
    #[serde(borrow, deserialize_with = "text")]
    new_key: Option<Cow<'b, str>>,
}

/// A field's text, where it stands in the body unless it has escapes. `null` is none.
fn text<'b, D: Deserializer<'b>>(field: D) -> Result<Option<Cow<'b, str>>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

    Text::deserialize(field).map(|Text(text)| Some(text))
}

/// What a request says.
#[derive(Default)]
struct Request {
    id: Option<Vec<u8>>,
    data: Option<Zeroizing<Vec<u8>>>,
    key: Option<RecordKey>,
    new_key: Option<RecordKey>,
}

impl Request {
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let fields: Fields<'_> = wire::object(body)?;
        let decode = |text: Cow<'_, str>| {
            let padded = Base64::decode_vec(&text).map(Zeroizing::new);
            padded.map_err(|_| Problem::bad_request("base64 is that of RFC 4648 section 4, padded"))
        };
        let key = |text: Cow<'_, str>| RecordKey::from_text(&text).map_err(Problem::from);
        let id = match (fields.id, fields.id_base64) {
            (Some(id), None) => Some(id.into_owned().into_bytes()),
            (None, Some(id)) => Some(decode(id)?.to_vec()),
            (None, None) => None,
            (Some(_), Some(_)) => return Err(Problem::bad_request("give id or id_base64, not both")),
        };
        Ok(Self {
            id,
            data: fields.data.map(decode).transpose()?,
            key: fields.key.map(key).transpose()?,
            new_key: fields.new_key.map(key).transpose()?,
        })
    }
}

/// The field's value, or that it is missing.
fn needed<T>(field: Option<T>, name: &'static str) -> Result<T, Problem> {
    field.ok_or_else(|| Problem::bad_request(format!("the field {name} is missing")))
}

/// That the field is not there.
fn unknown<T>(field: &Option<T>, name: &'static str) -> Result<(), Problem> {
    if field.is_some() { Err(Problem::bad_request(format!("the field {name} is not known here"))) } else { Ok(()) }
}

async fn request(call: &mut Call<Records>) -> Result<Request, Problem> {
    call.require_type(JSON)?;
    let body = call.body.all(call.shared.limits.json_bytes).await?;
    Request::parse(&body)
}

pub(super) async fn store(mut call: Call<Records>) -> Result<Response, Problem> {
    let request = request(&mut call).await?;
    unknown(&request.new_key, "new_key")?;
    let (id, data, key) = (needed(request.id, "id")?, needed(request.data, "data")?, request.key);
    let key = call.run(Effect::Write, move |records| records.store.store_with(id, data, options(key.as_ref())));
    Ok(hand_out(StatusCode::CREATED, &key.await?))
}

/// Opened as a stream, so that a long record is refused before it is read, and a wrong key whatever the record's length. An
/// answer that is not short is read once there is room for it.
pub(super) async fn retrieve(mut call: Call<Records>) -> Result<Response, Problem> {
    let request = request(&mut call).await?;
    unknown(&request.data, "data")?;
    unknown(&request.new_key, "new_key")?;
    let (id, key) = (needed(request.id, "id")?, needed(request.key, "key")?);
    let most = call.shared.limits.json_bytes / 4 * 3;
    let opened = call.run_with_key(Effect::None, move |records| {
        let mut reader = records.hide(records.store.open_record(&id, &key), &id, &key)?;
        let len = reader.len()?;
        let len = usize::try_from(len).ok().filter(|_| len <= most).ok_or(Error::TooLarge)?;
        if len > SHORT {
            return Ok(Opened::Long(Box::new(reader), len));
        }
        Ok::<_, Error>(Opened::Short(read(&mut reader, len)?))
    });
    let (reader, len) = match opened.await? {
        Opened::Short(answer) => return Ok(answer),
        Opened::Long(reader, len) => (call.shared.threads.guard(reader), len),
    };
    let held = call.charge(len as u64 / 3 * 4 + ROOM).await?;
    let (_, answer) = reader.with(move |reader| read(reader, len)).await?;
    Ok(answer.map(|content| content.charged(held)))
}

/// A record of at most this many bytes is read at once.
const SHORT: usize = 16 << 10;
/// The most bytes beside the data in an answer.
const ROOM: u64 = 64;

enum Opened {
    Short(Response),
    Long(Box<RecordReader>, usize),
}

fn read(reader: &mut RecordReader, len: usize) -> Result<Response, Error> {
    let mut data = Zeroizing::new(vec![0; len]);
    reader.read_exact(&mut data).map_err(super::bytes::of_reader)?;
    Ok(secret(StatusCode::OK, "data", &Zeroizing::new(Base64::encode_string(&data))))
}

pub(super) async fn replace(mut call: Call<Records>) -> Result<Response, Problem> {
    let request = request(&mut call).await?;
    let (id, key, data) = (needed(request.id, "id")?, needed(request.key, "key")?, needed(request.data, "data")?);
    let new_key = request.new_key;
    let key = call.run_with_key(Effect::Write, move |records| {
        records.hide(records.store.replace_with(&id, &key, data, options(new_key.as_ref())), &id, &key)
    });
    Ok(hand_out(StatusCode::OK, &key.await?))
}

pub(super) async fn delete(mut call: Call<Records>) -> Result<Response, Problem> {
    let request = request(&mut call).await?;
    unknown(&request.data, "data")?;
    unknown(&request.new_key, "new_key")?;
    let (id, key) = (needed(request.id, "id")?, needed(request.key, "key")?);
    call.run_with_key(Effect::Write, move |records| records.hide(records.store.delete(&id, &key), &id, &key)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn erase(mut call: Call<Records>) -> Result<Response, Problem> {
    let request = request(&mut call).await?;
    unknown(&request.data, "data")?;
    unknown(&request.key, "key")?;
    unknown(&request.new_key, "new_key")?;
    let id = needed(request.id, "id")?;
    let erased = call.run(Effect::Write, move |records| records.store.erase(id)).await?;
    Ok(json(StatusCode::OK, &documents::erased(erased)))
}

pub(super) async fn stats(mut call: Call<Records>) -> Result<Response, Problem> {
    let Request { id: None, data: None, key: None, new_key: None } = request(&mut call).await? else {
        return Err(Problem::bad_request("the body is {}"));
    };
    let stats = call.run(Effect::None, |records| records.store.stats()).await?;
    Ok(json(StatusCode::OK, &documents::stats(stats.records, stats.bytes)))
}
