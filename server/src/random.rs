//! Random numbers of the operating system, for tokens and request ids.

use strongroom::{RandomError, fill_random};

/// 32 random bytes.
pub(crate) fn random() -> Result<[u8; 32], RandomError> {
    let mut bytes = [0; 32];
    fill_random(&mut bytes)?;
    Ok(bytes)
}
