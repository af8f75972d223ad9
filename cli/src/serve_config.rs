//! A service's configuration, from the file, the environment and the flags.

use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;

use strongroom::Error;
use strongroom_server::{Cluster, Config, ListenAddress, Tls};

use crate::failure::Failure;
use crate::keyring_args::KeyringOptions;
use crate::open;
use crate::options::{Options, Remote};
use crate::serve_args::Serve;
use crate::streams;

/// The configuration; `None` if it was only printed. Flags and the services' own environment variables override the
/// file. The variables that other commands also use, for the store and for remote services, apply only if the file does
/// not set the value: a user's shell settings are not meant for a service.
pub(crate) fn configure(options: &Options, args: &Serve, port: u16) -> Result<Option<(Options, Config)>, Failure> {
    if options.server.is_some() {
        return Err(Failure::argument("a service has a store of its own: pass --store, not --server"));
    }
    let mut config = match &args.config {
        Some(path) => {
            let document =
                fs::read_to_string(path).map_err(Failure::io_at("cannot read the file of --config", path))?;
            Config::from_toml(&document)
                .map_err(|error| Error::InvalidArgument(format!("the file of --config, {error}").into()))?
        }
        None => Config::default(),
    };
    merge_shared(&mut config, options);
    merge_own(&mut config, args)?;
    merge_cluster(&mut config.cluster, args, &options.bootstrap_nodes);
    if config.listen.is_empty() {
        config.listen.push(ListenAddress::Tcp(([127, 0, 0, 1], port).into()));
    }
    if args.print_config {
        let text =
            config.to_toml().map_err(|_| Failure::argument("a path is not Unicode text, so it cannot be printed"))?;
        streams::print(text.as_bytes()).map_err(Failure::stdout)?;
        return Ok(None);
    }
    let remote = config.remote.clone();
    let options = Options {
        store: config.store.clone(),
        server: None,
        bootstrap_nodes: Vec::new(),
        index_key_file: config.index_key_file.clone(),
        index_key_command: config.index_key_command.clone(),
        previous_index_key_file: config.previous_index_key_file.clone(),
        namespace: None,
        pads_store: config.pad,
        json: options.json,
        keyring: KeyringOptions::default(),
        remote: Remote {
            token_file: remote.token_file,
            token_command: remote.token_command,
            authorities: remote.authorities,
            client_certificate: remote.client_certificate,
            client_key: remote.client_key,
            revocations: remote.revocations,
            timeout: remote.timeout_seconds,
            token: OnceCell::new(),
        },
        from_environment: Vec::new(),
    };
    config.store = config.store.or_else(|| open::database(&options)); // the default one, for the check of files
    Ok(Some((options, config)))
}

/// Merges the options of all commands.
fn merge_shared(config: &mut Config, options: &Options) {
    fn merge<T: Clone>(options: &Options, name: &str, given: Option<&T>, file: &mut Option<T>) {
        if file.is_none() || !options.is_from_environment(name) {
            *file = given.cloned().or(file.take());
        }
    }
    let (remote, given) = (&mut config.remote, &options.remote);
    merge(options, "store", options.store.as_ref(), &mut config.store);
    let given_key = (options.index_key_file.as_ref(), options.index_key_command.as_ref());
    let own_key = (&mut config.index_key_file, &mut config.index_key_command);
    merge_secret(options, ["index_key_file", "index_key_command"], given_key, own_key);
    let (previous, own) = (options.previous_index_key_file.as_ref(), &mut config.previous_index_key_file);
    merge(options, "previous_index_key_file", previous, own);
    let given_token = (given.token_file.as_ref(), given.token_command.as_ref());
    let own_token = (&mut remote.token_file, &mut remote.token_command);
    merge_secret(options, ["token_file", "token_command"], given_token, own_token);
    merge(options, "authorities", given.authorities.as_ref(), &mut remote.authorities);
    merge(options, "client_certificate", given.client_certificate.as_ref(), &mut remote.client_certificate);
    merge(options, "client_key", given.client_key.as_ref(), &mut remote.client_key);
    merge(options, "revocations", given.revocations.as_ref(), &mut remote.revocations);
    merge(options, "timeout", given.timeout.as_ref(), &mut remote.timeout_seconds);
}

