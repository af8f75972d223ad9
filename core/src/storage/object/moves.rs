//! Moves of a record to another locator. Two objects cannot change together, so a move is a sequence of conditional
//! writes, each of which any client can continue.
//!
//! 1. `to`: nothing -> a reservation of this move, which names `from` and the version to be moved (its nonce)
//! 2. `from`: that version -> the same record, *leaving* to `to`. This write is the move: before it the record is under
//!    `from`, after it under `to`, for all readers
//! 3. `to`: the reservation -> the record, *arriving* from `from`
//! 4. `from`: removed
//!
//! A client that meets a leaving object, or the reservation of one, first does steps 3 and 4. Then:
//!
//! - One caller wins: step 2 compares the version.
//! - The move is never lost: a reservation is replaced by others only if its move can no longer reach step 2. If the
//!   reserved version is still under `from`, they first write it anew, with another nonce, so that step 2 fails.
//! - Nothing comes back: step 3 needs the reservation, which has a nonce of its own, and a client that changes or
//!   removes an *arriving* record first does step 4. A client that is late at step 3 or 4 finds another version, and
//!   does nothing.
//! - A crash before step 2 leaves a reservation, which counts as nothing, and which `maintain` removes. A crash after
//!   it leaves a leaving object, and the next reader finishes the move.
//!
//! A record in segments keeps them where they are. Before step 2, a marker beside the segments names `to`, so that
//! `maintain` finds the record that needs them.

use super::super::{Error, Head, Locator};
use super::body::{Id, Kind, Move, NewObject, Object, START_LEN, new_id};
use super::bucket::{Condition, Got, Outcome, Version};
use super::names;
use super::records::{ATTEMPTS, Records, Slot, after, changed_since};

impl Records {
    pub(super) async fn rename(&self, from: &Locator, head: &Head, to: &Locator) -> Result<(), Error> {
        let mut doubtful = false;
        for attempt in 0..ATTEMPTS {
            self.pause_before(attempt).await;
            let loaded = async { Ok((self.load_whole(from).await?, self.load(to, START_LEN).await?)) };
            let (here, there) = loaded.await.map_err(|error| after(doubtful, error))?;
            let is_this = |slot: &Slot| slot.head().is_some_and(|found| found == *head);
            match &here.object {
                Some(object) if is_this(&here) => {
                    if from == to {
                        return Ok(());
                    }
                    if there.head().is_some() {
                        return Err(Error::AlreadyExists);
                    }
                    let settled = async { Ok(self.settle(&here).await? && self.settle(&there).await?) };
                    if !settled.await.map_err(|error| after(doubtful, error))? {
                        continue;
                    }
                    let moved = self.move_object(from, to, object, &here.version, &there).await;
                    match moved.map_err(|error| after(doubtful, error))? {
                        Outcome::Done => return Ok(()),
                        Outcome::Refused { doubtful: also } => doubtful |= also,
                    }
                }
                // A retry of a move that is done.
                None if is_this(&there) => return Ok(()),
                _ if doubtful => return Err(changed_since()),
                _ => return Err(Error::Conflict),
            }
        }
        Err(after(doubtful, Error::Busy))
    }

