//! The transport of gossip: sealed datagrams over UDP. A datagram that is refused gets no answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use tokio::net::UdpSocket;

use super::keys::ClusterKey;
use super::seal::{LONGEST, Opener, Refused, Sealer};
use super::seeds::canonical;
use super::traffic::{self, Traffic};

/// The pause after a failure to receive.
const PAUSE: Duration = Duration::from_millis(10);

/// The system's clock, or that of a test.
pub(super) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Sealed datagrams over a UDP socket.
pub(super) struct SealedTransport {
    pub(super) socket: Arc<UdpSocket>,
    /// The first one seals.
    pub(super) keys: Vec<ClusterKey>,
    /// The address at which the others reach this service.
    pub(super) advertised: SocketAddr,
    pub(super) max_age_seconds: u64,
    pub(super) clock: Clock,
    pub(super) traffic: Arc<Traffic>,
}

#[async_trait]
impl Transport for SealedTransport {
    /// Uses the socket that is bound already.
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let key = self.keys.first().ok_or_else(|| anyhow::anyhow!("the cluster has no key"))?;
        let is_ipv6 = self.socket.local_addr()?.is_ipv6();
        Ok(Box::new(SealedSocket {
            sealer: Sealer::new(key, self.advertised)?,
            opener: Opener::new(self.keys.clone(), self.advertised, self.max_age_seconds),
            socket: Arc::clone(&self.socket),
            is_ipv6,
            buffer: vec![0; LONGEST + 1],
            clock: Arc::clone(&self.clock),
            traffic: Arc::clone(&self.traffic),
        }))
    }
}

struct SealedSocket {
    socket: Arc<UdpSocket>,
    is_ipv6: bool,
    sealer: Sealer,
    opener: Opener,
    buffer: Vec<u8>,
    clock: Clock,
    traffic: Arc<Traffic>,
}

#[async_trait]
impl Socket for SealedSocket {
    /// A datagram that cannot be sent is counted and lost, as others are lost on their way.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let sealed = match self.sealer.seal(self.now(), to, &message.serialize_to_vec()) {
            Ok(sealed) => sealed,
            Err(error) => {
                self.traffic.unsent.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(target: "strongroom", cause = %error, "a message of the cluster is not sent");
                return Ok(());
            }
        };
        match self.socket.send_to(&sealed, self.reachable(to)).await {
            Ok(_) => self.traffic.sent.add(sealed.len()),
            Err(error) => {
                self.traffic.unsent.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(target: "strongroom", %to, cause = %error, "a message of the cluster is not sent");
            }
        }
        Ok(())
    }

    /// May be cancelled: a received datagram is processed without an `await`.
    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let (len, from) = match self.socket.recv_from(&mut self.buffer).await {
                Ok((len, from)) => (len, canonical(from)),
                // The answer of another machine to an earlier datagram, or a shortage of memory.
                Err(error) => {
                    tracing::debug!(target: "strongroom", cause = %error, "a message of the cluster is not received");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            self.traffic.received.add(len);
            match self.open(len) {
                Ok(received) => return Ok(received),
                Err(reason) => {
                    if self.traffic.refuse(reason, from) {
                        let reason = traffic::name(reason);
                        tracing::warn!(target: "strongroom", reason, %from, "a message to the cluster is refused");
                    }
                }
            }
        }
    }
}

impl SealedSocket {
    /// The sender, as it is sealed, and the message.
    fn open(&mut self, len: usize) -> Result<(SocketAddr, ChitchatMessage), Refused> {
        let now = self.now();
        let datagram = self.buffer.get_mut(..len).ok_or(Refused::Format)?;
        let opened = self.opener.open(now, datagram)?;
        self.traffic.note_skew(opened.skew);
        let mut rest = &*opened.message;
        let message = ChitchatMessage::deserialize(&mut rest).map_err(|_| Refused::Content)?;
        Ok((opened.sender, message))
    }

    /// Milliseconds since 1970; 0 before that.
    fn now(&self) -> u64 {
        let now = (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    }

    /// The address in the form of the socket's family.
    fn reachable(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.is_ipv6 => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            _ => to,
        }
    }
}
