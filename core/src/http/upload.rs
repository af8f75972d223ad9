//! Requests whose bodies are sent piece by piece.

use bytes::Bytes;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use super::response::ApiResponse;
use super::timing::IdleTimer;

/// A request whose body is sent piece by piece. Dropping it cancels the request.
pub(crate) struct StreamingRequest {
    pub(super) pieces: mpsc::Sender<Option<Bytes>>,
    pub(super) connected: oneshot::Receiver<()>,
    pub(super) answer: oneshot::Receiver<Result<ApiResponse, Failure>>,
    pub(super) idle: IdleTimer,
}

impl StreamingRequest {
    /// Waits until there is a connection that wants the body.
    pub(super) async fn connected(mut self) -> Result<Self, Failure> {
        let early = tokio::select! {
            biased;
            early = &mut self.answer => early,
            connected = &mut self.connected => match connected {
                Ok(()) => return Ok(self),
                Err(_) => self.answer.await,
            },
        };
        Err(before_end(early))
    }

    /// Sends a piece, or the end. An answer before the end of the body is a failure, and the service did nothing.
    pub(super) async fn push(mut self, piece: Option<Bytes>) -> Result<Self, Failure> {
        let sent = {
            self.idle.tick(); // the caller, not the service, caused the delay until now
            let send = self.idle.watch(self.pieces.send(piece));
            tokio::select! {
                biased;
                early = &mut self.answer => Err(early),
                sent = send => Ok(sent.map_err(Failure::before_end)?.is_ok()),
            }
        };
        let early = match sent {
            Ok(true) => return Ok(self),
            // The connection accepts no more pieces.
            Ok(false) => self.answer.await,
            Err(early) => early,
        };
        Err(before_end(early))
    }

    /// Ends the body, and waits for the answer.
    pub(super) async fn finish(self) -> Result<ApiResponse, Failure> {
        let request = self.push(None).await?;
        request.idle.tick();
        request.answer.await.unwrap_or_else(|_| Err(connection_ended()))
    }
}

/// The failure of a request that is answered before the end of its body.
fn before_end(early: Result<Result<ApiResponse, Failure>, RecvError>) -> Failure {
    early.unwrap_or_else(|_| Err(connection_ended())).err().unwrap_or(Failure::ProtocolViolation).before_end()
}

/// The connection's task has ended.
fn connection_ended() -> Failure {
    Failure::broken("it ended".into())
}
