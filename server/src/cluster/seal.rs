//! Sealed datagrams: compressed, encrypted and authenticated, for one cluster, one receiver and a short time.
//!
//! ```text
//! datagram = version(1) || key tag(4) || session(16) || counter(8) || nonce(12) || AES-256-GCM(content) || tag(16)
//! content  = time(8) || sender(18) || zstd(message)
//! ```
//!
//! Numbers are big-endian; the time is in milliseconds since 1970. An address is an IPv6 address, or the IPv6 form of
//! an IPv4 address, and a port. The associated data is all before the content, and the receiver's address: a datagram
//! that is redirected to another receiver does not open there.

#[cfg(feature = "_fuzz")]
pub(super) mod fuzzing;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Tag};
use strongroom::{RandomError, fill_random};

use super::keys::{ClusterKey, SESSION_LEN, TAG_LEN as KEY_TAG_LEN};
use super::replay::ReplayWindow;

const VERSION: u8 = 1;
const COUNTER_LEN: usize = 8;
const NONCE_LEN: usize = 12;
const AEAD_TAG_LEN: usize = 16;
const HEADER_LEN: usize = 1 + KEY_TAG_LEN + SESSION_LEN + COUNTER_LEN + NONCE_LEN;
const TIME_LEN: usize = 8;
const ADDRESS_LEN: usize = 18;
/// The shortest datagram has an empty message.
const SHORTEST: usize = HEADER_LEN + TIME_LEN + ADDRESS_LEN + AEAD_TAG_LEN;
/// The most bytes of a datagram: what UDP carries over IPv4.
pub(super) const LONGEST: usize = 65_507;
/// The most sessions whose counters are remembered.
const SESSIONS: usize = 4_096;
/// Speed matters more than the last per cent: digests are repetitive.
const COMPRESSION_LEVEL: i32 = 1;

/// The reason why a datagram is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is too short, or of another version.
    Format,
    /// It is sealed under another key, or for a cluster with another name.
    Key,
    /// Its counter has been seen, or is too old to know.
    Replayed,
    /// It was altered, or is meant for another receiver.
    Altered,
    /// The sender's clock minus ours in milliseconds: the datagram is old, or one of the clocks is wrong.
    Time(i64),
    /// It opens, but its content is not a message.
    Content,
}

/// The reason why a message cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    #[error("the message is too long for a datagram")]
    TooLong,
    #[error("the message cannot be compressed")]
    Compression(#[source] std::io::Error),
    #[error("the operating system gave no random bytes")]
    Random(#[from] RandomError),
}

/// Seals the datagrams of one process.
pub(super) struct Sealer {
    cipher: Aes256Gcm,
    key_tag: [u8; KEY_TAG_LEN],
    session: [u8; SESSION_LEN],
    counter: u64,
    sender: [u8; ADDRESS_LEN],
}

impl Sealer {
    /// A new session, of the service that others reach at `sender`.
    pub(super) fn new(key: &ClusterKey, sender: SocketAddr) -> Result<Self, RandomError> {
        let mut session = [0; SESSION_LEN];
        fill_random(&mut session)?;
        let cipher = Aes256Gcm::new((&*key.of_session(&session)).into());
        Ok(Self { cipher, key_tag: key.tag, session, counter: 0, sender: encode(sender) })
    }

    /// Seals `message` for `receiver`; `now` is in milliseconds since 1970.
    pub(super) fn seal(&mut self, now: u64, receiver: SocketAddr, message: &[u8]) -> Result<Vec<u8>, SealError> {
        let message = zstd::bulk::compress(message, COMPRESSION_LEVEL).map_err(SealError::Compression)?;
        if SHORTEST + message.len() > LONGEST {
            return Err(SealError::TooLong);
        }
        // Random, so that a virtual machine that is resumed twice does not repeat a nonce.
        let mut nonce = [0; NONCE_LEN];
        fill_random(&mut nonce)?;
        let mut datagram = Vec::with_capacity(SHORTEST + message.len());
        datagram.push(VERSION);
        datagram.extend(self.key_tag);
        datagram.extend(self.session);
        datagram.extend(self.counter.to_be_bytes());
        datagram.extend(nonce);
        self.counter = self.counter.wrapping_add(1);
        let associated = [&*datagram, &encode(receiver)].concat();
        datagram.extend(now.to_be_bytes());
        datagram.extend(self.sender);
        datagram.extend(message);
        let Some((_, content)) = datagram.split_at_mut_checked(HEADER_LEN) else { return Err(SealError::TooLong) };
        let content = InOutBuf::from(content);
        let tag = self.cipher.encrypt_inout_detached(&nonce.into(), &associated, content);
        datagram.extend(tag.map_err(|_| SealError::TooLong)?);
        Ok(datagram)
    }
}

/// Opens datagrams that are sealed for one receiver.
pub(super) struct Opener {
    keys: Vec<ClusterKey>,
    receiver: [u8; ADDRESS_LEN],
    /// In milliseconds, into the past and into the future.
    max_age: u64,
    sessions: HashMap<([u8; KEY_TAG_LEN], [u8; SESSION_LEN]), Session>,
    /// The number of datagrams that were accepted.
    accepted: u64,
}

struct Session {
    cipher: Aes256Gcm,
    window: ReplayWindow,
    /// The number of datagrams that had been accepted at its last one.
    last: u64,
}

/// An opened datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The sender, as it is sealed: where an answer goes.
    pub(super) sender: SocketAddr,
    /// The sender's clock minus ours, in milliseconds.
    pub(super) skew: i64,
    pub(super) message: Vec<u8>,
}

