//! The manifest of a tree: a JSON document, which `docs/FORMAT.md` describes. Reading one refuses every path that could
//! lead out of the folder.

use std::collections::BTreeMap;
use std::io::Read;

use serde::{Deserialize, Serialize};
use strongroom::protocol::base64url;
use strongroom::{Error, RecordKey, RecordReader};
use zeroize::Zeroize;

use crate::failure::Failure;

const VERSION: u32 = 1;

/// The limits of a manifest.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// The maximum number of files, folders and links.
    pub(super) entries: usize,
    /// The maximum length of the document.
    pub(super) len: u64,
}

impl Limits {
    /// Those of the format.
    pub(super) const FORMAT: Self = Self { entries: 1_000_000, len: 256 << 20 };

    /// Refuses a tree whose manifest can exceed the limits, once its files are stored.
    pub(super) fn check<'e>(self, entries: impl Iterator<Item = (&'e Vec<u8>, &'e Entry)>) -> Result<(), Failure> {
        let (mut count, mut len) = (0, to_json(&Document { version: VERSION, entries: Vec::new() })?.len() as u64);
        for (path, entry) in entries {
            let mut entry = DocumentEntry::new(path, entry);
            // The run adds the key, and perhaps that the file is recent.
            if entry.size.is_some() {
                (entry.recent, entry.key) = (true, Some(base64url::encode(&[0; 8])));
            }
            count += 1;
            len += to_json(&entry)?.len() as u64 + 1; // and a comma
            if count > self.entries || len > self.len {
                return Err(too_many());
            }
        }
        Ok(())
    }
}

pub(super) fn too_many() -> Failure {
    Failure::argument(TOO_MANY)
}

const TOO_MANY: &str = "the tree has too many files: store its folders under prefixes of their own";

/// The maximum length of a path, and of a link's target.
const MAX_PATH_LEN: usize = 4096;

/// The permissions of a mode, with the sticky bit, without which each user could remove the others' files from a shared
/// folder. Others, such as set-user-id, are not kept.
pub(super) const PERMISSIONS: u32 = 0o1777;

/// The files, folders and links of a tree by their paths. Each one's folder is in it, too.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) entries: BTreeMap<Vec<u8>, Entry>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) modified: Modified,
    /// Tells which key the record of a stored file is under.
    pub(super) key: Option<KeyCheck>,
}

impl Entry {
    /// The length of a file; 0 for other kinds.
    pub(super) fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        }
    }

    /// Whether the record of the file under this key is the one of the manifest, and not a later one.
    pub(super) fn is_under(&self, key: &RecordKey) -> bool {
        self.key.is_none_or(|check| check == KeyCheck::of(key))
    }
}

/// It tells one of an id's keys from the others, and says nothing else about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyCheck([u8; 8]);

impl KeyCheck {
    const CONTEXT: &str = "strongroom 2026-11-28 v1 tree key check";

    /// The first bytes of `blake3::derive_key(CONTEXT, key)`; wipes the key from the hasher.
    pub(super) fn of(key: &RecordKey) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(Self::CONTEXT);
        hasher.update(key.expose_bytes());
        let mut check = [0; 8];
        check.iter_mut().zip(hasher.finalize().as_bytes()).for_each(|(to, from)| *to = *from);
        hasher.zeroize();
        Self(check)
    }
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// `is_recent`: it was modified so shortly before it was read that a later change may have the same time.
    File {
        size: u64,
        is_recent: bool,
    },
    Folder,
    Link {
        target: Vec<u8>,
    },
}

/// A time of modification: seconds since 1970, and nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Modified(pub(super) i64, pub(super) u32);

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    entries: Vec<DocumentEntry>,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// A file has a size, a link has a target, a folder neither.
#[derive(Serialize, Deserialize)]
struct DocumentEntry {
    path: Text,
    mode: u32,
    modified: Modified,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "is_false")]
    recent: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Text>,
}

/// The bytes of a path: text if they are UTF-8.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes { base64url: String },
}

impl Manifest {
    /// # Errors
    ///
    /// Those of the record; `Corrupt` if it is not a manifest; `Unsupported` for a later version.
    pub(super) fn read(record: &mut RecordReader) -> Result<Self, Failure> {
        if record.len()? > Limits::FORMAT.len {
            return Err(Error::TooLarge.into());
        }
        let mut document = Vec::new();
        record.read_to_end(&mut document).map_err(Failure::stream("cannot read the manifest"))?;
        Ok(Self::parse(&document)?)
    }

