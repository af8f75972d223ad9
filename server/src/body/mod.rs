//! Bodies in both directions: their memory, their deadlines, and how they are cut into chunks.

pub(crate) mod chunks;
pub(crate) mod content;
pub(crate) mod paced;
pub(crate) mod request;
pub(crate) mod transfer_deadline;
