//! Listening: TLS, loopback and Unix sockets.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::support::wait::{DEADLINE, Join};
use crate::support::{Running, encryption_over, storage_with, token, write_secret};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore, StreamOwned};
use strongroom::storage::{Locator, MemoryStorage, PutMode, RemoteStorage, Storage};
use strongroom::{Endpoint, IndexKey, InvalidEndpoint, Stats, Strongroom};
use strongroom_server::{Config, Scope, Server, Service, StartError};

/// An authority, and its certificates for a server and a client.
pub(crate) struct Certificates {
    authority: String,
    server: (String, String),
    client: (String, String),
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem())
        };
        Self { server: signed("localhost"), client: signed("client"), authority: authority.pem() }
    }

    /// The configuration with these certificates in `folder`.
    pub(crate) fn config(&self, folder: &Path, address: &str, clients: bool) -> Config {
        fs::write(folder.join("server.pem"), &self.server.0).unwrap();
        write_secret(&folder.join("server.key"), &self.server.1);
        fs::write(folder.join("clients.pem"), &self.authority).unwrap();
        let path = |name| folder.join(name).display().to_string();
        let mut document = format!("listen = [\"{address}\"]\n[tls]\n");
        document += &format!("certificate = '{}'\nkey = '{}'\n", path("server.pem"), path("server.key"));
        if clients {
            document += &format!("client_authorities = '{}'\n", path("clients.pem"));
        }
        Config::from_toml(&document).unwrap()
    }

    /// The files of the client's certificate, its key and the authority, in `folder`.
    fn client_files(&self, folder: &Path) -> [PathBuf; 3] {
        let (certificate, key) = &self.client;
        [("client.pem", certificate), ("client.key", key), ("authority.pem", &self.authority)]
            .map(|(name, text)| write(folder, name, text))
    }

    /// The answer to a client's request, with or without its certificate.
    fn get(&self, server: &Running, shows_certificate: bool) -> std::io::Result<String> {
        let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        self.answer(server.address, shows_certificate, request)
    }

    /// The whole answer to a request, which closes its connection.
    pub(crate) fn answer(
        &self,
        address: SocketAddr,
        shows_certificate: bool,
        request: &str,
    ) -> std::io::Result<String> {
        let mut stream = self.connect(TcpStream::connect(address)?, shows_certificate);
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let agreed = stream.conn.negotiated_key_exchange_group().map(|group| group.name());
        assert_eq!(agreed, Some(NamedGroup::X25519MLKEM768), "who records this could read it one day");
        Ok(answer)
    }

    fn connect(&self, socket: TcpStream, shows_certificate: bool) -> StreamOwned<ClientConnection, TcpStream> {
        let mut authorities = RootCertStore::empty();
        authorities.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let builder = builder.unwrap().with_root_certificates(authorities);
        let config = if shows_certificate {
            let chain = vec![CertificateDer::from_pem_slice(self.client.0.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(self.client.1.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        StreamOwned::new(ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap(), socket)
    }
}

fn storage(config: &Config) -> Running {
    storage_with(Arc::new(MemoryStorage::new()), config)
}

/// The error of a failed start.
fn refused(config: &Config) -> StartError {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let service = Service::storage(Arc::new(MemoryStorage::new()), config).unwrap();
    runtime.block_on(Server::bind(service, config)).unwrap_err()
}

#[test]
fn remote_addresses_need_tls_and_client_authentication() {
    let folder = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let document = format!("listen = [\"127.0.0.1:0\", \"{address}\"]\ninsecure_loopback = true");
        let plain = Config::from_toml(&document).unwrap();
        let refused = refused(&plain);
        assert!(matches!(refused, StartError::NeedsTls(_)), "{address}");
        assert!(refused.to_string().contains("tls.certificate"), "{refused}");
    }
    let certificates = Certificates::new();
    let mut config = certificates.config(folder.path(), "0.0.0.0:0", false);
    assert!(matches!(refused(&config), StartError::NeedsClients(_)));

    let tokens = folder.path().join("tokens");
    token(&tokens, &[Scope::Storage]);
    config.tokens = Some(tokens);
    drop(storage(&config));
    drop(storage(&certificates.config(folder.path(), "0.0.0.0:0", true)));
    for loopback in ["127.0.0.1:0", "127.8.8.8:0", "[::ffff:127.0.0.1]:0"] {
        let mut plain = Config::from_toml(&format!("listen = [\"{loopback}\"]")).unwrap();
        let refusal = refused(&plain);
        assert!(matches!(refusal, StartError::NeedsTokens(_)), "{loopback}");
        assert!(refusal.to_string().contains("insecure_loopback"), "{refusal}");
        plain.insecure_loopback = true;
        drop(storage(&plain));
        plain.insecure_loopback = false;
        plain.tokens = config.tokens.clone();
        drop(storage(&plain));
    }
    // TLS alone does not authenticate the client.
    assert!(matches!(refused(&certificates.config(folder.path(), "127.0.0.1:0", false)), StartError::NeedsTokens(_)));
    drop(storage(&certificates.config(folder.path(), "127.0.0.1:0", true)));
}

#[test]
fn a_tls_listener_accepts_only_tls() {
    let (folder, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let mut config = certificates.config(folder.path(), "127.0.0.1:0", false);
    config.insecure_loopback = true;
    let server = storage(&config);
    assert!(certificates.get(&server, false).unwrap().starts_with("HTTP/1.1 200 "));
    assert!(Certificates::new().get(&server, false).is_err(), "another authority's");
    let mut plain = server.connect();
    plain.stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
}

/// TLS takes the end of an answer before the client has room for it. Lengths around the room of the system's buffers,
/// so that some answers end within those of TLS.
#[test]
fn the_end_of_an_answer_waits_for_a_client_of_tls() {
    const STEP: u64 = 16 << 10;
    let (folder, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let mut config = certificates.config(folder.path(), "127.0.0.1:0", false);
    config.insecure_loopback = true;
    config.limits.head_seconds = 1;
    let memory = Arc::new(MemoryStorage::new());
    let put = |number: u8, len: u64| {
        let record = vec![7; usize::try_from(len).unwrap()];
        memory.put(&Locator::from_bytes([number; 32]), &record, PutMode::Create).unwrap();
    };
    let server = storage_with(memory.clone(), &config);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let begin = |number: u8| {
        let socket = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(64 << 10).unwrap();
            socket.connect(server.address).await.unwrap().into_std().unwrap()
        });
        socket.set_nonblocking(false).unwrap();
        let mut stream = certificates.connect(socket, false);
        let record = format!("{number:02x}").repeat(32);
        write!(stream, "GET /v1/records/{record} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut status = [0; 13];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200 ");
        stream
    };
    let sent = || {
        let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let metrics = certificates.answer(server.address, false, request).unwrap();
        let sent = metrics.lines().find_map(|line| line.strip_prefix("strongroom_sent_bytes_total "));
        sent.unwrap().parse::<u64>().unwrap()
    };
    put(0, 24 << 20);
    let before = sent();
    let unread = begin(0);
    std::thread::sleep(Duration::from_millis(500));
    let room = sent() - before;
    drop(unread);
    let lens: Vec<_> = (1..=24).map(|number| (number, room - 16 * STEP + u64::from(number) * STEP)).collect();
    lens.iter().for_each(|(number, len)| put(*number, *len));
    let clients: Vec<_> = lens.iter().map(|(number, len)| (begin(*number), *len)).collect();
    std::thread::sleep(Duration::from_millis(3000)); // longer than `head_seconds` and the closing of a connection
    for (mut stream, len) in clients {
        let (mut answer, mut end) = (Vec::new(), None);
        let mut buffer = vec![0; 1 << 20];
        while end.is_none_or(|end| ((answer.len() - end) as u64) < len) {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(read) => answer.extend_from_slice(&buffer[..read]),
            }
            end = end.or(answer.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4));
        }
        assert_eq!((answer.len() - end.unwrap()) as u64, len, "the room is {room}");
    }
}

