//! Fuzz targets: each is a function of bytes from anybody, which panics at a fault. `make fuzz` runs them under
//! libFuzzer (`fuzz/libfuzzer`); the tests run each on its committed corpus (`fuzz/corpus`).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a panic is how a target reports a fault"
)]

mod database;
mod faulty_storage;
mod http;
mod protocol;
mod records;
mod texts;

pub use database::database;
pub use faulty_storage::faulty_storage;
pub use http::{encryption_server, storage_service};
pub use protocol::protocol;
pub use records::{range, record};
pub use texts::{configuration, datagram, texts};

/// A target: its name, which is also that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 10] = [
    ("configuration", configuration),
    ("database", database),
    ("datagram", datagram),
    ("encryption_server", encryption_server),
    ("faulty_storage", faulty_storage),
    ("protocol", protocol),
    ("range", range),
    ("record", record),
    ("storage_service", storage_service),
    ("texts", texts),
];

/// Takes bytes from the front of the input, zeros after its end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn rest(self) -> &'a [u8] {
        self.0
    }
}
