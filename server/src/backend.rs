//! The backend of a service.

use strongroom::Error;

/// A store or a storage, with the properties of its service.
pub(crate) trait Backend: Send + Sync + 'static {
    /// The OpenAPI document.
    const OPENAPI: &'static str;
    /// The default port.
    const PORT: u16;

    /// Fails if the storage cannot be reached.
    fn ready(&self) -> Result<(), Error>;
}