#[test]
fn client_certificates_are_required_where_configured() {
    let (folder, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let server = storage(&certificates.config(folder.path(), "127.0.0.1:0", true));
    assert!(certificates.get(&server, true).unwrap().starts_with("HTTP/1.1 200 "));
    assert!(certificates.get(&server, false).is_err());
    let other = Certificates { client: Certificates::new().client, ..certificates };
    assert!(other.get(&server, true).is_err(), "another authority's");
}

/// A client reaches the namespace of its certificate alone, also with a token.
#[test]
fn a_certificate_binds_its_client_to_a_namespace() {
    let (folder, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let [certificate, key, authority] = certificates.client_files(folder.path());
    let memory = Arc::new(MemoryStorage::new());
    let direct = Strongroom::builder().storage(memory.clone()).index_key(IndexKey::from_bytes(&[7; 32]).unwrap());
    let direct = direct.open().unwrap();
    let connect = |server: &Running, name: &str| {
        let endpoint = Endpoint::new(&format!("https://localhost:{}", server.address.port())).unwrap();
        let endpoint = endpoint.authorities(&authority).client_certificate(&certificate, &key);
        Strongroom::connect(&endpoint).unwrap().namespace(name).unwrap()
    };
    let config = |names: &[(&str, &str)]| {
        let mut config = certificates.config(folder.path(), "127.0.0.1:0", true);
        let names = names.iter().map(|(name, namespace)| ((*name).to_owned(), (*namespace).to_owned()));
        config.tls.as_mut().unwrap().client_namespaces = names.collect();
        config
    };
    let denied = |outcome: Result<bool, strongroom::Error>| matches!(outcome, Err(strongroom::Error::AccessDenied(_)));

    let server = encryption_over(memory.clone(), &config(&[("CLIENT", "tenant"), ("other.example", "other")]));
    let own = connect(&server, "").store("id", b"data").unwrap();
    assert_eq!(direct.namespace("tenant").unwrap().retrieve("id", &own).unwrap(), b"data");
    assert!(connect(&server, "tenant").contains("id").unwrap());
    assert!(denied(connect(&server, "other").contains("id")));
    assert!(denied(connect(&server, "").stats().map(|_| true)));
    // No configured name is in the certificate.
    let server = encryption_over(memory.clone(), &config(&[("other.example", "other")]));
    assert!(denied(connect(&server, "").contains("id")) && denied(connect(&server, "other").contains("id")));
    // Without configured names, a certificate binds no client.
    let server = encryption_over(memory, &config(&[]));
    assert!(!connect(&server, "").contains("id").unwrap() && connect(&server, "tenant").contains("id").unwrap());

    let mut without = config(&[("client", "tenant")]);
    without.tls.as_mut().unwrap().client_authorities = None;
    assert!(refused(&without).to_string().contains("TLS"));
    assert!(refused(&config(&[("client", &"a".repeat(256))])).to_string().contains("TLS"));
}

/// A service that does not know the client's authority yet is avoided while another one does.
#[test]
fn a_service_that_refuses_the_certificate_is_avoided() {
    let (folder, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let [certificate, key, authority] = certificates.client_files(folder.path());
    let memory = Arc::new(MemoryStorage::new());
    let mut config = certificates.config(folder.path(), "127.0.0.1:0", true);
    let accepting = storage_with(memory.clone(), &config);
    config.tls.as_mut().unwrap().client_authorities =
        Some(write(folder.path(), "other.pem", &Certificates::new().authority));
    let refusing = storage_with(memory, &config);
    let urls = [&refusing, &accepting].map(|server| format!("https://localhost:{}", server.address.port()));
    let endpoint = Endpoint::new(&urls.join(",")).unwrap().authorities(&authority);
    let endpoint = endpoint.client_certificate(&certificate, &key).timeout(DEADLINE);
    for _ in 0..10 {
        let storage = RemoteStorage::open(&endpoint).unwrap();
        (0..10).for_each(|_| assert_eq!(storage.stats(0).unwrap(), Stats::default()));
    }
}

/// The result of the library's own client.
fn stats(endpoint: Endpoint) -> Result<Stats, strongroom::storage::Error> {
    RemoteStorage::open(&endpoint.timeout(Duration::from_secs(1))).unwrap().stats(0)
}

#[test]
fn the_library_uses_mutual_tls() {
    let (folder, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let server = storage(&certificates.config(folder.path(), "127.0.0.1:0", true));
    let [certificate, key, authority] = certificates.client_files(folder.path());
    let place = format!("https://localhost:{}", server.address.port());
    let endpoint = Endpoint::new(&place).unwrap().authorities(&authority).client_certificate(&certificate, &key);
    assert_eq!(stats(endpoint.clone()).unwrap(), Stats::default());

    let other = write(folder.path(), "other.pem", &Certificates::new().authority);
    let elsewhere = Endpoint::new(&format!("https://127.0.0.1:{}", server.address.port())).unwrap();
    for refused in [
        endpoint.clone().authorities(&other),
        Endpoint::new(&place).unwrap().client_certificate(&certificate, &key), // the system's authorities
        elsewhere.authorities(&authority).client_certificate(&certificate, &key), // another name
    ] {
        let error = strongroom::Error::from(stats(refused).unwrap_err());
        assert!(matches!(error, strongroom::Error::Storage(_)), "{error:?}");
        assert!(error.full_message().contains("certificate"), "{error:?}");
    }
    let theirs = Certificates::new().client;
    let theirs = [("other-client.pem", theirs.0), ("other-client.key", theirs.1)];
    let theirs = theirs.map(|(name, text)| write(folder.path(), name, &text));
    let without = Endpoint::new(&place).unwrap().authorities(&authority);
    for denied in [without.clone(), without.client_certificate(&theirs[0], &theirs[1])] {
        let error = strongroom::Error::from(stats(denied).unwrap_err());
        assert!(matches!(error, strongroom::Error::AccessDenied(_)), "{error:?}");
        assert!(error.full_message().contains("client's certificate"), "{error:?}");
    }
    // A write that is rejected this way has certainly not been done.
    let stranger = Endpoint::new(&place).unwrap().authorities(&authority).timeout(Duration::from_secs(5));
    let stranger = RemoteStorage::open(&stranger).unwrap();
    let outcome = stranger.put(&Locator::from_bytes([1; 32]), &[1; 100], PutMode::Create);
    assert!(matches!(outcome, Err(strongroom::storage::Error::AccessDenied(_))), "{outcome:?}");
    let mixed = endpoint.client_certificate(&authority, &key);
    assert!(matches!(RemoteStorage::open(&mixed), Err(InvalidEndpoint::Tls(_))));
}

#[test]
fn invalid_tls_files_are_errors() {
    let (folder, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
    let mut config = certificates.config(folder.path(), "127.0.0.1:0", false);
    config.insecure_loopback = true;
    fs::write(folder.path().join("server.key"), Certificates::new().server.1).unwrap();
    assert!(matches!(refused(&config), StartError::Tls(_)), "the key of another certificate");
    fs::write(folder.path().join("server.key"), "no key").unwrap();
    assert!(matches!(refused(&config), StartError::WrongFile { name: "tls.key", .. }));
    // A private key without line breaks: no error shows it, as text or as numbers.
    let broken = folder.path().join("server.key");
    for text in
        ["-----BEGIN PRIVATE KEY-----MC4secret-----END PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\nMC4secret"]
    {
        fs::write(&broken, text).unwrap();
        let endpoint = Endpoint::new("https://localhost:1").unwrap().client_certificate(&broken, &broken);
        for message in [format!("{:?}", refused(&config)), format!("{:?}", RemoteStorage::open(&endpoint).unwrap_err())]
        {
            assert!(
                message.contains("PEM") && !message.contains("secret") && !message.contains("77, 67, 52"),
                "{message}"
            );
        }
    }
    fs::remove_file(folder.path().join("server.key")).unwrap();
    assert!(matches!(refused(&config), StartError::File { name: "tls.key", .. }));
}

#[test]
fn unusable_limits_are_errors() {
    let start = |limits: &str| {
        let config = Config::from_toml(&format!("listen = [\"127.0.0.1:0\"]\n[limits]\n{limits}")).unwrap();
        Service::storage(Arc::new(MemoryStorage::new()), &config).map(drop)
    };
    for name in ["connections", "threads", "long_bodies", "head_seconds", "body_max_seconds", "idle_seconds"] {
        for value in ["0", "4294967296", "9223372036854775807"] {
            let refused = start(&format!("{name} = {value}")).unwrap_err();
            assert!(
                matches!(refused, StartError::Limit { name: reported, min: 1 } if reported == name),
                "{name} = {value}"
            );
        }
    }
    for name in ["waiting", "wait_seconds", "body_seconds", "grace_seconds"] {
        start(&format!("{name} = 0")).unwrap();
        start(&format!("{name} = 4294967295")).unwrap();
        start(&format!("{name} = 4294967296")).unwrap_err();
    }
}

/// Also without the check of all files, which a program may leave out.
#[test]
fn a_service_writes_to_no_file_of_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let token = token(&path("tokens"), &[Scope::Storage]);
    fs::write(path("token"), token).unwrap();
    fs::write(path("empty"), "").unwrap();
    let start = |change: &dyn Fn(&mut Config)| {
        let mut config = unix(&path("socket"));
        (config.tokens, config.store) = (Some(path("tokens")), Some(path("records.db")));
        change(&mut config);
        Service::storage(Arc::new(MemoryStorage::new()), &config).err()
    };
    for file in ["tokens", "records.db", "records.db-wal", "records.db.index-key", "socket", "socket.lock", "./tokens"]
    {
        let uses = start(&|config| config.token_uses = Some(path(file)));
        assert!(matches!(uses, Some(StartError::FileInUse { name: "token_uses", .. })), "{file}: {uses:?}");
        let audit = start(&|config| config.audit = Some(path(file)));
        assert!(matches!(audit, Some(StartError::FileInUse { name: "audit", .. })), "{file}: {audit:?}");
    }
    let uses = start(&|config| config.token_uses = Some(path("token")));
    assert!(matches!(uses, Some(StartError::File { name: "token_uses", .. })), "{uses:?}");
    let audit = start(&|config| config.audit = Some(path("token")));
    assert!(matches!(audit, Some(StartError::File { name: "audit", .. })), "{audit:?}");
    assert!(start(&|config| (config.token_uses, config.audit) = (Some(path("empty")), Some(path("new")))).is_none());
}

#[test]
fn a_unix_socket_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let config = Config::from_toml(&format!("listen = [\"unix:{}\"]", path.display())).unwrap();
    let get = || {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "));
    };
    let running = storage(&config);
    get();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(refused(&config), StartError::Listen { .. }), "it is in use");
    get();
    drop(running);
    assert!(!path.exists());

    drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // the socket of a crashed service
    let running = storage(&config);
    get();
    drop(running);

    fs::write(&path, "data").unwrap();
    assert!(matches!(refused(&config), StartError::Listen { .. }));
    assert_eq!(fs::read(&path).unwrap(), b"data", "what is no socket is not removed");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");
}

/// The configuration with a Unix socket in `folder`.
fn unix(path: &Path) -> Config {
    Config::from_toml(&format!("listen = ['unix:{}']", path.display())).unwrap()
}

#[test]
fn a_file_with_the_name_of_the_lock_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (path, lock) = (folder.path().join("socket"), folder.path().join("socket.lock"));
    fs::write(&lock, "").unwrap(); // of a service that was killed
    drop(storage(&unix(&path)));
    assert!(!lock.exists() && !path.exists());
    let other = folder.path().join("other");
    fs::write(&other, "").unwrap();
    for is_kept in [true, false] {
        if is_kept {
            fs::write(&lock, "data").unwrap();
        } else {
            fs::remove_file(&lock).unwrap();
            std::os::unix::fs::symlink(&other, &lock).unwrap();
        }
        let error = refused(&unix(&path));
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("socket.lock is not the empty file"), "{cause}");
        assert!(lock.symlink_metadata().is_ok() && other.exists() && !path.exists());
    }
}

