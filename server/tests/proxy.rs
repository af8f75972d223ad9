//! Network failures between a client and its service, at each byte. A successful call was done, a failed one was not,
//! and calls that may be repeated, by the client or by its caller, end as without a failure.

use crate::support;
use std::io::Read;
use std::iter;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use strongroom::storage::{self, Head, Locator, MemoryStorage, PutMode, RemoteStorage, Storage};
use strongroom::{Endpoint, Error, Strongroom};

use crate::support::proxied_service::{
    KINDS, Kind, NEW, OPS, Op, PATIENT, ProxiedService, QUICK, WRITES, in_parallel, run,
};
use crate::support::proxy::{Fault, Plan, Proxy};
use crate::support::wait::{DEADLINE, Join, wait_for};

/// Whether a call succeeds if one answer is lost. The others return `Indeterminate`.
fn is_repeated(kind: Kind, op: Op) -> bool {
    kind == Kind::Storage || !matches!(op, Op::StoreLong | Op::Take | Op::Delete | Op::Erase)
}

/// The number of requests in addition to the one that changes something: most operations read the record first. An
/// upload reads it again when it begins; a claimed record is also removed.
fn looks(kind: Kind, op: Op) -> usize {
    match (kind, op) {
        (Kind::Encryption, Op::Rekey) => 1,
        (Kind::Storage, Op::Take) => 2,
        (Kind::Encryption, _) | (Kind::Storage, Op::Store | Op::StoreWithKey) => 0,
        (Kind::Storage, Op::StoreLong) => 2,
        (Kind::Storage, _) => 1,
    }
}

/// Each item with each kind of service.
fn with_kinds<T: Clone>(items: impl IntoIterator<Item = T>) -> Vec<(Kind, T)> {
    items.into_iter().flat_map(|item| KINDS.map(|kind| (kind, item.clone()))).collect()
}

/// Cuts each request of each operation, or its answer: a short store at each byte, others at some. Returns the number
/// of cuts.
fn cut_everywhere(len: fn((usize, usize)) -> usize, fault: fn(usize) -> Fault) -> usize {
    let mut cuts = Vec::new();
    for (kind, op) in with_kinds(OPS) {
        for (place, lengths) in ProxiedService::new(kind).lengths(op).into_iter().enumerate() {
            let len = len(lengths);
            let step = if op == Op::StoreWithKey { 1 } else { (len / 20).max(1) };
            cuts.extend((0..len).step_by(step).chain(len - 3..=len).map(|cut| (kind, (op, place, cut))));
        }
    }
    in_parallel(&cuts, |way, client, (op, place, cut)| {
        let fault = fault(*cut);
        let is_cut_short = *op == Op::StoreLong && matches!(fault, Fault::CutRequest(_));
        let before = iter::repeat_n(Fault::None, *place);
        let outcome = way.check(client, *op, Plan::next(before.chain([fault])));
        assert!(way.proxy.has_done_all());
        match outcome {
            Ok(()) => {}
            // A request that was not sent completely is not repeated.
            Err(Error::Storage(_) | Error::Indeterminate(_)) if is_cut_short => {}
            Err(Error::Indeterminate(_)) if !is_repeated(way.kind, *op) => {}
            outcome => panic!("{op:?}: {outcome:?}"),
        }
    });
    cuts.len()
}

#[test]
fn a_cut_answer_loses_nothing() {
    let cuts = cut_everywhere(|(_, answer)| answer - 1, Fault::CutAnswer);
    assert!(cuts > 800, "hardly any cut: {cuts}");
}

#[test]
fn a_cut_request_is_done_whole_or_not_at_all() {
    let cuts = cut_everywhere(|(request, _)| request, Fault::CutRequest);
    assert!(cuts > 800, "hardly any cut: {cuts}");
}

/// The control: without a fault, each request is sent only once.
#[test]
fn a_transparent_proxy_changes_nothing() {
    for kind in KINDS {
        let way = ProxiedService::new(kind);
        for op in OPS {
            assert_eq!(way.lengths(op).len(), looks(kind, op) + 1, "{kind:?}, {op:?}");
        }
        let records = OPS.len() as u64 - 3; // three operations remove theirs
        assert_eq!(way.direct.stats().unwrap().records, records, "each write made one record");
    }
}

