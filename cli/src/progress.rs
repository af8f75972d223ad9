//! Progress bars, and copying from an input to an output under one.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use strongroom::Wiped;

use crate::failure::Failure;

const BUFFER_LEN: usize = 256 << 10;

/// The minimum length for a progress bar: a shorter copy ends too soon.
const SHORT: u64 = 16 << 20;

/// Copies all data from `read` to `write`, and returns the number of bytes. `len` is the expected number, if known.
pub(crate) fn copy(
    len: Option<u64>,
    mut read: impl FnMut(&mut [u8]) -> Result<usize, Failure>,
    mut write: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let template = match len {
        Some(_) => "{wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left",
        None => "{spinner} {binary_bytes} {binary_bytes_per_sec}",
    };
    let bar = if len.is_some_and(|len| len < SHORT) { ProgressBar::hidden() } else { progress_bar(len, template) };
    let mut buffer = Wiped::from(vec![0; BUFFER_LEN]);
    let mut copied = 0;
    loop {
        let read = read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        write(piece)?;
        copied += piece.len() as u64;
        bar.set_position(copied);
    }
    bar.finish_and_clear();
    Ok(copied)
}

/// Shows progress on a terminal; elsewhere nothing. It is redrawn when the position changes, without a thread.
pub(crate) fn progress_bar(len: Option<u64>, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(len, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_size_copies_all() {
        for piece_len in [1, 1000, BUFFER_LEN, 2 * BUFFER_LEN] {
            let (mut left, mut copied) = (600_000, 0);
            let read = |buffer: &mut [u8]| {
                let len = buffer.len().min(left).min(piece_len);
                left -= len;
                Ok(len)
            };
            let write = |piece: &[u8]| {
                copied += piece.len();
                Ok(())
            };
            assert_eq!(copy(None, read, write).unwrap(), 600_000);
            assert_eq!(copied, 600_000);
        }
    }
}
