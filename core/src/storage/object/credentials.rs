//! The clients of the providers, with credentials from the environment and from files. Without configuration, no client
//! asks the machine's metadata service: on a machine that has none, another host could answer there.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::signer::Signer;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use zeroize::Zeroizing;

use super::super::Error;
use super::location::{BucketUrl, Provider, checked_endpoint};
use super::transport::Transport;

/// A bucket, and the signer of its requests.
pub(super) type Client = (Arc<dyn ObjectStore>, Option<Arc<dyn Signer>>);

/// The value of an environment variable.
type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

pub(super) fn connect(url: &BucketUrl, transport: Transport) -> Result<Client, Error> {
    let environment = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    match url.provider {
        Provider::S3 => s3(url, transport, &environment),
        Provider::Google => google(url, transport, &environment),
        Provider::Azure => azure(url, transport, &environment),
    }
}

fn invalid(text: &'static str) -> Error {
    Error::InvalidArgument(text.into())
}

/// This library repeats requests, because it knows which of them it may repeat.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

fn with_signer(client: impl ObjectStore + Signer) -> Client {
    let client = Arc::new(client);
    let signer = Arc::clone(&client);
    (client, Some(signer))
}

/// The endpoint of the URL, or of the environment.
fn endpoint(url: &BucketUrl, environment: Environment<'_>, names: &[&str]) -> Result<Option<String>, Error> {
    match &url.endpoint {
        Some(endpoint) => Ok(Some(endpoint.clone())),
        None => names.iter().find_map(|name| environment(name)).map(|url| checked_endpoint(&url)).transpose(),
    }
}

fn s3(url: &BucketUrl, transport: Transport, environment: Environment<'_>) -> Result<Client, Error> {
    let region = url.region.clone().or_else(|| environment("AWS_REGION")).or_else(|| environment("AWS_DEFAULT_REGION"));
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&url.bucket)
        .with_region(region.unwrap_or_else(|| "us-east-1".to_owned()))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_disable_bulk_delete(true)
        .with_retry(no_retries())
        .with_client_options(ClientOptions::new().with_allow_http(true)) // `checked_endpoint` has checked it
        .with_http_connector(transport);
    if let Some(endpoint) = endpoint(url, environment, &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])? {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some((id, secret)) = &url.access_key {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret.as_str());
    } else {
        builder = aws_credentials(url, builder, environment)?;
    }
    Ok(with_signer(builder.build().map_err(|_| invalid("the options of the S3 bucket are invalid"))?))
}

/// Credentials from the environment, a file, or a role.
fn aws_credentials(
    url: &BucketUrl,
    builder: AmazonS3Builder,
    environment: Environment<'_>,
) -> Result<AmazonS3Builder, Error> {
    Ok(match (environment("AWS_ACCESS_KEY_ID"), environment("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => {
            let builder = builder.with_access_key_id(id).with_secret_access_key(secret);
            match environment("AWS_SESSION_TOKEN") {
                Some(token) => builder.with_token(token),
                None => builder,
            }
        }
        (None, None) => match aws_profile(environment)? {
            Some(AwsProfile { id, secret, token }) => {
                let builder = builder.with_access_key_id(id).with_secret_access_key(secret.as_str());
                match token {
                    Some(token) => builder.with_token(token.as_str()),
                    None => builder,
                }
            }
            None => aws_role(url, builder, environment)?,
        },
        _ => return Err(invalid("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together: set both or neither")),
    })
}

/// Credentials of a role: from a token file (as in Kubernetes), or from the machine.
fn aws_role(
    url: &BucketUrl,
    mut builder: AmazonS3Builder,
    environment: Environment<'_>,
) -> Result<AmazonS3Builder, Error> {
    let web_identity = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
        ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
        ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ];
    let container = [
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
    ];
    let is_set = |name| environment(name).is_some();
    let names: &[_] = if is_set("AWS_WEB_IDENTITY_TOKEN_FILE") && is_set("AWS_ROLE_ARN") {
        &web_identity
    } else if url.of_instance {
        &container
    } else {
        return Err(invalid(
            "no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with a \
             credentials file, or add credentials=instance to the URL to use the machine's role",
        ));
    };
    for (name, key) in names {
        if let Some(value) = environment(name) {
            builder = builder.with_config(*key, value);
        }
    }
    Ok(builder)
}

struct AwsProfile {
    id: String,
    secret: Zeroizing<String>,
    token: Option<Zeroizing<String>>,
}