/// Merges a secret that comes from a file or a command: a given one takes the place of either.
fn merge_secret(
    options: &Options,
    [file_name, command_name]: [&str; 2],
    given: (Option<&PathBuf>, Option<&String>),
    (file, command): (&mut Option<PathBuf>, &mut Option<String>),
) {
    let is_set = file.is_some() || command.is_some();
    let applies = |name| !is_set || !options.is_from_environment(name);
    if let Some(given) = given.0.filter(|_| applies(file_name)) {
        (*file, *command) = (Some(given.clone()), None);
    }
    if let Some(given) = given.1.filter(|_| applies(command_name)) {
        (*file, *command) = (None, Some(given.clone()));
    }
}

/// Merges the options of the services.
fn merge_own(config: &mut Config, args: &Serve) -> Result<(), Failure> {
    if !args.listen.is_empty() {
        config.listen.clone_from(&args.listen);
    }
    config.admin = args.admin.clone().or(config.admin.take());
    if !args.names.is_empty() {
        config.names.clone_from(&args.names);
    }
    config.health = args.health.clone().or(config.health.take());
    config.insecure_health = args.insecure_health.unwrap_or(config.insecure_health);
    config.insecure_loopback = args.insecure_loopback.unwrap_or(config.insecure_loopback);
    config.pad = args.pad.unwrap_or(config.pad);
    config.socket_mode = args.socket_mode.unwrap_or(config.socket_mode);
    config.socket_group = args.socket_group.clone().or(config.socket_group.take());
    config.tokens = args.tokens.clone().or(config.tokens.take());
    config.token_uses = args.token_uses.clone().or(config.token_uses.take());
    config.audit = args.audit.clone().or(config.audit.take());
    config.log.level = args.log_level.unwrap_or(config.log.level);
    config.log.format = args.log_format.unwrap_or(config.log.format);
    config.tls = tls(args, config.tls.take())?;
    Ok(())
}

fn merge_cluster(cluster: &mut Cluster, args: &Serve, bootstrap_nodes: &[String]) {
    let join = [&args.join, bootstrap_nodes].concat();
    for (given, field) in [(&join, &mut cluster.join), (&args.cluster_names, &mut cluster.names)] {
        if !given.is_empty() {
            field.clone_from(given);
        }
    }
    if !args.cluster_key_files.is_empty() {
        cluster.key_files.clone_from(&args.cluster_key_files);
    }
    if let Some(name) = &args.cluster_name {
        cluster.name.clone_from(name);
    }
    cluster.listen = args.gossip_listen.or(cluster.listen);
    cluster.advertise = args.gossip_advertise.or(cluster.advertise);
    cluster.url = args.advertise_url.clone().or(cluster.url.take());
    cluster.zone = args.zone.clone().or(cluster.zone.take());
}

fn tls(args: &Serve, file: Option<Tls>) -> Result<Option<Tls>, Failure> {
    let client_namespaces = file.as_ref().map(|tls| tls.client_namespaces.clone()).unwrap_or_default();
    let (certificate, key, authorities, revocations) = match file {
        Some(tls) => (Some(tls.certificate), Some(tls.key), tls.client_authorities, tls.client_revocations),
        None => (None, None, None, None),
    };
    let client_authorities = args.tls_client_authorities.clone().or(authorities);
    let client_revocations = args.tls_client_revocations.clone().or(revocations);
    match (args.tls_certificate.clone().or(certificate), args.tls_key.clone().or(key)) {
        (Some(certificate), Some(key)) => {
            Ok(Some(Tls { certificate, key, client_authorities, client_revocations, client_namespaces }))
        }
        (None, None) if client_authorities.is_none() && client_revocations.is_none() => Ok(None),
        _ => Err(Failure::argument("TLS needs both --tls-certificate and --tls-key")),
    }
}
