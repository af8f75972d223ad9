//! Requests whose bodies are sent piece by piece.

use bytes::Bytes;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use super::response::ApiResponse;
use super::timing::IdleTimer;
use crate::util::fork_check::ProcessOwned;

/// A request whose body is sent piece by piece. Dropping it cancels the request.
pub(crate) struct StreamingRequest {
    pub(super) channels: ProcessOwned<Channels>,
    pub(super) idle: IdleTimer,
}

/// The channels to the connection's task.
pub(super) struct Channels {
    pub(super) pieces: mpsc::Sender<Option<Bytes>>,
    pub(super) connected: oneshot::Receiver<()>,
    pub(super) answer: oneshot::Receiver<Result<ApiResponse, Failure>>,
}

impl StreamingRequest {
    /// Waits until there is a connection that wants the body.
    pub(super) async fn connected(mut self) -> Result<Self, Failure> {
        let Channels { connected, answer, .. } = self.channels.get_mut().ok_or(Failure::Forked)?;
        let early = tokio::select! {
            biased;
            early = &mut *answer => early,
            connected = connected => match connected {
                Ok(()) => return Ok(self),
                Err(_) => answer.await,
            },
        };
        Err(before_end(early))
    }

    /// Sends a piece, or the end. An answer before the end of the body is a failure, and the service did nothing.
    pub(super) async fn push(mut self, piece: Option<Bytes>) -> Result<Self, Failure> {
        let Channels { pieces, answer, .. } = self.channels.get_mut().ok_or(Failure::Forked)?;
        let sent = {
            self.idle.tick(); // the caller, not the service, caused the delay until now
            let send = self.idle.watch(pieces.send(piece));
            tokio::select! {
                biased;
                early = &mut *answer => Err(early),
                sent = send => Ok(sent.map_err(Failure::before_end)?.is_ok()),
            }
        };
        let early = match sent {
            Ok(true) => return Ok(self),
            // The connection accepts no more pieces.
            Ok(false) => answer.await,
            Err(early) => early,
        };
        Err(before_end(early))
    }

    /// Ends the body, and waits for the answer.
    pub(super) async fn finish(self) -> Result<ApiResponse, Failure> {
        let mut request = self.push(None).await?;
        request.idle.tick();
        let Channels { answer, .. } = request.channels.get_mut().ok_or(Failure::Forked)?;
        answer.await.unwrap_or_else(|_| Err(connection_ended()))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_forked_child_does_not_cancel_the_request() {
        let (pieces, mut inbox) = mpsc::channel(1);
        let (_connecting, connected) = oneshot::channel();
        let (outbox, answer) = oneshot::channel();
        let channels = ProcessOwned::new(Channels { pieces, connected, answer }).forked();
        let request = StreamingRequest { channels, idle: IdleTimer::new(Duration::from_secs(60)) };
        drop(request);
        assert_eq!(inbox.try_recv(), Err(mpsc::error::TryRecvError::Empty), "the parent can still send");
        assert!(!outbox.is_closed());
    }
}
