//! Lists: of records, of those that expire, and their number.
//!
//! A list of a bucket gives names and lengths. The heads cost one request for each record; these run in parallel.

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::super::{Entry, Error, Head, Info, Locator, PURGE_STEP, Stats};
use super::body::{POINTER_LENS, RESERVATION_LEN, START_LEN, TOMBSTONE_LEN};
use super::bucket::{Listed, PAGE};
use super::names::{self, EXPIRY, RECORDS};
use super::records::Records;
use super::upload::LEASE;

/// Requests for heads at the same time.
const PARALLEL: usize = 32;
/// How old the marker of a record that is not there must be to be removed: longer than any write takes.
const MARKER_AGE: Duration = Duration::from_secs(20 * 60);
const _: () = assert!(MARKER_AGE.as_secs() < LEASE.as_secs());

/// A record that may be due: its marker, and the record as it is now.
struct Due {
    marker: Listed,
    time: u64,
    locator: Locator,
    info: Option<Info>,
}

/// A record that is damaged, or of a newer version.
struct Unreadable;

/// [`Unreadable`] if a record is damaged, or of a newer version, so that it does not block others.
fn if_readable(info: Result<Option<Info>, Error>) -> Result<Result<Option<Info>, Unreadable>, Error> {
    match info {
        Err(error) if error.is_of_record() => Ok(Err(Unreadable)),
        info => info.map(Ok),
    }
}

impl Due {
    /// Whether the marker is that of the record.
    fn is_current(&self) -> bool {
        self.info.is_some_and(|info| info.head.expires_at() == Some(self.time))
    }
}

impl Records {
    pub(super) async fn list(&self, after: Option<&Locator>, limit: usize) -> Result<Vec<Entry>, Error> {
        let (mut entries, mut last) = (Vec::new(), after.map(names::record));
        while entries.len() < limit {
            let page = self.bucket.list(RECORDS, last.as_deref(), limit - entries.len()).await?;
            let Some(end) = page.last() else { break };
            last = Some(end.name.clone());
            // A reservation may be that of a move that is done but for it, and any other short object is damage.
            let records = page.iter().filter(|listed| !self.is_tombstone(listed));
            let locators = records.filter_map(|listed| names::locator_of(&listed.name)).collect();
            entries.append(&mut self.entries(locators).await?);
        }
        Ok(entries)
    }

    /// Whether an object is a tombstone, by its length. Where the server deletes conditionally, there is none, and the
    /// object is read.
    fn is_tombstone(&self, listed: &Listed) -> bool {
        listed.len == TOMBSTONE_LEN && !self.bucket.deletes_conditionally()
    }

    async fn entries(&self, locators: Vec<Locator>) -> Result<Vec<Entry>, Error> {
        let entry = |locator: Locator| async move {
            Ok::<_, Error>(self.info(&locator).await?.map(|info| Entry { locator, info }))
        };
        let found: Vec<_> = stream::iter(locators.into_iter().map(entry)).buffered(PARALLEL).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    pub(super) async fn list_expired(&self, now: u64, limit: usize) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        self.each_due(now, limit, |page| {
            let current = page.iter().filter(|due| due.is_current());
            entries.extend(current.filter_map(|due| Some(Entry { locator: due.locator, info: due.info? })));
            entries.len()
        })
        .await?;
        entries.truncate(limit);
        Ok(entries)
    }

    /// Passes the records whose markers are due to `take`, the earliest first, until it has taken `limit`. Unreadable
    /// ones are skipped; they keep their markers for a repair.
    async fn each_due(&self, now: u64, limit: usize, mut take: impl FnMut(&[Due]) -> usize) -> Result<(), Error> {
        let (mut taken, mut last): (_, Option<String>) = (0, None);
        while taken < limit {
            let page = self.bucket.list(EXPIRY, last.as_deref(), PAGE.min(limit.saturating_mul(2))).await?;
            let Some(end) = page.last() else { break };
            last = Some(end.name.clone());
            let is_later = |marker: &Listed| names::expiry_of(&marker.name).is_some_and(|(time, _)| time > now);
            let is_end = page.iter().any(is_later);
            let markers = page.into_iter().filter_map(|marker| {
                let (time, locator) = names::expiry_of(&marker.name).filter(|(time, _)| *time <= now)?;
                Some((marker, time, locator))
            });
            let due = markers.map(|(marker, time, locator)| async move {
                let info = if_readable(self.info(&locator).await)?;
                Ok::<_, Error>(info.ok().map(|info| Due { marker, time, locator, info }))
            });
            let due: Vec<_> = stream::iter(due).buffered(PARALLEL).try_collect().await?;
            let due: Vec<_> = due.into_iter().flatten().collect();
            taken = take(&due);
            if is_end {
                break;
            }
        }
        Ok(())
    }

