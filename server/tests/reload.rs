//! Reloading of tokens, certificates and revocation lists.

use crate::support;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::support::frames::{self, Frames};
use crate::support::wait::{DEADLINE, wait_for};
use crate::support::{Running, start_with_reloader, token, write_secret};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use strongroom::storage::{Locator, MemoryStorage, PutMode, Storage};
use strongroom_server::{Config, Reloader, Scope, Service, StartError};

/// An authority with numbered clients, in a folder with the service's files.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn certificate(&self, number: u64) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(number));
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// The revocation list with these serial numbers.
    fn revocations(&self, numbers: &[u64]) -> String {
        let revoked = numbers.iter().map(|number| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2026, 1, 2), // expired, but still in effect
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    fn config(&self, folder: &Path) -> Config {
        let (certificate, key) = self.certificate(1);
        fs::write(folder.join("server.pem"), certificate).unwrap();
        write_secret(&folder.join("server.key"), key);
        fs::write(folder.join("clients.pem"), self.issuer.pem()).unwrap();
        fs::write(folder.join("revoked.pem"), self.revocations(&[])).unwrap();
        let path = |name| folder.join(name).display().to_string();
        Config::from_toml(&format!(
            "listen = [\"127.0.0.1:0\"]\n[tls]\ncertificate = '{}'\nkey = '{}'\nclient_authorities = '{}'\nclient_revocations = '{}'\n",
            path("server.pem"),
            path("server.key"),
            path("clients.pem"),
            path("revoked.pem")
        ))
        .unwrap()
    }

    fn client(&self, client: &(String, String)) -> Arc<ClientConfig> {
        let mut authorities = RootCertStore::empty();
        authorities.add(CertificateDer::from_pem_slice(self.issuer.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let chain = vec![CertificateDer::from_pem_slice(client.0.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(client.1.as_bytes()).unwrap();
        let builder = builder.unwrap().with_root_certificates(authorities);
        Arc::new(builder.with_client_auth_cert(chain, key).unwrap())
    }

    fn connect(&self, server: &Running, client: &(String, String)) -> io::Result<Tls> {
        connect(server, self.client(client))
    }
}

fn connect(server: &Running, client: Arc<ClientConfig>) -> io::Result<Tls> {
    let mut stream = connect_quietly(server, client)?;
    get(&mut stream)?;
    Ok(stream)
}

/// A connection without a request.
fn connect_quietly(server: &Running, client: Arc<ClientConfig>) -> io::Result<Tls> {
    let connection = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(server.address)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(StreamOwned::new(connection, socket))
}

/// A request on a connection that stays open.
fn get(stream: &mut Tls) -> io::Result<()> {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(b"{\"status\":\"ok\"}") {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    Ok(())
}

fn storage(config: &Config) -> (Running, Reloader) {
    start_with_reloader(Service::storage(Arc::new(MemoryStorage::new()), config).unwrap(), config)
}

/// A resumed session would skip the client's certificate, which may have expired since the first connection.
#[test]
fn each_connection_checks_the_certificate_of_the_client() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (server, _) = storage(&authority.config(folder.path()));
    let client = authority.client(&authority.certificate(7)); // it keeps tickets
    for _ in 0..3 {
        let stream = connect(&server, Arc::clone(&client)).unwrap();
        assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn a_revoked_client_is_refused_from_the_reload_on() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let config = authority.config(folder.path());
    let (server, reloader) = storage(&config);
    let [honest, revoked] = [7, 8].map(|number| authority.certificate(number));
    let mut open = authority.connect(&server, &revoked).unwrap();
    authority.connect(&server, &honest).unwrap();
    fs::write(folder.path().join("revoked.pem"), authority.revocations(&[8, 9])).unwrap();
    get(&mut open).unwrap(); // not yet
    reloader.reload().unwrap();
    assert!(authority.connect(&server, &revoked).is_err());
    authority.connect(&server, &honest).unwrap();
    // The open connection ends, too, without waiting for its next request.
    assert!(matches!(open.read(&mut [0; 16]), Ok(0) | Err(_)));

    // The same applies at the start. No client of an authority without a list is accepted.
    drop(server);
    let (server, _) = storage(&config);
    assert!(authority.connect(&server, &revoked).is_err());
    authority.connect(&server, &honest).unwrap();
    let other = Authority::new();
    fs::write(folder.path().join("revoked.pem"), other.revocations(&[])).unwrap();
    let (server, _) = storage(&config);
    assert!(authority.connect(&server, &honest).is_err());
}

/// HTTP/2 clients need not acknowledge the end of a connection, and pipelines of HTTP/1 may go on.
#[test]
fn a_revoked_client_gets_no_more_answers_on_its_connection() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let mut config = authority.config(folder.path());
    config.limits.head_seconds = 1;
    config.limits.body_seconds = 180;
    let memory = Arc::new(MemoryStorage::new());
    let (server, reloader) = start_with_reloader(Service::storage(memory.clone(), &config).unwrap(), &config);
    let revoked = authority.client(&authority.certificate(8));
    let put = |digit: &str| format!("PUT /v1/records/{}", digit.repeat(64));

    let mut frames = Frames::begin(connect_quietly(&server, Arc::clone(&revoked)).unwrap());
    let headers = [("if-none-match", "*"), ("content-type", "application/octet-stream")];
    frames.request(1, &put("1"), &headers, true);
    frames.request(3, "GET /healthz", &[], false);
    assert_eq!(frames.next(3).unwrap().0, frames::HEADERS);
    let mut begun = connect_quietly(&server, Arc::clone(&revoked)).unwrap();
    begun.write_all(b"GET /v1/stats HTTP/1.1\r\n").unwrap();
    let mut pipeline = connect(&server, revoked).unwrap();
    let head = format!("{} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/octet-stream\r\n", put("2"));
    pipeline
        .write_all(format!("{head}if-none-match: *\r\nexpect: 100-continue\r\ncontent-length: 200\r\n\r\n").as_bytes())
        .unwrap();
    let mut goes_on = [0; 25];
    pipeline.read_exact(&mut goes_on).unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n");

    fs::write(folder.path().join("revoked.pem"), authority.revocations(&[8])).unwrap();
    reloader.reload().unwrap();
    for stream in [5, 7] {
        frames.request(stream, "GET /v1/stats", &[], false);
        assert_eq!(frames.next(stream), Some((frames::RST_STREAM, frames::REFUSED.to_vec())));
    }
    let _ = begun.write_all(b"host: localhost\r\n\r\n"); // fails if the connection has ended
    let mut answers = String::new();
    let _ = begun.read_to_string(&mut answers);
    assert!(answers.is_empty() || answers.starts_with("HTTP/1.1 503 "), "{answers}");
    let rest = format!("{}GET /v1/stats HTTP/1.1\r\nhost: localhost\r\n\r\n", "7".repeat(200));
    pipeline.write_all(rest.as_bytes()).unwrap();
    let mut answers = String::new();
    let _ = pipeline.read_to_string(&mut answers);
    assert!(answers.starts_with("HTTP/1.1 204 ") && answers.matches("HTTP/1.1").count() == 1, "{answers}");

    // The request that was under way is answered, and then the connection ends.
    frames.end_body(1, &[7; 200]);
    assert_eq!(frames.next(1).unwrap().0, frames::HEADERS);
    while frames.next(0).is_some() {}
    assert_eq!(memory.stats(0).unwrap().records, 2);
}

/// A revocation takes effect although another file is invalid. An invalid file keeps its old content in use.
#[test]
fn an_invalid_file_prevents_no_revocation() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let mut config = authority.config(folder.path());
    let tokens = folder.path().join("tokens");
    let mut old = token(&tokens, &[Scope::Storage]);
    config.tokens = Some(tokens.clone());
    let (server, reloader) = storage(&config);
    let [client, revoked] = [7, 8].map(|number| authority.certificate(number));
    let allowed = |token: &str| {
        let mut stream = authority.connect(&server, &client).unwrap();
        let request = format!(
            "GET /v1/stats HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.starts_with("HTTP/1.1 200 ")
    };
    assert!(allowed(&old));
    for (name, content) in [
        ("server.key", authority.certificate(2).1),
        ("server.pem", "no certificate".to_owned()),
        ("revoked.pem", fs::read_to_string(folder.path().join("clients.pem")).unwrap()),
        ("clients.pem", String::new()),
    ] {
        let path = folder.path().join(name);
        let good = fs::read(&path).unwrap();
        for is_there in [true, false] {
            match is_there {
                true => fs::write(&path, &content).unwrap(),
                false => fs::remove_file(&path).unwrap(),
            }
            fs::remove_file(&tokens).unwrap();
            let new = token(&tokens, &[Scope::Storage]);
            let outcome = reloader.reload();
            assert_eq!(matches!(outcome, Err(StartError::File { .. })), !is_there, "{name}: {outcome:?}");
            assert!(outcome.is_err() && allowed(&new) && !allowed(&old), "{name}");
            old = new;
        }
        fs::write(&path, good).unwrap();
    }
    reloader.reload().unwrap();

    let lines = fs::read_to_string(&tokens).unwrap();
    for invalid in ["no token\n", lines.trim_end()] {
        fs::write(&tokens, invalid).unwrap();
        assert!(matches!(reloader.reload(), Err(StartError::Tokens(_))), "{invalid}");
        assert!(allowed(&old), "{invalid}");
    }
    authority.connect(&server, &revoked).unwrap();
    fs::write(folder.path().join("revoked.pem"), authority.revocations(&[8])).unwrap();
    assert!(matches!(reloader.reload(), Err(StartError::Tokens(_))));
    assert!(allowed(&old) && authority.connect(&server, &revoked).is_err());
}

#[test]
fn an_audit_log_that_cannot_be_opened_prevents_no_revocation() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let tokens = folder.path().join("tokens");
    let mut old = token(&tokens, &[Scope::Storage]);
    let mut config = support::config();
    config.tokens = Some(tokens.clone());
    config.audit = Some(logs.join("audit"));
    let (server, reloader) = storage(&config);
    let status =
        |token: &str| server.send("GET /v1/stats", &[("authorization", &format!("Bearer {token}"))], b"").status;
    let away = folder.path().join("away");
    fs::rename(&logs, &away).unwrap();
    for content in [None, Some("SQLite format 3")] {
        if let Some(content) = content {
            fs::create_dir(&logs).unwrap();
            fs::write(logs.join("audit"), content).unwrap();
        }
        fs::remove_file(&tokens).unwrap();
        let new = token(&tokens, &[Scope::Storage]);
        assert!(matches!(reloader.reload(), Err(StartError::File { name: "audit", .. })));
        assert_eq!((status(&old), status(&new)), (401, 200));
        assert_eq!(content, fs::read_to_string(logs.join("audit")).ok().as_deref());
        old = new;
    }
    let lines = |path: &Path| fs::read_to_string(path).unwrap().lines().count();
    wait_for(|| (lines(&away.join("audit")) == 4).then_some(()));
    fs::remove_file(logs.join("audit")).unwrap();
    reloader.reload().unwrap();
    status(&old);
    drop(server);
    assert_eq!((lines(&away.join("audit")), lines(&logs.join("audit"))), (4, 1));
}

/// The program that reads the audit log from a pipe is away.
#[test]
#[cfg(unix)]
fn a_reload_does_not_wait_for_the_reader_of_the_audit_log() {
    use nix::fcntl::OFlag;
    use nix::sys::stat::Mode;
    use std::os::unix::fs::OpenOptionsExt;

    let folder = tempfile::tempdir().unwrap();
    let (tokens, pipe) = (folder.path().join("tokens"), folder.path().join("pipe"));
    nix::unistd::mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let read = || fs::File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&pipe).unwrap();
    let old = token(&tokens, &[Scope::Storage]);
    let mut config = support::config();
    config.tokens = Some(tokens.clone());
    config.audit = Some(pipe.clone());
    let reader = read();
    let (server, reloader) = storage(&config);
    drop(reader);
    let status =
        |token: &str| server.send("GET /v1/stats", &[("authorization", &format!("Bearer {token}"))], b"").status;
    fs::remove_file(&tokens).unwrap();
    let new = token(&tokens, &[Scope::Storage]);
    let (done, is_done) = std::sync::mpsc::channel();
    let reload = reloader.clone();
    std::thread::spawn(move || done.send(reload.reload()).unwrap());
    is_done.recv_timeout(DEADLINE).expect("it waits").unwrap();
    assert_eq!((status(&old), status(&new)), (401, 200));

    // The lines go to the next reader, also of a pipe that is made again.
    server.wait_for_metric("strongroom_audit_lines_dropped_total", |lines| lines == 2);
    fs::remove_file(&pipe).unwrap();
    nix::unistd::mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let mut reader = read();
    reloader.reload().unwrap();
    status(&new);
    drop(server);
    let mut buffer = [0; 4096];
    let len = wait_for(|| reader.read(&mut buffer).ok().filter(|len| *len > 0));
    assert_eq!(String::from_utf8_lossy(&buffer[..len]).lines().count(), 1);
}

/// The pace of a client blocks the writes of its answer, also on a connection that is to end.
#[test]
fn a_download_continues_after_a_reload() {
    const LEN: usize = 24 << 20;
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let mut config = authority.config(folder.path());
    config.limits.head_seconds = 1;
    let memory = Arc::new(MemoryStorage::new());
    memory.put(&Locator::from_bytes([0x77; 32]), &vec![7; LEN], PutMode::Create).unwrap();
    let (server, reloader) = start_with_reloader(Service::storage(memory, &config).unwrap(), &config);
    let mut stream = authority.connect(&server, &authority.certificate(7)).unwrap();
    let request = format!("GET /v1/records/{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "7".repeat(64));
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 16];
    stream.read_exact(&mut head).unwrap();
    reloader.reload().unwrap();
    std::thread::sleep(Duration::from_millis(2500)); // longer than `head_seconds`
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // the connection ends after it
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(answer.len() - end, LEN);
}

#[test]
#[cfg(target_os = "linux")]
fn a_pipe_is_not_read_a_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    let text = token(&file, &[Scope::Storage]);
    let (read, mut write) = io::pipe().unwrap();
    write.write_all(&fs::read(&file).unwrap()).unwrap();
    drop(write);
    let mut config = support::config();
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&read);
    config.tokens = Some(format!("/proc/self/fd/{descriptor}").into());
    config.check_files().unwrap();
    let (server, reloader) = storage(&config);
    let stats = || server.send("GET /v1/stats", &[("authorization", &format!("Bearer {text}"))], b"").status;
    assert_eq!(stats(), 200);
    assert!(matches!(reloader.reload(), Err(StartError::NotReloadable { name: "tokens" })));
    assert_eq!(stats(), 200, "an empty pipe is no file without tokens");
}
