//! No altered record opens: every bit, every truncation, every moved chunk has the right error.

use std::sync::Arc;
use std::thread;

use crate::support::intercept::Intercepted;
use crate::support::rounds::rounds;
use crate::support::{SIZES, open_over, pattern, record_key};
use strongroom::cobblestone::{self, Opener, RangeOpener, open, open_in_place, open_into, open_range, seal};
use strongroom::record::Header;
use strongroom::storage::{MemoryStorage, Storage};
use strongroom::{Error, RecordKey, Strongroom};

const HEADER: usize = 12;
const HEAD: usize = 68;
const SEALED_CHUNK: usize = 16_400;

/// A store whose storage returns the record as altered by the test.
struct Hostile {
    store: Strongroom,
    storage: Arc<Intercepted>,
    key: RecordKey,
    record: Vec<u8>,
}

impl Hostile {
    fn new(len: usize) -> Self {
        Self::with_id("id", len)
    }

    fn with_id(id: &str, len: usize) -> Self {
        let storage = Arc::new(Intercepted::hostile(Arc::new(MemoryStorage::new())));
        let store = open_over(Arc::clone(&storage));
        let key = store.store(id, pattern(len)).unwrap();
        let locator = storage.list(None, 1).unwrap()[0].locator;
        let record = storage.get(&locator).unwrap().unwrap();
        Self { store, storage, key, record }
    }

    fn retrieve(&self, record: &[u8]) -> Result<Vec<u8>, Error> {
        self.storage.serve(record);
        let outcome = self.store.retrieve("id", &self.key);
        let mut buffer = vec![0xee; record.len()];
        let into = self.store.retrieve_into("id", &self.key, &mut buffer);
        assert_eq!(into.as_ref().copied().map_err(Error::name), outcome.as_ref().map(Vec::len).map_err(Error::name));
        if into.is_err() {
            assert!(consists_of(&buffer, &[0, 0xee]), "plaintext was left behind");
        }
        outcome
    }

    #[track_caller]
    fn assert_error(&self, record: &[u8], expected: &str) {
        assert_eq!(self.retrieve(record).unwrap_err().name(), expected);
    }
}

/// Whether no byte of `data` is another one than `bytes`. Pieces are compared, because a loop over all bytes is slow
/// without optimisation.
fn consists_of(data: &[u8], bytes: &[u8]) -> bool {
    const PIECE: usize = 512;
    let pieces: Vec<_> = bytes.iter().map(|byte| [*byte; PIECE]).collect();
    let is_uniform = |piece: &[u8]| pieces.iter().any(|uniform| uniform[..piece.len()] == *piece);
    data.chunks(PIECE).all(|piece| is_uniform(piece) || piece.iter().all(|byte| bytes.contains(byte)))
}

/// The expected error for an altered byte at `place`.
fn expected_error(place: usize, bit: usize) -> &'static str {
    match place {
        2 if bit == 0 => "WrongKey", // the flag of padding
        0..4 => "Unsupported",       // version, suite, other flags
        4..HEAD => "WrongKey",       // expiry and salt change the derived keys, the commitment is compared
        _ => "Corrupt",
    }
}

#[test]
fn every_altered_bit_is_detected() {
    thread::scope(|scope| {
        for size in SIZES {
            scope.spawn(move || {
                let hostile = Hostile::new(size);
                let mut record = hostile.record.clone();
                // In long records one bit of each byte, another one each time; `make test-long` alters them all.
                let step = if size < 100 { 1 } else { rounds(8, 1) };
                for place in 0..record.len() {
                    for bit in (place % step..8).step_by(step) {
                        record[place] ^= 1 << bit;
                        let error = hostile.retrieve(&record).unwrap_err();
                        assert_eq!(error.name(), expected_error(place, bit), "bit {bit} of byte {place} of {size}");
                        record[place] ^= 1 << bit;
                    }
                }
                assert!(hostile.retrieve(&record).unwrap() == pattern(size), "the record itself opens");
            });
        }
    });
}

#[test]
fn every_truncation_is_corrupt() {
    for size in SIZES {
        let hostile = Hostile::new(size);
        for len in 0..hostile.record.len() {
            let error = hostile.retrieve(&hostile.record[..len]).unwrap_err();
            assert_eq!(error.name(), "Corrupt", "{len} bytes of the record of {size}");
        }
    }
}

#[test]
fn anything_appended_is_corrupt() {
    for size in SIZES {
        let hostile = Hostile::new(size);
        let last_chunk = (hostile.record.len() - HEAD) % SEALED_CHUNK;
        let last = hostile.record[hostile.record.len() - last_chunk..].to_vec();
        for extra in [vec![0], vec![0; 16], vec![0; 17], vec![0; SEALED_CHUNK], last] {
            hostile.assert_error(&[&hostile.record[..], &extra].concat(), "Corrupt");
        }
    }
}

