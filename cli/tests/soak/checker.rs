//! Whether the history of one id is linearizable: each operation takes effect at one moment between its call and its
//! return, and one with an unknown outcome at any later moment, or never.
//!
//! An id is a register: it has no record, or one version of it. Ids are independent, so each is checked alone. The
//! search is that of Wing and Gong (1993) with Lowe's memoisation (2017), as in porcupine.

use std::collections::HashSet;

/// A version of an id's record, with a key and data of its own.
pub(crate) type Version = usize;

/// The effect of an operation on its id, or its view of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Stored this version, where no record was.
    Stored(Version),
    /// Replaced the first version by the second.
    Replaced(Version, Version),
    /// Removed this version.
    Removed(Version),
    /// Removed this version, or found it removed by an operation that ran at the same time.
    Deleted(Version),
    /// As [`Deleted`](Self::Deleted), of a record of any version.
    Erased,
    /// Opened this version.
    Found(Version),
    /// The key of this version opened nothing.
    Missing(Version),
    /// There was a record.
    Present,
    /// There was no record.
    Absent,
}

impl Effect {
    /// Whether it changes no state.
    fn is_read(self) -> bool {
        matches!(self, Self::Found(_) | Self::Missing(_) | Self::Present | Self::Absent)
    }
}

/// An operation; times are in nanoseconds since the start.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) called: u64,
    /// `None` if the outcome is unknown: it takes effect at `latest` or before, or never.
    pub(crate) returned: Option<u64>,
    pub(crate) latest: u64,
    pub(crate) effect: Effect,
}

/// When a version expires by the clocks of the services: not before the first time, and not after the second. `None` if
/// never.
pub(crate) type Expiry = Option<(u64, u64)>;

#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Linearizable,
    Violation,
    /// The search would take too long.
    Undecided,
}

/// The longest history that can be checked.
pub(crate) const LONGEST: usize = 128;
/// The search ends after this number of partial orders.
const MOST_ORDERS: usize = 1 << 18;

/// Checks a history that begins and ends at any time; `expiries` has one of each version.
pub(crate) fn check(history: &[Operation], expiries: &[Expiry]) -> Verdict {
    assert!(history.len() <= LONGEST, "the history is too long");
    let mut search = Search { history, expiries, seen: HashSet::new() };
    match search.continues(0, None) {
        true => Verdict::Linearizable,
        false if search.seen.len() >= MOST_ORDERS => Verdict::Undecided,
        false => Verdict::Violation,
    }
}

struct Search<'h> {
    history: &'h [Operation],
    expiries: &'h [Expiry],
    /// The sets of operations with the state after them, from which the search has begun.
    seen: HashSet<(u128, Option<Version>)>,
}

