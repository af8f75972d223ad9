//! Opening and creating stores.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etcetera::BaseStrategy;
use strongroom::storage::{PostgresStorage, Storage};
use strongroom::{Builder, Endpoint, EndpointOptions, Error, IndexKey, Location, Strongroom, index_key_file};
#[cfg(feature = "server")]
use strongroom::{ServiceList, Upstreams, storage::StorageMetrics};

#[cfg(feature = "server")]
use strongroom_server::Cluster;

use crate::failure::Failure;
use crate::new_file::create_folders;
use crate::options::{Options, Remote};
use crate::secret_command;

/// Opens a store that exists, so that a typo in a path does not create an empty store.
pub(crate) fn existing(options: &Options) -> Result<Strongroom, Failure> {
    in_namespace(options, existing_store(options)?)
}

fn existing_store(options: &Options) -> Result<Strongroom, Failure> {
    if let Some(store) = connected(options)? {
        return Ok(store);
    }
    let location = existing_location(options)?;
    let is_database = matches!(location, Location::Database(_));
    let builder = builder(options, location)?.must_exist();
    let builder = if is_database { builder.allow_read_only() } else { builder };
    Ok(builder.open()?)
}

/// Opens a store to rotate its index key to the one in the file `new`. The old key is that of the options, or beside
/// the database.
pub(crate) fn rotating(options: &Options, new: &Path) -> Result<Strongroom, Failure> {
    if options.server.is_some() {
        return Err(Failure::argument("an index key is rotated in its store: use --store, not --server"));
    }
    if matches!(new.try_exists(), Ok(false)) {
        return Err(Failure::argument(
            "there is no file of --new: make it with `strongroom key new --index --key-out PATH`",
        ));
    }
    let location = existing_location(options)?;
    let beside = match &location {
        Location::Database(path) => Some(index_key_file(path)),
        _ => None,
    };
    let builder = at_existing(options, location)?.index_key_file(new);
    let file = options.previous_index_key_file.clone().or(options.index_key_file.clone());
    let builder = match (file, commanded_index_key(options)?, beside) {
        (Some(file), ..) => builder.previous_index_key_file(file),
        (None, Some(key), _) => builder.previous_index_key(key),
        (None, None, Some(file)) => builder.previous_index_key_file(file),
        (None, None, None) => return Err(needs_index_key()),
    };
    in_namespace(options, builder.open()?)
}

/// Whether the store opens with this index key alone, such as after a rotation to it.
pub(crate) fn opens_with(options: &Options, index_key: &Path) -> bool {
    let builder = existing_location(options).and_then(|location| at_existing(options, location));
    builder.is_ok_and(|builder| builder.index_key_file(index_key).open().is_ok())
}

/// The builder of a store that must exist: an empty file does not become one, and no tables are created.
fn at_existing(options: &Options, location: Location) -> Result<Builder, Failure> {
    Ok(Strongroom::builder().location(with_service_options(options, location)?).must_exist())
}

/// The location with this path or URL. As the path of a database, `cluster` would be a mistake: for `serve` it means
/// the storage services of its cluster.
fn location(store: &Path) -> Result<Location, Failure> {
    if store.as_os_str() == "cluster" {
        return Err(Failure::argument(
            "only `serve` finds the store \"cluster\": name services of the cluster with --bootstrap-nodes or \
             --store cluster:URL; ./cluster is a file",
        ));
    }
    Ok(Location::parse(store)?)
}

/// The location of a store, which exists if it is a database.
fn existing_location(options: &Options) -> Result<Location, Failure> {
    let location = match &options.store {
        Some(store) => location(store)?,
        None => Location::Database(default_path()?),
    };
    match &location {
        Location::Database(path) if matches!(path.try_exists(), Ok(false)) => {
            Err(Failure::argument("the store does not exist: check --store; `strongroom store` makes a new one"))
        }
        _ => Ok(location),
    }
}

