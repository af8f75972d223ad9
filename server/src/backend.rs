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

    /// Removes at most `limit` expired records, and returns their number; 0 if none is left.
    fn purge(&self, limit: usize) -> Result<usize, Error>;
}
