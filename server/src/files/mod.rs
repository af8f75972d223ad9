//! The files that a configuration names: their kinds, and how they are read.

pub(crate) mod checked;
pub(crate) mod kind;
