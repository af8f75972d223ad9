//! The fields of requests in JSON.

use std::borrow::Cow;

use base64ct::{Base64, Encoding};
use serde::{Deserialize, Deserializer};
use strongroom::Wiped;
use strongroom::{RecordKey, WriteOptions};

use super::backend;
use crate::problem::Problem;

/// The fields of all requests. Each operation uses its own and rejects the others.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Fields<'b> {
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
    #[serde(deserialize_with = "number")]
    expires_at: Option<u64>,
    #[serde(deserialize_with = "number")]
    expires_in: Option<u64>,
    #[serde(deserialize_with = "flag")]
    pad: Option<bool>,
    #[serde(deserialize_with = "number")]
    limit: Option<u64>,
}

/// A field's number. `null` is an error.
fn number<'b, D: Deserializer<'b>>(field: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(field).map(Some)
}

/// As [`number`], for true and false.
fn flag<'b, D: Deserializer<'b>>(field: D) -> Result<Option<bool>, D::Error> {
    bool::deserialize(field).map(Some)
}

/// A field's text, borrowed from the body unless it has escapes. `null` means no text.
fn text<'b, D: Deserializer<'b>>(field: D) -> Result<Option<Cow<'b, str>>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'b>(#[serde(borrow)] Cow<'b, str>);

    Text::deserialize(field).map(|Text(text)| Some(text))
}

/// The values of a request's fields.
#[derive(Default)]
pub(super) struct Request {
    pub(super) id: Option<Vec<u8>>,
    pub(super) data: Option<Wiped>,
    pub(super) key: Option<RecordKey>,
    pub(super) new_key: Option<RecordKey>,
    /// Expiry and padding.
    pub(super) options: Option<WriteOptions<'static>>,
    pub(super) limit: Option<u64>,
}

impl Request {
    /// Fails if the request has a field of writes other than `data` and `key`.
    pub(super) fn refuse_write_options(&self) -> Result<(), Problem> {
        refuse(&self.new_key, "new_key")?;
        refuse(&self.options, "expires_at, expires_in or pad")
    }
}

impl TryFrom<Fields<'_>> for Request {
    type Error = Problem;

    fn try_from(fields: Fields<'_>) -> Result<Self, Problem> {
        let decode = |text: Cow<'_, str>| {
            let padded = Base64::decode_vec(&text).map(Wiped::from);
            padded.map_err(|_| Problem::bad_request("data must be padded base64 (RFC 4648 section 4)"))
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
            options: backend::options(fields.expires_at, fields.expires_in, fields.pad)?,
            limit: fields.limit,
        })
    }
}

/// The field's value; fails if it is missing.
pub(super) fn required<T>(field: Option<T>, name: &'static str) -> Result<T, Problem> {
    field.ok_or_else(|| Problem::bad_request(format!("the field {name} is missing")))
}

/// Fails if the field is present, because the operation does not have it.
pub(super) fn refuse<T>(field: &Option<T>, name: &'static str) -> Result<(), Problem> {
    if field.is_some() { Err(Problem::bad_request(format!("the field {name} is unknown"))) } else { Ok(()) }
}
