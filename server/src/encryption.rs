//! The encryption server: what a [`Strongroom`] does, for callers elsewhere.

mod absent;
mod bytes;
mod late;
mod small;

use std::sync::Arc;
use std::time::Instant;

use axum::routing::MethodFilter;
use hyper::StatusCode;
use strongroom::protocol::names::{self, OCTET_STREAM};
use strongroom::{Error, RecordKey, Strongroom, WriteOptions};

use absent::Absent;

use crate::answer::Response;
use crate::config::Config;
use crate::gate::Effect;
use crate::problem::Problem;
use crate::service::{Backend, Call, Handler, Route, Service, secret};
use crate::start::StartError;
use crate::token::Scope;

impl Service {
    /// The encryption server over `store`.
    ///
    /// # Errors
    ///
    /// Where the file of tokens cannot be read, or the system gives no random bytes.
    pub fn encryption(store: Arc<Strongroom>, config: &Config) -> Result<Self, StartError> {
        let absent = Absent::new()?;
        Self::new(Records { store, absent }, ROUTES, config)
    }
}

struct Records {
    store: Arc<Strongroom>,
    absent: Absent,
}

impl Backend for Records {
    const OPENAPI: &'static str = include_str!("../openapi/encryption.json");
    const PORT: u16 = 8420;

    fn ready(&self) -> Result<(), Error> {
        self.store.contains("readyz").map(drop)
    }
}

impl Call<Records> {
    /// Works on the storage with a key that may be wrong. That there is no record, or that it has another key, is answered
    /// at the end of a step of time: what the work took, and so which of the two it was, is hidden by the rest. The step
    /// begins when the request is there: a client that could choose how much of it the work has would see the difference.
    fn run_with_key<T, E, W>(
        &self,
        effect: Effect,
        work: W,
    ) -> impl Future<Output = Result<T, Problem>> + Send + use<T, E, W>
    where
        T: Send + 'static,
        E: Send + 'static,
        W: FnOnce(&Records) -> Result<T, E> + Send + 'static,
        Problem: From<E>,
    {
        let (start, outcome) = (Instant::now(), self.run(effect, work));
        async move {
            let outcome = outcome.await;
            if matches!(&outcome, Err(problem) if problem.status == StatusCode::NOT_FOUND) {
                late::end_of_step(start).await;
            }
            outcome
        }
    }
}

impl Records {
    /// Where there is no record, takes the time that a wrong key takes.
    fn hide<T>(&self, outcome: Result<T, Error>, id: &[u8], key: &RecordKey) -> Result<T, Error> {
        if let Err(Error::NotFound) = outcome {
            self.absent.try_key(id, key);
        }
        outcome
    }
}

const fn route(path: &'static str, scope: Scope, handler: Handler<Records>) -> Route<Records> {
    Route { method: MethodFilter::POST, path, scope: Some(scope), handler }
}

const ROUTES: &[Route<Records>] = &[
    route(names::STORE, Scope::Store, |call| match call.media_type() {
        Some(OCTET_STREAM) => Box::pin(bytes::store(call)),
        _ => Box::pin(small::store(call)),
    }),
    route(names::RETRIEVE, Scope::Retrieve, |call| match call.media_type() {
        Some(OCTET_STREAM) => Box::pin(bytes::retrieve(call)),
        _ => Box::pin(small::retrieve(call)),
    }),
    route(names::REPLACE, Scope::Store, |call| match call.media_type() {
        Some(OCTET_STREAM) => Box::pin(bytes::replace(call)),
        _ => Box::pin(small::replace(call)),
    }),
    route(names::DELETE, Scope::Erase, |call| Box::pin(small::delete(call))),
    route(names::ERASE, Scope::Erase, |call| Box::pin(small::erase(call))),
    route(names::STATS, Scope::Erase, |call| Box::pin(small::stats(call))),
];

/// The options of a write, under the client's key if it has sent one.
fn options(key: Option<&RecordKey>) -> WriteOptions<'_> {
    key.map_or_else(WriteOptions::new, |key| WriteOptions::new().key(key))
}

fn hand_out(status: StatusCode, key: &RecordKey) -> Response {
    secret(status, "key", &key.to_text())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_openapi_document_has_all_routes_and_no_other() {
        crate::service::check_openapi(super::ROUTES);
    }
}
