//! Clients that work on the same ids at once, and the history of each id.

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::{Error, RecordKey, Strongroom, WriteOptions};

use super::checker::{self, Effect, Expiry, Operation, Verdict, Version};
use super::random::Random;
use super::report::Report;

/// The ids on which the clients of a store work at once.
pub(crate) const IDS: usize = 16;
/// A history of this length ends: its id is erased, and another one takes its place.
const LONG: usize = 60;
const _: () = assert!(LONG * 2 < checker::LONGEST);

/// A version of a record: its key, its data, and when it expires.
#[derive(Clone)]
pub(crate) struct Content {
    key: [u8; 32],
    seed: u64,
    len: usize,
    lifetime: Option<Duration>,
}

impl Content {
    pub(crate) fn key(&self) -> RecordKey {
        RecordKey::from_bytes(&self.key).unwrap()
    }

    pub(crate) fn data(&self) -> Vec<u8> {
        // The length of the pattern and that of a chunk have no common divisor.
        let mut data = format!("{:061x}", self.seed).into_bytes().repeat(self.len.div_ceil(61));
        data.truncate(self.len);
        data
    }
}

/// An id in use.
pub(crate) struct Id {
    pub(crate) name: String,
    pub(crate) contents: Vec<Content>,
    expiries: Vec<Expiry>,
    history: Vec<Operation>,
    /// The version that is probably there.
    current: Option<Version>,
    in_flight: usize,
    is_ending: bool,
}

/// The ids of a store, and its clients.
pub(crate) struct Load<'r> {
    pub(crate) report: &'r Report,
    ids: Vec<Mutex<Id>>,
    next: AtomicU64,
    /// The names of ids that ended since the last rotation of the index key.
    pub(crate) ended: Mutex<Vec<String>>,
    /// Held for writing, it stops all clients.
    pub(crate) gate: RwLock<()>,
    /// The clocks of the services are at most this far from that of the clients.
    pub(crate) clock_error: Duration,
    /// Whether the store has transactions.
    pub(crate) has_batches: bool,
    pub(crate) pause: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Plan {
    Store(Version),
    StoreStream(Version),
    StoreMany(Version),
    Retrieve(Version),
    RetrieveRange(Version),
    RetrieveStream(Version),
    RetrieveMany(Version),
    Replace(Version, Version),
    ReplaceStream(Version, Version),
    Rekey(Version, Version),
    Take(Version),
    TakeStream(Version),
    Delete(Version),
    Erase,
    Contains,
}

/// Hands out data in pieces, without its length.
struct Pieces<'d>(&'d [u8]);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(100_000);
        self.0.read(&mut buffer[..len])
    }
}

impl Id {
    fn new(number: u64) -> Self {
        Self {
            name: format!("id {number}"),
            contents: Vec::new(),
            expiries: Vec::new(),
            history: Vec::new(),
            current: None,
            in_flight: 0,
            is_ending: false,
        }
    }

    /// Adds a version that is yet to be stored.
    fn add(&mut self, content: Content, expiry: Expiry) -> Version {
        self.contents.push(content);
        self.expiries.push(expiry);
        self.contents.len() - 1
    }

    pub(crate) fn record(&mut self, operation: Operation) {
        match operation.effect {
            Effect::Stored(version) | Effect::Replaced(_, version) | Effect::Found(version) => {
                self.current = Some(version)
            }
            Effect::Removed(_) | Effect::Erased | Effect::Absent => self.current = None,
            Effect::Missing(version) if self.current == Some(version) => self.current = None,
            Effect::Missing(_) | Effect::Present => {}
        }
        self.history.push(operation);
    }

