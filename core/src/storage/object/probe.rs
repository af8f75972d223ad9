//! The probe of a server at opening. A record is safe only if the server heeds the conditions of writes; many servers
//! accept these conditions and ignore them.

use std::borrow::Cow;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::super::Error;
use super::body::{Kind, Move, NewObject, START_LEN, new_id};
use super::bucket::{Bucket, Condition, Version};
use super::failed::Failed;
use super::names;

/// The probe is repeated so many times if a connection breaks.
const ATTEMPTS: u32 = 3;
/// Concurrent creates, and their rounds: a server that checks and then writes fails most rounds.
const ROUNDS: usize = 4;
const RIVALS: usize = 8;

/// Why a probe has ended early.
enum Stopped {
    /// A promise is broken.
    Broken(&'static str),
    Failed(Failed),
    Error(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Bucket {
    /// Checks what each store needs. `is_new`: also that of concurrent creates one succeeds.
    pub(super) async fn probe(&self, is_new: bool) -> Result<(), Error> {
        for attempt in 1.. {
            let outcome = async {
                self.probe_conditions().await?;
                if is_new { self.probe_races().await } else { Ok(()) }
            };
            return match outcome.await {
                Ok(()) => Ok(()),
                Err(Stopped::Failed(failed)) if failed.is_transient() && attempt < ATTEMPTS => continue,
                Err(Stopped::Failed(failed)) => Err(failed.into()),
                Err(Stopped::Error(error)) => Err(error),
                Err(Stopped::Broken(promise)) => Err(unsuitable(promise)),
            };
        }
        Err(Error::Busy)
    }

    async fn probe_conditions(&self) -> Result<(), Stopped> {
        let name = names::probe(&new_id()?);
        let outcome = self.probe_object(&name).await;
        let _ = self.delete(&name).await;
        outcome
    }

    async fn probe_object(&self, name: &str) -> Result<(), Stopped> {
        let object = || NewObject::new(name, Kind::Marker, Move::None, &[]);
        let first = object()?;
        let version = self.put_once(name, &first, &Condition::Absent).await.map_err(Stopped::Failed)?;
        self.refuses(name, &Condition::Absent, "a create of an object that exists must fail (If-None-Match: *)")
            .await?;
        let wrong = Version {
            etag: Some("\"00000000000000000000000000000000\"".into()),
            generation: version.generation.as_ref().map(|_| "1".to_owned()),
        };
        self.refuses(name, &Condition::Is(wrong), "a write with another ETag in If-Match must fail").await?;
        let second = object()?;
        let mut replaced = self.put_once(name, &second, &Condition::Is(version.clone())).await;
        if replaced.as_ref().is_err_and(Failed::is_condition) {
            self.bare_etags.store(true, Ordering::Relaxed);
            replaced = self.put_once(name, &second, &Condition::Is(version.clone())).await;
        }
        let replaced = match replaced {
            Err(failed) if failed.is_condition() => {
                return Err(Stopped::Broken("a write with the right ETag in If-Match must succeed"));
            }
            replaced => replaced.map_err(Stopped::Failed)?,
        };
        let found = self.get(name, 0..START_LEN, None).await?;
        if found.is_none_or(|found| found.bytes != second.bytes || found.version != replaced) {
            return Err(Stopped::Broken("a read must give what was written last, with its ETag"));
        }
        self.refuses(name, &Condition::Is(version.clone()), "a write with an old ETag in If-Match must fail").await?;
        self.conditional_delete.store(self.probe_delete(name, &version, &replaced).await?, Ordering::Relaxed);
        Ok(())
    }

    async fn refuses(&self, name: &str, condition: &Condition, promise: &'static str) -> Result<(), Stopped> {
        let object = NewObject::new(name, Kind::Marker, Move::None, &[])?;
        match self.put_once(name, &object, condition).await {
            Ok(_) => Err(Stopped::Broken(promise)),
            Err(failed) if failed.is_condition() || failed.is_overlap() => Ok(()),
            Err(failed) => Err(Stopped::Failed(failed)),
        }
    }

    /// Whether the server heeds the condition of a delete. If not, tombstones take the place of deleted records.
    async fn probe_delete(&self, name: &str, old: &Version, current: &Version) -> Result<bool, Stopped> {
        match self.delete_once(name, old).await {
            Err(failed) if failed.is_condition() => {}
            Err(failed) if failed.is_transient() => return Err(Stopped::Failed(failed)),
            _ => return Ok(false),
        }
        match self.delete_once(name, current).await {
            Err(failed) if failed.is_transient() => Err(Stopped::Failed(failed)),
            outcome => Ok(outcome.is_ok() && self.get(name, 0..START_LEN, None).await?.is_none()),
        }
    }

    async fn probe_races(&self) -> Result<(), Stopped> {
        for _ in 0..ROUNDS {
            let name = names::probe(&new_id()?);
            let objects: Result<Vec<_>, Error> =
                (0..RIVALS).map(|_| NewObject::new(&name, Kind::Marker, Move::None, &[])).collect();
            let objects = objects?;
            let creates = objects.iter().map(|object| self.put_once(&name, object, &Condition::Absent));
            let outcomes = join_all(creates).await;
            let _ = self.delete(&name).await;
            let winners = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
            if winners > 1 {
                return Err(Stopped::Broken("of concurrent creates of an object, one must succeed"));
            }
            let is_refusal = |failed: &Failed| failed.is_condition() || failed.is_overlap();
            if let Some(failed) = outcomes.into_iter().filter_map(Result::err).find(|failed| !is_refusal(failed)) {
                return Err(Stopped::Failed(failed));
            }
            if winners == 0 {
                return Err(Stopped::Broken("of concurrent creates of an object, one must succeed"));
            }
        }
        Ok(())
    }
}

fn unsuitable(promise: &str) -> Error {
    let text = format!("this object store would lose records, use another one or a newer version of it: {promise}");
    Error::Unsupported(Cow::Owned(text))
}