#[test]
fn one_of_many_services_takes_a_stale_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    for _ in 0..20 {
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // the socket of a crashed service
        let config = unix(&path);
        let racers = (0..8).map(|_| {
            let config = config.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let service = Service::storage(Arc::new(MemoryStorage::new()), &config).unwrap();
                (runtime.block_on(Server::bind(service, &config)), runtime)
            })
        });
        let racers: Vec<_> = racers.collect();
        // All run until the last has tried.
        let outcomes: Vec<_> = racers.into_iter().map(|racer| racer.join_within(DEADLINE)).collect();
        assert_eq!(outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count(), 1);
        UnixStream::connect(&path).unwrap();
        drop(outcomes);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left");
    }
}

#[test]
fn a_live_socket_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    // Another program's socket of another type, to which a stream cannot connect.
    let datagram = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    assert!(matches!(refused(&unix(&path)), StartError::Listen { .. }));
    std::os::unix::net::UnixDatagram::unbound().unwrap().connect(&path).unwrap();
    drop(datagram);
    fs::remove_file(&path).unwrap();
    // A socket whose owner does not accept connections, so that its queue is full.
    let listener = tokio::runtime::Runtime::new().unwrap();
    let full = listener.block_on(async {
        let socket = tokio::net::UnixSocket::new_stream().unwrap();
        socket.bind(&path).unwrap();
        socket.listen(1).unwrap()
    });
    let _waiting: Vec<_> = (0..2).map(|_| UnixStream::connect(&path).unwrap()).collect();
    assert!(matches!(refused(&unix(&path)), StartError::Listen { .. }));
    assert!(path.exists());
    drop(full);
}

