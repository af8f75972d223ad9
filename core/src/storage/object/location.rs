//! The URL of a bucket, and its options.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use zeroize::Zeroizing;

use super::super::Error;
use crate::endpoint_options::EndpointOptions;

/// The default time limit of a call.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The shortest and the longest time limit.
const TIMEOUTS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(24 * 60 * 60)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    S3,
    Google,
    Azure,
}

impl Provider {
    const ALL: [(&'static str, Self); 3] = [("s3", Self::S3), ("gs", Self::Google), ("az", Self::Azure)];
}

/// A folder in a bucket of an object store, by its URL:
///
/// - `s3://BUCKET/PREFIX`: Amazon S3, or a compatible server with `?endpoint=https://HOST`.
/// - `gs://BUCKET/PREFIX`: Google Cloud Storage.
/// - `az://CONTAINER/PREFIX`: Azure Blob Storage, in the account `AZURE_STORAGE_ACCOUNT_NAME`.
///
/// The prefix may be empty. Options follow as a query: `endpoint=URL` (plain HTTP only to a loopback address),
/// `region=NAME` (S3), `account=NAME` (Azure), and `credentials=instance`, to get credentials from the machine's role.
/// The URL never has a secret: credentials come from the environment and from files, as `docs/OBJECT_STORES.md`
/// lists them.
///
/// ```
/// use strongroom::storage::BucketUrl;
///
/// let url: BucketUrl = "s3://records/production?endpoint=https://s3.example".parse()?;
/// assert_eq!(url.to_string(), "s3://records/production?endpoint=https://s3.example");
/// # Ok::<(), strongroom::storage::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct BucketUrl {
    pub(super) provider: Provider,
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) endpoint: Option<String>,
    pub(super) region: Option<String>,
    pub(super) account: Option<String>,
    /// Whether the machine's metadata service may be asked for credentials.
    pub(super) of_instance: bool,
    pub(super) access_key: Option<AccessKey>,
    pub(super) authorities: Option<PathBuf>,
    pub(super) timeout: Duration,
}

/// The name of a key (none for Azure), and its secret.
pub(super) type AccessKey = (String, Zeroizing<String>);

impl BucketUrl {
    /// Uses this key instead of credentials from the environment and from files: an access key id and its secret for
    /// S3, an account name and its key for Azure. Google has no such keys.
    #[must_use]
    pub fn access_key(self, name: impl Into<String>, secret: impl Into<Zeroizing<String>>) -> Self {
        Self { access_key: Some((name.into(), secret.into())), ..self }
    }

    /// Sets the authorities to trust, and the time limit of a call.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for options of other services, and for a time limit that is too short or too long.
    pub fn with_options(self, options: EndpointOptions) -> Result<Self, Error> {
        let EndpointOptions { token, token_file, authorities, client_certificate, client_key, revocations, timeout } =
            options;
        let others = [token_file, client_certificate, client_key, revocations];
        if token.is_some() || others.iter().any(Option::is_some) {
            return Err(invalid(
                "an object store takes credentials from the environment and from files, not a token or a certificate",
            ));
        }
        let timeout = timeout.unwrap_or(self.timeout);
        let [shortest, longest] = TIMEOUTS;
        if timeout < shortest || timeout > longest {
            return Err(invalid("the timeout of an object store must be from 0.1 seconds to a day"));
        }
        Ok(Self { authorities: authorities.or(self.authorities), timeout, ..self })
    }
}

fn provider(scheme: &str) -> Option<Provider> {
    Provider::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(scheme)).map(|(_, provider)| *provider)
}

fn invalid(text: &'static str) -> Error {
    Error::InvalidArgument(text.into())
}

impl FromStr for BucketUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("the URL of a bucket begins with s3://"))?;
        let provider =
            provider(scheme).ok_or_else(|| invalid("the URL of a bucket begins with s3://, gs:// or az://"))?;
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        if path.contains(['@', '#']) || bucket.contains(':') {
            return Err(invalid(
                "the URL of a bucket has no user, password or port: set credentials in the environment",
            ));
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if bucket.is_empty() || !bucket.bytes().all(is_name) {
            return Err(invalid("the URL of a bucket is s3://BUCKET/PREFIX"));
        }
        if bucket.ends_with("--x-s3") {
            return Err(Error::Unsupported(
                "directory buckets do not list in order: use a general purpose bucket".into(),
            ));
        }
        let prefix = prefix.trim_end_matches('/');
        let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(is_name);
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(invalid(
                "the prefix in a bucket has letters, digits, '-', '_', '.', and '/' between its parts",
            ));
        }
        let mut found = Self {
            provider,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            region: None,
            account: None,
            of_instance: false,
            access_key: None,
            authorities: None,
            timeout: TIMEOUT,
        };
        for option in query.unwrap_or_default().split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("endpoint", url)) => found.endpoint = Some(checked_endpoint(url)?),
                Some(("region", name)) if provider == Provider::S3 && name.bytes().all(is_name) => {
                    found.region = Some(name.to_owned());
                }
                Some(("account", name)) if provider == Provider::Azure && name.bytes().all(is_name) => {
                    found.account = Some(name.to_owned());
                }
                Some(("credentials", "instance")) => found.of_instance = true,
                _ => {
                    return Err(invalid(
                        "the options of a bucket's URL are endpoint=URL, region=NAME (s3), account=NAME (az), \
                         credentials=instance",
                    ));
                }
            }
        }
        Ok(found)
    }
}

