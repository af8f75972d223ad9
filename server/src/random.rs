//! Random numbers of the operating system, for tokens and request ids.

use rand::TryRng;
use rand::rngs::{SysError, SysRng};

/// 32 random bytes.
pub(crate) fn random() -> Result<[u8; 32], SysError> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(bytes)
}