/// The profile `AWS_PROFILE`, or `default`, in the shared credentials file. No file is no error unless it is named.
fn aws_profile(environment: Environment<'_>) -> Result<Option<AwsProfile>, Error> {
    let named = environment("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let usual = || environment("HOME").map(|home| PathBuf::from(home).join(".aws/credentials"));
    let Some(path) = named.clone().or_else(usual) else { return Ok(None) };
    let text = match fs::read_to_string(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(_) if named.is_none() => return Ok(None),
        Err(_) => return Err(invalid("cannot read the file that AWS_SHARED_CREDENTIALS_FILE names")),
    };
    let profile = environment("AWS_PROFILE");
    let found = parse_profile(&text, profile.as_deref().unwrap_or("default"));
    if found.is_none() && profile.is_some() {
        return Err(invalid("the credentials file has no access key for the profile that AWS_PROFILE names"));
    }
    Ok(found)
}

fn parse_profile(text: &str, profile: &str) -> Option<AwsProfile> {
    let section = |line: &str| line.strip_prefix('[')?.strip_suffix(']').map(|name| name.trim().to_owned());
    let lines = text.lines().map(str::trim).skip_while(|line| section(line).as_deref() != Some(profile)).skip(1);
    let (mut id, mut secret, mut token) = (None, None, None);
    for line in lines.take_while(|line| section(line).is_none()) {
        let Some((name, value)) = line.split_once('=') else { continue };
        let value = value.trim().to_owned();
        match name.trim() {
            "aws_access_key_id" => id = Some(value),
            "aws_secret_access_key" => secret = Some(Zeroizing::new(value)),
            "aws_session_token" => token = Some(Zeroizing::new(value)),
            _ => {}
        }
    }
    Some(AwsProfile { id: id?, secret: secret?, token })
}

/// Google's client cannot delete conditionally by a signed request, so it has no signer.
fn google(url: &BucketUrl, transport: Transport, environment: Environment<'_>) -> Result<Client, Error> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&url.bucket)
        .with_retry(no_retries())
        .with_http_connector(transport);
    if let Some(endpoint) = endpoint(url, environment, &[])? {
        builder = builder.with_base_url(&endpoint);
    }
    let usual = || {
        environment("HOME").map(|home| PathBuf::from(home).join(".config/gcloud/application_default_credentials.json"))
    };
    if let Some(path) = environment("GOOGLE_APPLICATION_CREDENTIALS") {
        builder = builder.with_application_credentials(path);
    } else if !usual().is_some_and(|path| path.exists()) && !url.of_instance {
        return Err(invalid(
            "no credentials for Google Cloud Storage: set GOOGLE_APPLICATION_CREDENTIALS to a key file, or add \
             credentials=instance to the URL to use the machine's service account",
        ));
    }
    // The cause is not shown, because it can contain a part of the file.
    let client = builder.build().map_err(|_| {
        invalid("the file with Google's credentials cannot be read, or is not the key of a service account or a user")
    })?;
    Ok((Arc::new(client), None))
}

fn azure(url: &BucketUrl, transport: Transport, environment: Environment<'_>) -> Result<Client, Error> {
    let given = url.access_key.as_ref().map(|(account, _)| account.clone());
    let account = given.or_else(|| url.account.clone()).or_else(|| environment("AZURE_STORAGE_ACCOUNT_NAME"));
    let account = account
        .or_else(|| environment("AZURE_STORAGE_ACCOUNT"))
        .ok_or_else(|| invalid("no storage account: add account=NAME to the URL, or set AZURE_STORAGE_ACCOUNT_NAME"))?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_container_name(&url.bucket)
        .with_account(&account)
        .with_retry(no_retries())
        .with_client_options(ClientOptions::new().with_allow_http(true)) // `checked_endpoint` has checked it
        .with_http_connector(transport);
    if let Some(endpoint) = endpoint(url, environment, &["AZURE_STORAGE_ENDPOINT"])? {
        builder = builder.with_endpoint(endpoint);
    }
    let given = url.access_key.as_ref().map(|(_, key)| key.as_str().to_owned());
    let key = given.or_else(|| environment("AZURE_STORAGE_ACCOUNT_KEY")).or_else(|| environment("AZURE_STORAGE_KEY"));
    let client = [
        ("AZURE_CLIENT_ID", AzureConfigKey::ClientId),
        ("AZURE_CLIENT_SECRET", AzureConfigKey::ClientSecret),
        ("AZURE_TENANT_ID", AzureConfigKey::AuthorityId),
        ("AZURE_FEDERATED_TOKEN_FILE", AzureConfigKey::FederatedTokenFile),
    ];
    if let Some(key) = key {
        builder = builder.with_access_key(key);
    } else if let Some(token) = environment("AZURE_STORAGE_SAS_TOKEN") {
        builder = builder.with_config(AzureConfigKey::SasKey, token);
    } else if environment("AZURE_CLIENT_ID").is_some() && environment("AZURE_TENANT_ID").is_some() {
        for (name, key) in client {
            if let Some(value) = environment(name) {
                builder = builder.with_config(key, value);
            }
        }
    } else if !url.of_instance {
        return Err(invalid(
            "no credentials for Azure: set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, or AZURE_CLIENT_ID, \
             AZURE_TENANT_ID and AZURE_CLIENT_SECRET, or add credentials=instance to the URL",
        ));
    }
    Ok(with_signer(builder.build().map_err(|_| invalid("the credentials for Azure are invalid"))?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::AnyHost;

    fn connect_with(url: &str, set: &[(&str, &str)]) -> Result<Client, Error> {
        let transport = Transport(AnyHost::new(None, Duration::from_secs(1), &[]).unwrap());
        let environment =
            |name: &str| set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        let url: BucketUrl = url.parse().unwrap();
        match url.provider {
            Provider::S3 => s3(&url, transport, &environment),
            Provider::Google => google(&url, transport, &environment),
            Provider::Azure => azure(&url, transport, &environment),
        }
    }

    #[test]
    fn credentials_are_explicit() {
        for (url, named) in [
            ("s3://bucket", "AWS_ACCESS_KEY_ID"),
            ("gs://bucket", "GOOGLE_APPLICATION_CREDENTIALS"),
            ("az://bucket?account=a", "AZURE_STORAGE_ACCOUNT_KEY"),
            ("az://bucket", "AZURE_STORAGE_ACCOUNT_NAME"),
        ] {
            let error = connect_with(url, &[]).err().unwrap().to_string();
            assert!(error.contains(named), "{error}");
        }
        for url in ["s3://bucket?credentials=instance", "gs://bucket?credentials=instance"] {
            assert!(connect_with(url, &[]).is_ok(), "{url}");
        }
        assert!(connect_with("s3://bucket", &[("AWS_ACCESS_KEY_ID", "id")]).is_err());
        assert!(connect_with("s3://b", &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")]).is_ok());
        let plain =
            [("AWS_ENDPOINT_URL", "http://192.0.2.1"), ("AWS_ACCESS_KEY_ID", "i"), ("AWS_SECRET_ACCESS_KEY", "s")];
        assert!(connect_with("s3://b", &plain).err().unwrap().to_string().contains("loopback"));
    }

    #[test]
    fn a_profile_is_read_and_no_secret_is_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text =
            "[default]\naws_access_key_id = one\naws_secret_access_key = hunter2\n\n[ other ]\naws_access_key_id=two\n";
        fs::write(&file, text).unwrap();
        let path = file.path().to_str().unwrap();
        assert!(connect_with("s3://bucket", &[("AWS_SHARED_CREDENTIALS_FILE", path)]).is_ok());
        let set = [("AWS_SHARED_CREDENTIALS_FILE", path), ("AWS_PROFILE", "other")];
        let error = connect_with("s3://bucket", &set).err().unwrap();
        assert!(error.to_string().contains("AWS_PROFILE") && !format!("{error:?}").contains("hunter2"));
        // Keys in the environment come first: with them, no profile is needed.
        let keys = [("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "secret")];
        let unused = [("AWS_SHARED_CREDENTIALS_FILE", "/none/credentials"), ("AWS_PROFILE", "other")];
        for other in [&unused[..], &unused[..1], &set] {
            assert!(connect_with("s3://bucket", other).is_err(), "{other:?}");
            assert!(connect_with("s3://bucket", &[&keys, other].concat()).is_ok(), "{other:?}");
        }
        assert!(parse_profile(text, "default").is_some_and(|found| found.id == "one" && *found.secret == "hunter2"));
        assert!(parse_profile(text, "none").is_none());
    }

    #[test]
    fn a_damaged_key_file_is_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, r#"{"type": "service_account", "private_key": "hunter2"}"#).unwrap();
        let set = [("GOOGLE_APPLICATION_CREDENTIALS", file.path().to_str().unwrap())];
        let error = connect_with("gs://bucket", &set).err().unwrap();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}