/// If each answer is lost, the call is `Indeterminate`, and its caller's repetition succeeds.
#[test]
fn an_unanswered_write_is_indeterminate_and_repeatable() {
    let faults = [
        Fault::CutAnswer(0),
        Fault::CutAnswer(30),
        Fault::CutRequest(0),
        Fault::CutRequest(100),
        Fault::Late(2 * QUICK),
        Fault::Silence,
        Fault::OtherAnswer("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"),
        Fault::OtherAnswer("HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 4\r\n\r\nlate"),
        Fault::OtherAnswer("HTTP/1.1 502 Bad Gateway\r\ntransfer-encoding: chunked\r\n\r\n4\r\nlate\r\n0\r\n\r\n"),
        Fault::OtherAnswer("HTTP/1.1 500 Internal Server Error\r\nstrongroom-code: 99\r\ncontent-length: 0\r\n\r\n"),
        Fault::OtherAnswer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    ];
    let work: Vec<_> = faults.iter().flat_map(|fault| OPS.map(|op| (op, fault.clone()))).collect();
    in_parallel(&with_kinds(work), |way, patient, (op, fault)| {
        let (op, quick) = (*op, way.client(QUICK));
        let plan = Plan::from_write([], fault.clone());
        match way.check(&quick, op, plan.clone()) {
            Err(Error::Indeterminate(_)) => {}
            Err(Error::Storage(_)) if op == Op::StoreLong && matches!(fault, Fault::CutRequest(_)) => {}
            outcome => panic!("{op:?}, {fault:?}: {outcome:?}"),
        }
        // The caller's repetition, with the key that it made.
        if [Op::StoreWithKey, Op::StoreReader, Op::StoreLong, Op::ReplaceWithKey, Op::Rekey].contains(&op) {
            let case = way.case(op);
            way.proxy.plan(plan);
            run(&quick, op, &case).unwrap_err();
            way.proxy.plan(Plan::next([]));
            run(patient, op, &case).unwrap_or_else(|error| panic!("{op:?}, {fault:?}: {error:?}"));
            assert!(way.is_done(op, &case, None));
        }
    });
}

/// Rejected later attempts do not reveal the outcome of the lost one.
#[test]
fn a_refused_retry_leaves_the_outcome_indeterminate() {
    const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nstrongroom-code: 12\r\ncontent-length: 0\r\n\r\n";
    const BUSY_IN_CHUNKS: &str = "HTTP/1.1 503 Service Unavailable\r\nstrongroom-code: 12\r\n\
        transfer-encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n";
    const WITHOUT_TOKEN: &str = "HTTP/1.1 401 Unauthorized\r\nstrongroom-code: 21\r\ncontent-length: 0\r\n\r\n";
    in_parallel(&with_kinds(WRITES.into_iter().chain([Op::Delete])), |way, _, op| {
        let (op, client) = (*op, way.client(2 * QUICK));
        for answer in [BUSY, BUSY_IN_CHUNKS, WITHOUT_TOKEN].map(Fault::Answer) {
            let outcome = way.check(&client, op, Plan::from_write([Fault::CutAnswer(0)], answer.clone()));
            assert!(matches!(outcome, Err(Error::Indeterminate(_))), "{op:?}: {outcome:?}");
            // The control: if no attempt was lost, nothing was done.
            let outcome = way.check(&client, op, Plan::from_write([], answer));
            assert!(matches!(outcome, Err(Error::Busy | Error::AccessDenied(_))), "{op:?}: {outcome:?}");
        }
        let outcome = way.check(&client, op, Plan::from_write([Fault::Vanish], Fault::None));
        assert!(matches!(outcome, Err(Error::Indeterminate(_))), "{op:?}: {outcome:?}");
        let outcome = way.check(&client, op, Plan::next([]));
        assert!(matches!(outcome, Err(Error::Storage(_))), "{op:?}: {outcome:?}");
    });
}

/// Some intermediaries repeat requests.
#[test]
fn a_duplicated_request_is_done_once() {
    in_parallel(&with_kinds(0..24), |way, client, _| {
        for fault in [Fault::Twice, Fault::Again] {
            let plan = Plan::from_write([fault], Fault::None);
            for op in WRITES {
                way.check(client, op, plan.clone()).unwrap();
            }
            // The second one finds no record.
            let case = way.case(Op::Delete);
            way.proxy.plan(plan);
            let outcome = run(client, Op::Delete, &case);
            assert!(matches!(outcome, Ok(None) | Err(Error::NotFound | Error::Conflict)), "{outcome:?}");
            assert!(way.is_done(Op::Delete, &case, None));
        }
    });
}

