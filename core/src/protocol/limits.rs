//! Limits that both sides know.

use crate::locator::LOCATOR_LEN;

/// The most entries of a page of a list.
pub const PAGE_ENTRIES: usize = 1000;
/// The most records that one `verify` request checks.
pub const VERIFY_RECORDS: usize = 100;
/// The most bytes of a `create-many` request and of a `get-many` answer, unless the service is configured otherwise.
pub const BATCH_BYTES: u64 = 64 << 20;
/// The most locators of a `get-many` request.
pub const GET_MANY_LOCATORS: usize = 32_768;
/// The most bytes of a `get-many` request.
pub const GET_MANY_REQUEST_BYTES: u64 = (GET_MANY_LOCATORS * LOCATOR_LEN) as u64;
/// The most bytes of an answer in JSON, errors among them, that a client takes.
pub const DOCUMENT_BYTES: usize = 64 << 10;
/// A long body must have this rate: a client gives up a slower answer, a service a slower request.
pub const BYTES_PER_SECOND: u64 = 1 << 10;
