//! Each fuzz target, on its committed corpus: inputs that reach much of the code, and those that once found a fault.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use strongroom_fuzz::TARGETS;

/// The panics of all threads, also those of a service.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(panic);
        }));
    });
}

#[test]
fn every_corpus_passes_its_target() {
    count_panics();
    for (name, target) in TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(corpus(name)).unwrap() {
            let path = entry.unwrap().path();
            let outcome = panic::catch_unwind(|| target(&fs::read(&path).unwrap()));
            assert!(outcome.is_ok() && PANICS.load(Ordering::SeqCst) == 0, "{}", path.display());
            count += 1;
        }
        assert!(count > 0, "{name} has no corpus");
        target(&[]);
    }
}

/// A part of what `make fuzz` does: inputs of the corpora with a few random changes.
#[test]
fn altered_inputs_pass() {
    let rounds = if std::env::var_os("STRONGROOM_TEST_LONG").is_some() { 20_000 } else { 100 };
    count_panics();
    let before = PANICS.load(Ordering::SeqCst);
    for (name, target) in TARGETS {
        let inputs: Vec<_> = fs::read_dir(corpus(name)).unwrap().map(|entry| fs::read(entry.unwrap().path())).collect();
        let mut state = 1_u64;
        for round in 0..rounds {
            // The state's upper bits are random enough to choose places.
            let mut random = |end: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                usize::try_from(state >> 33).unwrap() % end.max(1)
            };
            let mut input = inputs[random(inputs.len())].as_ref().unwrap().clone();
            for _ in 0..1 + random(4) {
                let at = random(input.len());
                match (random(4), input.get_mut(at)) {
                    (0, _) => drop(input.drain(at..(at + random(8)).min(input.len()))),
                    (1, _) => drop(input.splice(at..at, (0..random(8)).map(|n| u8::try_from(n * 37 % 256).unwrap()))),
                    (2, Some(byte)) => *byte ^= 1 << random(8),
                    (_, Some(byte)) => *byte = u8::try_from(random(256)).unwrap(),
                    _ => {}
                }
            }
            let outcome = panic::catch_unwind(|| target(&input));
            assert!(outcome.is_ok(), "{name}, round {round}: {input:?}");
        }
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), before);
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// Each target of the table is a program for libFuzzer, and has no other name there.
#[test]
fn every_target_is_a_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/targets");
    let mut programs: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    programs.sort_unstable();
    assert_eq!(programs, TARGETS.map(|(name, _)| name));
}
