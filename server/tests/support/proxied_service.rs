//! A service behind a proxy, each operation of its client, and a check that the reported outcome is true.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use strongroom::storage::{MemoryStorage, RemoteStorage, Storage};
use strongroom::{Endpoint, Error, IndexKey, RecordKey, Strongroom, WriteOptions};

use super::proxy::{Plan, Proxy};
use super::{Running, config, encryption_over, storage};

/// Enough time for repetitions, even on a busy machine.
pub(crate) const PATIENT: Duration = Duration::from_secs(30);
/// For calls that no repetition can complete.
pub(crate) const QUICK: Duration = Duration::from_secs(2);

pub(crate) const OLD: &[u8] = b"what was there before";
pub(crate) const NEW: &[u8] = b"what is stored";

/// The service behind the proxy, which determines the client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Behind [`Strongroom::connect`].
    Encryption,
    /// Behind a [`Strongroom`] over [`RemoteStorage`].
    Storage,
}

pub(crate) const KINDS: [Kind; 2] = [Kind::Encryption, Kind::Storage];

/// The tested operations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Op {
    Store,
    StoreWithKey,
    StoreReader,
    StoreLong,
    Replace,
    ReplaceWithKey,
    Rekey,
    Take,
    Delete,
    Erase,
}

pub(crate) const WRITES: [Op; 5] = [Op::Store, Op::StoreWithKey, Op::StoreReader, Op::Replace, Op::ReplaceWithKey];
pub(crate) const OPS: [Op; 10] = [
    Op::Store,
    Op::StoreWithKey,
    Op::StoreReader,
    Op::StoreLong,
    Op::Replace,
    Op::ReplaceWithKey,
    Op::Rekey,
    Op::Take,
    Op::Delete,
    Op::Erase,
];

/// Makes a call. Returns the record's new key, if it has one.
pub(crate) fn run(store: &Strongroom, op: Op, Case { id, old, new, data }: &Case) -> Result<Option<RecordKey>, Error> {
    match op {
        Op::Store => store.store(id, data).map(Some),
        Op::StoreWithKey => store.store_with(id, data, WriteOptions::new().key(new)).map(|_| None),
        Op::StoreReader | Op::StoreLong => {
            store.store_reader_with(id, &data[..], WriteOptions::new().key(new)).map(|_| None)
        }
        Op::Replace => store.replace(id, old, data).map(Some),
        Op::ReplaceWithKey => store.replace_with(id, old, data, WriteOptions::new().key(new)).map(|_| None),
        Op::Rekey => store.rekey_with(id, old, WriteOptions::new().key(new)).map(|_| None),
        Op::Take => store.take(id, old).map(|data| assert!(data == OLD)).map(|()| None),
        Op::Delete => store.delete(id, old).map(|_| None),
        Op::Erase => store.erase(id).map(|erased| assert!(erased)).map(|_| None),
    }
}

/// A service, its proxy, and a store with direct access that shows the true state.
pub(crate) struct ProxiedService {
    pub(crate) kind: Kind,
    pub(crate) proxy: Proxy,
    pub(crate) direct: Strongroom,
    ids: AtomicUsize,
    _service: Running,
}

/// The parameters of a call.
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) old: RecordKey,
    pub(crate) new: RecordKey,
    pub(crate) data: Vec<u8>,
}

pub(crate) fn store_over(storage: Arc<dyn Storage>) -> Strongroom {
    Strongroom::builder().storage(storage).index_key(IndexKey::from_bytes(&[7; 32]).unwrap()).open().unwrap()
}

impl ProxiedService {
    pub(crate) fn new(kind: Kind) -> Self {
        let memory = Arc::new(MemoryStorage::new());
        let service = match kind {
            Kind::Encryption => encryption_over(memory.clone(), &config()),
            Kind::Storage => storage(memory.clone()),
        };
        let proxy = Proxy::new(service.address);
        Self { kind, proxy, direct: store_over(memory), ids: AtomicUsize::new(0), _service: service }
    }

