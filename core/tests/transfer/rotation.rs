//! Copies while the source's index key is rotated.

use std::time::{Duration, Instant, SystemTime};

use strongroom::IndexKey;

use super::*;

/// The store with its new index key, and the previous one during the rotation. Its clock is its own, so that no test
/// waits.
fn open_with_new_key(storage: &Shared, is_rotating: bool) -> Strongroom {
    let new = IndexKey::from_bytes(&[0x22; 32]).unwrap();
    let builder = Strongroom::builder().storage(Arc::clone(storage)).clock(SystemTime::now).index_key(new);
    if is_rotating { builder.previous_index_key(index_key()) } else { builder }.open().unwrap()
}

const RECORDS: u32 = 50;

#[test]
fn a_rotation_that_begins_during_the_copy_is_followed() {
    for (ends, mirror) in [(false, false), (false, true), (true, false), (true, true)] {
        let (from, to) = (memory(), memory());
        let source = open(&from);
        (0..RECORDS).for_each(|n| store(&source, n.to_le_bytes(), 100));
        assert_eq!(run(&from, &to, mirror).unwrap().records, u64::from(RECORDS));
        store(&source, "new", 100);
        let (inner, begun) = (Arc::clone(&from), AtomicBool::new(false));
        let rotating = hooked(&from, move |method, _| {
            // Once, after the records were listed.
            if method == "get" && !begun.swap(true, Ordering::Relaxed) {
                let store = open_with_new_key(&inner, true);
                store.begin_rotation().unwrap();
                let moved = if ends { RECORDS } else { RECORDS / 2 };
                (0..moved).for_each(|n| assert!(store.contains(n.to_le_bytes()).unwrap()));
                if ends {
                    assert!(store.contains("new").unwrap());
                    store.finish_rotation().unwrap();
                }
            }
            Ok(())
        });
        let copied = run(&rotating, &to, mirror).unwrap();
        assert!(copied.is_complete(), "{copied:?}");
        assert_eq!(from.settings().unwrap(), to.settings().unwrap());
        if mirror {
            assert_equal(&from, &to);
        }
        let copy = open_with_new_key(&to, !ends);
        (0..RECORDS).for_each(|n| assert!(copy.retrieve(n.to_le_bytes(), &key()).unwrap() == pattern(100)));
        assert!(copy.retrieve("new", &key()).unwrap() == pattern(100));
    }
}

/// The source lists a range of the previous key only after the ranges of the current key, if other workers list these,
/// and the record of that range has moved by then.
#[test]
fn a_record_that_moves_during_the_copy_is_not_missed() {
    for (mirror, wanted) in [(false, 1), (true, 2)] {
        let (from, to) = (memory(), memory());
        let source = open(&from);
        (0..RECORDS).for_each(|n| store(&source, n.to_le_bytes(), 100));
        store(&source, "removed", 100);
        let locator = locator_of(&from, || store(&source, "moves", 100));
        assert!(run(&from, &to, mirror).unwrap().is_complete());
        source.erase("removed").unwrap();
        let store = open_with_new_key(&from, true);
        store.begin_rotation().unwrap();

        // Each generation has 16 ranges; a range begins behind a locator that ends with many 255.
        let place = locator.as_bytes()[1] & 0xf0;
        let start = match place {
            0 => [0, 255],
            place => [1, place - 1],
        };
        let lists = Mutex::new(BTreeMap::new());
        let moving = hooked(&from, move |method, after| {
            if method != "list" || after.len() < 32 || after[2..] != [255; 30] {
                return Ok(());
            }
            let pass = {
                let mut lists = lists.lock().unwrap();
                let count = lists.entry([after[0], after[1]]).or_insert(0);
                *count += 1;
                *count
            };
            if after[..2] == start && pass == wanted {
                let of_current = || {
                    let lists = lists.lock().unwrap();
                    lists.range([1, 255]..).filter(|(_, count)| **count >= pass).count()
                };
                let begin = Instant::now();
                while of_current() < 16 && begin.elapsed() < Duration::from_millis(500) {
                    thread::sleep(Duration::from_millis(5));
                }
                assert!(store.contains("moves").unwrap());
            }
            Ok(())
        });
        assert!(run(&moving, &to, mirror).unwrap().is_complete());
        let copy = open_with_new_key(&to, true);
        assert!(copy.retrieve("moves", &key()).unwrap() == pattern(100), "{mirror}");
        if mirror {
            assert!(!copy.contains("removed").unwrap());
        }
    }
}
