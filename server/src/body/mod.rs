//! Bodies in both directions: their memory, deadlines and chunks.

pub(crate) mod answer;
pub(crate) mod answer_chunks;
pub(crate) mod request;
pub(crate) mod transfer_deadline;
pub(crate) mod unsent_answer;
