//! TLS to PostgreSQL: the certificate must be one of a trusted authority, and name the host.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use strongroom::Error;
use strongroom::storage::{PostgresConfig, PostgresStorage, Storage};

use crate::support::postgres::Postgres;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn the_server_proves_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = Postgres::start(folder.path());
    let (ours, other) = (authority(), authority());
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("ours.pem"), ours.pem()).unwrap();
    fs::write(path("other.pem"), other.pem()).unwrap();
    server.sql("CREATE ROLE app SUPERUSER LOGIN PASSWORD 's3cret'");
    let open = |host: &str, options: &str| {
        let url = format!("postgres://app@{host}:{}/postgres?{options}", server.port());
        let config = PostgresConfig::new(&url).unwrap().password("s3cret".to_owned()).timeout(Duration::from_secs(60));
        PostgresStorage::open(&config).map_err(Error::from)
    };
    let refusal = |host, options: &str| open(host, options).unwrap_err().full_message();
    let trusted = format!("sslrootcert={}", path("ours.pem"));

    let text = refusal("localhost", &format!("sslmode=require&{trusted}"));
    assert!(text.contains("server does not support TLS"), "{text}");

    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
    server.use_certificate(&certificate.pem(), &key.serialize_pem());

    let storage = open("localhost", &format!("sslmode=verify-full&{trusted}&channel_binding=require")).unwrap();
    assert_eq!(server.sql("SELECT version FROM pg_stat_ssl WHERE ssl"), "TLSv1.3");
    storage.close().unwrap();
    // A Unix socket has no TLS, also in a list of hosts that need it.
    for hosts in [server.host(), format!("{},localhost:{}", server.host(), server.port())] {
        let url = format!("postgres://app@{hosts}/postgres?sslmode=verify-full&{trusted}");
        drop(PostgresStorage::open(&PostgresConfig::new(&url).unwrap()).unwrap());
    }
    for (host, options, words) in [
        ("localhost", format!("sslmode=require&sslrootcert={}", path("other.pem")), "invalid peer certificate"),
        ("localhost", "sslmode=require".to_owned(), "invalid peer certificate"),
        ("127.0.0.1", format!("sslmode=require&{trusted}"), "not valid for name"),
        ("localhost", format!("sslmode=require&sslrootcert={}", path("missing.pem")), "cannot be used"),
        ("localhost", format!("sslmode=require&sslrootcert={}", path("log")), "cannot be used"),
        ("localhost", "channel_binding=require".to_owned(), "channel binding"),
    ] {
        let text = refusal(host, &options);
        assert!(text.contains(words), "{options}: {text}");
    }
}
