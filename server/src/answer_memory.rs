//! Memory of unsent answers: each answer reserves its bytes until it is sent, from its connection's allowance or from
//! the budget that all connections share.

use std::time::Duration;

use tokio::time::timeout;

use crate::body::unsent_answer::{Permits, Response};
use crate::connection::Connection;
use crate::problem::Problem;
use crate::shared::Shared;

/// An answer of at most this many bytes never waits.
const SMALL: u32 = 1 << 10;

/// The most bytes of a record that is read before memory for its answer is reserved.
pub(crate) const SHORT_RECORD: usize = 16 << 10;

/// Which memory a request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requester {
    /// For a client that has a valid token or needs none: the allowance and the budget.
    Authenticated,
    /// For every other client: only the connection's allowance.
    Unauthenticated,
}

impl Shared {
    /// Reserves `bytes` of memory for an answer.
    pub(crate) async fn reserve(
        &self,
        connection: &Connection,
        bytes: u64,
        requester: Requester,
    ) -> Result<Permits, Problem> {
        let bytes = u32::try_from(bytes.min(self.limits.answer_bytes)).unwrap_or(u32::MAX);
        if let Some(own) = connection.try_reserve(bytes) {
            return Ok(own.into());
        }
        if requester == Requester::Unauthenticated {
            let wait = Duration::from_secs(self.limits.wait_seconds);
            let own = timeout(wait, connection.reserve(bytes)).await.ok().flatten();
            return own.map(Permits::from).ok_or_else(Problem::overloaded);
        }
        let mut permits = Permits::default();
        permits.add(self.answers.acquire_many(bytes).await?, Some(&self.answers));
        Ok(permits)
    }

    /// Reserves memory for an answer that has none yet. A small answer never waits, because it may report the outcome
    /// of a write; the limit on a connection's concurrent requests also bounds the small answers.
    pub(crate) async fn reserve_for(
        &self,
        connection: &Connection,
        response: Response,
        requester: Requester,
    ) -> Result<Response, Problem> {
        let len = response.body().len();
        if response.body().has_permits() || len == 0 {
            return Ok(response);
        }
        let permits = if len <= u64::from(SMALL) {
            connection.try_reserve(SMALL).map(Permits::from).unwrap_or_default()
        } else {
            self.reserve(connection, len, requester).await?
        };
        Ok(response.map(|content| content.with_permits(permits)))
    }
}
