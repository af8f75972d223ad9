//! The test vectors of the format, `docs/vectors.json`: written here, compared byte for byte, and opened through the
//! public API. `UPDATE=1` writes the file anew.
//!
//! The derived values come from the formulas of `docs/FORMAT.md`, written out once more, and not from the modules that
//! the records are sealed with.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha512};

use crate::cobblestone::{self, chunk_count, message_len, seal_with_salt};
use crate::key::{IndexKey, InvalidKey, RecordKey};
use crate::locator::{self, Locator, LocatorKey};
use crate::record::Header;
use crate::storage::{MemoryStorage, PutMode, Storage};
use crate::{Error, Strongroom};

const ABOUT: &str = "Test vectors of Strongroom's record format (FORMAT.md). Bytes are a string of hexadecimal \
    digits, or {\"pattern\": \"i % 251\", \"len\": n}: n bytes, of which byte i is i modulo 251, or \
    {\"sha512\": d, \"len\": n}: n bytes whose SHA-512 is d. Each of `records` opens to its plaintext. Each of \
    `invalid` is refused with exactly its error; its record is hexadecimal digits, or a list of parts to be joined, \
    {\"of\": r, \"from\": a, \"to\": b} being bytes a to b (exclusive) of the record named r. Each of `keys` is a text \
    that is asked for as a key of a kind: it is the key given, or an InvalidKey for the reason given.";

/// Lengths of data around every limit of the format.
const SIZES: [usize; 10] = [0, 1, 15, 16, 17, 16_383, 16_384, 16_385, 32_768, 40_000];

/// Longer values are given by their digest.
const MAX_IN_FULL: usize = 300;

const HEAD: usize = 68;
const SEALED_CHUNK: usize = 16_400;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

// The formulas of FORMAT.md.

/// HMAC by its definition (RFC 2104).
fn hmac_sha512(key: &[u8], message: &[u8]) -> [u8; 64] {
    let mut block = [0; 128];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha512::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha512::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

fn field(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes(), value].concat()
}

/// All that lies between the inputs of a record and the record.
struct Derived {
    header: Vec<u8>,
    context: Vec<u8>,
    block_1: [u8; 64],
    block_2: [u8; 64],
    aead_key: Vec<u8>,
    base_nonce: Vec<u8>,
    commitment: Vec<u8>,
    locator_key: [u8; 32],
    locator: [u8; 32],
    check_value: Vec<u8>,
}

impl Derived {
    fn new(vector: &Vector) -> Self {
        let id = vector.id.bytes();
        let header = [&[1, 1, 0, 0], &vector.expires_at.to_le_bytes()[..]].concat();
        let context = [b"strongroom/v1\0", &header[..], &field(b""), &field(&id)].concat();
        let info = [b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0", &vector.salt[..], &context].concat();
        let block_1 = hmac_sha512(&vector.record_key, &[&info[..], &[1]].concat());
        let block_2 = hmac_sha512(&vector.record_key, &[&block_1[..], &info, &[2]].concat());
        let output = [block_1, block_2].concat();
        let locator_key = blake3::derive_key("strongroom 2026-11-23 v1 locator", &vector.index_key);
        let locator = blake3::keyed_hash(&locator_key, &[field(b""), field(&id)].concat());
        let check_value = blake3::derive_key("strongroom 2026-11-23 v1 index key check", &vector.index_key);
        Self {
            header,
            context,
            block_1,
            block_2,
            aead_key: output[..32].to_vec(),
            base_nonce: output[32..44].to_vec(),
            commitment: output[44..76].to_vec(),
            locator_key,
            locator: locator.into(),
            check_value: check_value[..16].to_vec(),
        }
    }
}

// The vectors.

/// Bytes in the file.
#[derive(Clone)]
enum Bytes {
    Given(Vec<u8>),
    Pattern(usize),
}

impl Bytes {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Given(bytes) => bytes.clone(),
            Self::Pattern(len) => (0..=250).cycle().take(*len).collect(),
        }
    }

    fn json(&self) -> String {
        match self {
            Self::Given(bytes) => hex_json(bytes),
            Self::Pattern(len) => format!("{{\"pattern\": \"i % 251\", \"len\": {len}}}"),
        }
    }
}