#[test]
fn reads_are_whole_or_fail() {
    let data: Vec<u8> = (0..=250).cycle().take(600_000).collect();
    for kind in KINDS {
        let way = ProxiedService::new(kind);
        let (patient, quick) = (way.client(PATIENT), way.client(QUICK));
        for len in [100, data.len()] {
            let (id, data) = (len.to_string(), &data[..len]);
            let key = way.direct.store(&id, data).unwrap();
            way.proxy.plan(Plan::next([]));
            assert!(patient.retrieve(&id, &key).unwrap() == data);
            let requests = way.proxy.passed();
            // Parts of a long record are fetched concurrently, in any order.
            let shortest = requests.iter().map(|(_, answer)| *answer).min().unwrap();
            for (place, (request, answer)) in requests.iter().copied().enumerate() {
                let before = || iter::repeat_n(Fault::None, place);
                for cut in (0..answer).step_by(answer / 20) {
                    way.proxy.plan(Plan::next(before().chain([Fault::CutAnswer(cut)])));
                    assert!(patient.retrieve(&id, &key).unwrap() == data);
                    assert!(way.proxy.has_done_all());
                }
                for always in [Fault::CutAnswer(shortest - 1), Fault::CutRequest(request / 2), Fault::Silence] {
                    way.proxy.plan(Plan::next(before()).always(always.clone()));
                    let outcome = quick.retrieve(&id, &key).map(|data| data.len());
                    assert!(
                        matches!(outcome, Err(Error::Storage(_) | Error::Busy)),
                        "{place}, {always:?}: {outcome:?}"
                    );
                }
            }
            way.proxy.plan(Plan::next([]));
        }
    }
}

#[test]
fn a_reader_resumes_after_a_cut_answer() {
    let way = ProxiedService::new(Kind::Encryption);
    let endpoint = Endpoint::new(&way.proxy.url()).unwrap();
    let client = Strongroom::connect(&endpoint).unwrap();
    let data: Vec<u8> = (0..=250).cycle().take(600_000).collect();
    let key = way.direct.store("id", &data).unwrap();
    way.proxy.plan(Plan::next([]).always(Fault::CutAnswer(100_000)));
    let mut read = Vec::new();
    client.open_record("id", &key).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == data);
    assert!(way.proxy.passed().len() > 6);
    // Without further bytes, the read fails after it has returned authentic data.
    way.proxy.plan(Plan::next([Fault::CutAnswer(100_000)]).always(Fault::CutAnswer(100)));
    read.clear();
    let client = Strongroom::connect(&endpoint.timeout(Duration::from_secs(2))).unwrap();
    let error = client.open_record("id", &key).unwrap().read_to_end(&mut read).unwrap_err();
    assert!(matches!(error.downcast().unwrap(), Error::Storage(_)));
    assert!(!read.is_empty() && data.starts_with(&read) && read.len() < 100_000);
}

/// HTTP defines ranges only for `GET`, so an intermediary may drop one.
#[test]
fn a_dropped_range_header_is_detected() {
    let way = ProxiedService::new(Kind::Encryption);
    let client = Strongroom::connect(&Endpoint::new(&way.proxy.url()).unwrap()).unwrap();
    let data: Vec<u8> = (0..=250).cycle().take(600_000).collect();
    let key = way.direct.store("id", &data).unwrap();
    let is_noticed = |outcome: Result<Vec<u8>, Error>| {
        let outcome = outcome.map(|data| data.len());
        assert!(matches!(outcome, Err(Error::Storage(_))), "{outcome:?}");
    };
    way.proxy.plan(Plan::next([]).always(Fault::WithoutRange));
    is_noticed(client.retrieve_range("id", &key, 1000..2000));
    way.proxy.plan(Plan::next([Fault::CutAnswer(100_000)]).always(Fault::WithoutRange));
    let mut read = Vec::new();
    let outcome = client.open_record("id", &key).unwrap().read_to_end(&mut read);
    is_noticed(outcome.map(|_| Vec::new()).map_err(|error| error.downcast().unwrap()));
    assert!(!read.is_empty() && data.starts_with(&read));
}

