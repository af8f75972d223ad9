//! The errors of the library that its synchronisation has.

#[derive(Debug)]
#[allow(dead_code, reason = "their content")]
pub(crate) enum Error {
    Closed,
    Forked,
    Internal(Box<dyn std::error::Error + Send + Sync>),
    Storage(Box<dyn std::error::Error + Send + Sync>),
}
