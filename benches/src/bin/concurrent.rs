//! 1,000 concurrent operations: async calls on a runtime of two threads, beside blocking calls on threads. `concurrent
//! [ROUNDS]`. Each caller stores one record of 1 KiB after the other, durably, and then retrieves them.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a benchmark")]

#[path = "../callers.rs"]
mod callers;

use callers::{CALLERS, Rates, awaited, median, on_threads, with_spawn_blocking};
use strongroom::Strongroom;

/// The records of each caller.
const EACH: usize = 40;
/// The most threads of tokio for blocking calls, unless a program says otherwise.
const BLOCKING_THREADS: usize = 512;

fn main() {
    let rounds = std::env::args().nth(1).map_or(5, |rounds| rounds.parse().unwrap());
    let contestants: [(&str, &dyn Fn(Strongroom) -> Rates); 5] = [
        ("async, 1,000 tasks on 2 threads", &|store| awaited(store, EACH)),
        ("blocking, 64 threads", &|store| on_threads(&store, EACH, 64)),
        ("blocking, 2 threads", &|store| on_threads(&store, EACH, 2)),
        ("blocking, 1,000 threads", &|store| on_threads(&store, EACH, CALLERS)),
        ("spawn_blocking for each call", &|store| with_spawn_blocking(store, EACH, BLOCKING_THREADS)),
    ];
    let mut found = contestants.map(|_| [vec![], vec![]]);
    for _ in 0..rounds {
        for ((_, measure), found) in contestants.iter().zip(&mut found) {
            let folder = tempfile::tempdir_in(".").unwrap();
            let rates = measure(Strongroom::open(folder.path().join("records.db")).unwrap());
            found.iter_mut().zip(rates).for_each(|(all, rate)| all.push(rate));
        }
    }
    let medians = found.map(|rates| rates.map(median));
    println!("| {CALLERS} callers | stores in a second | retrieves in a second | async / this |");
    println!("|---|---|---|---|");
    let [of_async, ..] = medians;
    for ((name, _), rates) in contestants.iter().zip(medians) {
        let [stores, retrieves] = rates;
        let [store_ratio, retrieve_ratio] = [of_async[0] / stores, of_async[1] / retrieves];
        println!("| {name} | {stores:.0} | {retrieves:.0} | {store_ratio:.2}, {retrieve_ratio:.2} |");
    }
}
