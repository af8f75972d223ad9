//! Copies while records change, and copies that are interrupted.

use super::*;

#[test]
fn records_that_change_during_the_copy_are_copied_whole() {
    for len in [1000, 2_000_000] {
        let from = memory();
        let source = Arc::new(open(&from));
        store(&source, "replaced", len);
        store(&source, "removed", len);
        let (changes, writer) = (AtomicBool::new(false), Arc::clone(&source));
        let changing = hooked(&from, move |method, _| {
            // Once, after the records were listed.
            if matches!(method, "get" | "read_at") && !changes.swap(true, Ordering::Relaxed) {
                let _ = writer.replace("replaced", &key(), pattern(len + 1)).unwrap();
                writer.erase("removed").unwrap();
            }
            Ok(())
        });
        let to = memory();
        let copied = run(&changing, &to, false).unwrap();
        assert!(copied.is_complete());
        let _ = run(&from, &to, true).unwrap();
        assert_equal(&from, &to);
    }
}

#[test]
fn changes_at_the_destination_are_not_overwritten_blindly() {
    let from = memory();
    let source = open(&from);
    let locator = locator_of(&from, || store(&source, "id", 1000));
    let (inner, puts) = (memory(), Arc::new(AtomicUsize::new(0)));
    let (other, count) = (Arc::clone(&inner), Arc::clone(&puts));
    let to = hooked(&inner, move |method, _| {
        if method == "put" {
            // Another program always writes first.
            let n = count.fetch_add(1, Ordering::Relaxed);
            let mut record = pattern(200);
            record[12..20].copy_from_slice(&n.to_le_bytes());
            other.put(&locator, &record, PutMode::Overwrite)?;
        }
        Ok(())
    });
    assert!(matches!(run(&from, &to, false), Err(Error::Conflict)));
    assert!(puts.load(Ordering::Relaxed) > 2);
    assert_eq!(run(&from, &inner, false).unwrap().records, 1, "without the other program, it ends");
    assert_equal(&from, &inner);
}

/// A destination may acknowledge a batch because another copy has written one of its records.
#[test]
fn acknowledged_records_that_are_not_there_are_copied_again() {
    let (from, inner) = (memory(), memory());
    let source = open(&from);
    (0..20_u32).for_each(|n| store(&source, n.to_le_bytes(), 1000));
    let (lost, was_put, losses) = (Arc::clone(&inner), AtomicBool::new(false), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&losses);
    let to = hooked(&inner, move |method, bytes| {
        was_put.fetch_or(method == "put", Ordering::Relaxed);
        if method == "get" && was_put.load(Ordering::Relaxed) && count.fetch_add(1, Ordering::Relaxed) < 15 {
            lost.delete(&Locator::from_bytes(bytes.try_into().unwrap()), None)?;
        }
        Ok(())
    });
    let copied = run(&from, &to, false).unwrap();
    assert!(copied.is_complete() && copied.records == 20, "{copied:?}");
    assert!(losses.load(Ordering::Relaxed) >= 15);
    assert_equal(&from, &inner);
}

#[test]
fn an_interrupted_copy_is_resumed() {
    let from = memory();
    let source = open(&from);
    for n in 0..20_u32 {
        store(&source, n.to_le_bytes(), 100);
    }
    let inner = memory();
    // Each list waits, so that the copy cannot end before the interrupt.
    let to = hooked(&inner, |method, _| {
        if method == "list" {
            thread::sleep(std::time::Duration::from_millis(100));
        }
        Ok(())
    });
    let interrupted = interruptible(|| true, || run(&from, &to, false));
    assert!(matches!(interrupted, Err(Error::Busy)), "{interrupted:?}");
    let _ = run(&from, &inner, false).unwrap();
    assert_equal(&from, &inner);
}

#[test]
fn a_copy_beside_writers_ends_equal_once_they_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (database(folder.path(), "from.db"), database(folder.path(), "to.db"));
    let source = Arc::new(open(&from));
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = (0..2_u32)
        .map(|writer| {
            let (source, stop, written) = (Arc::clone(&source), Arc::clone(&stop), Arc::clone(&written));
            thread::spawn(move || {
                let mut keys = BTreeMap::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    written.fetch_add(1, Ordering::Relaxed);
                    let id = format!("{writer}-{}", n % 100);
                    let len = if n % 50 == 0 { 1_500_000 } else { 200 + n };
                    match keys.remove(&id) {
                        None => drop(keys.insert(id.clone(), source.store(&id, pattern(len)).unwrap())),
                        Some(key) if n % 7 == 0 => source.delete(&id, &key).unwrap(),
                        Some(key) => drop(keys.insert(id.clone(), source.replace(&id, &key, pattern(len)).unwrap())),
                    }
                }
            })
        })
        .collect();
    for round in 1..=10 {
        wait_for(|| (written.load(Ordering::Relaxed) > 20 * round).then_some(()));
        assert!(run(&from, &to, true).unwrap().is_complete());
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join_within(DEADLINE);
    }
    let _ = run(&from, &to, true).unwrap();
    assert_equal(&from, &to);
}

/// Records appear and vanish at the destination while the source is compared with it.
#[test]
fn two_copies_at_once_end_equal() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (database(folder.path(), "from.db"), database(folder.path(), "to.db"));
    let source = open(&from);
    let items: Vec<_> = (0..2000_u32).map(|n| (n.to_le_bytes(), pattern(300))).collect();
    drop(source.store_many(&items).unwrap());
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| outcomes.lock().unwrap().push(run(&from, &to, true)));
        }
    });
    assert!(outcomes.into_inner().unwrap().into_iter().all(|outcome| outcome.unwrap().is_complete()));
    assert_equal(&from, &to);
}
