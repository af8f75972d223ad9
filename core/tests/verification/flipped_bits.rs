//! Single flipped bits in all parts of a database.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use strongroom::storage::Damage;
use strongroom::{Error, repair};

use super::pages::{PAGE, Use, uses};
use super::{Sample, is_structure, open, search};
use crate::support::rounds::rounds;

/// The outcome of one flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The store refuses to open.
    Refused,
    /// No read notices it, and neither does the search.
    Unused,
    /// The search finds what no read notices.
    FoundAlone,
    Found,
}

/// Flips a bit, searches, repairs.
fn flip(sample: &Sample, bit: usize, of: Use) -> Outcome {
    sample.restore();
    let mut file = fs::read(&sample.path).unwrap();
    file[bit / 8] ^= 1 << (bit % 8);
    fs::write(&sample.path, file).unwrap();
    let store = match open(&sample.path) {
        Ok(store) => store,
        Err(error) => {
            let expected = [Error::Corrupt.code(), Error::InvalidArgument("".into()).code()];
            let expected = [&expected[..], &[Error::IndexKeyMismatch.code(), Error::Unsupported("".into()).code()]];
            assert!(expected.concat().contains(&error.code()), "{error:?}");
            return Outcome::Refused;
        }
    };
    let (wrong, other) = sample.noticed(&store);
    drop(store);
    let storage = sample.damaged();
    let (report, found) = search(&*storage).unwrap();
    assert_eq!(report.unsupported, 0, "{found:?}");
    if found.is_empty() {
        assert!(wrong.is_empty() && !other, "{wrong:?}, {other}");
        return Outcome::Unused;
    }
    let is_of = |damage: &Damage| match of {
        Use::Records => damage.place.starts_with("row") || is_structure(damage),
        Use::Segments => damage.place.starts_with("segment") || is_structure(damage),
        Use::Index => damage.place.starts_with("index") || is_structure(damage),
        Use::Header | Use::Other => damage.locator.is_none(),
    };
    assert!(found.iter().any(is_of), "{of:?}: {found:?}");
    // Damage in one record names this record.
    if found.iter().all(|damage| damage.locator.is_some()) {
        assert!(wrong.len() <= 1, "{wrong:?}: {found:?}");
    }
    let repaired = repair(&storage, &sample.copy()).unwrap_or_else(|error| panic!("{error:?}: {found:?}"));
    assert_eq!(repaired.lost, []);
    let (report, left) = search(&*storage).unwrap();
    assert!(report.is_clean(), "{found:?}, {left:?}");
    drop(storage);
    let store = open(&sample.path).unwrap();
    assert_eq!(sample.noticed(&store), (Vec::new(), false), "{found:?}");
    assert_eq!(report.records, sample.records.len() as u64);
    if wrong.is_empty() && !other { Outcome::FoundAlone } else { Outcome::Found }
}

/// xorshift64*
fn next_random(state: &mut u64) -> usize {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16).unwrap()
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