#[test]
fn moved_chunks_are_corrupt() {
    let hostile = Hostile::new(40_000);
    let (head, chunks) = hostile.record.split_at(HEAD);
    let chunks: Vec<_> = chunks.chunks(SEALED_CHUNK).collect();
    assert_eq!(chunks.len(), 3);
    let join = |order: &[usize]| [&[head], &order.iter().map(|n| chunks[*n]).collect::<Vec<_>>()[..]].concat().concat();
    assert!(hostile.retrieve(&join(&[0, 1, 2])).is_ok());
    let orders: [&[usize]; 14] = [
        &[],
        &[0],
        &[1],
        &[2],
        &[0, 1],
        &[0, 2],
        &[1, 2],
        &[1, 0, 2],
        &[0, 2, 1],
        &[0, 0, 2],
        &[1, 1, 2],
        &[0, 1, 2, 2],
        &[0, 1, 1, 2],
        &[0, 0, 1, 2],
    ];
    for order in orders {
        hostile.assert_error(&join(order), "Corrupt");
    }
}

#[test]
fn spliced_chunks_are_corrupt() {
    let size = 40_000;
    let hostile = Hostile::new(size);
    let other_record = Hostile::with_id("other", size).record;
    // The same id, sealed again under the same key: only the salt differs.
    let context = Header::default().context(b"", b"id");
    let message = seal(hostile.key.expose_bytes(), &context, &pattern(size)).unwrap();
    let other_version = [&Header::default().encode()[..], &message].concat();
    assert!(hostile.retrieve(&other_version).unwrap() == pattern(size), "the other version is a true one");

    for other in [&other_record, &other_version] {
        for start in (HEAD..hostile.record.len()).step_by(SEALED_CHUNK) {
            let end = (start + SEALED_CHUNK).min(hostile.record.len());
            let mut spliced = hostile.record.clone();
            spliced[start..end].copy_from_slice(&other[start..end]);
            hostile.assert_error(&spliced, "Corrupt");
        }
        let mut head_of_other = hostile.record.clone();
        head_of_other[HEADER..HEAD].copy_from_slice(&other[HEADER..HEAD]);
        let expected = if *other == other_version { "Corrupt" } else { "WrongKey" };
        hostile.assert_error(&head_of_other, expected);
    }
    hostile.assert_error(&other_record, "WrongKey");
}

/// An unknown version, suite or flag is reported before the key is tried.
#[test]
fn unknown_versions_suites_and_flags_are_unsupported() {
    let hostile = Hostile::new(100);
    for (place, values) in [(0, [0, 2, 255]), (1, [0, 2, 255]), (2, [2, 3, 128]), (3, [1, 2, 128])] {
        for value in values {
            let mut record = hostile.record.clone();
            record[place] = value;
            hostile.assert_error(&record, "Unsupported");
        }
    }
}

#[test]
fn only_the_right_key_reveals_expiry() {
    let hostile = Hostile::new(0);
    let sealed_with = |expires_at| {
        let header = Header { expires_at, padded: false };
        let message = seal(hostile.key.expose_bytes(), &header.context(b"", b"id"), b"data").unwrap();
        [&header.encode()[..], &message].concat()
    };
    hostile.assert_error(&sealed_with(1), "Expired");
    assert_eq!(hostile.retrieve(&sealed_with(u64::MAX)).unwrap(), b"data");
    assert_eq!(hostile.retrieve(&sealed_with(0)).unwrap(), b"data");
    hostile.storage.serve(&sealed_with(1));
    assert_eq!(hostile.store.retrieve("id", &record_key(9)).unwrap_err().name(), "WrongKey");
    // A storage cannot make a record expire.
    let mut record = sealed_with(0);
    record[4] = 1;
    hostile.assert_error(&record, "WrongKey");
}

const KEY: [u8; 32] = [7; 32];
const MARK: u8 = 0xa5;

/// A position in each part of the message: prefix, each chunk's start, middle and tag.
fn places(message_len: usize) -> Vec<usize> {
    let mut places = vec![0, 23, 24, 55];
    for start in (56..message_len).step_by(SEALED_CHUNK) {
        let end = (start + SEALED_CHUNK).min(message_len);
        places.extend([start, start + (end - start) / 2, end - 16, end - 1]);
    }
    places
}

