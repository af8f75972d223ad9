//! The configuration of a service: a document in TOML, whose names are the fields' names.

pub(crate) mod address;
pub(crate) mod document;
pub(crate) mod invalid;
pub(crate) mod limits;
