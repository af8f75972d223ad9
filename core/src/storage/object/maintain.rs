//! Maintenance: tombstones, reservations of moves that never happened, and the segments of uploads that have died.

use std::time::SystemTime;

use super::super::{Error, Locator};
use super::body::{Id, Kind, Move, NewObject, RESERVATION_LEN, START_LEN};
use super::bucket::{Listed, PAGE};
use super::names::{self, MAINTENANCE, RECORDS, SEGMENTS};
use super::records::Records;
use super::upload::LEASE;

impl Records {
    pub(super) async fn maintain(&self) -> Result<(), Error> {
        for folder in self.orphans().await? {
            self.remove_folder(&folder).await?;
        }
        self.remove_empty_objects().await
    }

    /// The server's time less the lease: an object that has not changed since then is abandoned. The clock of this
    /// machine does not count.
    async fn abandoned_before(&self) -> Result<SystemTime, Error> {
        let marker = NewObject::new(MAINTENANCE, Kind::Marker, Move::None, &[])?;
        self.bucket.put(MAINTENANCE, marker.bytes).await?;
        let written = self.bucket.modified(MAINTENANCE).await?;
        written.and_then(|now| now.checked_sub(LEASE)).ok_or(Error::Conflict)
    }

    /// Removes tombstones, where the server can do so conditionally, and old reservations.
    async fn remove_empty_objects(&self) -> Result<(), Error> {
        if !self.bucket.deletes_conditionally() {
            return Ok(());
        }
        let (before, mut last): (_, Option<String>) = (self.abandoned_before().await?, None);
        loop {
            let page = self.bucket.list(RECORDS, last.as_deref(), PAGE).await?;
            let Some(end) = page.last() else { return Ok(()) };
            last = Some(end.name.clone());
            for listed in page {
                if listed.len <= RESERVATION_LEN && listed.modified < before {
                    self.remove_empty(&listed).await?;
                }
            }
        }
    }

    async fn remove_empty(&self, listed: &Listed) -> Result<(), Error> {
        let Some(locator) = names::locator_of(&listed.name) else { return Ok(()) };
        let unused = async {
            let slot = self.load(&locator, START_LEN).await?;
            Ok::<_, Error>(if slot.info.is_none() && self.settle(&slot).await? { slot.version } else { None })
        };
        let version = match unused.await {
            // It is damaged, or keeps the place of a record that is.
            Err(error) if error.is_of_record() => return Ok(()),
            version => version?,
        };
        if let Some(version) = version {
            self.remove(&listed.name, &version).await?;
        }
        Ok(())
    }

    /// The folders of segments that belong to no record, and have not changed for the lease.
    pub(super) async fn orphans(&self) -> Result<Vec<String>, Error> {
        let (mut orphans, mut last): (_, Option<String>) = (Vec::new(), None);
        let (mut before, mut checked) = (None, None);
        loop {
            let page = self.bucket.list(SEGMENTS, last.as_deref(), PAGE).await?;
            let Some(end) = page.last() else { return Ok(orphans) };
            last = Some(end.name.clone());
            for listed in page {
                let Some((owner, id, _)) = names::upload_of(&listed.name) else { continue };
                if checked != Some((owner, id)) && self.is_orphan(&owner, &id, &mut before).await? {
                    orphans.push(names::upload(&owner, &id));
                }
                checked = Some((owner, id));
            }
        }
    }

    /// Whether no record has the segments of this upload. A record that moves leaves a marker in the folder before it
    /// leaves a locator; so after each locator the folder is listed again, until no other locator is known. `before` is
    /// the result of [`abandoned_before`](Self::abandoned_before), once it is needed.
    async fn is_orphan(&self, owner: &Locator, id: &Id, before: &mut Option<SystemTime>) -> Result<bool, Error> {
        let folder = names::upload(owner, id);
        let mut checked: Vec<String> = Vec::new();
        let mut next = Some((String::new(), *owner));
        while let Some((marker, locator)) = next.take() {
            let slot = match self.load(&locator, START_LEN).await {
                Err(error) if error.is_of_record() => return Ok(false), // its record may be this one
                slot => slot?,
            };
            if slot.object.and_then(|object| object.pointer()).is_some_and(|pointer| pointer.upload == *id) {
                return Ok(false);
            }
            checked.push(marker);
            let before = match *before {
                Some(before) => before,
                None => *before.insert(self.abandoned_before().await?),
            };
            let mut last: Option<String> = None;
            loop {
                let page = self.bucket.list(&folder, last.as_deref(), PAGE).await?;
                let Some(end) = page.last() else { break };
                if page.iter().any(|listed| listed.modified >= before) {
                    return Ok(false);
                }
                last = Some(end.name.clone());
                let target = |listed: &Listed| names::target_of(names::upload_of(&listed.name)?.2);
                let mut unknown = page.iter().filter(|listed| !checked.contains(&listed.name));
                next = next.or_else(|| unknown.find_map(|listed| Some((listed.name.clone(), target(listed)?))));
            }
        }
        Ok(true)
    }
}