struct Vector {
    name: String,
    comment: String,
    index_key: [u8; 32],
    record_key: [u8; 32],
    id: Bytes,
    salt: [u8; 24],
    expires_at: u64,
    plaintext: Bytes,
}

impl Vector {
    /// A vector whose key and salt are its own: the first bytes of a SHA-512.
    fn new(name: &str, comment: &str, id: impl AsRef<[u8]>, plaintext: Bytes) -> Self {
        let digest = |what: &str| <[u8; 64]>::from(Sha512::digest(format!("strongroom test vector, {what}, {name}")));
        Self {
            name: name.to_string(),
            comment: comment.to_string(),
            index_key: counting(0x20),
            record_key: digest("record key")[..32].try_into().unwrap(),
            id: Bytes::Given(id.as_ref().to_vec()),
            salt: digest("salt")[..24].try_into().unwrap(),
            expires_at: 0,
            plaintext,
        }
    }

    /// The record, as this crate seals it.
    fn seal(&self) -> Vec<u8> {
        let header = Header { expires_at: self.expires_at };
        let context = header.context(b"", &self.id.bytes());
        let message = seal_with_salt(&self.record_key, &context, &self.salt, &self.plaintext.bytes()).unwrap();
        [&header.encode()[..], &message].concat()
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let derived = Derived::new(self);
        let mut fields = vec![
            ("name", string(&self.name)),
            ("comment", string(&self.comment)),
            ("index_key", hex_json(&self.index_key)),
            ("index_key_text", string(&IndexKey::from_bytes(&self.index_key).unwrap().to_text())),
            ("record_key", hex_json(&self.record_key)),
            ("record_key_text", string(&RecordKey::from_bytes(&self.record_key).unwrap().to_text())),
            ("namespace", string("")),
            ("id", self.id.json()),
        ];
        if let Bytes::Given(id) = &self.id
            && let Ok(text) = std::str::from_utf8(id)
        {
            fields.push(("id_text", string(text)));
        }
        fields.extend([
            ("salt", hex_json(&self.salt)),
            ("expires_at", self.expires_at.to_string()),
            ("plaintext", self.plaintext.json()),
            ("header", hex_json(&derived.header)),
            ("context", in_full_or_digest(&derived.context)),
            ("aead_key", hex_json(&derived.aead_key)),
            ("base_nonce", hex_json(&derived.base_nonce)),
            ("commitment", hex_json(&derived.commitment)),
            ("locator_key", hex_json(&derived.locator_key)),
            ("locator", hex_json(&derived.locator)),
            ("check_value", hex_json(&derived.check_value)),
            ("record", in_full_or_digest(&self.seal())),
        ]);
        fields
    }
}

/// 32 or 24 bytes that count up, for the worked example.
fn counting<const N: usize>(first: u8) -> [u8; N] {
    let mut next = first;
    [(); N].map(|()| {
        next += 1;
        next - 1
    })
}

fn worked_example() -> Vector {
    Vector {
        record_key: counting(0x00),
        salt: counting(0x40),
        ..Vector::new(
            "worked-example",
            "the worked example of FORMAT.md",
            "user:42:passport",
            Bytes::Given(b"scanned pages".to_vec()),
        )
    }
}

fn expiring(name: &str, comment: &str, expires_at: u64) -> Vector {
    Vector { expires_at, ..Vector::new(name, comment, "id", Bytes::Given(b"data".to_vec())) }
}

