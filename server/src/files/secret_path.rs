//! Secrets that are given instead of paths.

use std::path::Path;

use strongroom::protocol::secret_text::looks_like_secret;

/// Whether a component of the path is a key or a token, which messages about a missing file would show.
pub(crate) fn has_secret(path: &Path) -> bool {
    path.iter().any(|part| looks_like_secret(part.as_encoded_bytes()))
}
