//! Requests to a bucket: reads, conditional writes and deletes, and lists, each with retries and a deadline.
//!
//! A write whose answer is lost is repeated with the same condition. If the server then refuses the condition, the
//! nonce of the object that is there tells whether the lost write had succeeded.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use hyper::header::IF_MATCH;
use hyper::{Method, Request, StatusCode};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use tokio::time::{Instant, sleep};

use super::super::Error;
use super::body::{Kind, NewObject, Object, START_LEN};
use super::failed::Failed;
use super::transport::{self, Transport};
use crate::util::backoff::Backoff;

/// The most objects of a page of a list.
pub(super) const PAGE: usize = 1000;
/// How long a signed request is valid.
const SIGNATURE_TIME: Duration = Duration::from_secs(300);

/// A bucket, or a container, and the folder in it that holds the store.
pub(super) struct Bucket {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Signs conditional deletes, which the crate `object_store` does not have.
    pub(super) signer: Option<Arc<dyn Signer>>,
    pub(super) transport: Transport,
    pub(super) prefix: String,
    pub(super) time: Duration,
    /// Whether the server compares ETags without their quotes.
    pub(super) bare_etags: AtomicBool,
    /// Whether the server heeds the condition of a delete.
    pub(super) conditional_delete: AtomicBool,
}

/// The version of an object that a conditional request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) etag: Option<String>,
    pub(super) generation: Option<String>,
}

/// The beginning of an object, or the whole.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) bytes: Bytes,
    pub(super) len: u64,
    pub(super) version: Version,
}

/// An object of a list; its name has no prefix.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) len: u64,
    pub(super) modified: SystemTime,
    pub(super) version: Version,
}

/// The condition of a write.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    Absent,
    Is(Version),
}

/// The outcome of a conditional request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// The condition does not hold now. `doubtful`: an earlier attempt may have succeeded, and others then changed the
    /// object.
    Refused {
        doubtful: bool,
    },
}

/// The attempts of a request: the pauses between them, and their end.
struct Retries {
    end: Instant,
    /// An attempt after this would have too little time.
    latest: Instant,
    backoff: Backoff,
}

impl Retries {
    fn new(time: Duration) -> Self {
        let end = Instant::now() + time;
        let end = transport::end().map_or(end, |call| end.min(call));
        Self { end, latest: end.checked_sub(time / 6).unwrap_or(end), backoff: Backoff::new() }
    }

    /// Runs an attempt, within the time of the call or, if that has no end, of this request.
    async fn attempt<T>(&self, attempt: impl Future<Output = T>) -> T {
        if transport::end().is_some() { attempt.await } else { transport::until(self.end, attempt).await }
    }

    /// Waits before the next attempt. `false` if there is no time for one.
    async fn wait(&mut self) -> bool {
        let pause = self.backoff.pause();
        if Instant::now() + pause >= self.latest {
            return false;
        }
        sleep(pause).await;
        true
    }
}

impl Bucket {
    /// The path of an object: exactly its name, which need not be one that this library writes. `Path::from` would
    /// encode some of its characters.
    fn path(&self, name: &str) -> Path {
        let path = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(&path).unwrap_or_else(|_| Path::from(path))
    }

    fn name_of(&self, path: &Path) -> Option<String> {
        let rest = path.as_ref().strip_prefix(&self.prefix)?;
        Some(if self.prefix.is_empty() { rest } else { rest.strip_prefix('/')? }.to_owned())
    }

    fn update(&self, version: &Version) -> UpdateVersion {
        UpdateVersion { e_tag: self.etag(version), version: version.generation.clone() }
    }

    fn etag(&self, version: &Version) -> Option<String> {
        let etag = version.etag.as_ref()?;
        let bare = self.bare_etags.load(Ordering::Relaxed);
        Some(if bare { etag.trim_matches('"').to_owned() } else { etag.clone() })
    }

    /// Repeats a request that changes nothing or is idempotent.
    async fn repeat<T, F: Future<Output = Result<T, Failed>>>(&self, attempt: impl Fn() -> F) -> Result<T, Failed> {
        let mut retries = Retries::new(self.time);
        loop {
            let outcome = retries.attempt(attempt()).await;
            match &outcome {
                Err(failed) if failed.is_transient() && retries.wait().await => {}
                _ => return outcome,
            }
        }
    }

