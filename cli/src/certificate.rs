//! Certificates of a private authority: for services and their clients.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::DnsName;
use serde_json::json;
use strongroom::{Error, with_suffix};
use time::OffsetDateTime;
use x509_cert::Certificate;
use x509_cert::der::asn1::Utf8StringRef;
use x509_cert::der::{Decode, DecodePem};

use crate::certificate_args::{CertificateCommand, NewCertificate};
use crate::failure::Failure;
use crate::in_use::InUse;
use crate::new_file::NewFile;
use crate::options::Options;
use crate::reply::{json_path, reply};

/// The clocks of others may be slow: certificates are valid from an hour before.
const EARLIER: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn certificate(options: &Options, command: &CertificateCommand, in_use: &InUse) -> Result<(), Failure> {
    let CertificateCommand::New(new) = command;
    let (certificate_file, key_file) = (with_suffix(&new.out, ".pem"), with_suffix(&new.out, ".key"));
    for path in [&certificate_file, &key_file] {
        in_use.refuse(path)?;
        if path.symlink_metadata().is_ok() {
            return Err(Failure::argument("a file of --out exists: a certificate and its key are never overwritten"));
        }
    }
    let key = KeyPair::generate().map_err(failed)?;
    let (certificate, end) = match (&new.authority, &new.authority_key) {
        (Some(authority), Some(authority_key)) => {
            let (issuer, authority_end) = issuer(authority, authority_key)?;
            issue(new, &key, &issuer, authority_end)?
        }
        _ => make_authority(new, &key)?,
    };
    // The key first: a certificate without it is of no use.
    write(&key_file, &key.serialize_pem())?;
    write(&certificate_file, &certificate)?;
    let (certificate, key) = (json_path(&certificate_file), json_path(&key_file));
    let expires = crate::times::utc(u64::try_from(end).unwrap_or(0));
    reply(options, &json!({"certificate": certificate, "key": key, "expires": expires}), "")
}

/// A certificate in PEM, and the end of its validity in Unix time.
type NewPem = (String, i64);

/// A certificate, which ends with its authority's at the latest: nobody accepts it after that.
fn issue(
    new: &NewCertificate,
    key: &KeyPair,
    issuer: &Issuer<'_, KeyPair>,
    authority_end: OffsetDateTime,
) -> Result<NewPem, Failure> {
    if !new.names.iter().all(|name| is_dns_name(name) || name.parse::<IpAddr>().is_ok()) {
        return Err(Failure::argument("a name is not a DNS name or an IP address"));
    }
    let mut params = CertificateParams::new(new.names.clone()).map_err(failed)?;
    let mut end = set_validity(&mut params, new, 90 * DAY)?;
    if params.not_after > authority_end {
        if new.valid_for.is_some() {
            return Err(Failure::argument("--valid-for is too long: the certificate of --authority expires before"));
        }
        (params.not_after, end) = (authority_end, authority_end.unix_timestamp());
    }
    let usage = if new.client { ExtendedKeyUsagePurpose::ClientAuth } else { ExtendedKeyUsagePurpose::ServerAuth };
    params.extended_key_usages = vec![usage];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name = named(new.names.first().map_or("Strongroom", String::as_str));
    Ok((params.signed_by(key, issuer).map_err(failed)?.pem(), end))
}

/// Whether the text is a DNS name of a certificate: it has no final dot, and its first label may be `*`.
fn is_dns_name(name: &str) -> bool {
    DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok() && !name.ends_with('.')
}

fn make_authority(new: &NewCertificate, key: &KeyPair) -> Result<NewPem, Failure> {
    let name = match new.names.as_slice() {
        [] => "Strongroom authority",
        [name] if (1..64).contains(&name.len()) => name,
        _ => return Err(Failure::argument("an authority has one name of 1 to 63 bytes")),
    };
    let mut params = authority_params(name);
    let end = set_validity(&mut params, new, 10 * 365 * DAY)?;
    Ok((params.self_signed(key).map_err(failed)?.pem(), end))
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_validity(params: &mut CertificateParams, new: &NewCertificate, default: Duration) -> Result<i64, Failure> {
    if new.valid_for == Some(Duration::ZERO) {
        return Err(Failure::argument("--valid-for is 0: the certificate would expire at once"));
    }
    let now = OffsetDateTime::now_utc();
    let end = time::Duration::try_from(new.valid_for.unwrap_or(default)).ok().and_then(|time| now.checked_add(time));
    params.not_before = now - EARLIER;
    params.not_after = end.ok_or_else(|| Failure::argument("--valid-for is too long"))?;
    Ok(params.not_after.unix_timestamp())
}

/// The authority that signs, made by this program, and the end of its certificate.
fn issuer(certificate: &Path, key: &Path) -> Result<(Issuer<'static, KeyPair>, OffsetDateTime), Failure> {
    let certificate =
        fs::read(certificate).map_err(Failure::io_at("cannot read the file of --authority", certificate))?;
    let text = strongroom::read_secret("the authority's key", key)
        .map_err(Failure::io_at("cannot read the file of --authority-key", key))?;
    let no_key = |_| Failure::argument("--authority-key has no private key in PEM");
    let key = KeyPair::from_pem(&text).map_err(no_key)?;
    let found = Certificate::from_pem(&certificate).ok();
    if found.as_ref().is_some_and(|found| !is_authority(found)) {
        let text =
            "--authority is the certificate of a service or a client, which cannot sign others: name an authority's";
        return Err(Failure::argument(text));
    }
    let own = found.and_then(|found| Some((own_params(&found, &key)?, end(&found)?)));
    let (params, end) = own.ok_or_else(|| {
        Failure::argument("--authority is not a certificate that `certificate new` made for this --authority-key")
    })?;
    if end <= OffsetDateTime::now_utc() {
        return Err(Failure::argument("the certificate of --authority has expired: make a new authority"));
    }
    Ok((Issuer::new(params, key), end))
}

fn is_authority(found: &Certificate) -> bool {
    let constraints = found.tbs_certificate.get::<x509_cert::ext::pkix::BasicConstraints>();
    matches!(constraints, Ok(Some((_, constraints))) if constraints.ca)
}

fn end(certificate: &Certificate) -> Option<OffsetDateTime> {
    let end = certificate.tbs_certificate.validity.not_after.to_unix_duration();
    OffsetDateTime::from_unix_timestamp(i64::try_from(end.as_secs()).ok()?).ok()
}

/// The parameters of an authority that this program made for `key`; `None` for another certificate.
fn own_params(found: &Certificate, key: &KeyPair) -> Option<CertificateParams> {
    let found = &found.tbs_certificate;
    let name = found.subject.0.first()?.0.get(0)?.value.decode_as::<Utf8StringRef<'_>>().ok()?;
    let params = authority_params(name.as_str());
    let own = Certificate::from_der(params.self_signed(key).ok()?.der()).ok()?.tbs_certificate;
    let is_own = own.subject == found.subject && own.subject_public_key_info == found.subject_public_key_info;
    is_own.then_some(params)
}

/// Writes a new file, readable only by its owner.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let create = || {
        let mut file = NewFile::create_beside(path)?;
        file.write_all(text.as_bytes())?;
        file.name(path)
    };
    create().map_err(Failure::io_at("cannot write a file of --out", path))
}

fn failed(error: rcgen::Error) -> Failure {
    Error::Internal(error.into()).into()
}
