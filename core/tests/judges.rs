//! Independent programs as judges: the crate `cobblestone`, pyca/cryptography, and Project Wycheproof's test vectors.
//! Each side opens the other's messages, and neither opens altered ones.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{Cursor, Read, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{SIZES, pattern, wait};
use cobblestone::{DecryptReader, EncryptWriter, Key256, RandomAccessDecryptor};
use proptest::prelude::*;
use serde_json::{Value, json};
use strongroom::cobblestone::{
    Error, Opener, RangeOpener, Sealer, open, open_in_place, open_into, open_range, plaintext_len, seal,
};
use strongroom::{InvalidKey, RecordKey, Strongroom};

const CHUNK: usize = 16_384;
const SEALED_CHUNK: usize = 16_400;

// The crate `cobblestone`.

/// 200 sizes: those around every limit, and others up to four chunks and a half.
fn sizes() -> impl Iterator<Item = usize> {
    SIZES.into_iter().chain((0..190).map(|n| n * n * 7919 % 73_728))
}

#[test]
fn messages_open_both_ways() {
    let mut opened = 0;
    for (n, size) in sizes().enumerate() {
        let key = [u8::try_from(n).unwrap(); 32];
        let theirs = Key256::from_bytes(&key);
        let (context, plaintext) = (pattern(n * 3), pattern(size));

        let ours = seal(&key, &context, &plaintext).unwrap();
        assert!(cobblestone::decrypt(&theirs, &context, &ours).unwrap() == plaintext, "{size} bytes, sealed by us");
        let message = cobblestone::encrypt(&theirs, &context, &plaintext).unwrap();
        assert!(open(&key, &context, &message).unwrap() == plaintext, "{size} bytes, sealed by them");
        opened += 1;

        for (message, place) in [(&ours, n * 7919), (&message, n * 7907)] {
            let mut altered = message.clone();
            let place = place % altered.len();
            altered[place] ^= 1;
            assert!(cobblestone::decrypt(&theirs, &context, &altered).is_err(), "byte {place} of {size}");
            assert!(open(&key, &context, &altered).is_err(), "byte {place} of {size}");
            assert!(cobblestone::decrypt(&theirs, b"other", message).is_err());
            assert!(open(&key, b"other", message).is_err());
        }
    }
    assert_eq!(opened, 200);
}

