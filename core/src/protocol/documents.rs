//! The JSON documents of requests and answers. A client ignores unknown fields of an answer; a service rejects a
//! request with unknown fields.

use serde_json::{Map, Value, json};

use super::base64url::{decode, decode_tag, encode};
use crate::locator::Locator;

/// The outcome of one step of `verify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The number of checked records.
    pub records: u64,
    /// The number of checked bytes.
    pub bytes: u64,
    /// The damage: the record's locator, if it is known, the place and the kind.
    pub damage: Vec<(Option<Locator>, String, String)>,
    /// The position at which the next step begins; `None` if this was the last.
    pub next: Option<String>,
}

/// A page of a list: each record's locator, head and length.
#[must_use]
pub fn page<'h>(entries: impl IntoIterator<Item = (Locator, &'h [u8], u64)>) -> Value {
    let line = |(locator, head, len)| json!({"locator": hex(&locator), "head": encode(head), "bytes": len});
    json!({"records": entries.into_iter().map(line).collect::<Vec<_>>()})
}

/// The entries of a page.
#[must_use]
pub fn read_page<const HEAD_LEN: usize>(page: &Value) -> Option<Vec<(Locator, [u8; HEAD_LEN], u64)>> {
    let entry = |line: &Value| {
        let head = decode_tag(line.get("head")?.as_str()?)?;
        Some((locator(line.get("locator")?)?, head, line.get("bytes")?.as_u64()?))
    };
    page.get("records")?.as_array()?.iter().map(entry).collect()
}

/// A request to move a version of a record to another locator.
#[must_use]
pub fn rename(from: &Locator, head: &[u8], to: &Locator) -> Value {
    json!({"from": hex(from), "head": encode(head), "to": hex(to)})
}

/// The locators and the head in a request of [`rename`].
#[must_use]
pub fn read_rename<const HEAD_LEN: usize>(request: &Value) -> Option<(Locator, [u8; HEAD_LEN], Locator)> {
    let fields = fields(request, &["from", "head", "to"])?;
    let head = decode_tag(fields.get("head")?.as_str()?)?;
    Some((locator(fields.get("from")?)?, head, locator(fields.get("to")?)?))
}

/// A request to replace the settings `expected` with `new`.
#[must_use]
pub fn swap_settings(expected: Option<&[u8]>, new: &[u8]) -> Value {
    json!({"expected": expected.map(encode), "new": encode(new)})
}

/// The expected and the new settings in a request of [`swap_settings`].
#[must_use]
pub fn read_swap_settings(request: &Value) -> Option<(Option<Vec<u8>>, Vec<u8>)> {
    let fields = fields(request, &["expected", "new"])?;
    let expected = optional(fields.get("expected"), |text| decode(text.as_str()?))?;
    Some((expected, decode(fields.get("new")?.as_str()?)?))
}

/// A request to check at most `limit` records from `position` on.
#[must_use]
pub fn verify(position: Option<&str>, limit: usize) -> Value {
    json!({"position": position, "limit": limit})
}