fn records() -> Vec<Vector> {
    let data = || Bytes::Given(b"data".to_vec());
    let mut records = vec![worked_example()];
    records.extend(SIZES.map(|size| {
        let plaintext = if size <= 17 { Bytes::Given(Bytes::Pattern(size).bytes()) } else { Bytes::Pattern(size) };
        Vector::new(&format!("size-{size}"), &format!("{size} bytes of data"), format!("size:{size}"), plaintext)
    }));
    records.extend([
        Vector {
            index_key: counting(0x60),
            ..Vector {
                name: "other-index-key".to_string(),
                comment: "another index key: another locator, and the worked example's record as it is".to_string(),
                ..worked_example()
            }
        },
        Vector::new("id-of-one-byte", "the shortest id", "i", data()),
        Vector {
            id: Bytes::Pattern(4096),
            ..Vector::new("id-of-4096-bytes", "the longest id, and no UTF-8", "", data())
        },
        Vector::new("id-not-utf-8", "an id is any bytes", b"\xff\xfe\x80\xc3", data()),
        Vector::new("id-with-nul", "a zero byte ends nothing", b"a\0b", data()),
        Vector::new("id-composed", "one character, U+00E9", "caf\u{e9}", data()),
        Vector::new("id-decomposed", "the same to the eye, and another id: no normalisation", "cafe\u{301}", data()),
        expiring("expires-in-9999", "expires at the end of the year 9999", 253_402_300_799),
    ]);
    records
}

/// A record that does not open.
struct Invalid {
    name: &'static str,
    comment: &'static str,
    record_key: [u8; 32],
    id: Vec<u8>,
    record: Vec<Part>,
    error: &'static str,
}

enum Part {
    Given(Vec<u8>),
    /// A range of the record of that name.
    Of(&'static str, usize, usize),
}

impl Invalid {
    /// Something that is opened as `vector`, and is not its record.
    fn new(vector: &Vector, name: &'static str, comment: &'static str, record: Vec<Part>, error: &'static str) -> Self {
        Self { name, comment, record_key: vector.record_key, id: vector.id.bytes(), record, error }
    }

