//! The services: their configuration, start and end.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use strongroom::Error;
use strongroom_server::{Config, NewToken, Scope, Server, Service, Tls, log_to_stderr};
use tokio::runtime::Runtime;

use crate::args::{Options, Remote};
use crate::failure::Failure;
use crate::serve_args::{Serve, TokenCommand};
use crate::store::Store;
use crate::{files, hardening, open};

pub(crate) fn serve(options: &Options, args: &Serve) -> Result<(), Failure> {
    let Some((options, config)) = configure(options, args)? else { return Ok(()) };
    let Store::Here(store) = open::or_create(&options)? else { return Err(no_server()) };
    let store = Arc::new(store);
    run(Service::encryption(Arc::clone(&store), &config)?, &config)?;
    Ok(store.close()?)
}

pub(crate) fn serve_storage(options: &Options, args: &Serve) -> Result<(), Failure> {
    let Some((options, config)) = configure(options, args)? else { return Ok(()) };
    let storage = open::storage(&options)?;
    run(Service::storage(Arc::clone(&storage), &config)?, &config)?;
    Ok(storage.close().map_err(Error::from)?)
}

fn no_server() -> Failure {
    Failure::argument("a service has a store of its own: give --store, not --server")
}

/// The configuration of the file, the environment and the flags; none where it was to be printed alone.
fn configure(options: &Options, args: &Serve) -> Result<Option<(Options, Config)>, Failure> {
    if options.server.is_some() {
        return Err(no_server());
    }
    let mut config = match &args.config {
        Some(path) => {
            let document = fs::read_to_string(path).map_err(Failure::io("cannot read the file of --config"))?;
            Config::from_toml(&document).map_err(|error| {
                // Where and why, but not the line itself: it could be a secret in the wrong place.
                let before = error.span().and_then(|span| document.get(..span.start)).unwrap_or_default();
                let line = before.split('\n').count();
                Error::InvalidArgument(format!("the file of --config, line {line}: {}", error.message()).into())
            })?
        }
        None => Config::default(),
    };
    if !args.listen.is_empty() {
        config.listen.clone_from(&args.listen);
    }
    config.store = options.store.clone().or(config.store);
    config.index_key_file = options.index_key_file.clone().or(config.index_key_file);
    config.tokens = args.tokens.clone().or(config.tokens);
    config.log.level = args.log_level.unwrap_or(config.log.level);
    config.log.format = args.log_format.unwrap_or(config.log.format);
    config.tls = tls(args, config.tls)?;
    let (remote, given) = (&mut config.remote, &options.remote);
    remote.token_file = given.token_file.clone().or(remote.token_file.take());
    remote.authorities = given.authorities.clone().or(remote.authorities.take());
    remote.client_certificate = given.client_certificate.clone().or(remote.client_certificate.take());
    remote.client_key = given.client_key.clone().or(remote.client_key.take());
    remote.revocations = given.revocations.clone().or(remote.revocations.take());
    remote.timeout_seconds = given.timeout.or(remote.timeout_seconds);
    if args.print_config {
        let text =
            config.to_toml().map_err(|_| Failure::argument("a path is no Unicode text, and cannot be printed"))?;
        files::print(text.as_bytes()).map_err(Failure::stdout)?;
        return Ok(None);
    }
    let remote = config.remote.clone();
    let options = Options {
        store: config.store.clone(),
        server: None,
        index_key_file: config.index_key_file.clone(),
        json: options.json,
        remote: Remote {
            token_file: remote.token_file,
            authorities: remote.authorities,
            client_certificate: remote.client_certificate,
            client_key: remote.client_key,
            revocations: remote.revocations,
            timeout: remote.timeout_seconds,
        },
    };
    Ok(Some((options, config)))
}

fn tls(args: &Serve, file: Option<Tls>) -> Result<Option<Tls>, Failure> {
    let (certificate, key, authorities) = match file {
        Some(tls) => (Some(tls.certificate), Some(tls.key), tls.client_authorities),
        None => (None, None, None),
    };
    let client_authorities = args.tls_client_authorities.clone().or(authorities);
    match (args.tls_certificate.clone().or(certificate), args.tls_key.clone().or(key)) {
        (Some(certificate), Some(key)) => Ok(Some(Tls { certificate, key, client_authorities })),
        (None, None) if client_authorities.is_none() => Ok(None),
        _ => Err(Failure::argument("TLS needs both --tls-certificate and --tls-key")),
    }
}

/// Serves until a signal says that it is enough.
fn run(service: Service, config: &Config) -> Result<(), Failure> {
    log_to_stderr(&config.log).map_err(|error| Error::Internal(error.into()))?;
    hardening::allow_many_files();
    let runtime = Runtime::new().map_err(Failure::io("cannot start threads"))?;
    runtime.block_on(async {
        let stop = stop_signal().map_err(Failure::io("cannot wait for signals"))?;
        let server = Server::bind(service, config).await?;
        notify_ready();
        server.serve(stop).await;
        Ok(())
    })
}

#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}

/// Tells systemd, where it waits for it (`Type=notify`).
#[cfg(target_os = "linux")]
fn notify_ready() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let notify = |address| UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address);
    let _ = address.and_then(notify); // it finds out by itself that nothing came
}

#[cfg(not(target_os = "linux"))]
fn notify_ready() {}

pub(crate) fn token(options: &Options, command: &TokenCommand) -> Result<(), Failure> {
    let TokenCommand::New { scopes, tokens } = command;
    let token = new_token(scopes)?;
    let line = token.line();
    if let Some(path) = tokens {
        append(path, &line).map_err(Failure::io("cannot write the file of --tokens"))?;
    }
    let text = match (options.json, tokens) {
        (true, None) => format!("{}\n", json!({"token": token.text(), "line": line})),
        (true, Some(_)) => format!("{}\n", json!({"token": token.text()})),
        (false, None) => format!("{}\n{line}\n", token.text()),
        (false, Some(_)) => format!("{}\n", token.text()),
    };
    files::print(text.as_bytes()).map_err(Failure::stdout)
}

fn new_token(scopes: &[Scope]) -> Result<NewToken, Failure> {
    NewToken::generate(scopes.to_vec()).map_err(|error| Error::Internal(error.into()).into())
}

/// Adds a line to the file; it is on the disk when this returns.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    // An editor may have left the last line without its end.
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(-1)).is_ok() {
        file.read_exact(&mut last)?;
    }
    let end = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{end}{line}\n").as_bytes())?;
    file.sync_all()?;
    files::sync_folder_of(path)
}