    /// The history as text.
    fn text(&self) -> String {
        let lines = self.history.iter().map(|operation| {
            let returned = operation.returned.map_or("unknown".to_owned(), |at| at.to_string());
            format!("{:>16} {returned:>16} {:?}\n", operation.called, operation.effect)
        });
        let expiries =
            self.expiries.iter().enumerate().filter_map(|(n, expiry)| Some(format!("{n} expires {:?}\n", (*expiry)?)));
        format!("{}\n{}{}", self.name, lines.collect::<String>(), expiries.collect::<String>())
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

impl<'r> Load<'r> {
    pub(crate) fn new(report: &'r Report, has_batches: bool, clock_error: Duration, pause: Duration) -> Self {
        let count = u64::try_from(IDS).unwrap();
        Self {
            report,
            ids: (0..count).map(|number| Mutex::new(Id::new(number))).collect(),
            next: AtomicU64::new(count),
            ended: Mutex::default(),
            gate: RwLock::default(),
            clock_error,
            has_batches,
            pause,
        }
    }

    /// Works until stopped.
    pub(crate) fn work(&self, client: &Strongroom, mut random: Random, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            let slot = &self.ids[random.index(IDS)];
            let is_long = {
                let mut id = lock(slot);
                id.is_ending |= id.history.len() >= LONG;
                id.is_ending
            };
            if is_long {
                self.end(slot, client);
            } else {
                self.operate(slot, client, &mut random);
            }
            drop(open);
            thread::sleep(random.time(self.pause));
        }
    }

    /// Ends the history of each id.
    pub(crate) fn end_all(&self, client: &Strongroom) {
        for slot in &self.ids {
            lock(slot).is_ending = true;
            self.end(slot, client);
        }
    }

    /// Calls `observe` for each id, which it keeps in use from before `before` until then.
    pub(crate) fn observe<T>(
        &self,
        before: impl FnOnce() -> Option<T>,
        mut observe: impl FnMut(&T, &mut Id, u64),
    ) -> bool {
        let called = self.now();
        self.ids.iter().for_each(|slot| lock(slot).in_flight += 1);
        let found = before();
        for slot in &self.ids {
            let mut id = lock(slot);
            // Another observation would make it too long.
            if let Some(found) = found.as_ref().filter(|_| !id.is_ending) {
                observe(found, &mut id, called);
            }
            id.in_flight -= 1;
        }
        found.is_some()
    }

    /// The names of all ids since the last rotation.
    pub(crate) fn names(&self) -> Vec<String> {
        self.ids.iter().map(|slot| lock(slot).name.clone()).chain(lock(&self.ended).iter().cloned()).collect()
    }

    pub(crate) fn now(&self) -> u64 {
        nanos(self.report.start.elapsed())
    }

    fn content(&self, random: &mut Random, shortest: usize) -> Content {
        let len = match random.index(10) {
            0..7 => random.index(2_000),
            7..9 => random.index(300_000),
            _ => random.index(3_000_000),
        };
        let key = RecordKey::generate().unwrap();
        let lifetime = (random.index(12) == 0).then(|| Duration::from_secs(1) + random.time(Duration::from_secs(3)));
        Content {
            key: *key.expose_bytes(),
            seed: self.next.fetch_add(1, Ordering::Relaxed),
            len: len.max(shortest),
            lifetime,
        }
    }

    fn expiry(&self, content: &Content) -> Expiry {
        let at = self.report.start.elapsed() + content.lifetime?;
        // The client rounds the second up, and may not begin at once.
        let last = at + self.clock_error + Duration::from_secs(5);
        Some((nanos(at.saturating_sub(self.clock_error)), nanos(last)))
    }

    fn plan(&self, id: &mut Id, random: &mut Random) -> Plan {
        let new = |id: &mut Id, random: &mut Random, shortest| {
            let content = self.content(random, shortest);
            let expiry = self.expiry(&content);
            id.add(content, expiry)
        };
        let choice = random.index(100);
        let any = (!id.contents.is_empty()).then(|| random.index(id.contents.len()));
        match (id.current, any) {
            (None, None) | (None, Some(_)) if choice < 70 => match random.index(10) {
                0..6 => Plan::Store(new(id, random, 0)),
                6 if self.has_batches => Plan::StoreMany(new(id, random, 0)),
                _ => Plan::StoreStream(new(id, random, 300_000)),
            },
            (None, None) => Plan::Contains,
            (Some(current), _) if choice < 80 => match choice {
                0..15 => Plan::Retrieve(current),
                15..22 => Plan::RetrieveRange(current),
                22..28 => Plan::RetrieveStream(current),
                28..33 => Plan::RetrieveMany(current),
                33..45 => Plan::Replace(current, new(id, random, 0)),
                45..50 => Plan::ReplaceStream(current, new(id, random, 300_000)),
                50..56 => {
                    let content =
                        Content { key: *RecordKey::generate().unwrap().expose_bytes(), ..id.contents[current].clone() };
                    // The expiry time remains.
                    let expiry = id.expiries[current];
                    Plan::Rekey(current, id.add(content, expiry))
                }
                56..61 => Plan::Take(current),
                61..64 => Plan::TakeStream(current),
                64..72 => Plan::Delete(current),
                72..75 => Plan::Erase,
                _ => Plan::Contains,
            },
            // The key of any version, or a store where a record is.
            (_, Some(any)) => match random.index(7) {
                0 => Plan::Store(new(id, random, 0)),
                1 => Plan::Take(any),
                2 => Plan::Delete(any),
                3 => Plan::Replace(any, new(id, random, 0)),
                4 => Plan::Contains,
                _ => Plan::Retrieve(any),
            },
            (Some(current), None) => Plan::Retrieve(current),
        }
    }

    /// One operation on an id.
    fn operate(&self, slot: &Mutex<Id>, client: &Strongroom, random: &mut Random) {
        let (name, plan, [old, new]) = {
            let mut id = lock(slot);
            if id.in_flight > 8 {
                return;
            }
            let plan = self.plan(&mut id, random);
            id.in_flight += 1;
            let content = |version: Version| id.contents.get(version).cloned();
            (id.name.clone(), plan, plan.versions().map(|version| version.and_then(content)))
        };
        let called = self.now();
        let outcome = execute(client, &name, plan, old.as_ref(), new.as_ref(), random);
        let returned = self.now();
        let result = self.report.count(plan.name(), &outcome, Duration::from_nanos(returned - called));
        let mut id = lock(slot);
        id.in_flight -= 1;
        let (effect, returned) = match outcome {
            Ok(Some(effect)) => (effect, Some(returned)),
            // The data differs from what was stored under this key.
            Ok(None) => return self.report.violation(&format!("{plan:?} opens to other data"), &id.text()),
            // The service's clock is ahead.
            Err(Error::InvalidArgument(_)) if new.is_some_and(|content| content.lifetime.is_some()) => return,
            Err(_) if result.is_break() => {
                return self
                    .report
                    .violation(&format!("{plan:?}: {}", outcome.unwrap_err().full_message()), &id.text());
            }
            Err(Error::Indeterminate(_)) if plan.changes() => (plan.effect(), None),
            Err(Error::NotFound | Error::WrongKey | Error::Expired) => match plan.versions()[0] {
                Some(version) => (Effect::Missing(version), Some(returned)),
                None => (Effect::Absent, Some(returned)),
            },
            Err(Error::AlreadyExists) => (Effect::Present, Some(returned)),
            Err(_) => return,
        };
        id.record(Operation { called, returned, effect });
    }

    /// Erases the record of an id that nobody uses, checks its history, and puts another id in its place.
    fn end(&self, slot: &Mutex<Id>, client: &Strongroom) {
        let name = {
            let mut id = lock(slot);
            if id.in_flight > 0 {
                return;
            }
            id.in_flight = 1;
            id.name.clone()
        };
        // A retrieve and a few attempts to erase it.
        for attempt in 0..6 {
            let called = self.now();
            let outcome = if attempt == 0 {
                client.contains(&name).map(|found| if found { Effect::Present } else { Effect::Absent })
            } else {
                client.erase(&name).map(|found| if found { Effect::Erased } else { Effect::Absent })
            };
            let returned = self.now();
            if self.report.count("end", &outcome, Duration::from_nanos(returned - called)).is_break() {
                self.report.violation(&format!("{outcome:?}"), &lock(slot).text());
            }
            match outcome {
                Ok(effect) => lock(slot).record(Operation { called, returned: Some(returned), effect }),
                Err(Error::Indeterminate(_)) if attempt > 0 => {
                    lock(slot).record(Operation { called, returned: None, effect: Effect::Erased });
                    continue;
                }
                Err(_) => continue,
            }
            if attempt > 0 {
                break;
            }
        }
        let id = std::mem::replace(&mut *lock(slot), Id::new(self.next.fetch_add(1, Ordering::Relaxed)));
        lock(&self.ended).push(id.name.clone());
        let unknown = id.history.iter().filter(|operation| operation.returned.is_none()).count();
        let start = Instant::now();
        let verdict = checker::check(&id.history, &id.expiries);
        self.report.checked(id.history.len(), unknown, start.elapsed(), verdict == Verdict::Undecided);
        if verdict == Verdict::Violation {
            self.report.violation("the history is not linearizable", &id.text());
        }
    }
}

impl Plan {
    /// The version whose key the operation needs, and the one that it stores.
    fn versions(self) -> [Option<Version>; 2] {
        match self {
            Self::Store(new) | Self::StoreStream(new) | Self::StoreMany(new) => [None, Some(new)],
            Self::Replace(old, new) | Self::ReplaceStream(old, new) | Self::Rekey(old, new) => [Some(old), Some(new)],
            Self::Retrieve(old) | Self::RetrieveRange(old) | Self::RetrieveStream(old) | Self::RetrieveMany(old) => {
                [Some(old), None]
            }
            Self::Take(old) | Self::TakeStream(old) | Self::Delete(old) => [Some(old), None],
            Self::Erase | Self::Contains => [None, None],
        }
    }

