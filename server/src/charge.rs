//! Which bytes an answer holds until it is sent: its connection's own, or those of the budget that all share.

use std::time::Duration;

use tokio::time::timeout;

use crate::answer::{Held, Response};
use crate::connection::Connection;
use crate::problem::Problem;
use crate::service::Shared;

/// Bytes of an answer that is never kept back.
const SMALL: u32 = 1 << 10;

/// Whose bytes an answer's are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payer {
    /// A client with a valid token, or where none is needed.
    Client,
    /// Anybody else: the connection's own allowance is all there is.
    Stranger,
}

impl Shared {
    /// Room for an answer of so many bytes, which it holds until it is sent: the connection's own, or the budget's.
    pub(crate) async fn charge(&self, connection: &Connection, bytes: u64, payer: Payer) -> Result<Held, Problem> {
        let bytes = u32::try_from(bytes.min(self.limits.answer_bytes)).unwrap_or(u32::MAX);
        if let Some(own) = connection.try_hold(bytes) {
            return Ok(own.into());
        }
        if payer == Payer::Stranger {
            let wait = Duration::from_secs(self.limits.wait_seconds);
            let own = timeout(wait, connection.hold(bytes)).await.ok().flatten();
            return own.map(Held::from).ok_or_else(Problem::overloaded);
        }
        let mut held = Held::default();
        held.add(self.answers.enter_with(bytes).await?, Some(&self.answers));
        Ok(held)
    }

    /// Charges an answer that was not charged before it was made. A small one is never kept back, since it may tell of what
    /// was done; a connection has no more of those than requests at once.
    pub(crate) async fn charge_response(
        &self,
        connection: &Connection,
        mut response: Response,
        payer: Payer,
    ) -> Result<Response, Problem> {
        let len = response.body().len();
        if !response.body().is_charged() && len > 0 {
            let held = if len <= u64::from(SMALL) {
                connection.try_hold(SMALL).map(Held::from).unwrap_or_default()
            } else {
                self.charge(connection, len, payer).await?
            };
            response.body_mut().charge(held);
        }
        Ok(response)
    }
}
