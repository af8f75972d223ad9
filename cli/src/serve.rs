//! Starting and stopping the services.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use strongroom::storage::StorageMetrics;
use strongroom::{Error, Upstreams};
use strongroom_server::{Config, LogGuard, Server, Service, log_to_stderr};

use crate::failure::{Failure, printable};
use crate::options::Options;
use crate::serve_args::Serve;
use crate::serve_config::configure;
use crate::serve_signals::{hangup, reload_at, stop_signal};
use crate::{hardening, open, runtime, systemd};

/// How long the process waits at its end for threads, such as those of requests that were cut.
const LAST_STEPS: Duration = Duration::from_secs(1);

pub(crate) fn serve(options: &Options, args: &Serve) -> Result<(), Failure> {
    let Some((options, config)) = configure(options, args, 8420)? else { return Ok(()) };
    let _log = prepare(&config)?;
    let metrics = StorageMetrics::default();
    if config.has_store_in_cluster() {
        let upstreams = Upstreams::default();
        let open = open::in_cluster(&options, &config.cluster, upstreams.clone(), metrics.clone())?;
        let service = Service::encryption_in_cluster(open, &config)?;
        return run(service.with_upstreams(upstreams).with_storage_metrics(metrics), &config);
    }
    let (store, upstreams) = open::served(&options, &metrics).map_err(|failure| refused(failure, &options))?;
    let store = Arc::new(store);
    let service = Service::encryption(Arc::clone(&store), &config)?.with_storage_metrics(metrics);
    let service = match upstreams {
        Some(upstreams) => service.with_upstreams(upstreams),
        None => service,
    };
    run(service, &config)?;
    Ok(store.close()?)
}

pub(crate) fn serve_storage(options: &Options, args: &Serve) -> Result<(), Failure> {
    let Some((options, config)) = configure(options, args, 8421)? else { return Ok(()) };
    let _log = prepare(&config)?;
    if config.has_store_in_cluster() {
        return Err(Failure::argument("a storage service keeps the records itself: \"cluster\" is no --store for it"));
    }
    let storage = open::storage(&options)?;
    run(Service::storage(Arc::clone(&storage), &config)?, &config)?;
    Ok(storage.close().map_err(Error::from)?)
}

/// The failure to open the store, with its URL if the storage service denies access.
fn refused(failure: Failure, options: &Options) -> Failure {
    match (failure, &options.store) {
        (Failure::Strongroom(source), Some(url)) if source.is_refusal_of_service() => {
            Failure::RefusedByStorage { url: printable(url), source }
        }
        (failure, _) => failure,
    }
}

/// Starts the log and checks all files, before anything is opened or connected to.
fn prepare(config: &Config) -> Result<LogGuard, Failure> {
    let log = log_to_stderr(&config.log)?;
    config.check_files()?;
    Ok(log)
}

/// Serves until a signal stops it.
fn run(service: Service, config: &Config) -> Result<(), Failure> {
    hardening::allow_many_files();
    let runtime = runtime::start(config.limits.threads)?;
    let outcome = runtime.block_on(async {
        const SIGNALS: &str = "cannot wait for signals";
        let mut stop = pin!(stop_signal().map_err(Failure::io(SIGNALS))?);
        let hangup = hangup().map_err(Failure::io(SIGNALS))?;
        let server = tokio::select! {
            server = Server::bind(service, config) => server?,
            () = &mut stop => return Ok(()),
        };
        reload_at(hangup, server.reloader());
        systemd::notify(systemd::READY);
        server.serve(stop).await;
        Ok(())
    });
    runtime.shutdown_timeout(LAST_STEPS);
    outcome
}
