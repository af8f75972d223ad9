//! Arbitrary datagrams and values, for the fuzz targets.

use std::net::SocketAddr;

use aes_gcm::aead::AeadInOut;
use chitchat::{ChitchatMessage, Deserializable, NodeState};
use zeroize::Zeroizing;

use super::{COUNTER_LEN, ClusterKey, NONCE_LEN, Opener, Refused, Sealer, VERSION, encode};
use crate::cluster::values::Values;

/// Opens a datagram: the input as it is, or, if its first byte is odd, two with the content that a holder of the key
/// seals, whose counters are 0 and the content's first 8 bytes. From 128 on, the clocks must agree.
///
/// # Panics
///
/// If a datagram opens twice.
pub fn open_any_datagram(data: &[u8]) {
    let key = ClusterKey::new(Zeroizing::new([7; 32]), "fuzz");
    let receiver = SocketAddr::from(([192, 0, 2, 1], 1));
    let Ok(sealer) = Sealer::new(&key, receiver) else { return };
    let first = data.first().copied().unwrap_or_default();
    let datagrams = match data.get(1..) {
        Some(content) if first % 2 == 1 => {
            let counters = [[0; COUNTER_LEN], content.first_chunk().copied().unwrap_or_default()];
            counters.iter().filter_map(|counter| sealed(&sealer, receiver, counter, content)).collect()
        }
        _ => vec![data.to_vec()],
    };
    let mut opener = Opener::new(vec![key], receiver, if first < 128 { u64::MAX } else { 0 });
    for mut datagram in datagrams {
        let mut again = datagram.clone();
        if let Ok(opened) = opener.open(0, &mut datagram) {
            let _ = ChitchatMessage::deserialize(&mut &*opened.message);
            assert_eq!(opener.open(0, &mut again), Err(Refused::Replayed));
        }
    }
}

/// Reads the values of a service: lines of a name, `=` and a text. chitchat panics at names that begin with another
/// character than those of ASCII.
pub fn read_any_values(text: &str) {
    let mut gossiped = NodeState::for_test();
    for (name, text) in text.lines().filter_map(|line| line.split_once('=')).filter(|(name, _)| name.is_ascii()) {
        gossiped.set(name, text);
    }
    let _ = Values::read(&gossiped);
}

fn sealed(sealer: &Sealer, receiver: SocketAddr, counter: &[u8; COUNTER_LEN], content: &[u8]) -> Option<Vec<u8>> {
    let nonce = [0; NONCE_LEN];
    let header = [&[VERSION][..], &sealer.key_tag, &sealer.session, counter, &nonce].concat();
    let associated = [&*header, &encode(receiver)].concat();
    let mut content = content.to_vec();
    let tag = sealer.cipher.encrypt_inout_detached(&nonce.into(), &associated, content.as_mut_slice().into()).ok()?;
    Some([&*header, &content, &tag].concat())
}