#[test]
fn one_shot_opening_leaves_no_plaintext_on_failure() {
    for size in SIZES {
        let data = pattern(size);
        let message = seal(&KEY, b"context", &data).unwrap();
        for place in places(message.len()) {
            let mut altered = message.clone();
            altered[place] ^= 1;
            assert!(open(&KEY, b"context", &altered).is_err());

            let mut plaintext = vec![MARK; size];
            assert!(open_into(&KEY, b"context", &altered, &mut plaintext).is_err());
            let untouched = consists_of(&plaintext, &[MARK]);
            assert!(untouched || consists_of(&plaintext, &[0]), "plaintext is left behind");

            let mut buffer = altered.clone();
            assert!(open_in_place(&KEY, b"context", &mut buffer).is_err());
            assert!(buffer == altered || consists_of(&buffer, &[0]), "plaintext is left behind");
        }
        let mut plaintext = vec![MARK; size];
        open_into(&KEY, b"context", &message, &mut plaintext).unwrap();
        assert!(plaintext == data);
    }
}

#[test]
fn a_stream_gives_out_the_chunks_before_the_altered_one() {
    let data = pattern(5 * 16_384 + 100);
    let message = seal(&KEY, b"", &data).unwrap();
    for chunk in 0..6 {
        let mut altered = message.clone();
        altered[56 + chunk * SEALED_CHUNK + 50] ^= 1;
        for piece_len in [1, 1000, SEALED_CHUNK, altered.len()] {
            let mut opener = Opener::new(&KEY, b"", altered[..56].try_into().unwrap()).unwrap();
            let mut plaintext = Vec::new();
            let mut failed = false;
            for piece in altered[56..].chunks(piece_len) {
                match opener.update(piece, &mut plaintext) {
                    Ok(()) => assert!(!failed, "a failed stream goes on"),
                    Err(error) => {
                        assert!(matches!(error, cobblestone::Error::Corrupt));
                        failed = true;
                    }
                }
            }
            assert!(matches!(opener.finish(&mut plaintext).unwrap_err(), cobblestone::Error::Corrupt));
            assert!(plaintext == data[..chunk * 16_384], "chunk {chunk} by {piece_len}");
        }
    }
}

#[test]
fn a_truncated_stream_is_corrupt() {
    let message = seal(&KEY, b"", &pattern(40_000)).unwrap();
    for len in (56..message.len()).filter(|len| len % 97 == 0 || (len - 56) % SEALED_CHUNK < 20) {
        let mut opener = Opener::new(&KEY, b"", message[..56].try_into().unwrap()).unwrap();
        let mut plaintext = Vec::new();
        opener.update(&message[56..len], &mut plaintext).unwrap();
        assert!(matches!(opener.finish(&mut plaintext).unwrap_err(), cobblestone::Error::Corrupt), "{len}");
        assert!(pattern(40_000).starts_with(&plaintext));
        assert_eq!(plaintext.len(), (len - 56) / SEALED_CHUNK * 16_384);
    }
}

#[test]
fn a_range_authenticates_the_length_first() {
    let data = pattern(40_000);
    let message = seal(&KEY, b"", &data).unwrap();
    // Truncated to a valid length of a message, with the range in the rest.
    for len in [56 + 16, 56 + 100, 56 + SEALED_CHUNK + 16, 56 + 2 * SEALED_CHUNK + 16, message.len() - 1] {
        let outcome = open_range(&KEY, b"", &message[..len], 0..10);
        assert!(matches!(outcome.unwrap_err(), cobblestone::Error::Corrupt), "{len}");
    }
    // An altered chunk is detected only by ranges that overlap it.
    let mut altered = message.clone();
    altered[56 + SEALED_CHUNK] ^= 1;
    assert_eq!(open_range(&KEY, b"", &altered, 0..16_384).unwrap(), data[..16_384]);
    assert_eq!(open_range(&KEY, b"", &altered, 32_768..40_000).unwrap(), data[32_768..]);
    assert!(open_range(&KEY, b"", &altered, 16_383..16_385).is_err());
    assert!(open_range(&KEY, b"", &altered, 0..40_000).is_err());
}

#[test]
fn a_range_opens_few_chunks() {
    let data = pattern(100 * 16_384);
    let message = seal(&KEY, b"", &data).unwrap();
    let mut opener = RangeOpener::new(&KEY, b"", message[..56].try_into().unwrap(), message.len() as u64).unwrap();
    let mut reads = Vec::new();
    for range in [50 * 16_384 - 50..50 * 16_384 + 50, 7..8] {
        let found = opener.read::<cobblestone::Error>(range.clone(), |offset, buffer| {
            let offset = usize::try_from(offset).unwrap();
            reads.push((offset - 56) / SEALED_CHUNK);
            buffer.copy_from_slice(&message[offset..offset + buffer.len()]);
            Ok(())
        });
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert_eq!(found.unwrap(), data[range]);
    }
    assert_eq!(reads, [100, 49, 50, 0], "the final chunk once, and what the ranges touch");
}
