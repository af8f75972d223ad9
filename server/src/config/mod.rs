//! The configuration of a service: a TOML document with the names of the fields.

pub(crate) mod address;
pub(crate) mod cluster;
pub(crate) mod document;
pub(crate) mod invalid;
pub(crate) mod limits;