    /// What it does if it succeeds.
    fn effect(self) -> Effect {
        match (self, self.versions()) {
            (Self::Erase, _) => Effect::Erased,
            (Self::Take(old) | Self::TakeStream(old) | Self::Delete(old), _) => Effect::Removed(old),
            (_, [Some(old), Some(new)]) => Effect::Replaced(old, new),
            (_, [None, Some(new)]) => Effect::Stored(new),
            (_, [Some(old), None]) => Effect::Found(old),
            (_, [None, None]) => Effect::Present,
        }
    }

    fn changes(self) -> bool {
        !matches!(self.effect(), Effect::Found(_) | Effect::Present)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::StoreStream(_) => "store a stream",
            Self::StoreMany(_) => "store a batch",
            Self::Retrieve(_) => "retrieve",
            Self::RetrieveRange(_) => "retrieve a range",
            Self::RetrieveStream(_) => "retrieve a stream",
            Self::RetrieveMany(_) => "retrieve a batch",
            Self::Replace(..) => "replace",
            Self::ReplaceStream(..) => "replace by a stream",
            Self::Rekey(..) => "rekey",
            Self::Take(_) => "take",
            Self::TakeStream(_) => "take a stream",
            Self::Delete(_) => "delete",
            Self::Erase => "erase",
            Self::Contains => "contains",
        }
    }
}