impl Opener {
    pub(super) fn new(keys: Vec<ClusterKey>, receiver: SocketAddr, max_age_seconds: u64) -> Self {
        let max_age = max_age_seconds.saturating_mul(1000);
        Self { keys, receiver: encode(receiver), max_age, sessions: HashMap::new(), accepted: 0 }
    }

    /// Opens a datagram at the time `now`, in milliseconds since 1970. The most expensive checks come last.
    pub(super) fn open(&mut self, now: u64, datagram: &mut [u8]) -> Result<Opened, Refused> {
        let (header, content) = datagram.split_first_chunk_mut::<HEADER_LEN>().ok_or(Refused::Format)?;
        let (content, tag) = content.split_last_chunk_mut::<AEAD_TAG_LEN>().ok_or(Refused::Format)?;
        if content.len() < TIME_LEN + ADDRESS_LEN {
            return Err(Refused::Format);
        }
        let (key_tag, session, counter, nonce) = fields(header).ok_or(Refused::Format)?;
        let key = self.keys.iter().find(|key| key.tag == key_tag).ok_or(Refused::Key)?;
        let name = (key_tag, session);
        let known = self.sessions.get(&name);
        if known.is_some_and(|known| !known.window.is_new(counter)) {
            return Err(Refused::Replayed);
        }
        let associated = [&header[..], &self.receiver].concat();
        let tag = Tag::from(*tag);
        let decrypt = |cipher: &Aes256Gcm, content: &mut [u8]| {
            let opened = cipher.decrypt_inout_detached(&nonce.into(), &associated, content.into(), &tag);
            opened.map_err(|_| Refused::Altered)
        };
        let new = match known {
            Some(known) => {
                decrypt(&known.cipher, content)?;
                None
            }
            None => {
                let cipher = Aes256Gcm::new((&*key.of_session(&session)).into());
                decrypt(&cipher, content)?;
                Some(Session { cipher, window: ReplayWindow::default(), last: 0 })
            }
        };
        let (time, rest) = content.split_first_chunk().ok_or(Refused::Format)?;
        let (sender, message) = rest.split_first_chunk().ok_or(Refused::Format)?;
        let skew = i64::try_from(i128::from(u64::from_be_bytes(*time)) - i128::from(now)).unwrap_or(i64::MAX);
        if skew.unsigned_abs() > self.max_age {
            return Err(Refused::Time(skew));
        }
        if let Some(new) = new {
            self.forget_oldest();
            self.sessions.insert(name, new);
        }
        self.accepted += 1;
        if let Some(session) = self.sessions.get_mut(&name) {
            session.window.accept(counter);
            session.last = self.accepted;
        }
        let message = zstd::bulk::decompress(message, LONGEST).map_err(|_| Refused::Content)?;
        Ok(Opened { sender: decode(*sender), skew, message })
    }

    /// Makes room for a session. Only holders of the key add one, so this is rare.
    fn forget_oldest(&mut self) {
        if self.sessions.len() < SESSIONS {
            return;
        }
        if let Some(oldest) = self.sessions.iter().min_by_key(|(_, session)| session.last).map(|(name, _)| *name) {
            self.sessions.remove(&oldest);
        }
    }
}