impl Search<'_> {
    /// Whether the operations that are not in the set `done` have an order that begins in this state.
    fn continues(&mut self, mut done: u128, state: Option<Version>) -> bool {
        let candidates = loop {
            let left = || self.history.iter().enumerate().filter(|(n, _)| done >> n & 1 == 0);
            let Some(first_return) = left().filter_map(|(_, operation)| operation.returned).min() else {
                return true;
            };
            let all = self.history.iter().enumerate();
            let last_call = all.filter(|(n, _)| done >> n & 1 == 1).map(|(_, operation)| operation.called).max();
            let is_candidate = |operation: &Operation| {
                operation.called <= first_return
                    && (operation.returned.is_some() || last_call.is_none_or(|call| call <= operation.latest))
            };
            let candidates: Vec<_> = left().filter(|(_, operation)| is_candidate(operation)).collect();
            // A read comes first where it can: this excludes no order of the others, except of those that are too late
            // after it.
            let earliest = candidates.iter().map(|(_, operation)| operation.latest).min();
            let read = candidates.iter().find(|(_, operation)| {
                let is_read = operation.returned.is_some() && operation.effect.is_read();
                is_read && Some(operation.called) <= earliest && self.step(state, operation).is_some()
            });
            match read {
                Some((n, _)) => done |= 1 << n,
                None => break candidates,
            }
        };
        if self.seen.len() >= MOST_ORDERS || !self.seen.insert((done, state)) {
            return false;
        }
        candidates.iter().enumerate().any(|(place, (n, operation))| {
            // Of unknown outcomes with the same effect, the first stands for all.
            let is_same = |(_, other): &(usize, &Operation)| {
                let is_unknown = operation.returned.is_none() && other.returned.is_none();
                is_unknown && other.effect == operation.effect && other.latest == operation.latest
            };
            // An unknown outcome that changes nothing need not take effect.
            let next = self.step(state, operation).filter(|next| *next != state || operation.returned.is_some());
            let is_first = !candidates.iter().take(place).any(is_same);
            next.filter(|_| is_first).is_some_and(|next| self.continues(done | 1 << n, next))
        })
    }

    /// The state after an operation; `None` if it has another outcome in this state.
    fn step(&self, state: Option<Version>, operation: &Operation) -> Option<Option<Version>> {
        let expiry = state.and_then(|version| self.expiries[version]);
        let may_be_expired =
            expiry.is_some_and(|(first, _)| operation.returned.is_none_or(|returned| first <= returned));
        let is_expired = expiry.is_some_and(|(_, last)| last < operation.called);
        let may_be_absent = state.is_none() || may_be_expired;
        let is = |version| state == Some(version) && !is_expired;
        let (possible, next) = match operation.effect {
            Effect::Stored(version) => (may_be_absent, Some(version)),
            Effect::Replaced(old, new) => (is(old), Some(new)),
            Effect::Removed(version) => (state == Some(version), None),
            Effect::Deleted(_) | Effect::Erased if state.is_none() => (self.is_removed_during(operation), None),
            Effect::Deleted(version) => (state == Some(version), None),
            Effect::Erased => (true, None),
            Effect::Found(version) => (is(version), state),
            Effect::Missing(version) => (state != Some(version) || may_be_expired, state),
            Effect::Present => (state.is_some() && !is_expired, state),
            Effect::Absent => (may_be_absent, state),
        };
        possible.then_some(next)
    }

    /// Whether another operation that removes the record runs at the same time.
    fn is_removed_during(&self, operation: &Operation) -> bool {
        self.history.iter().any(|other| {
            let removes = match (other.effect, operation.effect) {
                (Effect::Removed(other) | Effect::Deleted(other), Effect::Deleted(version)) => other == version,
                (Effect::Removed(_) | Effect::Deleted(_) | Effect::Erased, _) => true,
                _ => false,
            };
            let began = operation.returned.is_none_or(|returned| other.called <= returned);
            let is_later = other.returned.is_none_or(|returned| operation.called <= returned);
            removes && began && is_later && !std::ptr::eq(other, operation)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Effect::*;
    use super::*;

    /// Checks operations with their times of call and return, of versions that never expire.
    fn verdict(history: &[(u64, u64, Effect)]) -> Verdict {
        check_expiring(history, &[None; 8])
    }

    /// An operation that returns at 0 has an unknown outcome.
    fn check_expiring(history: &[(u64, u64, Effect)], expiries: &[Expiry]) -> Verdict {
        let operation = |&(called, returned, effect): &(u64, u64, Effect)| Operation {
            called,
            returned: (returned > 0).then_some(returned),
            latest: u64::MAX,
            effect,
        };
        check(&history.iter().map(operation).collect::<Vec<_>>(), expiries)
    }

    #[test]
    fn histories_of_one_client() {
        let correct = [
            (1, 2, Absent),
            (3, 4, Stored(0)),
            (5, 6, Found(0)),
            (7, 8, Replaced(0, 1)),
            (9, 10, Missing(0)),
            (11, 12, Present),
            (13, 14, Removed(1)),
            (15, 16, Missing(1)),
            (17, 18, Stored(2)),
            (19, 20, Erased),
            (21, 22, Absent),
        ];
        assert_eq!(verdict(&correct), Verdict::Linearizable);
        for (fault, history) in [
            ("a lost write", vec![(1, 2, Stored(0)), (3, 4, Missing(0))]),
            ("a lost write, seen without a key", vec![(1, 2, Stored(0)), (3, 4, Absent)]),
            ("a lost write, and another one", vec![(1, 2, Stored(0)), (3, 4, Stored(1))]),
            ("a stale read", vec![(1, 2, Stored(0)), (3, 4, Replaced(0, 1)), (5, 6, Found(0))]),
            ("a lost replacement", vec![(1, 2, Stored(0)), (3, 4, Replaced(0, 1)), (5, 6, Replaced(0, 2))]),
            ("a record that comes back", vec![(1, 2, Stored(0)), (3, 4, Removed(0)), (5, 6, Found(0))]),
            ("a record that comes back after an erasure", vec![(1, 2, Stored(0)), (3, 4, Erased), (5, 6, Present)]),
            ("a take that succeeds twice", vec![(1, 2, Stored(0)), (3, 6, Removed(0)), (4, 5, Removed(0))]),
            ("an erasure of nothing", vec![(1, 2, Erased)]),
            ("a wrong key that opens", vec![(1, 2, Stored(0)), (3, 4, Found(1))]),
            ("a failed write that is there", vec![(1, 2, Found(0))]),
            ("a refused write without a record", vec![(1, 2, Present)]),
        ] {
            assert_eq!(verdict(&history), Verdict::Violation, "{fault}");
        }
    }

    #[test]
    fn concurrent_operations_have_any_order() {
        let history = [(1, 10, Stored(0)), (2, 9, Missing(0)), (3, 8, Found(0)), (4, 11, Removed(0)), (12, 13, Absent)];
        assert_eq!(verdict(&history), Verdict::Linearizable);
        // A read that ends before another one begins fixes the order.
        let history = [(1, 10, Stored(0)), (2, 3, Found(0)), (4, 5, Missing(0))];
        assert_eq!(verdict(&history), Verdict::Violation);
        let both_succeed = [(1, 2, Stored(0)), (3, 6, Replaced(0, 1)), (4, 5, Replaced(0, 2))];
        assert_eq!(verdict(&both_succeed), Verdict::Violation);
    }

    /// After a lost answer, a delete or an erasure succeeds if the record is gone.
    #[test]
    fn a_delete_may_find_the_record_removed_at_the_same_time() {
        for first in [Deleted(0), Erased] {
            let twice = |called, second| verdict(&[(1, 2, Stored(0)), (3, 6, first), (called, called + 1, second)]);
            for second in [Removed(0), Deleted(0), Erased] {
                assert_eq!(twice(4, second), Verdict::Linearizable, "{first:?} and {second:?}");
                assert_eq!(twice(7, second), Verdict::Violation, "{first:?}, and then {second:?}");
            }
            assert_eq!(twice(4, Removed(1)), Verdict::Violation, "{first:?} and that of another version");
            let found = [(1, 2, Stored(0)), (3, 8, first), (4, 5, Removed(0)), (9, 10, Found(0))];
            assert_eq!(verdict(&found), Verdict::Violation, "{first:?}, and then it is there");
            assert_eq!(verdict(&[(1, 2, first)]), Verdict::Violation, "{first:?} of nothing");
        }
        // The longer erasure could have found nothing, but removes what is stored later.
        let history = |last| [(1, 2, Stored(0)), (3, 9, Erased), (4, 5, Erased), (6, 7, Stored(1)), (10, 11, last)];
        assert_eq!(verdict(&history(Absent)), Verdict::Linearizable);
        assert_eq!(verdict(&history(Found(1))), Verdict::Linearizable);
        assert_eq!(verdict(&history(Found(0))), Verdict::Violation);
    }

    #[test]
    fn an_unknown_outcome_takes_effect_at_any_later_time_or_never() {
        for history in [
            vec![(1, 0, Stored(0)), (2, 3, Absent)],
            vec![(1, 0, Stored(0)), (2, 3, Absent), (4, 5, Found(0))],
            vec![(1, 2, Stored(0)), (3, 0, Removed(0)), (4, 5, Found(0)), (6, 7, Absent), (8, 9, Stored(1))],
            vec![(1, 2, Stored(0)), (3, 0, Replaced(0, 1)), (4, 5, Found(0)), (6, 7, Found(1))],
            vec![(1, 2, Stored(0)), (3, 0, Erased), (4, 5, Present), (6, 7, Absent)],
        ] {
            assert_eq!(verdict(&history), Verdict::Linearizable, "{history:?}");
        }
        for (fault, history) in [
            ("before its call", vec![(1, 2, Found(0)), (3, 0, Stored(0))]),
            ("twice", vec![(1, 0, Stored(0)), (2, 3, Removed(0)), (4, 5, Found(0))]),
            ("undone", vec![(1, 0, Stored(0)), (2, 3, Found(0)), (4, 5, Absent)]),
        ] {
            assert_eq!(verdict(&history), Verdict::Violation, "{fault}");
        }
    }

    #[test]
    fn an_unknown_outcome_takes_no_effect_after_its_latest_time() {
        let operation = |called, returned, effect| Operation { called, returned, latest: 10, effect };
        let history = |found| {
            let stored = [Some(9), None].map(|returned| operation(1, returned, Stored(0)));
            let removed = operation(2, Some(8), Removed(0));
            stored.into_iter().chain([removed, operation(found, Some(found + 1), Found(0))]).collect::<Vec<_>>()
        };
        assert_eq!(check(&history(20), &[None]), Verdict::Linearizable, "it takes effect twice before the read");
        let read_between =
            [operation(1, None, Stored(0)), operation(11, Some(12), Missing(1)), operation(13, Some(14), Found(0))];
        assert_eq!(check(&read_between, &[None]), Verdict::Linearizable);
        let mut too_late = history(20);
        too_late.insert(3, operation(11, Some(12), Absent));
        assert_eq!(check(&too_late, &[None]), Verdict::Violation);
        too_late[1].latest = u64::MAX;
        assert_eq!(check(&too_late, &[None]), Verdict::Linearizable);
    }

    #[test]
    fn an_expired_record_may_be_absent_and_then_must_be() {
        let verdict =
            |read, effect| check_expiring(&[(1, 2, Stored(0)), (read, read + 1, effect)], &[Some((10, 20)), None]);
        assert_eq!(verdict(5, Missing(0)), Verdict::Violation);
        for read in [10, 15, 20] {
            assert_eq!(verdict(read, Found(0)), Verdict::Linearizable);
            assert_eq!(verdict(read, Missing(0)), Verdict::Linearizable);
        }
        assert_eq!(verdict(21, Found(0)), Verdict::Violation);
        assert_eq!(verdict(21, Replaced(0, 1)), Verdict::Violation);
        assert_eq!(verdict(21, Present), Verdict::Violation);
        assert_eq!(verdict(21, Stored(1)), Verdict::Linearizable);
        assert_eq!(verdict(21, Removed(0)), Verdict::Linearizable, "its key removes it");
    }

    /// Many unknown outcomes: without memoisation, and with each of them by itself, the search would not end.
    #[test]
    fn a_long_history_is_decided() {
        let mut history: Vec<_> = (0..40).map(|n| (n, 0, if n % 2 == 0 { Stored(0) } else { Removed(0) })).collect();
        history.extend((100..160).map(|n| (n * 2, n * 2 + 1, if n % 2 == 0 { Found(0) } else { Absent })));
        let start = history.len();
        assert_eq!(verdict(&history), Verdict::Violation, "there are too few writes");
        history.truncate(start - 30);
        assert_eq!(verdict(&history), Verdict::Linearizable);
    }
}
