//! What a service serves.

use strongroom::Error;

/// A store or a storage, with what is particular to its service.
pub(crate) trait Backend: Send + Sync + 'static {
    /// The OpenAPI document.
    const OPENAPI: &'static str;
    /// Where it listens, if the configuration names no address.
    const PORT: u16;

    /// Fails where the storage cannot be reached.
    fn ready(&self) -> Result<(), Error>;
}