type Fields = ([u8; KEY_TAG_LEN], [u8; SESSION_LEN], u64, [u8; NONCE_LEN]);

/// The fields of a header of this version.
fn fields(header: &[u8; HEADER_LEN]) -> Option<Fields> {
    let (version, rest) = header.split_first()?;
    let (key_tag, rest) = rest.split_first_chunk()?;
    let (session, rest) = rest.split_first_chunk()?;
    let (counter, rest) = rest.split_first_chunk()?;
    let nonce = rest.first_chunk()?;
    (*version == VERSION).then_some((*key_tag, *session, u64::from_be_bytes(*counter), *nonce))
}

fn encode(address: SocketAddr) -> [u8; ADDRESS_LEN] {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; ADDRESS_LEN];
    let all = ip.octets().into_iter().chain(address.port().to_be_bytes());
    bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    bytes
}

fn decode(bytes: [u8; ADDRESS_LEN]) -> SocketAddr {
    let ip = bytes.first_chunk().copied().unwrap_or_default();
    let port = bytes.last_chunk().copied().unwrap_or_default();
    SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), u16::from_be_bytes(port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const MAX_AGE: u64 = 60;

    fn key(byte: u8, name: &str) -> ClusterKey {
        ClusterKey::new(Zeroizing::new([byte; 32]), name)
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 8422))
    }

    fn sealer(key: &ClusterKey) -> Sealer {
        Sealer::new(key, address(1)).unwrap()
    }

    fn opener(keys: &[ClusterKey]) -> Opener {
        Opener::new(keys.to_vec(), address(2), MAX_AGE)
    }

    fn open(opener: &mut Opener, datagram: &[u8]) -> Result<Opened, Refused> {
        opener.open(NOW, &mut datagram.to_vec())
    }

    #[test]
    fn a_datagram_comes_back_once() {
        let key = key(1, "a");
        let (mut sealer, mut opener) = (sealer(&key), opener(&[key]));
        for message in [&b""[..], b"message", &[7; 60_000]] {
            let datagram = sealer.seal(NOW, address(2), message).unwrap();
            let opened = open(&mut opener, &datagram).unwrap();
            assert_eq!(opened, Opened { sender: address(1), skew: 0, message: message.to_vec() });
            assert_eq!(open(&mut opener, &datagram), Err(Refused::Replayed));
        }
    }

    #[test]
    fn it_is_for_one_cluster_one_key_and_one_receiver() {
        let right = key(1, "a");
        let mut sealer = sealer(&right);
        let mut seal = |to| sealer.seal(NOW, to, b"message").unwrap();
        assert_eq!(open(&mut opener(&[key(2, "a")]), &seal(address(2))), Err(Refused::Key));
        assert_eq!(open(&mut opener(&[key(1, "b")]), &seal(address(2))), Err(Refused::Key));
        assert_eq!(open(&mut opener(&[]), &seal(address(2))), Err(Refused::Key));
        for other in [address(3), SocketAddr::from(([192, 0, 2, 2], 8423)), "[::1]:8422".parse().unwrap()] {
            assert_eq!(open(&mut opener(std::slice::from_ref(&right)), &seal(other)), Err(Refused::Altered));
        }
        // Any one of several keys opens.
        open(&mut opener(&[key(2, "a"), right]), &seal(address(2))).unwrap();
    }

    #[test]
    fn its_time_is_limited_in_both_directions() {
        let key = key(1, "a");
        let (mut sealer, mut opener) = (sealer(&key), opener(&[key]));
        for (skew, is_accepted) in [(-60_000, true), (60_000, true), (-60_001, false), (60_001, false), (45_000, true)]
        {
            let datagram = sealer.seal(NOW.saturating_add_signed(skew), address(2), b"message").unwrap();
            match open(&mut opener, &datagram) {
                Ok(opened) => assert!(is_accepted && opened.skew == skew, "{skew}"),
                refused => assert!(!is_accepted && refused == Err(Refused::Time(skew)), "{skew} {refused:?}"),
            }
        }
        for time in [0, u64::MAX] {
            let datagram = sealer.seal(time, address(2), b"message").unwrap();
            assert!(matches!(open(&mut opener, &datagram), Err(Refused::Time(_))));
        }
    }

    #[test]
    fn every_bit_and_every_truncation_counts() {
        let key = key(1, "a");
        let datagram = sealer(&key).seal(NOW, address(2), b"message").unwrap();
        for bit in 0..datagram.len() * 8 {
            let mut altered = datagram.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let refused = open(&mut opener(std::slice::from_ref(&key)), &altered).unwrap_err();
            let expected = match bit / 8 {
                0 => Refused::Format,
                1..=4 => Refused::Key,
                _ => Refused::Altered,
            };
            assert_eq!(refused, expected, "bit {bit}");
        }
        for len in 0..datagram.len() {
            assert!(open(&mut opener(std::slice::from_ref(&key)), &datagram[..len]).is_err(), "{len}");
        }
        let longer = [&*datagram, &[0]].concat();
        assert_eq!(open(&mut opener(std::slice::from_ref(&key)), &longer), Err(Refused::Altered));
    }

    /// A forgery marks no counter: the true datagram still opens.
    #[test]
    fn a_forgery_changes_nothing() {
        let key = key(1, "a");
        let (mut sealer, mut opener) = (sealer(&key), opener(&[key]));
        let [first, second] = [(); 2].map(|()| sealer.seal(NOW, address(2), b"message").unwrap());
        for datagram in [first, second] {
            let mut forged = datagram.clone();
            *forged.last_mut().unwrap() ^= 1;
            assert_eq!(open(&mut opener, &forged), Err(Refused::Altered));
            open(&mut opener, &datagram).unwrap();
        }
        assert_eq!(opener.sessions.len(), 1);
    }

    #[test]
    fn a_message_that_expands_too_far_is_refused() {
        let key = key(1, "a");
        let (mut sealer, mut opener) = (sealer(&key), opener(&[key]));
        let longest = sealer.seal(NOW, address(2), &[0; LONGEST]).unwrap();
        assert_eq!(open(&mut opener, &longest).unwrap().message.len(), LONGEST);
        let bomb = sealer.seal(NOW, address(2), &vec![0; 100 << 20]).unwrap();
        assert!(bomb.len() < LONGEST);
        assert_eq!(open(&mut opener, &bomb), Err(Refused::Content));
        let mut random = vec![0; LONGEST];
        fill_random(&mut random).unwrap();
        assert!(matches!(sealer.seal(NOW, address(2), &random), Err(SealError::TooLong)));
    }

    #[test]
    fn the_oldest_session_goes() {
        let key = key(1, "a");
        let mut opener = opener(std::slice::from_ref(&key));
        let mut first = sealer(&key);
        open(&mut opener, &first.seal(NOW, address(2), b"").unwrap()).unwrap();
        let mut second = sealer(&key);
        let replayed = second.seal(NOW, address(2), b"").unwrap();
        open(&mut opener, &replayed).unwrap();
        open(&mut opener, &first.seal(NOW, address(2), b"").unwrap()).unwrap();
        for _ in 0..SESSIONS - 1 {
            open(&mut opener, &sealer(&key).seal(NOW, address(2), b"").unwrap()).unwrap();
        }
        assert_eq!(opener.sessions.len(), SESSIONS);
        let is_known = |sealer: &Sealer| opener.sessions.contains_key(&(sealer.key_tag, sealer.session));
        assert!(is_known(&first) && !is_known(&second), "the one with the oldest datagram is forgotten");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Any bytes, also behind a true header, are refused without a panic.
        #[test]
        fn garbage_is_refused(garbage in prop::collection::vec(any::<u8>(), 0..300), header in 0..=HEADER_LEN) {
            let key = key(1, "a");
            let mut datagram = sealer(&key).seal(NOW, address(2), b"message").unwrap();
            datagram.truncate(header);
            datagram.extend(garbage);
            let mut opener = opener(&[key]);
            prop_assert!(open(&mut opener, &datagram).is_err());
            prop_assert!(opener.sessions.is_empty());
        }

        #[test]
        fn messages_and_addresses_come_back(
            message in prop::collection::vec(any::<u8>(), 0..2000),
            ip in any::<IpAddr>(),
            port in any::<u16>(),
        ) {
            let (key, from) = (key(1, "a"), SocketAddr::new(ip.to_canonical(), port));
            let datagram = Sealer::new(&key, from).unwrap().seal(NOW, from, &message).unwrap();
            let mut opener = Opener::new(vec![key], from, MAX_AGE);
            let opened = open(&mut opener, &datagram).unwrap();
            prop_assert_eq!(opened, Opened { sender: from, skew: 0, message });
        }
    }
}