#[test]
fn a_socket_has_its_mode_and_its_group_and_the_longest_name() {
    use std::os::unix::fs::MetadataExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut config = unix(&path);
    let own = fs::metadata(folder.path()).unwrap();
    for (mode, group) in [("0660", "root"), ("666", "0"), ("0600", "0")] {
        config.socket_mode = mode.parse().unwrap();
        config.socket_group = (own.uid() == 0).then(|| group.to_owned());
        config.insecure_loopback = mode == "666";
        let running = storage(&config);
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.mode() & 0o777, config.socket_mode.bits());
        assert_eq!(found.gid(), 0);
        drop(running);
    }
    config.socket_mode = "0666".parse().unwrap();
    assert!(matches!(refused(&config), StartError::NeedsTokens(_)), "every user could do everything");
    for no_mode in ["", "6", "0888", "+660", "00660", "1660", "0060", "0o660"] {
        assert!(no_mode.parse::<strongroom_server::SocketMode>().is_err(), "{no_mode}");
    }
    config.socket_mode = "0660".parse().unwrap();
    config.socket_group = Some("no such group".into());
    assert!(matches!(refused(&config), StartError::NoSuchGroup));

    // 107 bytes and a NUL byte are the system's limit.
    let name = |len: usize| folder.path().join("s".repeat(len - folder.path().as_os_str().len() - 1));
    let longest = name(107);
    drop(storage(&unix(&longest)));
    assert!(matches!(refused(&unix(&name(108))), StartError::Listen { .. }));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left");
}
