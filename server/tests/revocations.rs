//! Revoked certificates of services, with the library's own client.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::support::{Running, storage_with};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use strongroom::storage::{Error, MemoryStorage, RemoteStorage, Storage};
use strongroom::{Endpoint, InvalidEndpoint, Stats};
use strongroom_server::Config;

/// The serial number of the service's certificate.
const SERIAL: u64 = 7;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A list of certificates that `authority` has revoked, valid until the start of `until`.
fn list(authority: &Authority, revoked: &[u64], until: i32) -> String {
    let of_2020 = date_time_ymd(2020, 1, 1);
    let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: of_2020,
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: of_2020,
        next_update: date_time_ymd(until, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked_certs.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(authority).unwrap().pem().unwrap()
}

/// A service with a certificate of `authority`, and an endpoint that trusts the authority.
fn service(folder: &Path, authority: &Authority) -> (Running, Endpoint) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from(SERIAL));
    let write = |name: &str, text: String| {
        fs::write(folder.join(name), text).unwrap();
        folder.join(name).display().to_string()
    };
    let certificate = write("server.pem", params.signed_by(&key, authority).unwrap().pem());
    let key = write("server.key", key.serialize_pem());
    let authorities = write("authority.pem", authority.pem());
    let listen = "listen = ['127.0.0.1:0']\ninsecure_loopback = true";
    let document = format!("{listen}\n[tls]\ncertificate = '{certificate}'\nkey = '{key}'");
    let server = storage_with(Arc::new(MemoryStorage::new()), &Config::from_toml(&document).unwrap());
    let endpoint = Endpoint::new(&format!("https://localhost:{}", server.address.port())).unwrap();
    (server, endpoint.authorities(authorities).timeout(Duration::from_secs(20)))
}

/// Replaces a file atomically.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

fn open(endpoint: &Endpoint, list: &str) -> (RemoteStorage, tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations.pem");
    replace(&path, list);
    (RemoteStorage::open(&endpoint.clone().revocations(&path)).unwrap(), folder, path)
}

#[track_caller]
fn is_refused(storage: &RemoteStorage, reason: &str) {
    let outcome = storage.stats(0);
    assert!(matches!(outcome, Err(Error::Backend(_))), "{outcome:?}");
    let message = strongroom::Error::from(outcome.unwrap_err()).full_message();
    assert!(message.contains("certificate") && message.contains(reason), "{message}");
}

#[test]
fn a_revoked_certificate_is_refused() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let (_server, endpoint) = service(folder.path(), &authority);
    let (storage, _folder, _) = open(&endpoint, &list(&authority, &[], 4000));
    assert_eq!(storage.stats(0).unwrap(), Stats::default());
    let (storage, _folder, _) = open(&endpoint, &list(&authority, &[SERIAL + 1, SERIAL + 2], 4000));
    assert_eq!(storage.stats(0).unwrap(), Stats::default());
    let (storage, _folder, _) = open(&endpoint, &list(&authority, &[SERIAL - 1, SERIAL], 4000));
    is_refused(&storage, "Revoked");
    // The control: without lists, the certificate is accepted.
    assert_eq!(RemoteStorage::open(&endpoint).unwrap().stats(0).unwrap(), Stats::default());
}

/// An unknown state is rejected: no list of the authority, or an expired one.
#[test]
fn a_certificate_without_a_revocation_list_is_refused() {
    let (folder, authority, other) = (tempfile::tempdir().unwrap(), authority(), {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "another authority");
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    });
    let (_server, endpoint) = service(folder.path(), &authority);
    let (storage, _folder, _) = open(&endpoint, &list(&other, &[], 4000));
    is_refused(&storage, "UnknownRevocationStatus");
    let (storage, _folder, _) = open(&endpoint, &list(&authority, &[], 2021));
    is_refused(&storage, "revocation list expired");
    let (storage, _folder, _) = open(&endpoint, &(list(&other, &[], 4000) + &list(&authority, &[], 4000)));
    assert_eq!(storage.stats(0).unwrap(), Stats::default());
}

#[test]
fn a_changed_list_applies_to_the_next_connection() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let (_server, endpoint) = service(folder.path(), &authority);
    let (storage, _folder, path) = open(&endpoint, &list(&authority, &[SERIAL + 1], 4000));
    replace(&path, &list(&authority, &[SERIAL], 4000));
    is_refused(&storage, "Revoked");
    replace(&path, &list(&authority, &[SERIAL + 1, SERIAL + 2], 4000));
    assert_eq!(storage.stats(0).unwrap(), Stats::default());
}

/// Without a list, nothing would be checked.
#[test]
fn a_file_without_a_list_is_an_error() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), authority());
    let (_server, endpoint) = service(folder.path(), &authority);
    let path = folder.path().join("revocations.pem");
    let opened = || RemoteStorage::open(&endpoint.clone().revocations(&path));
    assert!(matches!(opened(), Err(InvalidEndpoint::File { what: "revocations", .. })));
    for wrong in ["", "no list", &authority.pem(), "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"] {
        fs::write(&path, wrong).unwrap();
        assert!(matches!(opened(), Err(InvalidEndpoint::Tls(_))), "{wrong}");
    }
}
