//! Texts that are URLs, not paths.

/// The schemes of services. The last one has no host.
const SERVICES: [&str; 3] = ["https", "http", "unix"];

/// The scheme of a service's URL in lower case, and the text after its colon; `None` for any other text.
pub(crate) fn service_scheme(text: &str) -> Option<(&'static str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let known = SERVICES.into_iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
    Some((known, rest))
}

/// The schemes of buckets in object stores.
const BUCKETS: [&str; 3] = ["s3", "gs", "az"];

/// Whether a text is the URL of a bucket.
pub(crate) fn is_bucket_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| BUCKETS.iter().any(|known| scheme.eq_ignore_ascii_case(known)))
}

/// Whether a text appears to be a URL: that of a service, or any other with `://`.
pub(crate) fn is_url(text: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    service_scheme(text).is_some() || text.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_from_a_path() {
        for url in ["https://a", "HTTP:", "unix:/s", "ftp://a.example", "postgres://", "x-y+z.1://"] {
            assert!(is_url(url), "{url}");
        }
        for path in
            ["records.db", "./https:x", "/unix:/s", "./ftp://a", "unix", ":memory:", "C:\\x", "://", "1x://", ""]
        {
            assert!(!is_url(path), "{path}");
        }
    }
}