    fn parse(document: &[u8]) -> Result<Self, Error> {
        let version: Version = serde_json::from_slice(document).map_err(|_| Error::Corrupt)?;
        if version.version != VERSION {
            return Err(Error::Unsupported("the tree has a newer format: use a newer Strongroom".into()));
        }
        let document: Document = serde_json::from_slice(document).map_err(|_| Error::Corrupt)?;
        if document.entries.len() > Limits::FORMAT.entries {
            return Err(Error::TooLarge);
        }
        let mut manifest = Self::default();
        for entry in document.entries {
            let (path, entry) = entry.parse().ok_or(Error::Corrupt)?;
            if manifest.entries.insert(path, entry).is_some() {
                return Err(Error::Corrupt);
            }
        }
        if manifest.entries.keys().all(|path| manifest.has_folder_of(path)) {
            Ok(manifest)
        } else {
            Err(Error::Corrupt)
        }
    }

    /// The document; `None` if it exceeds the limits.
    pub(super) fn to_document(&self, limits: Limits) -> Result<Option<Vec<u8>>, Error> {
        if self.entries.len() > limits.entries {
            return Ok(None);
        }
        let entries = self.entries.iter().map(|(path, entry)| DocumentEntry::new(path, entry)).collect();
        let document = to_json(&Document { version: VERSION, entries })?;
        Ok(Some(document).filter(|document| document.len() as u64 <= limits.len))
    }

    /// Removes what is in a folder that is no longer one.
    pub(super) fn remove_orphans(&mut self) {
        // A folder's path is before the paths in it.
        let mut kept = Self::default();
        for (path, entry) in std::mem::take(&mut self.entries) {
            if kept.has_folder_of(&path) {
                kept.entries.insert(path, entry);
            }
        }
        *self = kept;
    }

    /// Whether the path is one of the tree, or was one before a folder of it became a file or a link.
    pub(super) fn covers(&self, path: &[u8]) -> bool {
        self.entries.contains_key(path) || has_lost_folder_of(&self.entries, path)
    }

    fn has_folder_of(&self, path: &[u8]) -> bool {
        let (folder, _) = split(path);
        folder.is_empty() || matches!(self.entries.get(folder), Some(Entry { kind: Kind::Folder, .. }))
    }
}

impl DocumentEntry {
    fn new(path: &[u8], entry: &Entry) -> Self {
        let (size, recent, target) = match &entry.kind {
            Kind::File { size, is_recent } => (Some(*size), *is_recent, None),
            Kind::Folder => (None, false, None),
            Kind::Link { target } => (None, false, Some(Text::new(target))),
        };
        let key = entry.key.map(|KeyCheck(check)| base64url::encode(&check));
        Self { path: Text::new(path), mode: entry.mode, modified: entry.modified, size, recent, key, target }
    }

    /// `None` if it is invalid.
    fn parse(self) -> Option<(Vec<u8>, Entry)> {
        let path = self.path.into_bytes().filter(|path| is_path(path))?;
        let kind = match (self.size, self.target) {
            (Some(size), None) => Kind::File { size, is_recent: self.recent },
            (None, None) => Kind::Folder,
            (None, Some(target)) => {
                let is_target =
                    |target: &Vec<u8>| !target.is_empty() && target.len() <= MAX_PATH_LEN && !target.contains(&0);
                Kind::Link { target: target.into_bytes().filter(is_target)? }
            }
            (Some(_), Some(_)) => return None,
        };
        let is_valid = self.mode & !PERMISSIONS == 0 && self.modified.1 < 1_000_000_000;
        let key = match (&kind, self.key) {
            (Kind::File { .. }, Some(check)) => Some(KeyCheck(base64url::decode(&check)?.try_into().ok()?)),
            _ => None,
        };
        is_valid.then_some((path, Entry { kind, mode: self.mode, modified: self.modified, key }))
    }
}

impl Text {
    fn new(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text.into()),
            Err(_) => Self::Bytes { base64url: base64url::encode(bytes) },
        }
    }

    fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Utf8(text) => Some(text.into_bytes()),
            Self::Bytes { base64url } => base64url::decode(&base64url),
        }
    }
}

