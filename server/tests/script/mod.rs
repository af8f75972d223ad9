//! The script of operations, on each of the stores, blocking and async.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use strongroom::storage::{MemoryStorage, RemoteStorage};
use strongroom::{Endpoint, Error, IndexKey, Strongroom, aio};
use strongroom_server::Config;

use crate::steps::{self, Found, SCRIPT};
use crate::support::{self, Running};

#[path = "."]
mod blocking {
    pub(super) use std::io::{Read, Seek, Write};

    pub(super) use strongroom::{RecordReader, RecordWriter, Strongroom};

    macro_rules! wait {
        ($call:expr) => {
            $call
        };
    }

    #[allow(clippy::duplicate_mod, reason = "once for each kind of calls")]
    #[path = "../../../core/tests/script/runner.rs"]
    pub(super) mod runner;
}

#[path = "."]
mod on_futures {
    pub(super) use strongroom::aio::{RecordReader, RecordWriter, Strongroom};
    pub(super) use tokio::io::{AsyncReadExt as Read, AsyncSeekExt as Seek, AsyncWriteExt as Write};

    macro_rules! wait {
        ($call:expr) => {
            $call.await
        };
    }

    #[allow(clippy::duplicate_mod, reason = "once for each kind of calls")]
    #[path = "../../../core/tests/script/runner.rs"]
    pub(super) mod runner;
}

const RUNS: [fn(Strongroom, &str, bool); 2] = [run_blocking, run_async];

/// Runs the script with the blocking calls.
fn run_blocking(store: Strongroom, script: &str, is_server: bool) {
    let mut runner = blocking::runner::Runner::new(store);
    let step = |words: &[&str]| match pin!(runner.step(words)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => found(outcome),
        Poll::Pending => panic!("a blocking call is pending"),
    };
    assert!(steps::run(script, is_server, step) > 0);
}

/// Runs the script with the async calls.
fn run_async(store: Strongroom, script: &str, is_server: bool) {
    let mut runner = on_futures::runner::Runner::new(aio::Strongroom::new(store));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let step = |words: &[&str]| found(runtime.block_on(runner.step(words)));
    assert!(steps::run(script, is_server, step) > 0);
}

fn found(outcome: Result<Vec<Found>, Error>) -> Vec<Found> {
    outcome.unwrap_or_else(|error| vec![Found::error(error.code())])
}

/// The limits of a service by default: a writer may pause.
fn config() -> Config {
    Config::from_toml("listen = [\"127.0.0.1:0\"]\ninsecure_loopback = true").unwrap()
}

fn endpoint(service: &Running) -> Endpoint {
    Endpoint::new(&format!("http://{}", service.address)).unwrap()
}

fn index_key() -> IndexKey {
    IndexKey::from_bytes(&[7; 32]).unwrap()
}

#[test]
fn in_memory() {
    for run in RUNS {
        run(Strongroom::open(":memory:").unwrap(), SCRIPT, false);
    }
}

#[test]
fn in_a_database() {
    for run in RUNS {
        let folder = tempfile::tempdir().unwrap();
        run(Strongroom::open(folder.path().join("records.db")).unwrap(), SCRIPT, false);
    }
}

#[test]
fn on_a_storage_service() {
    for run in RUNS {
        let service = support::storage_with(Arc::new(MemoryStorage::new()), &config());
        let store = Strongroom::builder().endpoint(endpoint(&service)).index_key(index_key()).open();
        run(store.unwrap(), SCRIPT, false);
    }
}

#[test]
fn on_an_encryption_server() {
    for run in RUNS {
        let server = support::encryption(&config());
        run(Strongroom::connect(&endpoint(&server)).unwrap(), SCRIPT, true);
    }
}

#[test]
fn on_an_encryption_server_over_a_storage_service() {
    for run in RUNS {
        let service = support::storage_with(Arc::new(MemoryStorage::new()), &config());
        let server = support::encryption_over(Arc::new(RemoteStorage::open(&endpoint(&service)).unwrap()), &config());
        run(Strongroom::connect(&endpoint(&server)).unwrap(), SCRIPT, true);
    }
}

/// Another result, another error, another number of steps and a missing end are noticed.
#[test]
fn a_difference_is_noticed() {
    const RIGHT: &str = "key k -> ok\nstore text:a text:b as a -> ok\nretrieve text:a k -> error:3|error:1\nsteps 3";
    for (from, to) in [
        ("", ""),
        ("k -> ok", "k -> error:5"),
        ("3|", "1|"),
        ("-> error", "-> text"),
        ("steps 3", "steps 2"),
        ("\nsteps 3", ""),
    ] {
        let script = RIGHT.replacen(from, to, 1);
        for run in RUNS {
            let outcome = std::panic::catch_unwind(|| run(Strongroom::open(":memory:").unwrap(), &script, false));
            assert_eq!(outcome.is_ok(), from.is_empty(), "{from}");
        }
    }
}
