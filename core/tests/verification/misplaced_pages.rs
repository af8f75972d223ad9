//! Pages in the place of others, as a misdirected write leaves them.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::pages::{PAGE, Use, uses};
use super::{Outcome, Sample, next_random};
use crate::support::rounds::rounds;

/// A page of a tree in the place of another page, of the same tree in every second round: then the rows come twice, or
/// in a circle.
#[test]
fn each_misplaced_page_is_found_and_repaired() {
    let sample = Sample::new();
    let uses = uses(&sample.whole);
    let of_trees = [Use::Records, Use::Index, Use::Segments];
    let mut state = 0x5eed_5eed_5eed_5eed;
    let mut outcomes: BTreeMap<_, usize> = BTreeMap::new();
    for round in 0..rounds(20, 1000) {
        let of = of_trees[round % 3];
        let mut page = |uses_of: &[Use]| {
            let pages: Vec<_> = (0..uses.len()).filter(|n| uses_of.contains(&uses[*n])).collect();
            pages[next_random(&mut state) % pages.len()]
        };
        let from = page(&[of]);
        let to = if round % 2 == 0 { page(&[of]) } else { page(&of_trees) };
        let damage = || sample.damage(|file| file.copy_within(from * PAGE..(from + 1) * PAGE, to * PAGE));
        let outcome = catch_unwind(AssertUnwindSafe(|| damage().outcome));
        let outcome = outcome.unwrap_or_else(|_| panic!("page {from} in the place of {to}"));
        assert!(from == to || outcome != Outcome::Unused, "page {from} in the place of {to}");
        *outcomes.entry((of, outcome)).or_default() += 1;
    }
    println!("{outcomes:#?}");
    assert!(outcomes.iter().any(|((_, outcome), _)| *outcome == Outcome::Found));
}
