//! The plaintext of a keyring, version 1; `docs/FORMAT.md` defines it.

use super::entries::{KeyringEntries, MAX_KEYS};
use crate::error::Error;
use crate::key::RecordKey;
use crate::util::wiped::Wiped;

/// The start of every version.
const MAGIC: &[u8] = b"strongroom-keyring/";
const VERSION: &[u8] = b"v1\0";
const KEY_LEN: usize = 32;

/// The maximum number of recipients.
pub(super) const MAX_RECIPIENTS: usize = 255;

pub(super) fn encode(recipients: &[String], entries: &KeyringEntries) -> Option<Wiped> {
    let of_recipients: usize = recipients.iter().map(|text| 1 + text.len()).sum();
    let of_entries: usize =
        entries.iter().map(|(namespace, id, keys)| 4 + namespace.len() + id.len() + KEY_LEN * keys.len()).sum();
    // Full capacity from the start: growth would leave a copy in memory.
    let len = MAGIC.len() + VERSION.len() + 1 + of_recipients + 8 + of_entries;
    let mut document = Wiped::with_capacity(len);
    document.extend_from_slice(MAGIC);
    document.extend_from_slice(VERSION);
    document.push(u8::try_from(recipients.len()).ok()?);
    for text in recipients {
        document.push(u8::try_from(text.len()).ok()?);
        document.extend_from_slice(text.as_bytes());
    }
    document.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    for (namespace, id, keys) in entries.iter() {
        document.push(u8::try_from(namespace.len()).ok()?);
        document.extend_from_slice(namespace);
        document.extend_from_slice(&u16::try_from(id.len()).ok()?.to_le_bytes());
        document.extend_from_slice(id);
        document.push(u8::try_from(keys.len()).ok().filter(|len| usize::from(*len) <= MAX_KEYS)?);
        keys.iter().for_each(|key| document.extend_from_slice(key.expose_bytes()));
    }
    Some(document)
}

/// The recipients and the entries of a document.
///
/// # Errors
///
/// [`Error::Corrupt`], and [`Error::Unsupported`] for a later version.
pub(super) fn decode(document: &[u8]) -> Result<(Vec<String>, KeyringEntries), Error> {
    let rest = document.strip_prefix(MAGIC).ok_or(Error::Corrupt)?;
    let Some(rest) = rest.strip_prefix(VERSION) else {
        return Err(Error::Unsupported("the keyring has a newer format: use a newer Strongroom".into()));
    };
    parse(&mut Parser(rest)).ok_or(Error::Corrupt)
}

fn parse(document: &mut Parser<'_>) -> Option<(Vec<String>, KeyringEntries)> {
    let mut recipients = Vec::new();
    for _ in 0..document.u8()? {
        let len = document.u8()?;
        recipients.push(str::from_utf8(document.bytes(len.into())?).ok()?.to_owned());
    }
    let mut entries = KeyringEntries::default();
    for _ in 0..u64::from_le_bytes(document.array()?) {
        let len = document.u8()?;
        let namespace = document.bytes(len.into())?;
        let len = u16::from_le_bytes(document.array()?);
        let id = document.bytes(len.into())?;
        let mut keys = Vec::new();
        for _ in 0..document.u8()? {
            keys.push(RecordKey::from_bytes(document.bytes(KEY_LEN)?).ok()?);
        }
        entries.push(namespace, id, keys)?;
    }
    document.0.is_empty().then_some((recipients, entries))
}

/// The rest of a document.
struct Parser<'d>(&'d [u8]);