/// A record that another client stores between a lost removal and its repetition remains.
#[test]
fn a_repeated_removal_spares_a_newer_record() {
    let (locator, old, new) = (Locator::from_bytes([1; 32]), [1; 100], [2; 100]);
    for expected in [None, Head::of(&old)] {
        let memory = Arc::new(MemoryStorage::new());
        let service = support::storage(memory.clone());
        let proxy = Proxy::new(service.address);
        let remote = RemoteStorage::open(&Endpoint::new(&proxy.url()).unwrap().timeout(2 * QUICK)).unwrap();
        memory.put(&locator, &old, PutMode::Create).unwrap();
        proxy.plan(Plan::from_write([Fault::Silence], Fault::None));
        let outcome = thread::scope(|scope| {
            let removal = scope.spawn(|| remote.delete(&locator, expected.as_ref()));
            wait_for(|| memory.get(&locator).unwrap().is_none().then_some(()));
            memory.put(&locator, &new, PutMode::Create).unwrap();
            removal.join_within(DEADLINE)
        });
        assert!(matches!(outcome, Err(storage::Error::Indeterminate(_))), "{outcome:?}");
        assert!(memory.get(&locator).unwrap().unwrap() == new);
    }
}

/// The control of all repetitions: a request that could undo another client's write is never repeated.
#[test]
fn unrepeatable_requests_are_sent_once() {
    let way = ProxiedService::new(Kind::Storage);
    let remote = RemoteStorage::open(&Endpoint::new(&way.proxy.url()).unwrap().timeout(QUICK)).unwrap();
    let (locator, record) = (Locator::from_bytes([1; 32]), [1; 100]);
    let put = |first, always| {
        way.proxy.plan(Plan::next([first]).always(always));
        remote.put(&locator, &record, PutMode::Overwrite)
    };
    // It was not done, but the stored head does not prove that: another client could have written since.
    let outcome = put(Fault::CutRequest(50), Fault::None);
    assert!(matches!(outcome, Err(storage::Error::Indeterminate(_))), "{outcome:?}");
    assert_eq!(way.proxy.passed().len(), 2, "a put, and a look");
    assert!(remote.get(&locator).unwrap().is_none());
    let outcome = put(Fault::CutAnswer(0), Fault::CutAnswer(0));
    assert!(matches!(outcome, Err(storage::Error::Indeterminate(_))), "{outcome:?}");
    way.proxy.plan(Plan::next([]));
    assert!(remote.get(&locator).unwrap().unwrap() == record);
    put(Fault::CutAnswer(0), Fault::None).unwrap(); // it is stored

    let way = ProxiedService::new(Kind::Encryption);
    let client = way.client(QUICK);
    let outcome = way.check(&client, Op::Erase, Plan::next([Fault::CutAnswer(0)]));
    assert!(matches!(outcome, Err(Error::Indeterminate(_))), "{outcome:?}");
    assert_eq!(way.proxy.passed().len(), 1);
}

#[test]
fn each_call_ends_by_its_deadline() {
    const TIME: Duration = Duration::from_secs(5);
    thread::scope(|scope| {
        for (kind, op) in with_kinds(OPS) {
            scope.spawn(move || {
                let way = ProxiedService::new(kind);
                let client = way.client(TIME);
                let start = Instant::now();
                let outcome = way.check(&client, op, Plan::from_write([], Fault::Silence));
                assert!(matches!(outcome, Err(Error::Indeterminate(_))), "{kind:?}, {op:?}: {outcome:?}");
                // Less than a deadline for each attempt, with time for a slow machine.
                assert!(start.elapsed() < TIME * 2, "{kind:?}, {op:?}: {:?}", start.elapsed());
            });
        }
    });
}

/// A service that accepts no connection has done nothing.
#[cfg(target_os = "linux")]
#[test]
fn a_failed_connection_is_not_indeterminate() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap(); // never accepts
    let address = listener.local_addr().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let waiting: Vec<_> = iter::from_fn(|| connect().ok()).take(1000).collect();
    assert!(waiting.len() < 1000, "the queue is full");
    let client = Strongroom::connect(&Endpoint::new(&format!("http://{address}")).unwrap().timeout(QUICK)).unwrap();
    let outcome = client.store("id", NEW);
    assert!(matches!(outcome, Err(Error::Storage(_))), "{outcome:?}");
}