/// The location of a store that is copied.
pub(crate) fn source(options: &Options) -> Result<Location, Failure> {
    with_service_options(options, existing_location(options)?)
}

/// The location to which a store is copied.
pub(crate) fn destination(options: &Options, to: &Path, token_file: Option<&Path>) -> Result<Location, Failure> {
    match location(to)? {
        Location::Service(endpoint) => {
            let mut endpoint_options = without_token(&options.remote);
            match token_file {
                Some(token_file) => endpoint_options.token_file = Some(token_file.to_path_buf()),
                None => set_token(&mut endpoint_options, &options.remote)?,
            }
            Ok(Location::Service(with_connection(options, endpoint, endpoint_options)?))
        }
        other => with_service_options(options, other),
    }
}

/// Creates the tables of a store in PostgreSQL, and allows `role` to use them.
pub(crate) fn migrate(options: &Options, role: Option<&str>) -> Result<(), Failure> {
    let location = options.store.as_deref().map(location).transpose()?;
    let Some(location @ Location::Postgres(_)) = location else {
        return Err(Failure::argument(
            "only a store in PostgreSQL is migrated: pass --store postgres://USER@HOST/DATABASE",
        ));
    };
    if let Location::Postgres(config) = with_service_options(options, location)? {
        let storage = PostgresStorage::migrate(&config, role).map_err(Error::from)?;
        storage.close().map_err(Error::from)?;
    }
    Ok(())
}

/// Opens or creates the store of an encryption server, whose storage's operations are counted in `metrics`. Also
/// returns the storage services that it uses, if it does.
#[cfg(feature = "server")]
pub(crate) fn served(options: &Options, metrics: &StorageMetrics) -> Result<(Strongroom, Option<Upstreams>), Failure> {
    let location = location_to_make(options)?;
    let upstreams = match &location {
        Location::Service(endpoint) => Some(endpoint.upstreams()),
        _ => None,
    };
    Ok((builder(options, location)?.storage_metrics(metrics).open()?, upstreams))
}

/// Opens the store, or creates it. The only folder it creates is the default one.
pub(crate) fn or_create(options: &Options) -> Result<Strongroom, Failure> {
    let store = match connected(options)? {
        Some(store) => store,
        None => builder(options, location_to_make(options)?)?.open()?,
    };
    in_namespace(options, store)
}

/// Opens the store in the storage services of a cluster, which an encryption server finds later.
#[cfg(feature = "server")]
pub(crate) fn in_cluster(
    options: &Options,
    cluster: &Cluster,
    upstreams: Upstreams,
    metrics: StorageMetrics,
) -> Result<impl Fn(ServiceList) -> Result<Strongroom, Error> + Send + Sync + 'static, Failure> {
    let (file, key) = (options.index_key_file.clone(), commanded_index_key(options)?);
    if file.is_none() && key.is_none() {
        return Err(needs_index_key());
    }
    let (previous, pads) = (options.previous_index_key_file.clone(), options.pads_store);
    let (endpoint_options, zone) = (endpoint_options(&options.remote)?, cluster.zone.clone());
    let names = cluster.trusted_names();
    Ok(move |services: ServiceList| {
        let endpoint = Endpoint::services(&services).with_options(endpoint_options.clone())?.names(names.clone());
        let endpoint = endpoint.count_in(&upstreams);
        let endpoint = match &zone {
            Some(zone) => endpoint.zone(zone),
            None => endpoint,
        };
        let builder = Strongroom::builder().endpoint(endpoint).storage_metrics(&metrics);
        with_settings(builder, file.as_deref(), key.as_ref(), previous.as_deref(), pads).open()
    })
}

fn in_namespace(options: &Options, store: Strongroom) -> Result<Strongroom, Failure> {
    match &options.namespace {
        Some(name) => Ok(store.namespace(name)?),
        None => Ok(store),
    }
}