/// Whether the path leads to a place in the folder.
fn is_path(path: &[u8]) -> bool {
    let is_name = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && !name.contains(&0);
    path.len() <= MAX_PATH_LEN && path.split(|byte| *byte == b'/').all(is_name)
}

/// The folder of a path, empty for the tree's own, and the name in it.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/').and_then(|slash| path.split_at_checked(slash)) {
        Some((folder, name)) => (folder, name.get(1..).unwrap_or_default()),
        None => (&[], path),
    }
}

/// Whether the entries have a file or a link in place of a folder of the path.
pub(super) fn has_lost_folder_of(entries: &BTreeMap<Vec<u8>, Entry>, path: &[u8]) -> bool {
    let (mut folder, _) = split(path);
    while !folder.is_empty() {
        if entries.get(folder).is_some_and(|entry| entry.kind != Kind::Folder) {
            return true;
        }
        (folder, _) = split(folder);
    }
    false
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| Error::Internal(error.into()))
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(entries: &[&str]) -> String {
        format!(r#"{{"version":1,"entries":[{}]}}"#, entries.join(","))
    }

    fn entry(path: &str, rest: &str) -> String {
        format!(r#"{{"path":{path},"mode":420,"modified":[1700000000,5]{rest}}}"#)
    }

    fn parse(entries: &[&str]) -> Result<Manifest, Error> {
        Manifest::parse(document(entries).as_bytes())
    }

    /// The example of `docs/FORMAT.md`.
    #[test]
    fn the_document_is_that_of_the_format() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/FORMAT.md")).unwrap();
        let (_, example) = page.split_once("```json\n{\"version\":1,").expect("the example");
        let (example, _) = example.split_once("```").unwrap();
        let example = format!("{{\"version\":1,{example}").replace('\n', "");
        let manifest = Manifest::parse(example.as_bytes()).unwrap_or_else(|error| panic!("{error}: {example}"));
        let document = manifest.to_document(Limits::FORMAT).unwrap().unwrap();
        assert_eq!(str::from_utf8(&document).unwrap(), example);
        let kinds: Vec<_> = manifest.entries.values().map(|entry| &entry.kind).collect();
        assert!(matches!(kinds[..], [Kind::Link { .. }, Kind::Folder, Kind::File { .. }, Kind::File { .. }]));
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let mut manifest = Manifest::default();
        let modified = Modified(-5, 999_999_999);
        let mut insert = |path: &[u8], kind| {
            let key = matches!(kind, Kind::File { .. }).then_some(KeyCheck([7; 8]));
            manifest.entries.insert(path.into(), Entry { kind, mode: 0o640, modified, key });
        };
        insert(b"folder", Kind::Folder);
        insert(b"folder/\xff\n", Kind::File { size: u64::MAX, is_recent: true });
        insert(b"link", Kind::Link { target: b"../\xfe".into() });
        let document = manifest.to_document(Limits::FORMAT).unwrap().unwrap();
        assert!(Manifest::parse(&document).unwrap() == manifest);
    }

    #[test]
    fn paths_that_lead_out_of_the_folder_are_refused() {
        let file = r#","size":1"#;
        for path in ["/etc/passwd", "", ".", "..", "../x", "a/../x", "a//x", "a/", "a/.", "a\\u0000"] {
            let folder = entry(r#""a""#, "");
            let refused = parse(&[&folder, &entry(&format!("\"{path}\""), file)]);
            assert_eq!(refused.map(|_| ()).unwrap_err().name(), "Corrupt", "{path}");
        }
        assert_eq!(parse(&[&entry(r#""..a/...""#, file), &entry(r#""..a""#, "")]).unwrap().entries.len(), 2);
        let escape = format!(r#"{{"base64url":"{}"}}"#, base64url::encode(b"../x"));
        assert!(parse(&[&entry(&escape, file)]).is_err());
        let long = format!("\"{}\"", "x".repeat(MAX_PATH_LEN + 1));
        assert!(parse(&[&entry(&long, file)]).is_err());
    }

    #[test]
    fn duplicates_and_files_in_files_and_links_are_refused() {
        let (file, link) = (r#","size":1"#, r#","target":"/etc""#);
        let in_a = entry(r#""a/b""#, file);
        assert!(parse(&[&entry(r#""a""#, ""), &in_a]).is_ok());
        assert!(parse(&[&in_a, &entry(r#""a""#, "")]).is_ok());
        assert!(parse(&[&in_a]).is_err());
        assert!(parse(&[&entry(r#""a""#, file), &in_a]).is_err());
        assert!(parse(&[&entry(r#""a""#, link), &in_a]).is_err());
        assert!(parse(&[&entry(r#""a""#, file), &entry(r#""a""#, "")]).is_err());
        assert!(parse(&[&entry(r#""a""#, file), &entry(r#"{"base64url":"YQ"}"#, file)]).is_err());
    }

    #[test]
    fn other_entries_are_refused() {
        for wrong in [
            entry(r#""a""#, r#","size":1,"target":"b""#),
            entry(r#""a""#, r#","target":"""#),
            entry(r#""a""#, r#","target":"b\u0000""#),
            entry(r#""a""#, r#","size":-1"#),
            entry(r#""a""#, r#","size":1,"key":"AQIDBAUGBw""#),
            entry(r#""a""#, r#","size":1,"key":"not base64""#),
            r#"{"path":"a","mode":2541,"modified":[0,0],"size":1}"#.into(),
            r#"{"path":"a","mode":420,"modified":[0,1000000000],"size":1}"#.into(),
            r#"{"path":"a","mode":420,"size":1}"#.into(),
        ] {
            assert!(parse(&[&wrong]).is_err(), "{wrong}");
        }
        let unsupported = Manifest::parse(br#"{"version":2,"trees":[]}"#).map(|_| ()).unwrap_err();
        assert_eq!(unsupported.name(), "Unsupported");
        for wrong in ["", "[]", "{}", r#"{"version":1}"#, r#"{"version":1,"entries":[]}x"#] {
            assert_eq!(Manifest::parse(wrong.as_bytes()).map(|_| ()).unwrap_err().name(), "Corrupt", "{wrong}");
        }
    }

    #[test]
    fn a_key_check_is_the_start_of_the_hash() {
        let key = RecordKey::from_bytes(&[7; 32]).unwrap();
        let check = KeyCheck::of(&key);
        assert_eq!(base64url::encode(&check.0), "RJs9eZ8LKo8"); // by the Python package `blake3`
        let manifest = parse(&[&entry(r#""a""#, r#","size":1,"key":"RJs9eZ8LKo8""#), &entry(r#""b""#, r#","size":1"#)]);
        let entries = manifest.unwrap().entries;
        let other = RecordKey::from_bytes(&[8; 32]).unwrap();
        let is_under = |path: &[u8]| (entries[path].is_under(&key), entries[path].is_under(&other));
        assert_eq!((is_under(b"a"), is_under(b"b")), ((true, false), (true, true)));
    }

    /// The check before a run is never milder than the one after it, when files have their keys.
    #[test]
    fn a_manifest_beyond_the_limits_is_refused() {
        let files = |rest: &str| {
            let path = |n: u32| entry(&format!(r#""file\u0001\"{n}""#), &format!(r#","size":7{rest}"#));
            let folder = entry(r#"{"base64url":"_w"}"#, "");
            let entries: Vec<_> = (0..20).map(path).chain([folder]).collect();
            parse(&entries.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
        };
        let (found, stored) = (files(""), files(r#","recent":true,"key":"RJs9eZ8LKo8""#));
        let len = stored.to_document(Limits::FORMAT).unwrap().unwrap().len() as u64;
        for (entries, len, fits) in [(21, len + 1, true), (20, len + 1, false), (21, len - 1, false)] {
            let limits = Limits { entries, len };
            assert_eq!(stored.to_document(limits).unwrap().is_some(), fits, "{entries} {len}");
            for manifest in [&found, &stored] {
                let checked = limits.check(manifest.entries.iter());
                assert_eq!(checked.is_ok(), fits, "{entries} {len}");
                assert!(fits || checked.unwrap_err().message().contains("too many files"));
            }
        }
    }

    #[test]
    fn what_is_in_a_former_folder_is_removed() {
        let mut manifest = parse(&[
            &entry(r#""a""#, ""),
            &entry(r#""a/b""#, ""),
            &entry(r#""a/b/c""#, r#","size":1"#),
            &entry(r#""a-""#, r#","size":1"#),
        ])
        .unwrap();
        let file = manifest.entries[&b"a-"[..]].clone();
        manifest.entries.insert(b"a".to_vec(), file);
        manifest.remove_orphans();
        assert_eq!(manifest.entries.keys().collect::<Vec<_>>(), [&b"a"[..], b"a-"]);
    }
}
