//! Arbitrary datagrams, for the fuzz target.

use std::net::SocketAddr;

use aes_gcm::aead::AeadInOut;
use chitchat::{ChitchatMessage, Deserializable};
use zeroize::Zeroizing;

use super::{COUNTER_LEN, ClusterKey, NONCE_LEN, Opener, Sealer, VERSION, encode};

/// Opens a datagram: the input as it is, or, if its first byte is odd, as the content that a holder of the key seals.
pub fn open_any_datagram(data: &[u8]) {
    let key = ClusterKey::new(Zeroizing::new([7; 32]), "fuzz");
    let receiver = SocketAddr::from(([192, 0, 2, 1], 1));
    let mut datagram = match data.split_first() {
        Some((first, content)) if first % 2 == 1 => sealed(&key, receiver, content).unwrap_or_default(),
        _ => data.to_vec(),
    };
    let opened = Opener::new(vec![key], receiver, u64::MAX).open(0, &mut datagram);
    if let Ok(opened) = opened {
        let _ = ChitchatMessage::deserialize(&mut &*opened.message);
    }
}

fn sealed(key: &ClusterKey, receiver: SocketAddr, content: &[u8]) -> Option<Vec<u8>> {
    let sealer = Sealer::new(key, receiver).ok()?;
    let nonce = [0; NONCE_LEN];
    let header = [&[VERSION][..], &sealer.key_tag, &sealer.session, &[0; COUNTER_LEN], &nonce].concat();
    let associated = [&*header, &encode(receiver)].concat();
    let mut content = content.to_vec();
    let tag = sealer.cipher.encrypt_inout_detached(&nonce.into(), &associated, content.as_mut_slice().into()).ok()?;
    Some([&*header, &content, &tag].concat())
}
