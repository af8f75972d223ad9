//! The tests of the encryption alone. They are a small program, because they also run with the other provider of
//! AES-256-GCM (`make test-aes-gcm`).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "tests"
)]

mod support;

mod cobblestone;
mod tampering;
