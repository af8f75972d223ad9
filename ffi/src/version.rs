//! Version

use std::ffi::{CStr, c_char};

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"",
};

/// The version of the loaded library, such as "0.1.0"; STRONGROOM_VERSION is that of the header.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn strongroom_version() -> *const c_char {
    VERSION.as_ptr()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_that_of_the_crate() {
        assert_eq!(super::VERSION.to_str().unwrap(), env!("CARGO_PKG_VERSION"));
    }
}
