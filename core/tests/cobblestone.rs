//! All ways to seal and to open agree, at every size around a limit.

use crate::support::{SIZES, pattern};
use strongroom::cobblestone::{
    Error, MAX_PLAINTEXT_LEN, Opener, PREFIX_LEN, RangeOpener, Sealer, message_len, open, open_in_place, open_into,
    open_range, seal, seal_in_place, seal_into, verify_key,
};

const KEY: [u8; 32] = [7; 32];
const CONTEXT: &[u8] = b"context";

fn len_of_message(size: usize) -> usize {
    usize::try_from(message_len(size as u64).unwrap()).unwrap()
}

/// `data`, sealed in each way.
fn sealed(data: &[u8]) -> Vec<Vec<u8>> {
    let mut into = vec![0xa5; len_of_message(data.len())];
    seal_into(&KEY, CONTEXT, data, &mut into).unwrap();

    let mut in_place = data.to_vec();
    in_place.resize(len_of_message(data.len()), 0xa5);
    seal_in_place(&KEY, CONTEXT, &mut in_place).unwrap();

    let mut messages = vec![seal(&KEY, CONTEXT, data).unwrap(), into, in_place];
    for piece_len in [1, 1000, 16_384, 16_385, 50_000] {
        let mut message = Vec::new();
        let mut sealer = Sealer::new(&KEY, CONTEXT, &mut message).unwrap();
        for piece in data.chunks(piece_len) {
            sealer.update(piece, &mut message).unwrap();
        }
        sealer.finish(&mut message).unwrap();
        messages.push(message);
    }
    messages
}

/// `message`, opened in each way.
fn opened(message: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut into = vec![0xa5; size];
    open_into(&KEY, CONTEXT, message, &mut into).unwrap();

    let mut buffer = message.to_vec();
    let in_place = open_in_place(&KEY, CONTEXT, &mut buffer).unwrap().to_vec();
    assert!(buffer[size..].iter().all(|byte| *byte == 0), "something is left behind the plaintext");

    let range = open_range(&KEY, CONTEXT, message, 0..u64::MAX).unwrap();
    let mut plaintexts = vec![open(&KEY, CONTEXT, message).unwrap(), into, in_place, range];
    for piece_len in [1, 1000, 16_384, 16_400, 50_000] {
        let mut plaintext = Vec::new();
        let mut opener = Opener::new(&KEY, CONTEXT, message.first_chunk().unwrap()).unwrap();
        for piece in message[PREFIX_LEN..].chunks(piece_len) {
            opener.update(piece, &mut plaintext).unwrap();
        }
        opener.finish(&mut plaintext).unwrap();
        plaintexts.push(plaintext);
    }
    plaintexts
}

#[test]
fn one_shot_streaming_and_range_agree() {
    for size in SIZES {
        let data = pattern(size);
        for (n, message) in sealed(&data).iter().enumerate() {
            assert_eq!(message.len(), len_of_message(size));
            for (m, plaintext) in opened(message, size).iter().enumerate() {
                assert!(*plaintext == data, "sealed the {n}th way, opened the {m}th, {size} bytes");
            }
        }
    }
}

/// Long enough for several cores with each AES provider; also opened chunk by chunk, on one core.
#[test]
fn parallel_and_serial_results_agree() {
    let data = pattern(3_000_000);
    let message = seal(&KEY, CONTEXT, &data).unwrap();
    assert!(open(&KEY, CONTEXT, &message).unwrap() == data);
    let mut in_place = message.clone();
    assert!(*open_in_place(&KEY, CONTEXT, &mut in_place).unwrap() == *data);

    let mut altered = message;
    altered[2_000_000] ^= 1;
    let mut plaintext = vec![1; data.len()];
    assert!(matches!(open_into(&KEY, CONTEXT, &altered, &mut plaintext), Err(Error::Corrupt)));
    assert!(plaintext.iter().all(|byte| *byte == 0), "no plaintext is left");
}

#[test]
fn no_two_messages_are_equal() {
    let messages: Vec<_> = (0..100).map(|_| seal(&KEY, CONTEXT, b"data").unwrap()).collect();
    for (n, message) in messages.iter().enumerate() {
        for other in &messages[..n] {
            let same = message.iter().zip(other).filter(|(a, b)| a == b).count();
            assert!(same < 10, "{same} bytes of {} are the same", message.len());
        }
    }
}

#[test]
fn buffers_have_exactly_the_size_that_is_needed() {
    for size in SIZES {
        let message = seal(&KEY, CONTEXT, &pattern(size)).unwrap();
        assert_eq!(message.capacity(), message.len());
        assert_eq!(open(&KEY, CONTEXT, &message).unwrap().capacity(), size);
        for wrong in [message.len() - 1, message.len() + 1, 0] {
            let outcome = seal_into(&KEY, CONTEXT, &pattern(size), &mut vec![0; wrong]);
            assert!(matches!(outcome.unwrap_err(), Error::BufferSize));
        }
        for wrong in [size + 1, size.wrapping_sub(1).min(size + 2)] {
            let mut plaintext = vec![0xa5; wrong];
            let outcome = open_into(&KEY, CONTEXT, &message, &mut plaintext);
            assert!(matches!(outcome.unwrap_err(), Error::BufferSize));
            assert!(plaintext.iter().all(|byte| *byte == 0xa5));
        }
    }
    for len in [0, 55, 56, 71, 56 + 16_400, 56 + 16_400 + 15] {
        let mut buffer = vec![0xa5; len];
        assert!(matches!(seal_in_place(&KEY, CONTEXT, &mut buffer).unwrap_err(), Error::BufferSize));
        assert!(buffer.iter().all(|byte| *byte == 0xa5), "a refused buffer is as it was");
    }
}

