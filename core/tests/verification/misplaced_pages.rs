//! Pages in the place of others, as a misdirected write leaves them.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use strongroom::storage::{MemoryStorage, Storage};
use strongroom::{Error, repair};

use super::pages::{PAGE, Use, uses};
use super::{Outcome, Sample, next_random, open, search};
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

/// An opening removes the segments that `pending` names: a page in its place must cost no record.
#[test]
fn any_page_in_the_place_of_pending_is_found_and_repaired() {
    let sample = Sample::new();
    let uses = uses(&sample.whole);
    let to = uses.iter().position(|of| *of == Use::Pending).unwrap();
    for of in [Use::Records, Use::Index, Use::Segments, Use::Settings] {
        for from in (0..uses.len()).filter(|n| uses[*n] == of).take(rounds(5, usize::MAX)) {
            let found = sample.damage(|file| file.copy_within(from * PAGE..(from + 1) * PAGE, to * PAGE));
            assert!(found.wrong.is_empty(), "page {from}: {:?}", found.wrong);
            assert_eq!(found.outcome, Outcome::FoundAlone, "page {from}");
        }
    }
}

/// Without readable settings no store opens, but the storage does, so that a copy can repair it, also if other pages are
/// damaged.
#[test]
fn damaged_settings_are_restored_with_damaged_pages() {
    let sample = Sample::new();
    let uses = uses(&sample.whole);
    let page = |of| uses.iter().rposition(|one| *one == of).unwrap() * PAGE;
    let fill = |file: &mut [u8], at: usize| file[at..at + PAGE].fill(0xff);
    // Settings that cannot be read, or that are missing.
    for (is_readable, is_alone) in [(false, true), (false, false), (true, true), (true, false)] {
        sample.restore();
        let mut file = std::fs::read(&sample.path).unwrap();
        match is_readable {
            true => file.copy_within(page(Use::Pending)..page(Use::Pending) + PAGE, page(Use::Settings)),
            false => fill(&mut file, page(Use::Settings)),
        }
        if !is_alone {
            fill(&mut file, page(Use::Records));
        }
        std::fs::write(&sample.path, file).unwrap();
        let what = format!("readable: {is_readable}, alone: {is_alone}");
        assert!(matches!(open(&sample.path), Err(Error::Corrupt)), "{what}");
        let storage = sample.damaged();
        let _ = repair(&storage, &sample.copy()).unwrap();
        assert!(search(&*storage).unwrap().0.is_clean(), "{what}");
        drop(storage);
        assert_eq!(sample.noticed(&open(&sample.path).unwrap()), (Vec::new(), false), "{what}");
    }
}

#[test]
fn a_repair_empties_no_store() {
    let sample = Sample::new();
    let uses = uses(&sample.whole);
    let mut file = std::fs::read(&sample.path).unwrap();
    for of in [Use::Records, Use::Index] {
        let root = uses.iter().position(|one| *one == of).unwrap();
        file[root * PAGE..(root + 1) * PAGE].fill(0xff);
    }
    std::fs::write(&sample.path, &file).unwrap();
    let storage = sample.damaged();
    let outcome = repair(&storage, &sample.copy());
    assert!(matches!(&outcome, Err(Error::Unsupported(text)) if text.contains("backup")), "{outcome:?}");
    storage.close().unwrap();
    assert!(std::fs::read(&sample.path).unwrap() == file);
}

/// The index still names the records, and a copy of another time has none of them.
#[test]
fn a_repair_from_an_empty_copy_empties_no_store() {
    let sample = Sample::new();
    let root = uses(&sample.whole).iter().position(|of| *of == Use::Records).unwrap();
    let mut file = std::fs::read(&sample.path).unwrap();
    file[root * PAGE..(root + 1) * PAGE].fill(0xff);
    std::fs::write(&sample.path, &file).unwrap();
    let (storage, copy) = (sample.damaged(), MemoryStorage::new());
    copy.swap_settings(None, &sample.copy().settings().unwrap().unwrap()).unwrap();
    let outcome = repair(&storage, &copy);
    assert!(matches!(&outcome, Err(Error::Unsupported(text)) if text.contains("backup")), "{outcome:?}");
    storage.close().unwrap();
    assert!(std::fs::read(&sample.path).unwrap() == file);
}
