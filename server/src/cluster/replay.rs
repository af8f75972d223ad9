//! The replay window of a session: the counters that have been seen, as in RFC 6479.

/// Counters below the highest one by this or more are refused: a ring of 1,024 bits, of which the block that is being
/// filled does not count.
const WINDOW: u64 = (BLOCKS as u64 - 1) * BLOCK;
const BLOCKS: usize = 16;
/// Bits of a block.
const BLOCK: u64 = 64;

#[derive(Clone, Debug, Default)]
pub(super) struct ReplayWindow {
    /// The highest counter seen, and one more.
    next: u64,
    blocks: [u64; BLOCKS],
}

impl ReplayWindow {
    /// Whether the counter has not been seen, and is not too old to know.
    pub(super) fn is_new(&self, counter: u64) -> bool {
        let behind = self.next.saturating_sub(counter);
        let is_known = || self.blocks.get(index(counter)).is_none_or(|block| block & bit(counter) != 0);
        counter != u64::MAX && (behind == 0 || behind <= WINDOW && !is_known())
    }

    /// Notes a counter. Returns whether it was new.
    pub(super) fn accept(&mut self, counter: u64) -> bool {
        if !self.is_new(counter) {
            return false;
        }
        if counter >= self.next {
            let first = self.next.div_ceil(BLOCK);
            let fresh = (counter / BLOCK + 1).saturating_sub(first).min(BLOCKS as u64);
            for n in 0..fresh {
                if let Some(block) = self.blocks.get_mut(index((first + n) * BLOCK)) {
                    *block = 0;
                }
            }
            if fresh == BLOCKS as u64 {
                self.blocks = [0; BLOCKS];
            }
            self.next = counter + 1; // `is_new` refuses the highest number
        }
        if let Some(block) = self.blocks.get_mut(index(counter)) {
            *block |= bit(counter);
        }
        true
    }
}

/// The position of the counter's block in the ring.
fn index(counter: u64) -> usize {
    usize::try_from(counter / BLOCK % BLOCKS as u64).unwrap_or_default()
}

fn bit(counter: u64) -> u64 {
    1 << (counter % BLOCK)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The same decisions by a set of all counters.
    #[derive(Default)]
    struct Model(BTreeSet<u64>);

    impl Model {
        fn accept(&mut self, counter: u64) -> bool {
            let next = self.0.last().map_or(0, |last| last + 1);
            next.saturating_sub(counter) <= WINDOW && self.0.insert(counter)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Steps forward and back around the edges of blocks and of the window.
        #[test]
        fn the_window_decides_as_a_set_does(steps in prop::collection::vec((-2000_i64..2100, 0..3_u8), 1..300)) {
            let (mut window, mut model) = (ReplayWindow::default(), Model::default());
            let mut at = 0_u64;
            for (step, kind) in steps {
                let step = match kind { 0 => step.signum(), 1 => step % 70, _ => step };
                at = at.saturating_add_signed(step);
                prop_assert_eq!(window.accept(at), model.accept(at), "{}", at);
            }
        }
    }

    #[test]
    fn the_edges_of_the_window() {
        let mut window = ReplayWindow::default();
        assert!(window.accept(0) && !window.accept(0));
        assert!(window.accept(WINDOW));
        assert!(!window.accept(0), "it is outside of the window now");
        assert!(window.accept(1) && !window.accept(1));
        assert!(window.accept(10 * WINDOW) && !window.accept(WINDOW) && !window.accept(10 * WINDOW));
        assert!(window.accept(u64::MAX - 1) && !window.accept(u64::MAX - 1) && !window.accept(u64::MAX));
    }
}
