//! The valid records, the invalid records, and the texts of keys.

use super::*;

/// Bytes in the file.
#[derive(Clone)]
pub(super) enum Bytes {
    Given(Vec<u8>),
    Pattern(usize),
}

impl Bytes {
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Given(bytes) => bytes.clone(),
            Self::Pattern(len) => (0..=250).cycle().take(*len).collect(),
        }
    }

    pub(super) fn json(&self) -> String {
        match self {
            Self::Given(bytes) => hex_json(bytes),
            Self::Pattern(len) => format!("{{\"pattern\": \"i % 251\", \"len\": {len}}}"),
        }
    }
}

pub(super) struct Vector {
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) index_key: [u8; 32],
    pub(super) generation: u8,
    pub(super) record_key: [u8; 32],
    pub(super) namespace: Vec<u8>,
    pub(super) id: Bytes,
    pub(super) salt: [u8; 24],
    pub(super) expires_at: u64,
    pub(super) padded: bool,
    pub(super) data: Bytes,
}

impl Vector {
    /// A vector with its own key and salt: the first bytes of a SHA-512.
    pub(super) fn new(name: &str, comment: &str, id: impl AsRef<[u8]>, data: Bytes) -> Self {
        let digest = |what: &str| <[u8; 64]>::from(Sha512::digest(format!("strongroom test vector, {what}, {name}")));
        Self {
            name: name.to_string(),
            comment: comment.to_string(),
            index_key: counting(0x20),
            generation: FIRST_GENERATION,
            record_key: digest("record key")[..32].try_into().unwrap(),
            namespace: Vec::new(),
            id: Bytes::Given(id.as_ref().to_vec()),
            salt: digest("salt")[..24].try_into().unwrap(),
            expires_at: 0,
            padded: false,
            data,
        }
    }

    pub(super) fn header(&self) -> Header {
        Header { expires_at: self.expires_at, padded: self.padded }
    }

    /// The record, as this crate seals it.
    pub(super) fn seal(&self) -> Vec<u8> {
        self.seal_plaintext(&if self.padded { formulas::padded(self.data.bytes()) } else { self.data.bytes() })
    }

