//! The protocol of clients and services (`docs/HTTP.md`), defined once for both: names, limits and codecs. Nothing here
//! does input or output.
//!
//! This is not a public API: it is visible only for the crate `strongroom-server`, and changes without notice.

pub mod base64url;
pub mod batch;
pub mod documents;
pub mod limits;
pub mod names;
pub mod nodes;
pub mod problem;
pub mod range;
pub mod token;

pub use crate::error_code::ErrorCode;
pub use crate::util::secret_text;
