//! Long loops run in `make test-long`, and a part of them in `make test`.

use std::env;

/// The number of rounds, or their length: `long` in `make test-long`, otherwise `short`.
pub(crate) fn rounds<T>(short: T, long: T) -> T {
    if env::var_os("STRONGROOM_TEST_LONG").is_some() { long } else { short }
}
