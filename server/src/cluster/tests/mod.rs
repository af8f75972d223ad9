//! Clusters in one process, on loopback addresses, with a resolver and clocks of the tests.
//!
//! Time is virtual: it passes while no task has work. So a busy machine makes no service look dead, minutes take
//! seconds, and the tests may demand what takes how long. A datagram arrives at the next step of the time.

mod hostile;
mod membership;
mod mixed_versions;
mod network_faults;
#[path = "../../../../core/tests/support/rounds.rs"]
mod rounds;
mod storages;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use strongroom::protocol::nodes::{NodeState, Role};
use tokio::time::{Instant, sleep};

use super::config;
use super::keys::NewClusterKey;
use super::{Cluster, Environment, Storages, lock};
use crate::config::document::Config;

/// The limit of each wait.
const DEADLINE: Duration = Duration::from_secs(90);
/// The steps of the time in a wait.
const STEP: Duration = Duration::from_millis(5);

/// The addresses behind names, which tests change.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<HashMap<String, SocketAddr>>>);

impl Names {
    fn set(&self, name: &str, address: SocketAddr) {
        self.0.lock().unwrap().insert(name.to_owned(), address);
    }

    fn environment(&self) -> Environment {
        let names = self.clone();
        Environment {
            resolver: Arc::new(move |name| {
                let known = names.0.lock().unwrap().get(&name).copied();
                let address = known.or_else(|| name.parse().ok());
                Box::pin(async move { Ok(vec![address.ok_or(io::ErrorKind::NotFound)?]) })
            }),
            ..Environment::default()
        }
    }

    /// With a clock that is wrong by so many seconds.
    fn environment_with_clock(&self, seconds: i64) -> Environment {
        let skew = Duration::from_secs(seconds.unsigned_abs());
        let clock = move || if seconds < 0 { SystemTime::now() - skew } else { SystemTime::now() + skew };
        Environment { clock: Arc::new(clock), ..self.environment() }
    }
}

fn config(join: &[&str]) -> config::Cluster {
    config::Cluster {
        join: join.iter().map(|name| (*name).to_owned()).collect(),
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..config::Cluster::default()
    }
}

async fn start(environment: Environment, config: &config::Cluster) -> Cluster {
    let url = |_| "http://127.0.0.1:8421".to_owned();
    let cluster = Cluster::join_in(environment, config, Role::Storage, url, None).await.unwrap();
    cluster.set_state(NodeState::Ready, 0);
    cluster
}

fn address(cluster: &Cluster) -> SocketAddr {
    cluster.0.state.advertised
}

/// The addresses of the services that this one takes for live.
fn live(cluster: &Cluster) -> Vec<SocketAddr> {
    let view = lock(&cluster.0.state.view);
    view.members
        .iter()
        .filter(|member| member.is_alive && member.values.is_some())
        .map(|member| member.address)
        .collect()
}

fn kinds(cluster: &Cluster) -> Vec<String> {
    cluster.nodes().problems.into_iter().map(|problem| problem.kind).collect()
}

/// Waits until the condition holds, and returns the time that it took.
async fn until(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "{what}");
        sleep(STEP).await;
    }
    start.elapsed()
}

/// Waits until all of them know that these are live, and no other one is.
async fn until_all_know(all: &[&Cluster], live_ones: &[&Cluster]) -> Duration {
    let mut expected: Vec<_> = live_ones.iter().map(|cluster| address(cluster)).collect();
    expected.sort();
    let knows = |cluster: &Cluster| {
        let mut live = live(cluster);
        live.sort();
        live == expected
    };
    let start = Instant::now();
    while !all.iter().all(|cluster| knows(cluster)) {
        let counts: Vec<_> = all.iter().map(|cluster| live(cluster).len()).collect();
        assert!(start.elapsed() < DEADLINE, "not all know all {}: {counts:?}", expected.len());
        sleep(STEP).await;
    }
    start.elapsed()
}

/// An encryption server that uses the storages at trusted hosts, and its configuration.
async fn encryption_server(folder: &tempfile::TempDir, names: &Names) -> (Config, Arc<Storages>, Cluster) {
    let mut document = Config { cluster: config(&["seed:1"]), ..Config::default() };
    document.cluster.key_files = vec![key_file(folder, "key")];
    document.cluster.names = vec!["*.example".into()];
    let storages = Arc::new(Storages::new(&document).unwrap());
    let url = |_| "https://server.example:8420".to_owned();
    let joined = Some(Arc::clone(&storages));
    let server = Cluster::join_in(names.environment(), &document.cluster, Role::Encryption, url, joined).await.unwrap();
    (document, storages, server)
}

/// A file with a new key.
fn key_file(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, NewClusterKey::generate().unwrap().text()).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn refused(cluster: &Cluster, reason: &str) -> u64 {
    cluster.0.state.traffic.refused().find(|(name, _)| *name == reason).unwrap().1
}

fn set_store(cluster: &Cluster, store: &str) {
    lock(&cluster.0.state.own).store = Some(store.to_owned());
}