/// The position and the limit in a request of [`verify`].
#[must_use]
pub fn read_verify(request: &Value) -> Option<(Option<String>, usize)> {
    let fields = fields(request, &["position", "limit"])?;
    let limit = fields.get("limit")?.as_u64()?;
    Some((optional(fields.get("position"), text)?, usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// The answer to [`verify`].
#[must_use]
pub fn verification(step: &Verification) -> Value {
    let line = |(locator, place, kind): &(Option<Locator>, String, String)| json!({"locator": locator.as_ref().map(hex), "place": place, "kind": kind});
    json!({
        "records": step.records,
        "bytes": step.bytes,
        "damage": step.damage.iter().map(line).collect::<Vec<_>>(),
        "next": step.next,
    })
}

/// The outcome in the document of [`verification`].
#[must_use]
pub fn read_verification(document: &Value) -> Option<Verification> {
    let [records, bytes] = ["records", "bytes"].map(|name| document.get(name)?.as_u64());
    let line = |line: &Value| {
        let locator = optional(Some(line.get("locator")?), locator)?;
        Some((locator, text(line.get("place")?)?, text(line.get("kind")?)?))
    };
    Some(Verification {
        records: records?,
        bytes: bytes?,
        damage: document.get("damage")?.as_array()?.iter().map(line).collect::<Option<_>>()?,
        next: optional(Some(document.get("next")?), text)?,
    })
}

/// The number of records, their total bytes, the number of expired ones, and the bytes of free space.
#[must_use]
pub fn stats(records: u64, bytes: u64, expired: u64, free: u64) -> Value {
    json!({"records": records, "bytes": bytes, "expired": expired, "free": free})
}

/// The numbers in the document of [`stats`], in the order of its arguments.
#[must_use]
pub fn read_stats(document: &Value) -> Option<[u64; 4]> {
    let number = |name| document.get(name)?.as_u64();
    Some([number("records")?, number("bytes")?, number("expired")?, number("free")?])
}

/// A request to remove at most `limit` records that have expired at `now`.
#[must_use]
pub fn purge(now: Option<u64>, limit: usize) -> Value {
    now.map_or_else(|| json!({"limit": limit}), |now| json!({"now": now, "limit": limit}))
}

/// The time and the limit in a request of [`purge`].
#[must_use]
pub fn read_purge(request: &Value) -> Option<(Option<u64>, usize)> {
    let fields = fields(request, &["now", "limit"])?;
    let limit = fields.get("limit")?.as_u64()?;
    Some((optional(fields.get("now"), Value::as_u64)?, usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// The number of records that a purge removed.
#[must_use]
pub fn purged(count: usize) -> Value {
    json!({"purged": count})
}

/// The number in the document of [`purged`].
#[must_use]
pub fn read_purged(document: &Value) -> Option<usize> {
    usize::try_from(document.get("purged")?.as_u64()?).ok()
}

/// A request to return at most `limit` bytes of free space.
#[must_use]
pub fn compact(limit: u64) -> Value {
    json!({"limit": limit})
}

/// The limit in a request of [`compact`].
#[must_use]
pub fn read_compact(request: &Value) -> Option<u64> {
    fields(request, &["limit"])?.get("limit")?.as_u64()
}

/// The number of bytes that a compaction returned.
#[must_use]
pub fn compacted(bytes: u64) -> Value {
    json!({"compacted": bytes})
}

/// The number in the document of [`compacted`].
#[must_use]
pub fn read_compacted(document: &Value) -> Option<u64> {
    document.get("compacted")?.as_u64()
}

/// Whether `erase` found a record.
#[must_use]
pub fn erased(found: bool) -> Value {
    json!({"erased": found})
}

/// The answer in the document of [`erased`].
#[must_use]
pub fn read_erased(document: &Value) -> Option<bool> {
    document.get("erased")?.as_bool()
}

/// Whether there is a record.
#[must_use]
pub fn contains(found: bool) -> Value {
    json!({"contains": found})
}

/// The answer in the document of [`contains`].
#[must_use]
pub fn read_contains(document: &Value) -> Option<bool> {
    document.get("contains")?.as_bool()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn hex(locator: &Locator) -> String {
    locator.to_hex()
}

fn locator(value: &Value) -> Option<Locator> {
    Locator::from_hex(value.as_str()?)
}

/// The fields of an object, if it has only `known` ones.
fn fields<'v>(document: &'v Value, known: &[&str]) -> Option<&'v Map<String, Value>> {
    document.as_object().filter(|fields| fields.keys().all(|name| known.contains(&name.as_str())))
}

/// A field that may be missing or `null`; the outer `None` if `read` does not accept its value.
fn optional<T>(field: Option<&Value>, read: impl FnOnce(&Value) -> Option<T>) -> Option<Option<T>> {
    match field {
        None | Some(Value::Null) => Some(None),
        Some(value) => read(value).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Locator = Locator::from_bytes([1; 32]);
    const OTHER: Locator = Locator::from_bytes([0xfe; 32]);

    #[test]
    fn documents_come_back() {
        let heads = [[3; 68], [0xff; 68]];
        let entries = vec![(ONE, heads[0], 7), (OTHER, heads[1], u64::MAX)];
        let written = page(entries.iter().map(|(locator, head, len)| (*locator, &head[..], *len)));
        assert_eq!(read_page(&written), Some(entries));
        assert_eq!(read_rename(&rename(&ONE, &heads[0], &OTHER)), Some((ONE, heads[0], OTHER)));
        for expected in [None, Some(b"old".to_vec()), Some(Vec::new())] {
            let request = swap_settings(expected.as_deref(), b"new");
            assert_eq!(read_swap_settings(&request), Some((expected, b"new".to_vec())));
        }
        for (locator, position) in [(None, None), (Some(ONE), Some("row.7".to_owned()))] {
            assert_eq!(read_verify(&verify(position.as_deref(), 9)), Some((position.clone(), 9)));
            let damage = vec![(locator, "row".to_owned(), "checksum".to_owned())];
            let step = Verification { records: 2, bytes: 3, damage, next: position };
            assert_eq!(read_verification(&verification(&step)), Some(step));
        }
        assert_eq!(read_stats(&stats(1, 2, 3, 4)), Some([1, 2, 3, 4]));
        for now in [None, Some(0), Some(u64::MAX)] {
            assert_eq!(read_purge(&purge(now, 9)), Some((now, 9)));
        }
        assert_eq!(read_purged(&purged(7)), Some(7));
        assert_eq!(read_compact(&compact(u64::MAX)), Some(u64::MAX));
        assert_eq!(read_compacted(&compacted(7)), Some(7));
        assert_eq!(read_erased(&erased(true)), Some(true));
        assert_eq!(read_contains(&contains(true)), Some(true));
    }

    #[test]
    fn other_documents_are_refused() {
        let good = [rename(&ONE, &[3; 68], &OTHER), swap_settings(None, b"new"), verify(None, 9)];
        let is_read = |request: &Value| {
            read_rename::<68>(request).is_some()
                || read_swap_settings(request).is_some()
                || read_verify(request).is_some()
        };
        for request in good {
            assert!(is_read(&request), "{request}");
            for (name, wrong) in
                [("from", json!("FE".repeat(32))), ("to", json!("fe")), ("head", json!("AAAA")), ("other", json!(1))]
            {
                let mut changed = request.clone();
                changed[name] = wrong;
                assert!(!is_read(&changed), "{changed}");
            }
            for (name, wrong) in
                [("new", json!("?")), ("expected", json!("=")), ("limit", json!(-1)), ("position", json!(0))]
            {
                let mut changed = request.clone();
                changed[name] = wrong;
                assert!(!is_read(&changed), "{changed}");
            }
        }
        for wrong in [json!({}), json!([]), json!({"records": -1, "bytes": 1, "erased": 1}), json!(1)] {
            assert!(!is_read(&wrong), "{wrong}");
            let answers = (read_page::<68>(&wrong), read_verification(&wrong), read_stats(&wrong), read_erased(&wrong));
            assert_eq!(answers, (None, None, None, None), "{wrong}");
        }
    }
}
