//! Random bytes from the operating system only.
//!
//! There is no generator state that a forked child or a resumed machine image could repeat.

use rand::TryRng;
use rand::rngs::SysRng;

/// The operating system did not provide random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct RandomError(#[source] rand::rngs::SysError);

/// Fills `bytes` with random bytes.
///
/// # Errors
///
/// The operating system provides none.
pub fn fill(bytes: &mut [u8]) -> Result<(), RandomError> {
    SysRng.try_fill_bytes(bytes).map_err(RandomError)
}