    #[cfg(feature = "sqlite")]
    fn bytes(&self) -> Vec<u8> {
        let records = records();
        let part = |part: &Part| match part {
            Part::Given(bytes) => bytes.clone(),
            Part::Of(name, from, to) => {
                records.iter().find(|record| record.name == *name).unwrap().seal()[*from..*to].to_vec()
            }
        };
        self.record.iter().map(part).collect::<Vec<_>>().concat()
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let part = |part: &Part| match part {
            Part::Given(bytes) => hex_json(bytes),
            Part::Of(name, from, to) => format!("{{\"of\": {}, \"from\": {from}, \"to\": {to}}}", string(name)),
        };
        let parts: Vec<_> = self.record.iter().map(part).collect();
        let record = match (&self.record[..], &parts[..]) {
            ([Part::Given(_)], [hex]) => hex.clone(),
            _ => format!("[{}]", parts.join(", ")),
        };
        vec![
            ("name", string(self.name)),
            ("comment", string(self.comment)),
            ("index_key", hex_json(&counting::<32>(0x20))),
            ("record_key", hex_json(&self.record_key)),
            ("id", hex_json(&self.id)),
            ("record", record),
            ("error", string(self.error)),
        ]
    }
}

fn invalid() -> Vec<Invalid> {
    let base = worked_example();
    let record = base.seal();
    let len = record.len();
    let altered = |place: usize, mask: u8| {
        let mut altered = record.clone();
        altered[place] ^= mask;
        vec![Part::Given(altered)]
    };
    let cut = |len: usize| vec![Part::Given(record[..len].to_vec())];
    let invalid = |name, comment, record, error| Invalid::new(&base, name, comment, record, error);
    let unsupported = |name, comment, place, mask| invalid(name, comment, altered(place, mask), "Unsupported");
    let with_other_key = |invalid: Invalid| Invalid { record_key: counting(0x80), ..invalid };
    let mut all = vec![
        unsupported("version-0", "no such version", 0, 0x01),
        unsupported("version-2", "no such version yet", 0, 0x03),
        unsupported("suite-0", "no such suite", 1, 0x01),
        unsupported("suite-2", "no such suite yet", 1, 0x03),
        unsupported("flag-0", "the lowest flag, reserved", 2, 0x01),
        unsupported("flag-15", "the highest flag, reserved", 3, 0x80),
        with_other_key(unsupported("version-2-and-wrong-key", "the header comes before the key", 0, 0x03)),
        invalid(
            "version-2-cut-to-11",
            "no whole header",
            vec![Part::Given([&[2], &record[1..11]].concat())],
            "Corrupt",
        ),
        invalid(
            "version-2-cut-to-12",
            "the header comes before the rest",
            vec![Part::Given([&[2], &record[1..12]].concat())],
            "Unsupported",
        ),
        invalid("empty", "nothing at all", cut(0), "Corrupt"),
        invalid("cut-to-12", "a header alone", cut(12), "Corrupt"),
        invalid("cut-to-67", "the commitment is not whole", cut(67), "Corrupt"),
        invalid("cut-to-68", "no chunk", cut(68), "Corrupt"),
        invalid("cut-to-83", "no room for a tag", cut(83), "Corrupt"),
        invalid("cut-to-84", "room for a tag and no more", cut(84), "Corrupt"),
        invalid("cut-by-one", "the last byte is missing", cut(len - 1), "Corrupt"),
        invalid("one-byte-more", "a byte behind the end", vec![Part::Given([&record[..], &[0]].concat())], "Corrupt"),
        with_other_key(invalid("wrong-key", "another record key", altered(0, 0), "WrongKey")),
        with_other_key(invalid("wrong-key-cut-to-67", "no commitment to compare", cut(67), "Corrupt")),
        with_other_key(invalid("wrong-key-cut-to-83", "the key comes before the chunks", cut(83), "WrongKey")),
        with_other_key(invalid("wrong-key-altered", "the key comes before the chunks", altered(70, 1), "WrongKey")),
        Invalid {
            id: b"user:43:passport".to_vec(),
            ..invalid("wrong-id", "put under another id", altered(0, 0), "WrongKey")
        },
        invalid("altered-expiry", "an expiry in the past, set by another than the writer", altered(4, 1), "WrongKey"),
        invalid("altered-salt", "the salt's first bit", altered(12, 0x80), "WrongKey"),
        invalid("altered-commitment", "the commitment's last bit", altered(67, 1), "WrongKey"),
        invalid("altered-ciphertext", "a bit of the chunk", altered(68, 1), "Corrupt"),
        invalid("altered-tag", "the tag's last bit", altered(len - 1, 1), "Corrupt"),
    ];

    // Chunks in wrong places.
    let of = |name: &'static str, from: usize, to: usize| Part::Of(name, from, to);
    let (large, full) = ("size-40000", "size-16384");
    let large_len = HEAD + 40_000 + 3 * 16;
    let (second, third) = (HEAD + SEALED_CHUNK, HEAD + 2 * SEALED_CHUNK);
    let find = |name: &str| records().into_iter().find(|record| record.name == name).unwrap();
    for (name, comment, of_name, record) in [
        (
            "chunks-swapped",
            "the first two chunks in the wrong order",
            large,
            vec![of(large, 0, HEAD), of(large, second, third), of(large, HEAD, second), of(large, third, large_len)],
        ),
        ("chunk-dropped", "without the first chunk", large, vec![of(large, 0, HEAD), of(large, second, large_len)]),
        (
            "chunk-doubled",
            "the second chunk is the first again",
            large,
            vec![of(large, 0, second), of(large, HEAD, second), of(large, third, large_len)],
        ),
        ("final-chunk-dropped", "ends where a chunk ends", large, vec![of(large, 0, third)]),
        ("last-full-chunk-cut", "a full chunk passes for the final one", large, vec![of(large, 0, third - 1)]),
        (
            "chunk-appended",
            "the final chunk once more",
            large,
            vec![of(large, 0, large_len), of(large, third, large_len)],
        ),
        ("empty-final-chunk-dropped", "without the empty chunk behind whole ones", full, vec![of(full, 0, second)]),
        (
            "empty-chunk-appended",
            "an empty chunk behind a short one",
            "size-17",
            vec![of("size-17", 0, HEAD + 33), of(full, second, second + 16)],
        ),
        (
            "chunk-of-another-record",
            "the final chunk of another record",
            full,
            vec![of(full, 0, second), of("size-32768", HEAD + 2 * SEALED_CHUNK, HEAD + 2 * SEALED_CHUNK + 16)],
        ),
    ] {
        all.push(Invalid::new(&find(of_name), name, comment, record, "Corrupt"));
    }

    // Past their time.
    let expired = expiring("expired", "expired in 1970", 1);
    let record = expired.seal();
    let mut damaged = record.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let expired_as =
        |name, comment, record, error| Invalid::new(&expired, name, comment, vec![Part::Given(record)], error);
    all.extend([
        expired_as("expired", "expired in 1970", record.clone(), "Expired"),
        expired_as("expired-and-damaged", "the expiry comes before the chunks", damaged, "Expired"),
        expired_as("expired-and-cut-to-68", "the expiry comes before the chunks", record[..68].to_vec(), "Expired"),
        expired_as("expired-and-cut-to-67", "no commitment to believe", record[..67].to_vec(), "Corrupt"),
        with_other_key(expired_as("expired-and-wrong-key", "the key comes before the expiry", record, "WrongKey")),
    ]);
    all
}

/// A text, what it is asked for as, and the key that it is or why it is none.
struct KeyText {
    comment: &'static str,
    kind: &'static str,
    text: String,
    outcome: Result<[u8; 32], &'static str>,
}

fn key_texts() -> Vec<KeyText> {
    use bech32::{Bech32, Bech32m, Hrp};

    let encode = |hrp: &str, bytes: &[u8]| bech32::encode::<Bech32m>(Hrp::parse(hrp).unwrap(), bytes).unwrap();
    let key = counting::<32>(0x00);
    let (srk, srx) = (encode("srk", &key), encode("srx", &key));
    let altered = |alter: &dyn Fn(&mut Vec<char>)| {
        let mut characters = srk.chars().collect();
        alter(&mut characters);
        characters.into_iter().collect::<String>()
    };
    let bech32 = bech32::encode::<Bech32>(Hrp::parse("srk").unwrap(), &key).unwrap();
    // 52 characters hold 260 bits: the last 4 must be zero.
    let mut groups: Vec<_> = bech32::primitives::iter::ByteIterExt::bytes_to_fes(key.iter().copied()).collect();
    *groups.last_mut().unwrap() += bech32::Fe32::P;
    let padded: String = {
        use bech32::primitives::iter::Fe32IterExt;
        groups.into_iter().with_checksum::<Bech32m>(&Hrp::parse("srk").unwrap()).chars().collect()
    };
    let text = |comment, kind, text: &str, outcome| KeyText { comment, kind, text: text.to_string(), outcome };
    vec![
        text("a record key", "srk", &srk, Ok(key)),
        text("an index key", "srx", &srx, Ok(key)),
        text("all in upper case", "srk", &srk.to_uppercase(), Ok(key)),
        text("in mixed case", "srk", &altered(&|text| text[10].make_ascii_uppercase()), Err("Text")),
        text("one wrong character", "srk", &altered(&|text| text[10] = 'p'), Err("Checksum")),
        text("two neighbours swapped", "srk", &altered(&|text| text.swap(11, 12)), Err("Checksum")),
        text(
            "the first part changed, so that the checksum is another kind's",
            "srx",
            &srk.replacen("srk", "srx", 1),
            Err("Checksum"),
        ),
        text("an index key asked for as a record key", "srk", &srx, Err("Kind")),
        text("a record key asked for as an index key", "srx", &srk, Err("Kind")),
        text("another program's", "srk", &encode("bc", &key), Err("Kind")),
        text("the checksum of Bech32, not of Bech32m", "srk", &bech32, Err("Checksum")),
        text("32 zero bytes", "srk", &encode("srk", &[0; 32]), Err("AllZero")),
        text("31 bytes", "srk", &encode("srk", &key[..31]), Err("Length")),
        text("33 bytes", "srk", &encode("srk", &[&key[..], &[0]].concat()), Err("Length")),
        text("no bytes", "srk", &encode("srk", &[]), Err("Length")),
        text("padding that is not zero", "srk", &padded, Err("Text")),
        text("a character that no key has", "srk", &altered(&|text| text[10] = 'b'), Err("Text")),
        text("cut by a character", "srk", &altered(&|text| text.truncate(61)), Err("Checksum")),
        text("the first part alone", "srk", "srk1", Err("Text")),
        text("nothing", "srk", "", Err("Text")),
    ]
}

impl KeyText {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields =
            vec![("comment", string(self.comment)), ("kind", string(self.kind)), ("text", string(&self.text))];
        match &self.outcome {
            Ok(key) => fields.push(("key", hex_json(key))),
            Err(reason) => fields.extend([("error", string("InvalidKey")), ("reason", string(reason))]),
        }
        fields
    }
}