    /// A record with this header, whose plaintext need not be padded.
    pub(super) fn seal_plaintext(&self, plaintext: &[u8]) -> Vec<u8> {
        let context = self.header().context(&self.namespace, &self.id.bytes());
        let message = seal_with_salt(&self.record_key, &context, &self.salt, plaintext).unwrap();
        [&self.header().encode()[..], &message].concat()
    }

    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let derived = Derived::new(self);
        let mut fields = vec![
            ("name", string(&self.name)),
            ("comment", string(&self.comment)),
            ("index_key", hex_json(&self.index_key)),
            ("index_key_text", string(&IndexKey::from_bytes(&self.index_key).unwrap().to_text())),
            ("generation", self.generation.to_string()),
            ("record_key", hex_json(&self.record_key)),
            ("record_key_text", string(&RecordKey::from_bytes(&self.record_key).unwrap().to_text())),
            ("namespace", hex_json(&self.namespace)),
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
            ("padded", self.padded.to_string()),
            ("data", self.data.json()),
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

/// 32 or 24 ascending bytes, for the worked example.
pub(super) fn counting<const N: usize>(first: u8) -> [u8; N] {
    let mut next = first;
    [(); N].map(|()| {
        next += 1;
        next - 1
    })
}

pub(super) fn worked_example() -> Vector {
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

pub(super) fn expiring(name: &str, comment: &str, expires_at: u64) -> Vector {
    Vector { expires_at, ..Vector::new(name, comment, "id", Bytes::Given(b"data".to_vec())) }
}

pub(super) fn records() -> Vec<Vector> {
    let data = || Bytes::Given(b"data".to_vec());
    let mut records = vec![worked_example()];
    records.extend(SIZES.map(|size| {
        let data = if size <= 17 { Bytes::Given(Bytes::Pattern(size).bytes()) } else { Bytes::Pattern(size) };
        Vector::new(&format!("size-{size}"), &format!("{size} bytes of data"), format!("size:{size}"), data)
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
        Vector {
            generation: 2,
            ..Vector {
                name: "second-generation".to_string(),
                comment: "an index key that was rotated to: the locator begins with its generation".to_string(),
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
        Vector {
            namespace: b"tenant".to_vec(),
            ..Vector::new("namespace", "the same id in a namespace is another id", "user:42:passport", data())
        },
        Vector {
            namespace: (0..255).collect(),
            ..Vector::new("namespace-of-255-bytes", "the longest namespace, and no UTF-8", "id", data())
        },
        Vector { expires_at: 253_402_300_799, ..padded("padded-and-expires", "both are in the header", data()) },
    ]);
    records.extend(PADDED_SIZES.map(|size| {
        let data = if size <= 17 { Bytes::Given(Bytes::Pattern(size).bytes()) } else { Bytes::Pattern(size) };
        padded(&format!("padded-{size}"), &format!("{size} bytes of data, and padding"), data)
    }));
    records
}

/// Lengths around limits: with the 8 bytes at the end, 15,352 is a padded length, and 16,376 fills a chunk.
const PADDED_SIZES: [usize; 8] = [0, 1, 100, 15_352, 15_353, 16_376, 16_377, 40_000];

fn padded(name: &str, comment: &str, data: Bytes) -> Vector {
    Vector { padded: true, ..Vector::new(name, comment, "padded", data) }
}

/// The settings of a store, and of one whose index key is being rotated.
pub(super) fn settings() -> [Settings; 2] {
    let generation = |number: u8, index_key: u8| {
        let index_key = IndexKey::from_bytes(&counting::<32>(index_key)).unwrap();
        Generation { number, check_value: locator::check_value(&index_key) }
    };
    let store_id = counting(0xa0);
    [
        Settings { store_id, padding: Padding::None, generations: vec![generation(1, 0x20)] },
        Settings { store_id, padding: Padding::Padme, generations: vec![generation(2, 0x60), generation(1, 0x20)] },
    ]
}

pub(super) fn settings_fields(settings: &Settings) -> Vec<(&'static str, String)> {
    let generations: Vec<_> = settings
        .generations
        .iter()
        .map(|generation| {
            let check_value = hex_json(&generation.check_value);
            format!("{{\"number\": {}, \"check_value\": {check_value}}}", generation.number)
        })
        .collect();
    vec![
        ("store_id", hex_json(&settings.store_id)),
        ("padding", string(if settings.padding == Padding::None { "none" } else { "padme" })),
        ("generations", format!("[{}]", generations.join(", "))),
        ("document", hex_json(&settings.encode())),
    ]
}

/// A record that does not open.
pub(super) struct Invalid {
    pub(super) name: &'static str,
    pub(super) comment: &'static str,
    pub(super) record_key: [u8; 32],
    pub(super) id: Vec<u8>,
    pub(super) record: Vec<Part>,
    pub(super) error: &'static str,
}

pub(super) enum Part {
    Given(Vec<u8>),
    /// A range of the record with that name.
    Of(&'static str, usize, usize),
}

impl Invalid {
    /// Bytes that are opened as `vector`, but are not its record.
    pub(super) fn new(
        vector: &Vector,
        name: &'static str,
        comment: &'static str,
        record: Vec<Part>,
        error: &'static str,
    ) -> Self {
        Self { name, comment, record_key: vector.record_key, id: vector.id.bytes(), record, error }
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn bytes(&self) -> Vec<u8> {
        let records = records();
        let part = |part: &Part| match part {
            Part::Given(bytes) => bytes.clone(),
            Part::Of(name, from, to) => {
                records.iter().find(|record| record.name == *name).unwrap().seal()[*from..*to].to_vec()
            }
        };
        self.record.iter().map(part).collect::<Vec<_>>().concat()
    }

    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
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

pub(super) fn invalid() -> Vec<Invalid> {
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
        unsupported("flag-1", "the lowest reserved flag", 2, 0x02),
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
        invalid("altered-flag", "marked as padded by another than the writer", altered(2, 1), "WrongKey"),
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

    // Plaintexts that are not padded data: the last 8 bytes give the length of the data, and so that of the padding.
    let base = padded("invalid-padding", "", Bytes::Pattern(0));
    let plaintext = |len: usize, data_len: u64| {
        let mut plaintext = Bytes::Pattern(len).bytes();
        plaintext.truncate(len.saturating_sub(8));
        plaintext.extend(data_len.to_le_bytes());
        vec![Part::Given(base.seal_plaintext(&plaintext))]
    };
    let bare = |len| vec![Part::Given(base.seal_plaintext(&Bytes::Pattern(len).bytes()))];
    for (name, comment, record) in [
        ("padding-without-length", "an empty plaintext", bare(0)),
        ("padding-of-7-bytes", "no room for the length", bare(7)),
        ("padding-shorter-than-its-length", "more data than the plaintext has", plaintext(112, 113)),
        ("padding-too-short", "the data is as long as the plaintext", plaintext(112, 112)),
        ("padding-too-long", "the padding of longer data", plaintext(112, 95)),
        ("padding-of-another-length", "a length that padding never gives", plaintext(113, 100)),
        ("padding-length-at-its-end", "the length and the padding exceed 64 bits", plaintext(112, u64::MAX)),
    ] {
        all.push(Invalid::new(&base, name, comment, record, "Corrupt"));
    }

    // Expired records.
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

/// A text, the kind of key it is parsed as, and the key or the error.
pub(super) struct KeyText {
    pub(super) comment: &'static str,
    pub(super) kind: &'static str,
    pub(super) text: String,
    pub(super) outcome: Result<[u8; 32], &'static str>,
}

pub(super) fn key_texts() -> Vec<KeyText> {
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
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields =
            vec![("comment", string(self.comment)), ("kind", string(self.kind)), ("text", string(&self.text))];
        match &self.outcome {
            Ok(key) => fields.push(("key", hex_json(key))),
            Err(reason) => fields.extend([("error", string("InvalidKey")), ("reason", string(reason))]),
        }
        fields
    }
}
