//! Names on the wire: headers, media types and paths.

use hyper::header::HeaderName;

use crate::locator::Locator;

/// The record's id, in base64url without padding.
pub const STRONGROOM_ID: HeaderName = HeaderName::from_static("strongroom-id");
/// The record's key, as text.
pub const STRONGROOM_KEY: HeaderName = HeaderName::from_static("strongroom-key");
/// The key of the new version, as text.
pub const STRONGROOM_NEW_KEY: HeaderName = HeaderName::from_static("strongroom-new-key");
/// The namespace of the ids, in base64url without padding; the default one if it is missing.
pub const STRONGROOM_NAMESPACE: HeaderName = HeaderName::from_static("strongroom-namespace");
/// The time at which the new version expires: Unix time in seconds.
pub const STRONGROOM_EXPIRES_AT: HeaderName = HeaderName::from_static("strongroom-expires-at");
/// The seconds after which the new version expires.
pub const STRONGROOM_EXPIRES_IN: HeaderName = HeaderName::from_static("strongroom-expires-in");
/// Whether to hide the length of the new version's data: `true` or `false`.
pub const STRONGROOM_PAD: HeaderName = HeaderName::from_static("strongroom-pad");
/// The error's number, because an answer to a `HEAD` request has no body.
pub const STRONGROOM_CODE: HeaderName = HeaderName::from_static("strongroom-code");
/// The id of the service's store, in hexadecimal, or [`NO_STORE`].
pub const STRONGROOM_STORE: HeaderName = HeaderName::from_static("strongroom-store");
/// The value of [`STRONGROOM_STORE`] while the storage has no store.
pub const NO_STORE: &str = "none";
/// The request's identifier in the service's log.
pub const STRONGROOM_REQUEST_ID: HeaderName = HeaderName::from_static("strongroom-request-id");

/// The media type of small requests and answers.
pub const JSON: &str = "application/json";
/// The media type of data and records.
pub const OCTET_STREAM: &str = "application/octet-stream";
/// The media type of errors (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Encryption server: stores data under a new id.
pub const STORE: &str = "/v1/store";
/// Encryption server: returns the data under an id.
pub const RETRIEVE: &str = "/v1/retrieve";
/// Encryption server: replaces the data of a record.
pub const REPLACE: &str = "/v1/replace";
/// Encryption server: seals the data of a record under a new key.
pub const REKEY: &str = "/v1/rekey";
/// Encryption server: returns the data under an id, and removes the record.
pub const TAKE: &str = "/v1/take";
/// Encryption server: removes a record, given its key.
pub const DELETE: &str = "/v1/delete";
/// Encryption server: removes a record without its key.
pub const ERASE: &str = "/v1/erase";
/// Encryption server: whether a record has an id.
pub const CONTAINS: &str = "/v1/contains";
/// Encryption server: stores all records of a batch in one transaction.
pub const STORE_MANY: &str = "/v1/store-many";
/// Encryption server: returns the data of several records.
pub const RETRIEVE_MANY: &str = "/v1/retrieve-many";
/// Both services: removes expired records.
pub const PURGE: &str = "/v1/purge";
/// Both services: the number of records, their bytes, and the number of expired ones.
pub const STATS: &str = "/v1/stats";
/// Both services: the services of the cluster.
pub const NODES: &str = "/v1/nodes";

/// Storage service: lists records.
pub const RECORDS: &str = "/v1/records";
/// Storage service: one record, as a pattern for routers. [`record`] makes the path.
pub const RECORD: &str = "/v1/records/{locator}";
/// Storage service: creates all records of a batch in one transaction.
pub const CREATE_MANY: &str = "/v1/create-many";
/// Storage service: returns several records.
pub const GET_MANY: &str = "/v1/get-many";
/// Storage service: moves a record to another locator.
pub const RENAME: &str = "/v1/rename";
/// Storage service: lists the records that have expired.
pub const EXPIRED: &str = "/v1/expired";
/// Storage service: the settings document.
pub const SETTINGS: &str = "/v1/settings";
/// Storage service: compares and swaps the settings document.
pub const SWAP_SETTINGS: &str = "/v1/swap-settings";
/// Storage service: checks records by the storage's own checksums.
pub const VERIFY: &str = "/v1/verify";
/// Storage service: returns free space to the operating system.
pub const COMPACT: &str = "/v1/compact";
/// Storage service: removes the leftovers of interrupted writes.
pub const MAINTAIN: &str = "/v1/maintain";

/// The query parameter with the locator after which a page begins.
pub const AFTER: &str = "after";
/// The query parameter with the maximum number of entries of a page.
pub const LIMIT: &str = "limit";
/// The query parameter with the time at which records have expired.
pub const NOW: &str = "now";

/// The path of one record.
#[must_use]
pub fn record(locator: &Locator) -> String {
    format!("{RECORDS}/{}", locator.to_hex())
}

/// The path and query of the page of at most `limit` entries after `after`.
#[must_use]
pub fn page(after: Option<&Locator>, limit: usize) -> String {
    let after = after.map_or(String::new(), |after| format!("&{AFTER}={}", after.to_hex()));
    format!("{RECORDS}?{LIMIT}={limit}{after}")
}

/// The path and query of the page of at most `limit` records that have expired at `now`.
#[must_use]
pub fn expired(now: u64, limit: usize) -> String {
    format!("{EXPIRED}?{NOW}={now}&{LIMIT}={limit}")
}

/// The path and query of the statistics at this time.
#[must_use]
pub fn stats(now: u64) -> String {
    format!("{STATS}?{NOW}={now}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_records_path_is_that_of_the_pattern() {
        let locator = Locator::from_bytes([0xab; 32]);
        let hex = "ab".repeat(32);
        assert_eq!(record(&locator), RECORD.replace("{locator}", &hex));
        assert_eq!(page(None, 7), "/v1/records?limit=7");
        assert_eq!(expired(9, 7), "/v1/expired?now=9&limit=7");
        assert_eq!(stats(9), "/v1/stats?now=9");
        assert_eq!(page(Some(&locator), 7), format!("/v1/records?limit=7&after={hex}"));
    }
}
