//! Clients that work on the same ids at once, and the history of each id.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use strongroom::{Error, RecordKey, Strongroom};

use super::checker::{self, Effect, Expiry, Verdict, Version};
use super::history::Id;
use super::operation::{Content, Plan, execute};
use super::random::Random;
use super::report::Report;

/// The ids on which the clients of a store work at once.
pub(crate) const IDS: usize = 16;
/// A history of this length ends: its id is erased, and another one takes its place.
const LONG: usize = 60;
const _: () = assert!(LONG * 2 < checker::LONGEST);

/// The ids of a store, and its clients.
pub(crate) struct Load<'r> {
    pub(crate) report: &'r Report,
    ids: Vec<Mutex<Id>>,
    next: AtomicU64,
    /// The names of ids that ended and may have a record nevertheless.
    leftover: Mutex<Vec<String>>,
    /// Held for writing, it stops all clients.
    pub(crate) gate: RwLock<()>,
    /// The clocks of the services are at most this far from that of the clients.
    pub(crate) clock_error: Duration,
    /// Whether the store has transactions.
    pub(crate) has_batches: bool,
    pub(crate) pause: Duration,
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
            leftover: Mutex::default(),
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
    pub(crate) fn observe<T>(&self, before: impl FnOnce() -> Option<T>, observe: impl Fn(&T, &mut Id, u64)) -> bool {
        let called = self.now();
        let in_use: Vec<_> = self.ids.iter().filter(|slot| lock(slot).begin_use()).collect();
        let found = before();
        for slot in in_use {
            let mut id = lock(slot);
            if let Some(found) = &found {
                observe(found, &mut id, called);
            }
            id.in_flight -= 1;
        }
        found.is_some()
    }

    /// The names of all ids that may have a record.
    pub(crate) fn names(&self) -> Vec<String> {
        self.ids.iter().map(|slot| lock(slot).name.clone()).chain(lock(&self.leftover).iter().cloned()).collect()
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
            if !id.begin_use() {
                return;
            }
            let plan = self.plan(&mut id, random);
            let content = |version: Version| id.contents.get(version).cloned();
            (id.name.clone(), plan, plan.versions().map(|version| version.and_then(content)))
        };
        let called = self.now();
        let outcome = execute(client, &name, plan, old.as_ref(), new.as_ref(), random);
        let returned = self.now();
        let result = self.report.count(plan.name(), &outcome, Duration::from_nanos(returned - called));
        let mut id = lock(slot);
        id.in_flight -= 1;
        let said = outcome.as_ref().map_or_else(Error::full_message, |_| "done".to_owned());
        id.calls.push(format!("{called:>16} {returned:>16} {plan:?}: {said}\n"));
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
        id.record(called, returned, effect);
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
        // One look, and attempts to erase it.
        let mut is_erased = false;
        for attempt in 0..12 {
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
                Ok(effect) => lock(slot).record(called, Some(returned), effect),
                Err(Error::Indeterminate(_)) if attempt > 0 => {
                    lock(slot).record(called, None, Effect::Erased);
                    continue;
                }
                Err(_) => {
                    thread::sleep(Duration::from_millis(200));
                    continue;
                }
            }
            is_erased = attempt > 0;
            if is_erased {
                break;
            }
        }
        let id = std::mem::replace(&mut *lock(slot), Id::new(self.next.fetch_add(1, Ordering::Relaxed)));
        let unknown = id.history.iter().filter(|operation| operation.returned.is_none()).count();
        if !is_erased || unknown > 0 {
            lock(&self.leftover).push(id.name.clone());
        }
        let start = Instant::now();
        let verdict = checker::check(&id.history, &id.expiries);
        self.report.checked(id.history.len(), unknown, start.elapsed(), verdict == Verdict::Undecided);
        if verdict == Verdict::Violation {
            self.report.violation("the history is not linearizable", &id.text());
        }
    }
}