/// The encryption server or the storage service of the options.
#[cfg(feature = "server")]
pub(crate) fn service(options: &Options) -> Result<Endpoint, Failure> {
    let location = options.store.as_deref().map(location).transpose()?;
    match (server(options)?, location) {
        (Some(endpoint), _) => Ok(endpoint),
        (None, Some(Location::Service(endpoint))) => {
            with_connection(options, endpoint, endpoint_options(&options.remote)?)
        }
        _ => Err(Failure::argument(
            "name a service: an encryption server with --server, or a storage service with --store",
        )),
    }
}

/// The store of the encryption server, if one is given.
pub(crate) fn connected(options: &Options) -> Result<Option<Strongroom>, Failure> {
    Ok(server(options)?.as_ref().map(Strongroom::connect).transpose()?)
}

/// The encryption server, if one is given.
fn server(options: &Options) -> Result<Option<Endpoint>, Failure> {
    let Some(url) = &options.server else { return Ok(None) };
    let endpoint = Endpoint::new(url).map_err(Error::from)?;
    Ok(Some(with_connection(options, endpoint, endpoint_options(&options.remote)?)?))
}

fn builder(options: &Options, location: Location) -> Result<Builder, Failure> {
    let has_file_beside = matches!(location, Location::Database(_) | Location::Memory);
    let commanded = commanded_index_key(options)?;
    if !has_file_beside && options.index_key_file.is_none() && commanded.is_none() {
        return Err(needs_index_key());
    }
    let builder = Strongroom::builder().location(with_service_options(options, location)?);
    let (file, previous) = (options.index_key_file.as_deref(), options.previous_index_key_file.as_deref());
    Ok(with_settings(builder, file, commanded.as_ref(), previous, options.pads_store))
}

/// Sets the index keys, of which one may come from a command, and the padding.
fn with_settings(
    mut builder: Builder,
    file: Option<&Path>,
    commanded: Option<&IndexKey>,
    previous: Option<&Path>,
    pads: bool,
) -> Builder {
    if let Some(file) = file {
        builder = builder.index_key_file(file);
    }
    if let Some(key) = commanded {
        builder = builder.index_key(key.duplicate());
    }
    if let Some(file) = previous {
        builder = builder.previous_index_key_file(file);
    }
    if pads { builder.pad() } else { builder }
}

fn needs_index_key() -> Failure {
    Failure::argument(
        "this store needs --index-key-file or --index-key-command, the same key for all clients: `strongroom key new --index` makes one",
    )
}

/// The environment may set the options for services even if a command uses no service.
fn with_service_options(options: &Options, location: Location) -> Result<Location, Failure> {
    match location {
        Location::Service(endpoint) => {
            Ok(Location::Service(with_connection(options, endpoint, endpoint_options(&options.remote)?)?))
        }
        Location::Postgres(_) => Ok(location.with_options(without_token(&options.remote))?), // it is that of a service
        Location::Bucket(_) => {
            let EndpointOptions { authorities, timeout, .. } = without_token(&options.remote);
            let mut of_bucket = EndpointOptions::default();
            (of_bucket.authorities, of_bucket.timeout) = (authorities, timeout);
            Ok(location.with_options(of_bucket)?)
        }
        _ => Ok(location),
    }
}

/// The endpoint with these options. If no service has TLS, the variables of the environment for TLS are meant for
/// others.
pub(crate) fn with_connection(
    options: &Options,
    endpoint: Endpoint,
    mut given: EndpointOptions,
) -> Result<Endpoint, Failure> {
    let url = endpoint.to_string();
    if !url.contains("https://") && !url.starts_with("cluster:") {
        let is_set = |name| options.is_from_environment(name);
        given.authorities.take_if(|_| is_set("authorities"));
        given.client_certificate.take_if(|_| is_set("client_certificate"));
        given.client_key.take_if(|_| is_set("client_key"));
        given.revocations.take_if(|_| is_set("revocations"));
    }
    Ok(endpoint.with_options(given).map_err(Error::from)?)
}