    pub(crate) fn client(&self, time: Duration) -> Strongroom {
        self.proxy.plan(Plan::next([]));
        let endpoint = Endpoint::new(&self.proxy.url()).unwrap().timeout(time);
        match self.kind {
            Kind::Encryption => Strongroom::connect(&endpoint).unwrap(),
            Kind::Storage => store_over(Arc::new(RemoteStorage::open(&endpoint).unwrap())),
        }
    }

    /// A new id, with a record if the call needs one.
    pub(crate) fn case(&self, op: Op) -> Case {
        let id = format!("id {}", self.ids.fetch_add(1, Ordering::Relaxed));
        let [old, new] = [(); 2].map(|()| RecordKey::generate().unwrap());
        let data = if op == Op::StoreLong { NEW.repeat(160_000) } else { NEW.to_vec() };
        if !matches!(op, Op::Store | Op::StoreWithKey | Op::StoreReader | Op::StoreLong) {
            self.direct.store_with(&id, OLD, WriteOptions::new().key(&old)).unwrap();
        }
        Case { id, old, new, data }
    }

    /// Makes a call with these faults, and checks that its outcome is true. Returns the outcome.
    pub(crate) fn check(&self, client: &Strongroom, op: Op, plan: Plan) -> Result<(), Error> {
        let case = self.case(op);
        self.proxy.plan(plan.clone());
        let outcome = run(client, op, &case);
        let said = format!("{:?}, {op:?}, {plan:?}: {outcome:?}", self.kind);
        match &outcome {
            Ok(key) => assert!(self.is_done(op, &case, key.as_ref()), "{said}"),
            Err(Error::Indeterminate(_)) => {
                assert!(self.is_done(op, &case, None) || self.is_undone(&case, op), "{said}");
            }
            Err(_) => assert!(self.is_undone(&case, op), "{said}"),
        }
        outcome.map(drop)
    }

    /// Whether the call was done. If the call did not return the key that it made, the record is one that no known key
    /// opens.
    pub(crate) fn is_done(&self, op: Op, case: &Case, key: Option<&RecordKey>) -> bool {
        match op {
            Op::Delete | Op::Erase | Op::Take => !self.direct.contains(&case.id).unwrap(),
            Op::Store | Op::Replace if key.is_none() => {
                self.direct.contains(&case.id).unwrap() && !self.is_undone(case, op)
            }
            Op::Rekey => self.direct.retrieve(&case.id, &case.new).is_ok_and(|data| data == OLD),
            _ => self.direct.retrieve(&case.id, key.unwrap_or(&case.new)).is_ok_and(|data| data == case.data),
        }
    }

    /// Whether the record is as before the call.
    pub(crate) fn is_undone(&self, case: &Case, op: Op) -> bool {
        match op {
            Op::Store | Op::StoreWithKey | Op::StoreReader | Op::StoreLong => !self.direct.contains(&case.id).unwrap(),
            _ => self.direct.retrieve(&case.id, &case.old).is_ok_and(|data| data == OLD),
        }
    }

    /// The lengths of a call's requests and answers, without faults.
    pub(crate) fn lengths(&self, op: Op) -> Vec<(usize, usize)> {
        self.check(&self.client(PATIENT), op, Plan::next([])).unwrap();
        self.proxy.passed()
    }
}

/// Distributes work among threads, each with its own service.
pub(crate) fn in_parallel<T: Sync>(work: &[(Kind, T)], each: impl Fn(&ProxiedService, &Strongroom, &T) + Sync) {
    const THREADS: usize = 24;
    thread::scope(|scope| {
        for (kind, first) in KINDS.into_iter().flat_map(|kind| (0..THREADS).map(move |first| (kind, first))) {
            let each = &each;
            let work = work.iter().filter(move |(of, _)| *of == kind).skip(first).step_by(THREADS);
            scope.spawn(move || {
                let way = ProxiedService::new(kind);
                let client = way.client(PATIENT);
                work.for_each(|(_, item)| each(&way, &client, item));
            });
        }
    });
}
