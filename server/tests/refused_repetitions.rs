//! Writes whose answer is lost, and whose repetition is refused because the record has changed or expired meanwhile:
//! the lost attempt succeeded, so that the refusal is not the outcome.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use strongroom::storage::{self, Head, Locator, MemoryStorage, PutMode, RemoteStorage, Storage};
use strongroom::{Endpoint, Error, Strongroom, WriteOptions};

use crate::support;
use crate::support::proxied_service::{Case, Kind, NEW, Op, ProxiedService, QUICK, WRITES, run};
use crate::support::proxy::{Fault, Plan, Proxy};
use crate::support::wait::{DEADLINE, Join, wait_for};

/// Makes a call whose first answer is lost. Once the call is done, `meanwhile` happens, before the repetition.
fn repeated(
    service: &ProxiedService,
    case: &Case,
    call: impl FnOnce(&Strongroom) -> Result<(), Error> + Send,
    meanwhile: impl FnOnce(&Strongroom),
) -> Result<(), Error> {
    let client = service.client(3 * QUICK);
    let was_there = service.direct.contains(&case.id).unwrap();
    service.proxy.plan(Plan::from_write([Fault::Silence], Fault::None));
    thread::scope(|scope| {
        let caller = scope.spawn(|| call(&client));
        let old_opens = || service.direct.retrieve(&case.id, &case.old).is_ok();
        let is_done = || if was_there { !old_opens() } else { service.direct.contains(&case.id).unwrap() };
        wait_for(|| is_done().then_some(()));
        meanwhile(&service.direct);
        caller.join_within(DEADLINE)
    })
}

#[test]
fn a_change_meanwhile_leaves_the_outcome_indeterminate() {
    let check = |op| {
        let service = ProxiedService::new(Kind::Encryption);
        let case = service.case(op);
        let outcome = repeated(
            &service,
            &case,
            |client| run(client, op, &case).map(drop),
            |direct| {
                direct.erase(&case.id).unwrap();
                direct.store(&case.id, b"another").unwrap();
            },
        );
        assert!(matches!(outcome, Err(Error::Indeterminate(_))), "{op:?}: {outcome:?}");
        // The control: without a lost answer, the refusal is the outcome.
        service.proxy.plan(Plan::next([]));
        let outcome = run(&service.client(QUICK), op, &case);
        assert!(matches!(outcome, Err(Error::AlreadyExists | Error::NotFound)), "{op:?}: {outcome:?}");
    };
    thread::scope(|scope| {
        let checks = WRITES.into_iter().chain([Op::Rekey, Op::Delete]).map(|op| scope.spawn(move || check(op)));
        checks.collect::<Vec<_>>().into_iter().for_each(|check| check.join_within(DEADLINE));
    });
}

/// The repetition of a write is refused once its expiry time is past.
#[test]
fn an_expiry_meanwhile_leaves_the_outcome_indeterminate() {
    let service = ProxiedService::new(Kind::Encryption);
    let case = service.case(Op::Replace);
    let options = WriteOptions::new().expires_in(Duration::from_millis(500));
    let replace = |client: &Strongroom| client.replace_with(&case.id, &case.old, NEW, options).map(drop);
    let wait = |direct: &Strongroom| wait_for(|| (!direct.contains(&case.id).unwrap()).then_some(()));
    let outcome = repeated(&service, &case, replace, wait);
    assert!(matches!(outcome, Err(Error::Indeterminate(_))), "{outcome:?}");
}

/// The same for the storage service: another record is in the place of the one that was written.
#[test]
fn another_record_in_a_storage_leaves_the_outcome_indeterminate() {
    let (locator, old, new, another) = (Locator::from_bytes([1; 32]), [1; 100], [2; 100], [3; 100]);
    for mode in [PutMode::Create, PutMode::ReplaceIf(Head::of(&old).unwrap())] {
        let memory = Arc::new(MemoryStorage::new());
        let service = support::storage(memory.clone());
        let proxy = Proxy::new(service.address);
        let remote = RemoteStorage::open(&Endpoint::new(&proxy.url()).unwrap().timeout(2 * QUICK)).unwrap();
        if mode != PutMode::Create {
            memory.put(&locator, &old, PutMode::Create).unwrap();
        }
        proxy.plan(Plan::from_write([Fault::Silence], Fault::None));
        let outcome = thread::scope(|scope| {
            let write = scope.spawn(|| remote.put(&locator, &new, mode));
            wait_for(|| memory.get(&locator).unwrap().filter(|found| *found == new));
            memory.put(&locator, &another, PutMode::Overwrite).unwrap();
            write.join_within(DEADLINE)
        });
        assert!(matches!(outcome, Err(storage::Error::Indeterminate(_))), "{outcome:?}");
    }
}