// The file.

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn hex_json(bytes: &[u8]) -> String {
    string(&hex(bytes))
}

fn string(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn in_full_or_digest(bytes: &[u8]) -> String {
    if bytes.len() <= MAX_IN_FULL {
        return hex_json(bytes);
    }
    format!("{{\"sha512\": {}, \"len\": {}}}", hex_json(&Sha512::digest(bytes)), bytes.len())
}

fn file() -> String {
    let object = |fields: Vec<(&str, String)>| {
        let lines: Vec<_> = fields.iter().map(|(name, value)| format!("      \"{name}\": {value}")).collect();
        format!("    {{\n{}\n    }}", lines.join(",\n"))
    };
    let list = |name: &str, objects: Vec<Vec<_>>| {
        let objects: Vec<_> = objects.into_iter().map(object).collect();
        format!("  \"{name}\": [\n{}\n  ]", objects.join(",\n"))
    };
    let parts = [
        format!("  \"about\": {}", string(ABOUT)),
        "  \"format\": 1".to_string(),
        list("records", records().iter().map(Vector::fields).collect()),
        list("invalid", invalid().iter().map(Invalid::fields).collect()),
        list("keys", key_texts().iter().map(KeyText::fields).collect()),
    ];
    format!("{{\n{}\n}}\n", parts.join(",\n"))
}

#[test]
fn the_file_is_what_the_code_gives() {
    let expected = file();
    serde_json::from_str::<serde_json::Value>(&expected).unwrap();
    let path = docs("vectors.json");
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, &expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "docs/vectors.json is not what the code gives, first in line {}. Version 1 of the format does not change: a \
         difference in a record that was there is a fault in the code. For a new vector, run the test with UPDATE=1",
        differs.unwrap_or(found.lines().count().min(expected.lines().count())) + 1
    );
}