    /// The bytes `range` of an object, or as many as there are; `None` if there is no object. With `expected`, only of
    /// that version: else [`Error::Conflict`].
    pub(super) async fn get(
        &self,
        name: &str,
        range: Range<u64>,
        expected: Option<&Version>,
    ) -> Result<Option<Got>, Error> {
        let got = self.repeat(|| async {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range.clone())),
                if_match: expected.and_then(|version| self.etag(version)),
                ..GetOptions::default()
            };
            let result = self.objects.get_opts(&self.path(name), options).await.map_err(|error| Failed::of(&error))?;
            let version = Version { etag: result.meta.e_tag.clone(), generation: result.meta.version.clone() };
            let len = result.meta.size;
            let bytes = result.bytes().await.map_err(|error| Failed::of(&error))?;
            Ok(Got { bytes, len, version })
        });
        match got.await {
            Ok(got) if expected.is_some_and(|expected| *expected != got.version) => Err(Error::Conflict),
            Ok(got) => Ok(Some(got)),
            Err(failed) if failed.is_missing() => Ok(None),
            Err(failed) if failed.is_condition() => Err(Error::Conflict),
            // An empty object, which this library never writes.
            Err(failed) if failed.status() == Some(StatusCode::RANGE_NOT_SATISFIABLE) => Err(Error::Corrupt),
            // Some servers ignore the range of one.
            Err(failed @ Failed::Invalid(_)) => match self.head(name).await? {
                Some(meta) if meta.size == 0 => Err(Error::Corrupt),
                _ => Err(failed.into()),
            },
            Err(failed) => Err(failed.into()),
        }
    }

    async fn head(&self, name: &str) -> Result<Option<ObjectMeta>, Error> {
        let head =
            self.repeat(|| async { self.objects.head(&self.path(name)).await.map_err(|error| Failed::of(&error)) });
        match head.await {
            Ok(meta) => Ok(Some(meta)),
            Err(failed) if failed.is_missing() => Ok(None),
            Err(failed) => Err(failed.into()),
        }
    }

    /// When an object was written, by the server's clock.
    pub(super) async fn modified(&self, name: &str) -> Result<Option<SystemTime>, Error> {
        Ok(self.head(name).await?.map(|meta| meta.last_modified.into()))
    }

    /// The version of an object, which may be damaged.
    pub(super) async fn version(&self, name: &str) -> Result<Option<Version>, Error> {
        Ok(self.head(name).await?.map(|meta| Version { etag: meta.e_tag, generation: meta.version }))
    }

    /// Writes an object that nobody else writes.
    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), Error> {
        let put = self.repeat(|| async {
            let path = self.path(name);
            let put = self.objects.put_opts(&path, bytes.clone().into(), PutOptions::default());
            put.await.map_err(|error| Failed::of(&error))
        });
        Ok(put.await.map(drop)?)
    }

    /// Writes an object once, without a retry.
    pub(super) async fn put_once(
        &self,
        name: &str,
        object: &NewObject,
        condition: &Condition,
    ) -> Result<Version, Failed> {
        let mode = match condition {
            Condition::Absent => PutMode::Create,
            Condition::Is(version) => PutMode::Update(self.update(version)),
        };
        let path = self.path(name);
        let put = self.objects.put_opts(&path, object.bytes.clone().into(), mode.into());
        let result = put.await.map_err(|error| Failed::of(&error))?;
        Ok(Version { etag: result.e_tag, generation: result.version })
    }

    /// Writes an object if `condition` holds. [`Error::Indeterminate`] if the outcome cannot be learned in time.
    ///
    /// A version never recurs, but absence does: if the answer to a new pointer is lost, another client may have
    /// removed it and its segments. So it is not written again.
    pub(super) async fn put_if(&self, name: &str, object: &NewObject, condition: &Condition) -> Result<Outcome, Error> {
        let (mut retries, mut doubtful) = (Retries::new(self.time), false);
        loop {
            let failed = match retries.attempt(self.put_once(name, object, condition)).await {
                Ok(_) => return Ok(Outcome::Done),
                Err(failed) => failed,
            };
            doubtful |= failed.is_doubtful();
            let refused = failed.is_condition() || failed.is_missing() && matches!(condition, Condition::Is(_));
            let is_last = doubtful && object.kind == Kind::Pointer && matches!(condition, Condition::Absent);
            if refused || failed.is_overlap() || is_last {
                match self.get(name, 0..START_LEN, None).await {
                    Ok(found) => {
                        let own = |got: &Got| {
                            Object::decode(name, &got.bytes, got.len).is_ok_and(|found| found.nonce == object.nonce)
                        };
                        if found.as_ref().is_some_and(own) {
                            return Ok(Outcome::Done);
                        }
                        let holds = match (&found, condition) {
                            (None, Condition::Absent) => true,
                            (Some(got), Condition::Is(version)) => got.version == *version,
                            _ => false,
                        };
                        if is_last || !holds {
                            return Ok(Outcome::Refused { doubtful });
                        }
                    }
                    Err(error) if doubtful => return Err(Error::Indeterminate(error.into())),
                    Err(error) => return Err(error),
                }
            }
            if !(refused || failed.is_transient()) || !retries.wait().await {
                return Err(if doubtful { Error::Indeterminate(failed.into()) } else { failed.into() });
            }
        }
    }

    /// Removes an object that nobody else writes.
    pub(super) async fn delete(&self, name: &str) -> Result<(), Error> {
        let deleted = self.repeat(|| async {
            let path = self.path(name);
            let deleted = self.objects.delete_stream(futures_util::stream::iter([Ok(path)]).boxed());
            deleted.try_collect::<Vec<_>>().await.map_err(|error| Failed::of(&error))
        });
        match deleted.await {
            Err(failed) if !failed.is_missing() => Err(failed.into()),
            _ => Ok(()),
        }
    }

    /// Removes a version of an object once, without a retry.
    pub(super) async fn delete_once(&self, name: &str, version: &Version) -> Result<(), Failed> {
        let invalid = |text: &str| Failed::Invalid(text.to_owned());
        let signer = self.signer.as_ref().ok_or_else(|| invalid("deletes cannot be conditional here"))?;
        let etag = self.etag(version).ok_or_else(|| invalid("the object store gives no ETag"))?;
        let path = self.path(name);
        let url = signer.signed_url(Method::DELETE, &path, SIGNATURE_TIME).await.map_err(|error| Failed::of(&error))?;
        let request = Request::delete(url.as_str()).header(IF_MATCH, etag).body(Bytes::new());
        let request = request.map_err(|_| invalid("the URL of the object store is invalid"))?;
        self.transport.send(request).await.map(drop)
    }

    pub(super) fn deletes_conditionally(&self) -> bool {
        self.conditional_delete.load(Ordering::Relaxed)
    }

    /// Removes a version of an object, where the server can (see `conditional_delete`).
    pub(super) async fn delete_if(&self, name: &str, version: &Version) -> Result<Outcome, Error> {
        let (mut retries, mut doubtful) = (Retries::new(self.time), false);
        loop {
            let failed = match retries.attempt(self.delete_once(name, version)).await {
                Ok(()) => return Ok(Outcome::Done),
                Err(failed) => failed,
            };
            if failed.is_condition() || failed.is_missing() {
                return Ok(Outcome::Refused { doubtful });
            }
            doubtful |= failed.is_doubtful();
            if !failed.is_transient() || !retries.wait().await {
                return Err(if doubtful { Error::Indeterminate(failed.into()) } else { failed.into() });
            }
        }
    }

    /// At most `limit` objects in `folder` after the name `after`, in order; at most [`PAGE`].
    pub(super) async fn list(&self, folder: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, Error> {
        let page = self.repeat(|| async {
            let folder = self.path(folder);
            let found = match after {
                Some(after) => self.objects.list_with_offset(Some(&folder), &self.path(after)),
                None => self.objects.list(Some(&folder)),
            };
            let found: Vec<_> = found.take(limit.min(PAGE)).try_collect().await.map_err(|error| Failed::of(&error))?;
            Ok(found)
        });
        let listed = |meta: ObjectMeta| {
            Some(Listed {
                name: self.name_of(&meta.location)?,
                len: meta.size,
                modified: meta.last_modified.into(),
                version: Version { etag: meta.e_tag, generation: meta.version },
            })
        };
        let page: Vec<_> = page.await?.into_iter().filter_map(listed).collect();
        if after.into_iter().chain(page.iter().map(|listed| &*listed.name)).is_sorted_by(|one, next| one < next) {
            Ok(page)
        } else {
            Err(Error::Backend(
                "the object store does not list its objects in the order of their names: use one that does".into(),
            ))
        }
    }
}

/// Shows the prefix, never an address or a credential.
impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
