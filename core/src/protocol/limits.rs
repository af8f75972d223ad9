//! The limits of clients and services.

use crate::locator::LOCATOR_LEN;

/// The most entries of a page of a list.
pub const PAGE_ENTRIES: usize = 1000;
/// The most records that one `verify` request checks.
pub const VERIFY_RECORDS: usize = 1000;
/// The most records that one `purge` request removes.
pub const PURGE_RECORDS: usize = 1000;
/// The most bytes of a request or an answer with many records, unless the service is configured otherwise.
pub const BATCH_BYTES: u64 = 64 << 20;
/// The most records of a `store-many`, `retrieve-many` or `get-many` request.
pub const BATCH_RECORDS: usize = 32_768;
/// The most bytes of a `get-many` request.
pub const GET_MANY_REQUEST_BYTES: u64 = (BATCH_RECORDS * LOCATOR_LEN) as u64;
/// The most bytes of an answer in JSON, or of an error, that a client accepts.
pub const DOCUMENT_BYTES: usize = 64 << 10;
/// The most bytes of a list of services that a client accepts.
pub const NODES_BYTES: u64 = 1 << 20;
/// The minimum rate at which a server seals a record again, by which a client limits its wait.
pub const REKEY_BYTES_PER_SECOND: u64 = 8 << 20;
/// The longest record for which a client waits at this rate, because the server tells the length: the default limit of
/// a record.
pub const REKEY_BYTES: u64 = 16 << 30;
/// The minimum rate of a long body: a client abandons a slower answer, a service a slower request.
pub const BYTES_PER_SECOND: u64 = 1 << 10;