#[test]
fn every_bit_of_key_and_context_matters() {
    let message = seal(&KEY, CONTEXT, b"data").unwrap();
    let prefix = message.first_chunk().unwrap();
    verify_key(&KEY, CONTEXT, prefix).unwrap();
    for bit in 0..256 {
        let mut key = KEY;
        key[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(verify_key(&key, CONTEXT, prefix).unwrap_err(), Error::WrongKey));
        assert!(matches!(open(&key, CONTEXT, &message).unwrap_err(), Error::WrongKey));
        assert!(matches!(open_in_place(&key, CONTEXT, &mut message.clone()).unwrap_err(), Error::WrongKey));
        assert!(matches!(open_range(&key, CONTEXT, &message, 0..1).unwrap_err(), Error::WrongKey));
        assert!(matches!(Opener::new(&key, CONTEXT, prefix).unwrap_err(), Error::WrongKey));
    }
    for context in [&b""[..], b"contexs", b"context\0", b"\0context", b"Context"] {
        assert!(matches!(open(&KEY, context, &message).unwrap_err(), Error::WrongKey));
    }
}

#[test]
fn ranges_are_clipped_to_the_data() {
    for size in SIZES {
        let data = pattern(size);
        let message = seal(&KEY, CONTEXT, &data).unwrap();
        let edges = || [0, 1, 16_383, 16_384, 16_385, 32_768, size.saturating_sub(1), size, size + 1, usize::MAX];
        for (start, end) in edges().into_iter().flat_map(|start| edges().map(|end| (start, end))) {
            let found = open_range(&KEY, CONTEXT, &message, start as u64..end as u64).unwrap();
            let expected = data.get(start.min(size)..end.min(size)).unwrap_or_default();
            assert!(found == expected, "{start}..{end} of {size}");
        }
    }
}

#[test]
fn the_final_chunk_proves_the_length() {
    let data = pattern(40_000);
    let message = seal(&KEY, CONTEXT, &data).unwrap();
    let opener = || RangeOpener::new(&KEY, CONTEXT, message.first_chunk().unwrap(), message.len() as u64).unwrap();
    let mut by_chunk = opener();
    assert_eq!(by_chunk.plaintext_len(), 40_000);
    for (index, sealed) in message[PREFIX_LEN..].chunks(16_384 + 16).enumerate() {
        assert!(!by_chunk.length_is_proved(), "{index}");
        let mut chunk = vec![0; by_chunk.chunk_len(index as u64)];
        by_chunk.open_chunk(index as u64, sealed, &mut chunk).unwrap();
        assert!(data[index * 16_384..].starts_with(&chunk));
    }
    assert!(by_chunk.length_is_proved());
    let mut by_range = opener();
    let read = |at: u64, buffer: &mut [u8]| {
        buffer.copy_from_slice(&message[usize::try_from(at).unwrap()..][..buffer.len()]);
        Ok::<_, Error>(())
    };
    assert_eq!(by_range.read(0..3, read).unwrap(), data[..3]);
    assert!(by_range.length_is_proved());
}

#[test]
fn debug_shows_numbers_alone() {
    let message = seal(&KEY, CONTEXT, b"data").unwrap();
    let prefix = message.first_chunk().unwrap();
    let range = RangeOpener::new(&KEY, CONTEXT, prefix, message.len() as u64).unwrap();
    assert_eq!(format!("{range:?}"), "RangeOpener { plaintext_len: 4, length_proved: false, .. }");
    let opener = Opener::new(&KEY, CONTEXT, prefix).unwrap();
    assert_eq!(format!("{opener:?}"), "Opener { chunks: 0, failed: false, .. }");
    let sealer = Sealer::new(&KEY, CONTEXT, &mut Vec::new()).unwrap();
    assert_eq!(format!("{sealer:?}"), "Sealer { chunks: 0, .. }");
}

#[test]
fn a_claimed_length_is_not_believed() {
    let message = seal(&KEY, CONTEXT, &pattern(100)).unwrap();
    let claim = message_len(MAX_PLAINTEXT_LEN).unwrap();
    let mut opener = RangeOpener::new(&KEY, CONTEXT, message.first_chunk().unwrap(), claim).unwrap();
    // The storage returns zeros for missing bytes. No memory is reserved for them, and no plaintext is released.
    let outcome = opener.read::<Error>(0..u64::MAX, |_, buffer| {
        buffer.fill(0);
        Ok(())
    });
    assert!(matches!(outcome.unwrap_err(), Error::Corrupt));
    let too_long = RangeOpener::new(&KEY, CONTEXT, message.first_chunk().unwrap(), claim + 1);
    assert!(matches!(too_long.unwrap_err(), Error::Corrupt));
}