    /// Steps 1 and 2, and 3 and 4 unless the connection is lost: then the next reader does these.
    async fn move_object(
        &self,
        from: &Locator,
        to: &Locator,
        object: &Object,
        version: &Option<Version>,
        there: &Slot,
    ) -> Result<Outcome, Error> {
        let (name, refused) = (names::record(from), Ok(Outcome::Refused { doubtful: false }));
        let Some(version) = version else { return refused };
        let id = new_id()?;
        if let Some(pointer) = object.pointer() {
            let marker = names::moved_to(&pointer.owner, &pointer.upload, to, &id);
            self.put_marker(&marker).await?;
        }
        if let Some(time) = object.info()?.and_then(|info| info.head.expires_at()) {
            self.put_marker(&names::expiry(time, to)).await?;
        }
        let target = names::record(to);
        let reservation = NewObject::new(&target, Kind::Reservation, Move::Arriving(*from, id), &object.nonce)?;
        if self.bucket.put_if(&target, &reservation, &there.condition()).await? != Outcome::Done {
            return refused;
        }
        let leaving = NewObject::new(&name, object.kind, Move::Leaving(*to, id), &object.payload)?;
        let outcome = self.bucket.put_if(&name, &leaving, &Condition::Is(version.clone())).await?;
        if outcome == Outcome::Done {
            let _ = self.finish_move(from, id).await;
            return Ok(Outcome::Done);
        }
        // After a lost reply, others may have finished this move.
        let is_doubtful = matches!(outcome, Outcome::Refused { doubtful: true });
        let found = self.get(&target, START_LEN).await.map_err(|error| after(is_doubtful, error))?;
        match found {
            Some((arrived, _)) if arrived.kind != Kind::Reservation && arrived.part == Move::Arriving(*from, id) => {
                return Ok(Outcome::Done);
            }
            Some((unused, got)) if unused.nonce == reservation.nonce => {
                let _ = self.remove(&target, &got.version).await;
            }
            _ => {}
        }
        Ok(outcome)
    }

    /// Steps 3 and 4 of the move `id`, if the object under `from` is leaving by it.
    pub(super) async fn finish_move(&self, from: &Locator, id: Id) -> Result<(), Error> {
        let name = names::record(from);
        for attempt in 0..ATTEMPTS {
            self.pause_before(attempt).await;
            let Some((object, got)) = self.get_whole(&name).await? else { return Ok(()) };
            let Move::Leaving(to, _) = object.part else { return Ok(()) };
            if !object.is_leaving(id) {
                return Ok(());
            }
            let target = names::record(&to);
            let found = self.get(&target, START_LEN).await?;
            let arriving = Move::Arriving(*from, id);
            let Some((there, reserved)) = found.filter(|(there, _)| there.part == arriving) else {
                continue; // others have finished the move: `from` has changed, too
            };
            if there.kind == Kind::Reservation {
                let arrived = NewObject::new(&target, object.kind, arriving, &object.payload)?;
                let condition = Condition::Is(reserved.version);
                if self.bucket.put_if(&target, &arrived, &condition).await? != Outcome::Done {
                    continue;
                }
            }
            self.remove(&name, &got.version).await?;
            return Ok(());
        }
        // Somebody else removed the reservation, such as a lifecycle rule. The record is still in the leaving object.
        Err(Error::Corrupt)
    }

    /// Prepares a change of what is under a locator, so that no move can undo it. `false` if the locator must be read
    /// again.
    pub(super) async fn settle(&self, slot: &Slot) -> Result<bool, Error> {
        let Some((Move::Arriving(from, id), kind)) = slot.part else { return Ok(true) };
        let name = names::record(&from);
        if kind != Kind::Reservation {
            // Step 4. An unreadable object is another one, or a leaving one that nobody can continue to move.
            let origin = match self.get(&name, START_LEN).await {
                Err(error) if error.is_of_record() => None,
                origin => origin?,
            };
            if let Some((_, got)) = origin.filter(|(object, _)| object.is_leaving(id)) {
                self.remove(&name, &got.version).await?;
            }
            return Ok(true);
        }
        let Some((object, got)) = self.get_whole(&name).await? else { return Ok(true) };
        if object.is_leaving(id) {
            self.finish_move(&from, id).await?;
            return Ok(false);
        }
        let reserved = slot.reserved.is_some_and(|nonce| nonce == object.nonce);
        Ok(!reserved || self.renew(&name, &object, got).await? == Outcome::Done)
    }

    /// Writes the same object with another nonce.
    async fn renew(&self, name: &str, object: &Object, got: Got) -> Result<Outcome, Error> {
        let new = NewObject::new(name, object.kind, object.part, &object.payload)?;
        self.bucket.put_if(name, &new, &Condition::Is(got.version)).await
    }
}