/// The options of a service, with its token.
fn endpoint_options(remote: &Remote) -> Result<EndpointOptions, Failure> {
    let mut options = without_token(remote);
    set_token(&mut options, remote)?;
    Ok(options)
}

/// Sets the token's file, or the token that the command prints, which is run once.
fn set_token(options: &mut EndpointOptions, remote: &Remote) -> Result<(), Failure> {
    options.token_file.clone_from(&remote.token_file);
    if let Some(command) = &remote.token_command {
        let token = match remote.token.get() {
            Some(token) => token.clone(),
            None => {
                let token = secret_command::run(secret_command::TOKEN, command)?;
                remote.token.get_or_init(|| token).clone()
            }
        };
        options.token = Some(token);
    }
    Ok(())
}

/// The index key that a command prints, if the options name one.
fn commanded_index_key(options: &Options) -> Result<Option<IndexKey>, Failure> {
    let Some(command) = &options.index_key_command else { return Ok(None) };
    let text = secret_command::run(secret_command::INDEX_KEY, command)?;
    Ok(Some(IndexKey::from_text(&text)?))
}

pub(crate) fn without_token(remote: &Remote) -> EndpointOptions {
    let mut options = EndpointOptions::default();
    options.authorities.clone_from(&remote.authorities);
    options.client_certificate.clone_from(&remote.client_certificate);
    options.client_key.clone_from(&remote.client_key);
    options.revocations.clone_from(&remote.revocations);
    options.timeout = remote.timeout.map(Duration::from_secs);
    options
}

/// Opens only the storage of a store that exists, which needs no index key.
pub(crate) fn existing_storage(options: &Options) -> Result<Arc<dyn Storage>, Failure> {
    if options.server.is_some() {
        let text = "an encryption server does not give access to its storage: name the storage with --store";
        return Err(Error::Unsupported(text.into()).into());
    }
    open_storage(options, existing_location(options)?)
}

/// Opens a copy of the store, as [`existing_storage`].
pub(crate) fn copy(options: &Options, copy: &Path) -> Result<Arc<dyn Storage>, Failure> {
    open_storage(options, location(copy)?)
}

fn open_storage(options: &Options, location: Location) -> Result<Arc<dyn Storage>, Failure> {
    Ok(with_service_options(options, location)?.open_existing_storage()?)
}

/// Opens or creates only the storage, which needs no index key.
#[cfg(feature = "server")]
pub(crate) fn storage(options: &Options) -> Result<Arc<dyn Storage>, Failure> {
    match location_to_make(options)? {
        Location::Service(_) => {
            let text = "a storage service keeps the records itself: --store must be a path, \
                        postgres://USER@HOST/DATABASE or s3://BUCKET/PREFIX";
            Err(Failure::argument(text))
        }
        location => Ok(with_service_options(options, location)?.open_storage()?),
    }
}

/// The path of the store's database, if it has one.
pub(crate) fn database(options: &Options) -> Option<PathBuf> {
    match (&options.server, &options.store) {
        (Some(_), _) => None,
        (None, Some(store)) => match Location::parse(store) {
            Ok(Location::Database(path)) => Some(path),
            _ => None,
        },
        (None, None) => default_path().ok(),
    }
}

fn location_to_make(options: &Options) -> Result<Location, Failure> {
    if let Some(store) = &options.store {
        return location(store);
    }
    let path = default_path()?;
    if let (Ok(false), Some(folder)) = (path.try_exists(), path.parent()) {
        create_folders(folder).map_err(Failure::io("cannot make the default store's folder"))?;
    }
    Ok(Location::Database(path))
}

fn default_path() -> Result<PathBuf, Failure> {
    let strategy = etcetera::base_strategy::choose_native_strategy()
        .map_err(|_| Failure::argument("your home folder is unknown: name the store with --store"))?;
    Ok(strategy.data_dir().join("strongroom").join("strongroom.db"))
}
