//! Conditions on entity tags: `If-Match`, `If-None-Match` and `If-Range` (RFC 9110 section 13).

use hyper::header::HeaderValue;
use strongroom::protocol::base64url::decode_tag;
use strongroom::storage::{HEAD_LEN, Head};

use crate::problem::Problem;

/// The entity tags of an `If-Match` or `If-None-Match` (RFC 9110 section 13.1).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`: any record.
    Any,
    /// The tags that can belong to a record; other tags match nothing.
    Heads(Vec<Head>),
}

impl Tags {
    /// The tags of all headers with one name; `None` without such a header. Weak tags count only if `weak` is true.
    pub(crate) fn of<'h>(
        values: impl IntoIterator<Item = &'h HeaderValue>,
        weak: bool,
    ) -> Result<Option<Self>, Problem> {
        let invalid = || Problem::bad_request("expected a list of ETags in double quotes, or *");
        let mut tags = None;
        for value in values {
            let mut rest = value.to_str().map_err(|_| invalid())?.trim();
            match (&mut tags, rest) {
                (None, "*") => tags = Some(Self::Any),
                (Some(_), "*") | (Some(Self::Any), _) => return Err(invalid()),
                (None | Some(Self::Heads(_)), _) => {
                    let Self::Heads(heads) = tags.get_or_insert(Self::Heads(Vec::new())) else { return Err(invalid()) };
                    while !rest.is_empty() {
                        let (is_weak, tag) = rest.strip_prefix("W/").map_or((false, rest), |tag| (true, tag));
                        let (opaque, after) =
                            tag.strip_prefix('"').and_then(|tag| tag.split_once('"')).ok_or_else(invalid)?;
                        let head = decode_tag::<HEAD_LEN>(opaque).and_then(|head| Head::of(&head));
                        heads.extend(head.filter(|_| weak || !is_weak));
                        let after = after.trim_start();
                        rest = match after.strip_prefix(',') {
                            Some(after) => after.trim_start_matches([',', ' ', '\t']),
                            None if after.is_empty() => after,
                            None => return Err(invalid()),
                        };
                    }
                }
            }
        }
        Ok(tags)
    }

    /// Whether a tag matches the head of the stored record; `None` (no record) matches no tag.
    pub(crate) fn matches(&self, there: Option<&Head>) -> bool {
        match self {
            Self::Any => there.is_some(),
            Self::Heads(heads) => there.is_some_and(|there| heads.contains(there)),
        }
    }
}

/// Whether an `If-Range` is the record's own tag. A date never applies, because records have no dates.
pub(crate) fn range_applies(if_range: Option<&HeaderValue>, etag: Option<&str>) -> bool {
    if_range.is_none_or(|value| etag.is_some_and(|etag| value.as_bytes().trim_ascii() == etag.as_bytes()))
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use strongroom::protocol::base64url::encode_etag;

    use super::*;

    #[test]
    fn tags() {
        let heads = [1, 2, 3].map(|byte| Head::of(&[byte; 68]).unwrap());
        let [one, two, three] = heads.map(|head| encode_etag(head.as_bytes()));
        let tags = |texts: &[&str], weak| {
            let values: Vec<_> = texts.iter().map(|text| HeaderValue::from_str(text).unwrap()).collect();
            Tags::of(&values, weak).map_err(|problem| problem.status)
        };
        let some = |heads: &[Head]| Ok(Some(Tags::Heads(heads.to_vec())));
        assert_eq!(tags(&[], false), Ok(None));
        assert_eq!(tags(&["*"], false), Ok(Some(Tags::Any)));
        assert_eq!(tags(&[&one], false), some(&heads[..1]));
        assert_eq!(tags(&[&format!("{one} ,, {two}"), &three], false), some(&heads));
        assert_eq!(tags(&[&format!("W/{one}, {two}")], false), some(&heads[1..2]));
        assert_eq!(tags(&[&format!("W/{one}, {two}")], true), some(&heads[..2]));
        assert_eq!(tags(&["\"another's\", \"\""], false), some(&[]));
        for wrong in ["x", "\"x", "\"a\" \"b\"", "*, *", "w/\"x\""] {
            assert_eq!(tags(&[wrong], false), Err(StatusCode::BAD_REQUEST), "{wrong}");
        }
        assert_eq!(tags(&["*", "*"], false), Err(StatusCode::BAD_REQUEST));
        assert_eq!(tags(&["*", &one], false), Err(StatusCode::BAD_REQUEST));
        assert!(Tags::Any.matches(Some(&heads[0])) && !Tags::Any.matches(None));
    }

    #[test]
    fn if_range_is_the_records_tag_or_the_range_is_ignored() {
        let value = HeaderValue::from_static("\"a\"");
        assert!(range_applies(None, None) && range_applies(Some(&value), Some("\"a\"")));
        for other in ["\"b\"", "W/\"a\"", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert!(!range_applies(Some(&HeaderValue::from_static(other)), Some("\"a\"")), "{other}");
        }
        assert!(!range_applies(Some(&value), None));
    }
}