/// An endpoint, without a slash at its end. Plain HTTP is only for loopback addresses.
pub(super) fn checked_endpoint(url: &str) -> Result<String, Error> {
    let wrong = || invalid("the endpoint of an object store is https://HOST, or http://LOOPBACK:PORT");
    let parsed: hyper::Uri = url.parse().map_err(|_| wrong())?;
    let host = parsed.host().ok_or_else(wrong)?;
    let authority = parsed.authority().ok_or_else(wrong)?;
    if authority.as_str().contains('@') || parsed.query().is_some() || url.contains('#') {
        return Err(wrong());
    }
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let is_loopback = address.map_or(host.eq_ignore_ascii_case("localhost"), |ip| ip.to_canonical().is_loopback());
    match parsed.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback => {}
        Some("http") => return Err(invalid("http:// is only for loopback addresses: use https:// for the endpoint")),
        _ => return Err(wrong()),
    }
    Ok(url.trim_end_matches('/').to_owned())
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = Provider::ALL.iter().find(|(_, provider)| *provider == self.provider).map_or("", |found| found.0);
        write!(f, "{scheme}://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        let options = [("endpoint", &self.endpoint), ("region", &self.region), ("account", &self.account)];
        let instance = self.of_instance.then_some(("credentials", "instance"));
        let given = options.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).chain(instance);
        for (n, (name, value)) in given.enumerate() {
            write!(f, "{}{name}={value}", if n == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

/// Shows the URL, never the access key.
impl fmt::Debug for BucketUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_bucket_and_its_options() {
        for url in [
            "s3://bucket",
            "gs://bucket/a/b",
            "az://container/p?account=name",
            "s3://bucket/p?endpoint=http://127.0.0.1:9000&region=eu-west-1",
            "s3://bucket?credentials=instance",
            "s3://bucket?endpoint=https://s3.example:8443/minio",
        ] {
            assert!(crate::util::url::is_bucket_url(url));
            assert_eq!(url.parse::<BucketUrl>().unwrap().to_string(), url);
        }
        let url = "s3://bucket".parse::<BucketUrl>().unwrap().access_key("id", "hunter2".to_owned());
        assert_eq!(format!("{url} {url:?}"), "s3://bucket BucketUrl(s3://bucket)");
        assert_eq!("S3://bucket/p//".parse::<BucketUrl>().unwrap().to_string(), "s3://bucket/p");
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "s3://",
            "s3:///p",
            "s3://key:secret@bucket/p",
            "s3://bucket:9000/p",
            "s3://bucket/a//b",
            "s3://bucket/../b",
            "s3://bucket/a b",
            "s3://bucket/p#f",
            "s3://bucket?endpoint=http://192.0.2.1:9000",
            "s3://bucket?endpoint=https://user:secret@s3.example",
            "s3://bucket?endpoint=ftp://a",
            "s3://bucket?secret_access_key=x",
            "s3://bucket?account=x",
            "gs://bucket?region=x",
            "s3://bucket?credentials=other",
        ] {
            let error = url.parse::<BucketUrl>().unwrap_err();
            assert!(matches!(error, Error::InvalidArgument(_)), "{url}");
            assert!(!error.to_string().contains("secret@"), "{error}");
        }
        let directory = "s3://name--usw2-az1--x-s3/p".parse::<BucketUrl>();
        assert!(matches!(directory, Err(Error::Unsupported(_))));
    }

    #[test]
    fn options_are_those_of_a_bucket() {
        let url: BucketUrl = "s3://bucket".parse().unwrap();
        let with = |change: fn(&mut EndpointOptions)| {
            let mut options = EndpointOptions::default();
            change(&mut options);
            url.clone().with_options(options)
        };
        assert!(with(|options| options.authorities = Some("/ca.pem".into())).is_ok());
        assert_eq!(with(|options| options.timeout = Some(Duration::from_secs(5))).unwrap().timeout.as_secs(), 5);
        assert!(with(|options| options.timeout = Some(Duration::ZERO)).is_err());
        assert!(with(|options| options.token = Some("srt1x".to_owned().into())).is_err());
    }
}