#[test]
fn the_modules_agree_with_the_formulas() {
    for vector in records() {
        let derived = Derived::new(&vector);
        let id = vector.id.bytes();
        let index_key = IndexKey::from_bytes(&vector.index_key).unwrap();
        assert_eq!(LocatorKey::new(&index_key).locator(b"", &id).as_bytes(), &derived.locator);
        assert_eq!(locator::check_value(&index_key)[..], derived.check_value);
        let record = vector.seal();
        assert_eq!(record[..12], derived.header);
        assert_eq!(record[12..36], vector.salt);
        assert_eq!(record[36..68], derived.commitment);
        assert_eq!(Header { expires_at: vector.expires_at }.context(b"", &id), derived.context);
    }
}

#[test]
fn every_record_opens() {
    for vector in records() {
        let storage = Arc::new(MemoryStorage::new());
        let index_key = IndexKey::from_bytes(&vector.index_key).unwrap();
        let key = RecordKey::from_bytes(&vector.record_key).unwrap();
        let store = Strongroom::builder().storage(storage.clone()).index_key(index_key).open().unwrap();
        assert!(matches!(store.retrieve(vector.id.bytes(), &key), Err(Error::NotFound)));
        let locator = Locator::from_bytes(Derived::new(&vector).locator);
        storage.put(&locator, &vector.seal(), PutMode::Create).unwrap();
        assert!(store.retrieve(vector.id.bytes(), &key).unwrap() == vector.plaintext.bytes(), "{}", vector.name);
    }
}

