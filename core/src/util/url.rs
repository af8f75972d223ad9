//! Tells URLs from paths.

/// The schemes of services. The last one has no host.
const SERVICES: [&str; 3] = ["https", "http", "unix"];

/// The scheme of a service's URL in lower case, and the text after its colon; `None` for any other text.
pub(crate) fn service_scheme(text: &str) -> Option<(&'static str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let known = SERVICES.into_iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
    Some((known, rest))
}

/// The URLs of services in a text `cluster:URL,URL`.
pub(crate) fn cluster_urls(text: &str) -> Option<&str> {
    let (scheme, urls) = text.split_once(':')?;
    (scheme.eq_ignore_ascii_case("cluster") && service_scheme(urls).is_some()).then_some(urls)
}

/// Whether a text is the URL of a service, or of services.
pub(crate) fn is_service_url(text: &str) -> bool {
    service_scheme(text).is_some() || cluster_urls(text).is_some()
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
    is_service_url(text) || text.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_from_a_path() {
        for url in ["https://a", "HTTP:", "unix:/s", "ftp://a.example", "postgres://", "x-y+z.1://", "cluster:unix:/s"]
        {
            assert!(is_url(url), "{url}");
        }
        for path in
            ["records.db", "./https:x", "/unix:/s", "./ftp://a", "unix", ":memory:", "C:\\x", "://", "1x://", ""]
        {
            assert!(!is_url(path), "{path}");
        }
    }
}
