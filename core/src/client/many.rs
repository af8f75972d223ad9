//! The client's side of requests with many records, each of a limited size.

use base64ct::{Base64, Encoding};
use serde::Deserialize;

use super::Client;
use super::errors::protocol_violation;
use super::request::Record;
use crate::error::Error;
use crate::key::RecordKey;
use crate::operations::{Call, FoundRecords, NewVersion};
use crate::protocol::ErrorCode;
use crate::protocol::limits::{BATCH_BYTES, BATCH_RECORDS};
use crate::protocol::names;
use crate::util::wiped::Wiped;

/// One record of the answer: its data or an error.
#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    data: Option<&'a str>,
    code: Option<u8>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    records: Vec<Found<'a>>,
}

impl Client {
    /// Stores all records in one transaction.
    pub(super) fn create_all(&self, records: &[(&[u8], &[u8], NewVersion<'_>)]) -> Result<Call<()>, Error> {
        check_count(records.len())?;
        let parts = records.iter().map(|(id, data, new)| Record {
            data: Some(data),
            expires_at: new.expires_at,
            padded: new.padded,
            ..Record::new(id).key(new.key)
        });
        // The answer repeats the key of each record.
        self.write(self.requests.many(names::STORE_MANY, parts)?.at_most(BATCH_BYTES))
    }

    pub(super) fn retrieve_all(&self, records: &[(&[u8], &RecordKey)]) -> Result<Call<FoundRecords>, Error> {
        check_count(records.len())?;
        let parts = records.iter().map(|(id, key)| Record::new(id).key(key));
        let (request, count) = (self.requests.many(names::RETRIEVE_MANY, parts)?, records.len());
        self.read(request.at_most(BATCH_BYTES), move |answer| {
            let body = Wiped::from(answer.body);
            let Answer { records: found } = serde_json::from_slice(&body).map_err(|_| protocol_violation())?;
            if found.len() != count {
                return Err(protocol_violation());
            }
            found.into_iter().map(Found::outcome).collect::<Option<_>>().ok_or_else(protocol_violation)
        })
    }
}

impl Found<'_> {
    /// `None` if the answer violates the protocol.
    fn outcome(self) -> Option<Result<Vec<u8>, Error>> {
        match (self.data, self.code) {
            (Some(data), None) => Some(Ok(Base64::decode_vec(data).ok()?)),
            (None, Some(code)) => Some(Err(error_of_record(ErrorCode::from_number(code)?)?)),
            _ => None,
        }
    }
}

/// The error of one record among many.
fn error_of_record(code: ErrorCode) -> Option<Error> {
    match code {
        ErrorCode::NotFound => Some(Error::NotFound),
        ErrorCode::Corrupt => Some(Error::Corrupt),
        ErrorCode::Conflict => Some(Error::Conflict),
        ErrorCode::Expired => Some(Error::Expired),
        ErrorCode::Unsupported => Some(Error::Unsupported("the server does not know the record's version".into())),
        _ => None,
    }
}

fn check_count(count: usize) -> Result<(), Error> {
    if count > BATCH_RECORDS { Err(Error::TooLarge) } else { Ok(()) }
}