/// Through a database into which each record is written by hand: a storage's own `put` refuses some of them.
#[cfg(feature = "sqlite")]
#[test]
fn every_invalid_record_gives_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let index_key = || IndexKey::from_bytes(&counting::<32>(0x20)).unwrap();
    let store = Strongroom::builder().path(&path).index_key(index_key()).open().unwrap();
    let database = rusqlite::Connection::open(&path).unwrap();
    let retrieve = |id: &[u8], key: &[u8], record: &[u8]| {
        let locator = LocatorKey::new(&index_key()).locator(b"", id);
        let prefix = i64::from_be_bytes(locator.as_bytes()[..8].try_into().unwrap()) ^ i64::MIN;
        let sql = "INSERT INTO record (id, prefix, len, locator, data) VALUES (1, ?1, ?2, ?3, ?4)";
        database.execute("DELETE FROM record", ()).unwrap();
        database.execute(sql, (prefix, i64::try_from(record.len()).unwrap(), locator.as_bytes(), record)).unwrap();
        store.retrieve(id, &RecordKey::from_bytes(key).unwrap())
    };
    let base = worked_example();
    assert_eq!(retrieve(&base.id.bytes(), &base.record_key, &base.seal()).unwrap(), base.plaintext.bytes());
    for vector in invalid() {
        let error = retrieve(&vector.id, &vector.record_key, &vector.bytes()).unwrap_err();
        assert_eq!(error.name(), vector.error, "{}", vector.name);
    }
}

#[test]
fn every_key_text_is_the_key_or_the_error() {
    let reason = |error| match error {
        InvalidKey::Length => "Length",
        InvalidKey::AllZero => "AllZero",
        InvalidKey::Kind { .. } => "Kind",
        InvalidKey::Checksum => "Checksum",
        InvalidKey::Text => "Text",
    };
    for KeyText { comment, kind, text, outcome } in key_texts() {
        let found = match kind {
            "srk" => RecordKey::from_text(&text).map(|key| *key.expose_bytes()),
            _ => IndexKey::from_text(&text).map(|key| *key.expose_bytes()),
        };
        assert_eq!(found.map_err(reason), outcome, "{comment}");
    }
}

/// Each value of the first vector, and each that lies between, is a value of FORMAT.md's worked example.
#[test]
fn the_worked_example_of_the_document_is_the_first_vector() {
    let document = fs::read_to_string(docs("FORMAT.md")).unwrap();
    let (_, example) = document.split_once("\n## Worked example").unwrap();
    let (example, _) = example.split_once("\n## ").unwrap();
    let squeeze = |text: &str| text.split_whitespace().collect::<String>();
    let example = squeeze(example);

    let vector = worked_example();
    let derived = Derived::new(&vector);
    let mut values: Vec<(_, String)> = Vec::new();
    for (name, json) in vector.fields() {
        if let Ok(value) = serde_json::from_str::<String>(&json)
            && !["name", "comment", "namespace"].contains(&name)
        {
            values.push((name, value));
        }
    }
    assert_eq!(values.len(), 17);
    values.push(("T(1)", hex(&derived.block_1)));
    values.push(("T(2)", hex(&derived.block_2)));
    let record = vector.seal();
    values.push(("ciphertext", hex(&record[68..record.len() - 16])));
    values.push(("tag", hex(&record[record.len() - 16..])));
    for (name, value) in values {
        let value = squeeze(&value);
        assert!(example.contains(&value), "FORMAT.md lacks {name}: {value}");
        let mut altered = value;
        let last = altered.pop();
        altered.push(if last == Some('0') { '1' } else { '0' });
        assert!(!example.contains(&altered), "a wrong {name} would not be seen");
    }
}

/// The document's tables of sizes.
#[test]
fn the_sizes_of_the_document_are_the_sizes_here() {
    let document = fs::read_to_string(docs("FORMAT.md")).unwrap();
    let (_, table) = document.split_once("| plaintext | chunks | record |").unwrap();
    let mut rows = 0;
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells = row.split('|').map(|cell| cell.trim().replace(',', "").parse::<u64>());
        let cells: Vec<_> = cells.filter_map(Result::ok).collect();
        assert_eq!(cells[1..], [chunk_count(cells[0]), 12 + message_len(cells[0]).unwrap()], "{row}");
        rows += 1;
    }
    assert_eq!(rows, SIZES.len() + 2);
    assert!(document.contains(&cobblestone::MAX_PLAINTEXT_LEN.to_string()));
}