/// Executes an operation. Returns its effect; `None` if the data is not that of the version.
fn execute(
    client: &Strongroom,
    name: &str,
    plan: Plan,
    old: Option<&Content>,
    new: Option<&Content>,
    random: &mut Random,
) -> Result<Option<Effect>, Error> {
    let [old_key, new_key] = [old, new].map(|content| content.map(Content::key));
    let data = old.filter(|_| !plan.changes() || new.is_none()).map(Content::data).unwrap_or_default();
    let new_data = new.map(Content::data).unwrap_or_default();
    let unused = RecordKey::generate()?;
    let (old_key, new_key) = (old_key.as_ref().unwrap_or(&unused), new_key.as_ref().unwrap_or(&unused));
    let mut options = WriteOptions::new().key(new_key);
    if let Some(lifetime) = new.and_then(|content| content.lifetime) {
        options = options.expires_in(lifetime);
    }
    let effect = plan.effect();
    let compare = |found: &[u8]| (found == data).then_some(effect);
    let read = |mut reader: strongroom::RecordReader| {
        let mut found = Vec::new();
        reader.read_to_end(&mut found).map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => Error::Storage(error.into()),
        })?;
        Ok(compare(&found))
    };
    match plan {
        Plan::Store(_) => client.store_with(name, new_data, options).map(|_| Some(effect)),
        Plan::StoreStream(_) => client.store_reader_with(name, Pieces(&new_data), options).map(|_| Some(effect)),
        Plan::StoreMany(_) => client.store_many_with(&[(name, new_data, options)]).map(|_| Some(effect)),
        Plan::Retrieve(_) => client.retrieve(name, old_key).map(|found| compare(&found)),
        Plan::RetrieveRange(_) => {
            let start = random.index(data.len() + 1);
            let end = start + random.index(data.len() - start + 1);
            let [from, to] = [start, end].map(|offset| u64::try_from(offset).unwrap());
            let found = client.retrieve_range(name, old_key, from..to)?;
            Ok((found == data[start..end]).then_some(effect))
        }
        Plan::RetrieveStream(_) => read(client.open_record(name, old_key)?),
        Plan::RetrieveMany(_) => client.retrieve_many(&[(name, old_key)])?.remove(0).map(|found| compare(&found)),
        Plan::Replace(..) => client.replace_with(name, old_key, new_data, options).map(|_| Some(effect)),
        Plan::ReplaceStream(..) => {
            client.replace_reader_with(name, old_key, Pieces(&new_data), options).map(|_| Some(effect))
        }
        Plan::Rekey(..) => client.rekey_with(name, old_key, WriteOptions::new().key(new_key)).map(|_| Some(effect)),
        Plan::Take(_) => client.take(name, old_key).map(|found| compare(&found)),
        // Once the reader is there, the record is gone, whether or not it can be read.
        Plan::TakeStream(_) => {
            let reader = client.take_record(name, old_key)?;
            read(reader).or_else(|error| if is_expected(&error).is_break() { Err(error) } else { Ok(Some(effect)) })
        }
        Plan::Delete(_) => client.delete(name, old_key).map(|()| Some(effect)),
        Plan::Erase => client.erase(name).map(|found| Some(if found { effect } else { Effect::Absent })),
        Plan::Contains => client.contains(name).map(|found| Some(if found { effect } else { Effect::Absent })),
    }
}

/// Whether an error may occur under faults.
pub(crate) fn is_expected(error: &Error) -> ControlFlow<()> {
    match error {
        Error::NotFound
        | Error::AlreadyExists
        | Error::WrongKey
        | Error::Conflict
        | Error::Busy
        | Error::StorageFull
        | Error::Storage(_)
        | Error::Indeterminate(_)
        | Error::Poisoned
        | Error::Expired => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    }
}
