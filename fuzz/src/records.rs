//! Records: their parser, and reads of parts against plain slices.

use std::io::{Read, Seek, SeekFrom};

use strongroom::cobblestone::{self, RangeOpener};
use strongroom::record::{HEADER_LEN, Header};
use strongroom::{RecordKey, Strongroom};

use crate::Input;

const KEY: [u8; 32] = [7; 32];
const CONTEXT: &[u8] = b"context";

/// A message from anybody never opens; an altered one never opens to other data.
pub fn record(data: &[u8]) {
    if let Some(header) = data.first_chunk::<HEADER_LEN>()
        && let Ok(decoded) = Header::decode(header)
    {
        assert_eq!(decoded.encode(), *header);
    }
    let _ = strongroom::store_id(data);
    assert!(cobblestone::open(&KEY, CONTEXT, data).is_err());
    assert!(cobblestone::open_range(&KEY, CONTEXT, data, 0..1).is_err());

    let mut input = Input(data);
    let (at, change, cut) = (input.number() * 3, input.byte(), input.number());
    let plaintext = input.rest().repeat(1 + cut % 64);
    let mut message = cobblestone::seal(&KEY, CONTEXT, &plaintext).unwrap();
    assert_eq!(cobblestone::open(&KEY, CONTEXT, &message).unwrap(), plaintext);
    let len = message.len();
    message[at % len] ^= change;
    message.truncate(if cut % 5 == 0 { cut % (len + 1) } else { len });
    let is_altered = change != 0 || message.len() != len;
    assert_eq!(cobblestone::open(&KEY, CONTEXT, &message).is_err(), is_altered);
    // In pieces, what is released before the error is a beginning of the plaintext.
    if let Some((prefix, mut rest)) = message.split_first_chunk()
        && let Ok(mut opener) = cobblestone::Opener::new(&KEY, CONTEXT, prefix)
    {
        let mut out = Vec::new();
        let mut outcome = Ok(());
        while let (Ok(()), false) = (&outcome, rest.is_empty()) {
            let (piece, after) = rest.split_at(rest.len().min(1 + at % 20_000));
            outcome = opener.update(piece, &mut out);
            rest = after;
        }
        if outcome.is_err() {
            assert!(opener.update(&[], &mut out).is_err(), "a failed stream keeps failing");
        }
        assert_eq!(opener.finish(&mut out).is_err(), is_altered);
        assert!(plaintext.starts_with(&out));
    }
    if let Some(prefix) = message.first_chunk() {
        let _ = RangeOpener::new(&KEY, CONTEXT, prefix, message.len() as u64);
    }
    let range = at as u64..(at + cut) as u64;
    match cobblestone::open_range(&KEY, CONTEXT, &message, range.clone()) {
        Ok(opened) => assert_eq!(opened, part(&plaintext, range.start, range.end)),
        Err(_) => assert!(is_altered),
    }
    let mut opened = vec![0; plaintext.len()];
    assert_eq!(cobblestone::open_into(&KEY, CONTEXT, &message, &mut opened).is_err(), is_altered);
    assert_eq!(cobblestone::open_in_place(&KEY, CONTEXT, &mut message).is_err(), is_altered);
}

/// Reads of a record at any position are those of a slice.
pub fn range(data: &[u8]) {
    let mut input = Input(data);
    let len = input.number();
    let plaintext: Vec<u8> = (0..=250).cycle().take(len).collect();
    let store = Strongroom::builder()
        .storage(std::sync::Arc::new(strongroom::storage::MemoryStorage::new()))
        .index_key(strongroom::IndexKey::from_bytes(&[1; 32]).unwrap())
        .open()
        .unwrap();
    let key: RecordKey = store.store("id", &plaintext).unwrap();
    let mut reader = store.open_record("id", &key).unwrap();
    let mut position = 0_u64;
    for _ in 0..16 {
        if input.is_empty() {
            break;
        }
        match input.byte() % 4 {
            0 => {
                let start = input.number() as u64;
                let end = start.saturating_add(input.number() as u64);
                let read = store.retrieve_range("id", &key, start..end).unwrap();
                assert_eq!(read, part(&plaintext, start, end));
            }
            1 => {
                position = reader.seek(SeekFrom::Start(input.number() as u64)).unwrap();
            }
            2 => {
                let back = -i64::try_from(input.number()).unwrap();
                match reader.seek(SeekFrom::End(back)) {
                    Ok(now) => position = now,
                    Err(error) => {
                        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
                        assert!(back.unsigned_abs() > len as u64);
                    }
                }
            }
            _ => {
                let mut buffer = vec![0; input.number()];
                let count = reader.read(&mut buffer).unwrap();
                let expected = part(&plaintext, position, position + count as u64);
                assert_eq!(&buffer[..count], expected);
                assert!(count > 0 || buffer.is_empty() || position >= len as u64);
                position += count as u64;
            }
        }
    }
}

fn part(plaintext: &[u8], start: u64, end: u64) -> &[u8] {
    let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(plaintext.len());
    &plaintext[within(start)..within(end)]
}
