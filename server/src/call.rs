//! A request with its service, for its handler.

use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use strongroom::protocol::names::{JSON, OCTET_STREAM};

use strongroom::storage::Locator;

use crate::answer_memory::Requester;
use crate::audit::AuditedRecord;
use crate::backend::Backend;
use crate::blocking_pool::{Effect, PoolOwned};
use crate::body::answer_chunks::{self, ChunkSource};
use crate::body::request::RequestBody;
use crate::body::unsent_answer::{Content, Permits};
use crate::connection::Connection;
use crate::problem::Problem;
use crate::shared::Shared;

/// A request for its handler.
pub(crate) struct Call<B> {
    pub(crate) backend: Arc<B>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) head: Parts,
    pub(crate) body: RequestBody,
}

impl<B> Call<B> {
    /// Names the request's record in the audit log, if there is one.
    pub(crate) fn audit(&self, locator: impl FnOnce() -> Option<Locator>) {
        if let Some(record) = self.head.extensions.get::<AuditedRecord>()
            && let Some(locator) = locator()
        {
            record.set_locator(&locator);
        }
    }

    /// The header's value; more than one is an error.
    pub(crate) fn header(&self, name: &HeaderName) -> Result<Option<&HeaderValue>, Problem> {
        let mut values = self.head.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            _ => Err(Problem::bad_request(format!("{name} is given twice"))),
        }
    }

    /// Fails if the body is of another type.
    pub(crate) fn require_type(&self, expected: &'static str) -> Result<(), Problem> {
        if self.media_type() == Some(expected) { Ok(()) } else { Err(Problem::media_type(expected)) }
    }

    /// The body's type without its parameters, if a service knows it.
    pub(crate) fn media_type(&self) -> Option<&'static str> {
        let value = self.head.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
        let known = [JSON, OCTET_STREAM].into_iter().find(|known| essence.trim().eq_ignore_ascii_case(known))?;
        // Text in another encoding would be misread.
        let other_charset =
            parameters.split(';').filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
                name.trim().eq_ignore_ascii_case("charset")
                    && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            });
        (!other_charset).then_some(known)
    }

    /// Runs `work` on the storage, on a thread that may block.
    pub(crate) fn run<T, E, W>(
        &self,
        effect: Effect,
        work: W,
    ) -> impl Future<Output = Result<T, Problem>> + Send + use<B, T, E, W>
    where
        B: Backend,
        T: Send + 'static,
        E: Send + 'static,
        W: FnOnce(&B) -> Result<T, E> + Send + 'static,
        Problem: From<E>,
    {
        let (backend, pool) = (Arc::clone(&self.backend), self.shared.pool.clone());
        async move { Ok(pool.run(effect, move || work(&backend)).await??) }
    }

    /// Reserves memory for an answer before it is made.
    pub(crate) fn reserve(&self, bytes: u64) -> impl Future<Output = Result<Permits, Problem>> + Send + use<B> {
        let (shared, connection) = (Arc::clone(&self.shared), Arc::clone(&self.connection));
        async move { shared.reserve(&connection, bytes, Requester::Authenticated).await }
    }

    /// The permits for an answer of `len` bytes that is sent in chunks.
    pub(crate) fn reserve_stream(&self, len: u64) -> impl Future<Output = Result<Permits, Problem>> + Send + use<B> {
        let (memory, long) = (self.reserve(answer_chunks::memory_of(len)), Arc::clone(&self.shared.long));
        async move {
            let mut permits = memory.await?;
            answer_chunks::add_long_permit(len, &long, &mut permits).await?;
            Ok(permits)
        }
    }

    /// The answer's body with `len` bytes of `source`.
    pub(crate) async fn stream(&mut self, source: PoolOwned<impl ChunkSource>, len: u64) -> Result<Content, Problem> {
        let permits = self.reserve_stream(len).await?;
        Ok(Content::new(answer_chunks::stream(source, len, &self.shared).await?, permits))
    }
}
