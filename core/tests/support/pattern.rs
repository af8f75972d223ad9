//! Data for tests.

/// Data whose bytes depend on their offsets. Repeated as a whole, because a loop over bytes is slow without
/// optimisation.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut data = Vec::from_iter(0..=250).repeat(len.div_ceil(251));
    data.truncate(len);
    data
}
