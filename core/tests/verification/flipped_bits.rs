//! Single flipped bits in all parts of a database.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use strongroom::storage::Damage;

use super::pages::{PAGE, Use, uses};
use super::{Outcome, Sample, is_structure, next_random};
use crate::support::rounds::rounds;

/// Flips a bit, searches, repairs.
fn flip(sample: &Sample, bit: usize, of: Use) -> Outcome {
    let found = sample.damage(|file| file[bit / 8] ^= 1 << (bit % 8));
    if matches!(found.outcome, Outcome::Refused | Outcome::Unused) {
        return found.outcome;
    }
    let is_of = |damage: &Damage| match of {
        Use::Records => damage.place.starts_with("row") || is_structure(damage),
        Use::Segments => damage.place.starts_with("segment") || is_structure(damage),
        Use::Index => damage.place.starts_with("index") || is_structure(damage),
        Use::Header | Use::Settings | Use::Pending | Use::Other => damage.locator.is_none(),
    };
    assert!(found.damage.iter().any(is_of), "{of:?}: {found:?}");
    // Damage in one record names this record.
    if found.damage.iter().all(|damage| damage.locator.is_some()) {
        assert!(found.wrong.len() <= 1, "{found:?}");
    }
    found.outcome
}

/// A bit in any page, in a page with structure (the first bytes of a page, and its cells), in the header.
#[test]
fn each_flipped_bit_is_found_and_repaired() {
    let sample = Sample::new();
    let uses = uses(&sample.whole);
    let bits = uses.len() * PAGE * 8;
    let mut state = 0x5eed_5eed_5eed_5eed;
    let mut outcomes: BTreeMap<_, usize> = BTreeMap::new();
    for round in 0..rounds(40, 1000) {
        let any = next_random(&mut state) % bits;
        let of = |of: Use, n: usize| {
            let pages: Vec<_> = uses.iter().enumerate().filter(|(_, found)| **found == of).map(|(n, _)| n).collect();
            pages[n % pages.len()] * PAGE * 8
        };
        let bit = match round % 8 {
            0 => of(Use::Index, any) + any % (PAGE * 8),
            1 => of(Use::Records, any) + any % (PAGE * 8),
            2 => of(Use::Records, any) + any % 512,
            3 => of(Use::Index, any) + any % 512,
            4 => any % (PAGE * 8 / if round % 16 == 4 { 1 } else { 64 }),
            5 => of(Use::Segments, any) + any % 512,
            _ => any,
        };
        let used = uses[bit / 8 / PAGE];
        let outcome = catch_unwind(AssertUnwindSafe(|| flip(&sample, bit, used)));
        let outcome = outcome.unwrap_or_else(|_| panic!("byte {}, bit {} ({used:?})", bit / 8, bit % 8));
        *outcomes.entry((used, outcome)).or_default() += 1;
    }
    println!("{outcomes:#?}");
    assert!(outcomes.iter().any(|((_, outcome), _)| *outcome == Outcome::Found));
}
