//! The kinds of secrets, by the beginning of their text: so that one in another's place is refused by name.

pub(crate) const TOKEN: &str = "a token";

/// The kind of secret that `text` is, or is meant to be, such as "an index key".
pub(crate) fn of(text: &str) -> Option<&'static str> {
    const KINDS: [(&str, &str); 4] = [
        ("srk1", "a record key"),
        ("srx1", "an index key"),
        ("srt1", TOKEN),
        ("-----BEGIN", "a certificate or a private key in PEM"),
    ];
    let is = |start: &str| text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start));
    KINDS.into_iter().find_map(|(start, kind)| is(start).then_some(kind))
}

/// For messages: ` but an index key`, or nothing where `found` is not known.
pub(crate) fn but(found: Option<&str>) -> String {
    found.map_or(String::new(), |found| format!(" but {found}"))
}
