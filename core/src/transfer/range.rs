//! The parts into which a copy divides all locators.

use std::collections::BTreeSet;

use crate::locator::{LOCATOR_LEN, Locator};

/// The ranges of a generation, more than workers, so that all of them end at about the same time.
const RANGES: usize = 16;

/// The locators behind `after` up to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) after: Locator,
    pub(super) last: Locator,
}

impl Range {
    /// Whether all its locators are of this generation.
    pub(super) fn is_of(&self, generation: u8) -> bool {
        self.last.as_bytes().first() == Some(&generation)
    }

    /// All locators except those of generation 0, which are claims of running operations. Each of `generations` is
    /// split evenly, because locators are hashes.
    pub(super) fn split(generations: impl Iterator<Item = u8>, workers: usize) -> Vec<Self> {
        let ranges = RANGES.max(workers);
        let last_of = |generation: u8, byte: u8| {
            let mut last = [u8::MAX; LOCATOR_LEN];
            last.iter_mut().zip([generation, byte]).for_each(|(to, from)| *to = from);
            Locator::from_bytes(last)
        };
        let lasts = generations.flat_map(|generation| {
            let before = last_of(generation.saturating_sub(1), u8::MAX);
            let within = (1..=ranges).filter_map(move |n| u8::try_from(n * 256 / ranges - 1).ok());
            std::iter::once(before).chain(within.map(move |byte| last_of(generation, byte)))
        });
        let mut lasts: BTreeSet<_> = lasts.collect();
        let mut after = last_of(0, u8::MAX);
        lasts.remove(&after);
        lasts.insert(last_of(u8::MAX, u8::MAX));
        let range = |last| Self { after: std::mem::replace(&mut after, last), last };
        lasts.into_iter().map(range).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_all_locators_once() {
        for generations in [vec![], vec![1], vec![3, 2], vec![1, 255]] {
            for workers in [1, 4, 64] {
                let ranges = Range::split(generations.iter().copied(), workers);
                assert_eq!(ranges[0].after.as_bytes(), &[&[0][..], &[255; 31]].concat()[..]);
                assert_eq!(ranges.last().unwrap().last.as_bytes(), &[255; 32]);
                assert!(ranges.windows(2).all(|pair| pair[0].last == pair[1].after));
                assert!(ranges.iter().all(|range| range.after < range.last));
                assert!(ranges.len() >= generations.len() * workers);
                for generation in &generations {
                    let own: Vec<_> = ranges.iter().filter(|range| range.is_of(*generation)).collect();
                    assert_eq!(own[0].after.as_bytes()[..2], [generation - 1, 255]);
                    assert_eq!(own.last().unwrap().last.as_bytes()[..2], [*generation, 255]);
                }
            }
        }
    }
}
