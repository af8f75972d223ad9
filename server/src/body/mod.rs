//! Bodies in both directions: their memory, their deadlines, and how they are cut into chunks.

pub(crate) mod answer;
pub(crate) mod answer_chunks;
pub(crate) mod request;
pub(crate) mod transfer_deadline;
pub(crate) mod unsent_answer;