    /// One step of a purge. Also removes the markers of records that have been replaced or removed.
    pub(super) async fn purge(&self, now: u64, limit: usize) -> Result<usize, Error> {
        let limit = limit.min(PURGE_STEP);
        let (mut purged, mut found) = (0, Vec::new());
        let mut wanted = limit;
        self.each_due(now, limit, |page| {
            for due in page {
                let is_old = SystemTime::now().duration_since(due.marker.modified).is_ok_and(|age| age > MARKER_AGE);
                if due.is_current() && wanted > 0 {
                    wanted -= 1;
                    found.push((due.marker.clone(), due.info.map(|info| (due.locator, info.head))));
                } else if !due.is_current() && is_old {
                    found.push((due.marker.clone(), None));
                }
            }
            limit - wanted
        })
        .await?;
        let remove = |(marker, record): (Listed, Option<(Locator, Head)>)| async move {
            let mut removed = false;
            if let Some((locator, head)) = record {
                match self.delete(&locator, Some(&head)).await {
                    Ok(found) => removed = found,
                    Err(Error::Conflict) => return Ok(false), // it was replaced
                    Err(error) if error.is_of_record() => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            self.remove_marker(&marker).await?;
            Ok(removed)
        };
        let mut removals = stream::iter(found.into_iter().map(remove)).buffer_unordered(PARALLEL);
        while let Some(removed) = removals.next().await {
            purged += usize::from(removed?);
        }
        Ok(purged)
    }

    /// Removes a marker, unless it was written again: then a new record needs it.
    async fn remove_marker(&self, marker: &Listed) -> Result<(), Error> {
        if self.bucket.deletes_conditionally() {
            return self.bucket.delete_if(&marker.name, &marker.version).await.map(drop);
        }
        self.bucket.delete(&marker.name).await
    }

    /// From the lengths in the list; only those objects are read whose lengths do not tell what they are. An unreadable
    /// one counts without bytes.
    pub(super) async fn stats(&self, now: u64) -> Result<Stats, Error> {
        let (mut stats, mut last): (_, Option<String>) = (Stats::default(), None);
        loop {
            let page = self.bucket.list(RECORDS, last.as_deref(), PAGE).await?;
            let Some(end) = page.last() else { break };
            last = Some(end.name.clone());
            let mut unclear = Vec::new();
            let is_record = |listed: &&Listed| names::locator_of(&listed.name).is_some() && !self.is_tombstone(listed);
            for listed in page.iter().filter(is_record) {
                if listed.len <= RESERVATION_LEN || POINTER_LENS.contains(&listed.len) {
                    unclear.push(listed.name.clone());
                } else {
                    stats.records += 1;
                    stats.bytes += listed.len - TOMBSTONE_LEN;
                }
            }
            // A record that is leaving counts where it is: its reservation is none yet.
            let infos = unclear.into_iter().map(|name: String| async move {
                let found = self.get(&name, START_LEN).await;
                if_readable(found.and_then(|found| found.map_or(Ok(None), |(object, _)| object.info())))
            });
            let infos: Vec<_> = stream::iter(infos).buffered(PARALLEL).try_collect().await?;
            for info in infos.into_iter().filter(|info| !matches!(info, Ok(None))) {
                stats.records += 1;
                stats.bytes += info.ok().flatten().map_or(0, |info| info.len);
            }
        }
        self.each_due(now, usize::MAX, |page| {
            stats.expired += page.iter().filter(|due| due.is_current()).count() as u64;
            0
        })
        .await?;
        Ok(stats)
    }
}