/// `data`, in pieces of these lengths, repeated.
fn pieces<'d>(mut data: &'d [u8], lens: &'d [usize]) -> impl Iterator<Item = &'d [u8]> {
    lens.iter().cycle().map_while(move |len| {
        let (piece, rest) = data.split_at_checked(*len).unwrap_or((data, &[]));
        data = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

fn open_in_pieces(key: &[u8; 32], context: &[u8], message: &[u8], lens: &[usize]) -> Result<Vec<u8>, Error> {
    let (prefix, sealed) = message.split_first_chunk().ok_or(Error::Corrupt)?;
    let mut plaintext = Vec::new();
    let mut opener = Opener::new(key, context, prefix)?;
    for piece in pieces(sealed, lens) {
        opener.update(piece, &mut plaintext)?;
    }
    opener.finish(&mut plaintext)?;
    Ok(plaintext)
}

fn any_size() -> impl Strategy<Value = usize> {
    prop_oneof![proptest::sample::select(&SIZES[..]), 0..80_000_usize]
}

fn any_lens() -> impl Strategy<Value = Vec<usize>> {
    let len = prop_oneof![1..50_usize, CHUNK - 2..CHUNK + 20, 1..60_000_usize];
    proptest::collection::vec(len, 1..6)
}

/// The expected result of `open_range`, by the crate `cobblestone`.
fn read_range(theirs: &mut RandomAccessDecryptor<Cursor<&Vec<u8>>>, range: &Range<u64>) -> Option<Vec<u8>> {
    let end = range.end.min(theirs.plaintext_len());
    let start = range.start.min(end);
    let mut buffer = vec![0; usize::try_from(end - start).unwrap()];
    theirs.read_exact_at(&mut buffer, start).ok()?;
    Some(buffer)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn streams_agree(
        key: [u8; 32],
        context in proptest::collection::vec(any::<u8>(), 0..100),
        size in any_size(),
        (ours_in, theirs_in, ours_out, theirs_out) in (any_lens(), any_lens(), any_lens(), any_lens()),
        damage: proptest::sample::Index,
    ) {
        let (plaintext, their_key) = (pattern(size), Key256::from_bytes(&key));

        let mut ours = Vec::new();
        let mut sealer = Sealer::new(&key, &context, &mut ours).unwrap();
        for piece in pieces(&plaintext, &ours_in) {
            sealer.update(piece, &mut ours).unwrap();
        }
        sealer.finish(&mut ours).unwrap();

        let mut writer = EncryptWriter::new(&their_key, &context, Vec::new());
        for piece in pieces(&plaintext, &theirs_in) {
            writer.write_all(piece).unwrap();
        }
        let theirs = writer.finish().unwrap();
        prop_assert_eq!(ours.len(), theirs.len());

        let read = |message: &[u8]| {
            let mut reader = DecryptReader::new(&their_key, &context, message);
            let mut found = Vec::new();
            for len in theirs_out.iter().cycle() {
                let mut piece = vec![0; *len];
                let count = reader.read(&mut piece)?;
                if count == 0 {
                    break;
                }
                found.extend_from_slice(&piece[..count]);
            }
            Ok::<_, std::io::Error>(found)
        };
        for message in [&ours, &theirs] {
            prop_assert!(read(message).unwrap() == plaintext);
            prop_assert!(open_in_pieces(&key, &context, message, &ours_out).unwrap() == plaintext);

            let mut altered = message.clone();
            altered[damage.index(message.len())] ^= 0x40;
            prop_assert!(read(&altered).is_err());
            prop_assert!(open_in_pieces(&key, &context, &altered, &ours_out).is_err());
            let cut = damage.index(message.len());
            prop_assert!(read(&message[..cut]).is_err());
            prop_assert!(open_in_pieces(&key, &context, &message[..cut], &ours_out).is_err());
        }
    }

    /// On whole, damaged and truncated messages, the same ranges open to the same bytes, and the same fail.
    #[test]
    fn ranges_agree(
        size in any_size(),
        ranges in proptest::collection::vec((0..90_000_u64, 0..40_000_u64), 1..12),
        damage in proptest::option::of(any::<proptest::sample::Index>()),
        cut in proptest::option::weighted(0.2, any::<proptest::sample::Index>()),
    ) {
        let (key, plaintext) = ([9; 32], pattern(size));
        let mut message = seal(&key, b"context", &plaintext).unwrap();
        if let Some(damage) = damage {
            let place = damage.index(message.len());
            message[place] ^= 1;
        }
        if let Some(cut) = cut {
            message.truncate(cut.index(message.len()));
        }
        let mut theirs = RandomAccessDecryptor::new(&Key256::from_bytes(&key), b"context", Cursor::new(&message));
        let prefix = message.first_chunk().ok_or(Error::Corrupt);
        let mut ours = prefix.and_then(|prefix| RangeOpener::new(&key, b"context", prefix, message.len() as u64));
        for (start, len) in ranges {
            let range = start..start + len;
            let found = open_range(&key, b"context", &message, range.clone());
            let again = ours.as_mut().map_err(|_| Error::Corrupt).and_then(|ours| {
                ours.read(range.clone(), |offset, buffer| {
                    let offset = usize::try_from(offset).unwrap();
                    buffer.copy_from_slice(&message[offset..offset + buffer.len()]);
                    Ok::<_, Error>(())
                })
            });
            let expected = theirs.as_mut().ok().and_then(|theirs| read_range(theirs, &range));
            if damage.is_none() && cut.is_none() {
                prop_assert!(expected.is_some());
            }
            prop_assert!(found.ok() == expected, "{range:?} of {size}");
            prop_assert!(again.ok() == expected, "{range:?} of {size}");
        }
    }
}

// The format's document.

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// The only block of code in this language.
fn code_block(document: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    let mut blocks = document.split(&fence).skip(1);
    let block = blocks.next().unwrap().split("```").next().unwrap();
    assert!(blocks.next().is_none());
    block.to_string()
}

#[test]
fn the_document_has_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    Strongroom::open(&path).unwrap().close().unwrap();
    let database = rusqlite::Connection::open(&path).unwrap();
    let mut statement = database.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid").unwrap();
    let schema = statement.query_map((), |row| row.get::<_, String>(0)).unwrap();
    let schema: String = schema.map(|sql| sql.unwrap() + ";").collect();
    let squeeze = |sql: &str| sql.split_whitespace().collect::<String>();
    let document = fs::read_to_string(docs("FORMAT.md")).unwrap();
    assert_eq!(squeeze(&code_block(&document, "sql")), squeeze(&schema));
    for pragma in ["application_id", "user_version"] {
        let value: u32 = database.pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
        let value = if pragma == "application_id" { format!("{value:#x}") } else { value.to_string() };
        assert!(document.contains(&format!("`{pragma}` {value}")), "{pragma} {value}");
    }
}

// Python.

fn judge(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges").join(name)
}

fn run_python(script: &Path, arguments: &[&Path]) -> Output {
    let python = env::var_os("STRONGROOM_PYTHON")
        .unwrap_or_else(|| panic!("set STRONGROOM_PYTHON to a Python that has core/tests/judges/requirements.txt"));
    wait::output(Command::new(python).arg("-B").arg(script).args(arguments))
}

/// Runs the script, which must succeed. Returns its output.
#[track_caller]
fn python(script: &Path, arguments: &[&Path]) -> String {
    let output = run_python(script, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    let digits = |at: usize| u8::from_str_radix(text.get(at..at + 2).unwrap(), 16).unwrap();
    (0..text.len()).step_by(2).map(digits).collect()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
#[ignore = "needs Python with core/tests/judges/requirements.txt: run by make test"]
fn python_agrees_with_every_vector() {
    let vectors = read_json(&docs("vectors.json"));
    let count = |name: &str| vectors[name].as_array().unwrap().len();
    let expected = format!("{} records, {} invalid, {} keys, ", count("records"), count("invalid"), count("keys"));
    let found = python(&judge("vectors.py"), &[&docs("vectors.json")]);
    assert!(found.starts_with(&expected) && found.ends_with(" controls"), "{found}");
}

#[test]
#[ignore = "needs Python with core/tests/judges/requirements.txt: run by make test"]
fn python_and_rust_open_each_others_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.db");
    let store = Strongroom::open(&path).unwrap();
    let mut ours = Vec::new();
    for (n, size) in sizes().enumerate() {
        // Three of them lie in several rows.
        let size = if n % 70 == 69 { n * 20_000 } else { size };
        let id = if n % 2 == 0 { format!("id {n}").into_bytes() } else { pattern(n) };
        let key = store.store(&id, pattern(size)).unwrap();
        ours.push(json!({"id": hex(&id), "key": *key.to_text(), "len": size}));
    }
    fs::write(folder.path().join("ours.json"), Value::Array(ours).to_string()).unwrap();

    let found = python(&judge("exchange.py"), &[folder.path()]);
    assert_eq!(found, "200 opened, 800 refused, 200 written");

    let (mut opened, mut refused) = (0, BTreeMap::new());
    for line in read_json(&folder.path().join("theirs.json")).as_array().unwrap() {
        let (id, len) = (unhex(&line["id"]), usize::try_from(line["len"].as_u64().unwrap()).unwrap());
        let key = RecordKey::from_text(line["key"].as_str().unwrap()).unwrap();
        let outcome = store.retrieve(&id, &key);
        if let Some(expected) = line["error"].as_str() {
            assert_eq!(outcome.unwrap_err().name(), expected);
            *refused.entry(expected.to_string()).or_insert(0) += 1;
        } else {
            assert!(outcome.unwrap() == pattern(len), "{len} bytes");
            let other = RecordKey::generate().unwrap();
            assert_eq!(store.retrieve(&id, &other).unwrap_err().name(), "WrongKey");
            opened += 1;
        }
    }
    assert_eq!(opened, 153);
    assert_eq!(refused.values().sum::<i32>(), 47);
    assert!(refused["Corrupt"] > 0);
    assert_eq!(store.stats().unwrap().records, 400);
}

#[test]
#[ignore = "needs Python with core/tests/judges/requirements.txt: run by make test"]
fn the_python_reader_in_the_document_works() {
    let folder = tempfile::tempdir().unwrap();
    let reader = code_block(&fs::read_to_string(docs("FORMAT.md")).unwrap(), "python");
    let script = folder.path().join("reader.py");
    fs::write(&script, &reader).unwrap();
    assert_eq!(python(&script, &[]), "scanned pages");

    // With an altered record, the script fails.
    let altered = folder.path().join("altered.py");
    fs::write(&altered, reader.replace("0101000000000000", "0101000000000001")).unwrap();
    assert!(!run_python(&altered, &[]).status.success());

    // On a database, with a record in one row and one in three; and on each text of a key.
    let path = folder.path().join("records.db");
    let store = Strongroom::open(&path).unwrap();
    let small = store.store("small", pattern(40_000)).unwrap();
    let large = store.store("large", pattern(3_000_000)).unwrap();
    let mut program = String::from("import json\nfrom reader import *\n");
    writeln!(program, "database = sqlite3.connect({path:?}, isolation_level=None)").unwrap();
    writeln!(
        program,
        "index_key = key_from_text(open({:?}).read().strip(), 'srx')",
        format!("{}.index-key", path.display())
    )
    .unwrap();
    for (id, key, len) in [("small", &small, 40_000), ("large", &large, 3_000_000)] {
        writeln!(program, "record = read_record(database, index_key, b'{id}')").unwrap();
        writeln!(program, "data = open_record(record, key_from_text('{}', 'srk'), b'{id}')", *key.to_text()).unwrap();
        writeln!(program, "assert data == bytes(i % 251 for i in range({len}))").unwrap();
    }
    writeln!(program, "vectors = json.load(open({:?}))['keys']", docs("vectors.json")).unwrap();
    program.push_str(concat!(
        "for vector in vectors:\n",
        "    try:\n",
        "        found = key_from_text(vector['text'], vector['kind']).hex()\n",
        "    except ValueError:\n",
        "        found = None\n",
        "    assert found == vector.get('key'), vector['comment']\n",
        "print(len(vectors), 'keys')\n",
    ));
    let script = folder.path().join("program.py");
    fs::write(&script, program).unwrap();
    let keys = read_json(&docs("vectors.json"))["keys"].as_array().unwrap().len();
    assert_eq!(python(&script, &[]), format!("scanned pages\n{keys} keys"));
}

// Project Wycheproof's vectors, from the crate `cobblestone`.

fn wycheproof_file() -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = wait::output(Command::new(cargo).args(["metadata", "--format-version", "1"]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut packages = metadata["packages"].as_array().unwrap().iter();
    let package = packages.find(|package| package["name"] == "cobblestone").unwrap();
    let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
    folder.join("tests/testdata/c2sp_chunked_encryption_aes_256_gcm_test.json")
}

#[test]
#[ignore = "needs Python with core/tests/judges/requirements.txt: run by make test"]
fn wycheproof_vectors_pass() {
    const MARK: u8 = 0xaa;

    let folder = tempfile::tempdir().unwrap();
    assert_eq!(python(&judge("wycheproof.py"), &[&wycheproof_file(), folder.path()]), "35 vectors");
    let (mut opened, mut refused) = (0, 0);
    for vector in read_json(&folder.path().join("vectors.json")).as_array().unwrap() {
        let read = |what: &str| fs::read(folder.path().join(format!("{}.{what}", vector["tcId"]))).unwrap();
        let (message, plaintext, context) = (read("message"), read("plaintext"), unhex(&vector["ctx"]));
        let opens = vector["opens"].as_bool().unwrap();
        let comment = vector["comment"].as_str().unwrap();
        let has = |flag: &str| vector["flags"].as_array().unwrap().iter().any(|found| found == flag);
        let Ok(key) = <[u8; 32]>::try_from(unhex(&vector["key"])) else {
            assert!(has("InvalidKeySize"), "{comment}");
            assert_eq!(RecordKey::from_bytes(&unhex(&vector["key"])).unwrap_err(), InvalidKey::Length);
            refused += 1;
            continue;
        };
        // The commitment detects a wrong key or context; any other alteration is `Corrupt`.
        let wrong_key = has("HeaderFailure") && !has("Truncation");
        let check_error = |error: Error| match error {
            Error::WrongKey => assert!(wrong_key, "{comment}"),
            Error::Corrupt => assert!(!wrong_key, "{comment}"),
            other => panic!("{comment}: {other}"),
        };
        let is_wiped = |buffer: &[u8]| buffer.iter().all(|byte| *byte == 0);

        let mut buffer =
            vec![MARK; plaintext_len(message.len() as u64).map_or(100, |len| usize::try_from(len).unwrap())];
        let mut in_place = message.clone();
        if opens {
            assert!(open(&key, &context, &message).unwrap() == plaintext, "{comment}");
            open_into(&key, &context, &message, &mut buffer).unwrap();
            assert!(buffer == plaintext, "{comment}");
            assert!(open_in_place(&key, &context, &mut in_place).unwrap() == plaintext.as_slice(), "{comment}");
            assert!(open_range(&key, &context, &message, 0..u64::MAX).unwrap() == plaintext, "{comment}");
            opened += 1;
        } else {
            check_error(open(&key, &context, &message).unwrap_err());
            check_error(open_into(&key, &context, &message, &mut buffer).unwrap_err());
            assert!(is_wiped(&buffer) || buffer.iter().all(|byte| *byte == MARK), "{comment}");
            check_error(open_in_place(&key, &context, &mut in_place).unwrap_err());
            assert!(is_wiped(&in_place) || in_place == message, "{comment}");
            refused += 1;
        }

        // The final chunk alone proves the length. A range is authentic or an error, as for the crate `cobblestone`.
        assert_eq!(open_range(&key, &context, &message, 0..0).is_ok(), opens || has("ValidFinalChunk"), "{comment}");
        let mut theirs = RandomAccessDecryptor::new(&Key256::from_bytes(&key), &context, Cursor::new(&message)).ok();
        for start in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, plaintext.len()] {
            for len in [0, 1, 2, CHUNK, CHUNK + 1, 1 << 40] {
                let range = start as u64..(start + len) as u64;
                let expected = theirs.as_mut().and_then(|theirs| read_range(theirs, &range));
                assert!(open_range(&key, &context, &message, range).map_err(check_error).ok() == expected, "{comment}");
                if opens {
                    let (from, to) = (start.min(plaintext.len()), plaintext.len().min(start + len));
                    assert!(expected.unwrap() == plaintext[from..to], "{comment}");
                }
            }
        }

        // A stream releases exactly the authentic chunks, and then always fails.
        let Some((prefix, sealed)) = message.split_first_chunk() else {
            assert!(has("HeaderFailure") && has("Truncation"), "{comment}");
            continue;
        };
        for piece_len in [1, 17, CHUNK, SEALED_CHUNK - 1, SEALED_CHUNK, SEALED_CHUNK + 1, 100_000, usize::MAX] {
            let mut found = Vec::new();
            let mut opener = match Opener::new(&key, &context, prefix) {
                Ok(opener) => opener,
                Err(error) => {
                    assert!(wrong_key, "{comment}");
                    check_error(error);
                    break;
                }
            };
            let mut failed = false;
            for piece in sealed.chunks(piece_len) {
                let outcome = opener.update(piece, &mut found);
                assert!(outcome.is_err() || !failed, "{comment}: a failed stream goes on");
                failed |= outcome.map_err(check_error).is_err();
            }
            if failed {
                for _ in 0..3 {
                    check_error(opener.update(&[], &mut found).unwrap_err());
                    check_error(opener.update(sealed, &mut found).unwrap_err());
                }
            }
            let outcome = opener.finish(&mut found).map_err(check_error);
            assert_eq!(outcome.is_ok(), opens, "{comment}");
            assert!(found == plaintext, "{comment}: {} bytes in pieces of {piece_len}", found.len());
        }
    }
    assert_eq!((opened, refused), (10, 25));
}