impl<'d> Parser<'d> {
    fn bytes(&mut self, len: usize) -> Option<&'d [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> RecordKey {
        RecordKey::from_bytes(&[byte; 32]).unwrap()
    }

    fn example() -> KeyringEntries {
        let mut entries = KeyringEntries::default();
        entries.insert("", "one", &key(1)).unwrap();
        entries.insert("", "one", &key(2)).unwrap();
        entries.insert("clinic", b"\xff\0".as_slice(), &key(3)).unwrap();
        entries
    }

    /// The example of `docs/FORMAT.md`.
    #[test]
    fn the_document_is_that_of_the_format() {
        let mut expected = b"strongroom-keyring/v1\0\x01\x04age1\x02\0\0\0\0\0\0\0".to_vec();
        expected.extend_from_slice(b"\0\x03\0one\x02");
        expected.extend_from_slice(&[1; 32]);
        expected.extend_from_slice(&[2; 32]);
        expected.extend_from_slice(b"\x06clinic\x02\0\xff\0\x01");
        expected.extend_from_slice(&[3; 32]);
        let document = encode(&["age1".into()], &example()).unwrap();
        assert_eq!(*document, expected);
        assert_eq!(document.len(), document.capacity(), "the document grew, and left a copy behind");
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/FORMAT.md")).unwrap();
        let hex: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        let lines: Vec<_> = hex.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        assert!(page.contains(&lines.join("\n")), "docs/FORMAT.md has not the example:\n{}", lines.join("\n"));
        let (recipients, entries) = decode(&document).unwrap();
        assert_eq!(recipients, ["age1"]);
        assert_eq!(entries.len(), 2);
        assert!(entries.keys("", "one").last().unwrap().ct_eq(&key(2)));
        assert!(entries.keys("clinic", b"\xff\0").last().unwrap().ct_eq(&key(3)));
    }

    #[test]
    fn every_truncation_and_addition_is_damage() {
        let document = encode(&["age1".into(), "age1two".into()], &example()).unwrap();
        for len in 0..document.len() {
            let error = decode(&document[..len]).unwrap_err();
            let is_version = (MAGIC.len()..MAGIC.len() + VERSION.len()).contains(&len);
            assert_eq!(error.name(), if is_version { "Unsupported" } else { "Corrupt" }, "{len}");
        }
        let mut longer = document.to_vec();
        longer.push(0);
        assert_eq!(decode(&longer).unwrap_err().name(), "Corrupt");
    }

    #[test]
    fn any_bytes_are_parsed_without_a_panic() {
        let document = encode(&["age1".into()], &example()).unwrap();
        for at in 0..document.len() {
            for bit in 0..8 {
                let mut damaged = document.to_vec();
                damaged[at] ^= 1 << bit;
                let _ = decode(&damaged);
            }
        }
        // A number of entries for which no memory would suffice.
        let mut many = document.to_vec();
        let at = MAGIC.len() + VERSION.len() + 1 + 5;
        many[at..at + 8].fill(0xff);
        assert_eq!(decode(&many).unwrap_err().name(), "Corrupt");
    }

    #[test]
    fn entries_out_of_order_and_without_keys_are_damage() {
        let entry = |id: &[u8], keys: &[u8]| {
            let mut entry = vec![0, 1, 0];
            entry.extend_from_slice(id);
            entry.push(keys.len().try_into().unwrap());
            keys.iter().for_each(|key| entry.extend_from_slice(&[*key; 32]));
            entry
        };
        let document = |entries: &[Vec<u8>]| {
            let mut document = b"strongroom-keyring/v1\0\0".to_vec();
            document.extend_from_slice(&(entries.len() as u64).to_le_bytes());
            entries.iter().for_each(|entry| document.extend_from_slice(entry));
            decode(&document).map(|(_, entries)| entries.len())
        };
        assert_eq!(document(&[entry(b"a", &[1]), entry(b"b", &[1])]).unwrap(), 2);
        let wrong = [
            [entry(b"b", &[1]), entry(b"a", &[1])],
            [entry(b"a", &[1]), entry(b"a", &[2])],
            [entry(b"a", &[1]), entry(b"b", &[])],
            [entry(b"a", &[1]), entry(b"b", &[0])],
        ];
        for entries in wrong {
            assert_eq!(document(&entries).unwrap_err().name(), "Corrupt");
        }
    }
}
