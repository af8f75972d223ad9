//! The cluster: services that find each other by gossip. Each sends what it knows to a few others, in rounds, and notes
//! who is silent. Gossip only proposes: TLS, tokens and `cluster.names` decide whom a service trusts.
//!
//! [`seal`] encrypts the messages, [`transport`] sends them, chitchat decides what is in them.

mod advertise;
pub(crate) mod keys;
mod late_store;
mod members;
mod metrics;
mod problems;
mod replay;
mod report;
mod seal;
mod seeds;
mod storages;
#[cfg(test)]
mod tests;
mod traffic;
mod transport;
pub(crate) mod values;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use strongroom::StoreIdentity;
use strongroom::protocol::nodes::{NodeState, Nodes, Problem, Role};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use keys::ClusterKey;
pub(crate) use late_store::LateStore;
use members::{Member, Observer};
use problems::Findings;
pub(crate) use report::{Identity, report};
#[cfg(feature = "_fuzz")]
pub use seal::fuzzing::{open_any_datagram, read_any_values};
use seeds::{Resolver, Seeds};
pub(crate) use storages::Storages;
use traffic::Traffic;
use transport::{Clock, SealedTransport};
use values::Values;

use crate::config::cluster as config;
use crate::files::checked::read_on_thread;
use crate::start_error::StartError;

/// The default UDP port.
const PORT: u16 = 8422;
/// The longest time between two looks at the cluster.
const LOOK: Duration = Duration::from_millis(250);
/// How often the number of requests in flight is sent at most, and addresses are joined again while others are known.
const LOAD: Duration = Duration::from_secs(1);
const REJOIN: Duration = Duration::from_secs(4);
/// The pause before gossip starts again after a fault.
const RESTART: Duration = Duration::from_secs(1);
/// How long the largest difference of clocks is shown.
const SKEW: Duration = Duration::from_secs(30);
/// Intervals in which the failure detector computes the mean.
const SAMPLES: usize = 1_000;

/// A service's part in the cluster. It leaves when [`leave`](Self::leave) is called or the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Handle>);

/// Stops gossip on drop.
struct Handle {
    state: Arc<State>,
    task: AbortHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The clock and the resolver: the system's, or those of a test.
struct Environment {
    clock: Clock,
    resolver: Resolver,
}

impl Default for Environment {
    fn default() -> Self {
        Self { clock: Arc::new(SystemTime::now), resolver: seeds::system() }
    }
}

struct State {
    config: config::Cluster,
    keys: Vec<ClusterKey>,
    socket: Arc<UdpSocket>,
    advertised: SocketAddr,
    clock: Clock,
    seeds: Seeds,
    traffic: Arc<Traffic>,
    started: Instant,
    own: Mutex<Values>,
    view: Mutex<View>,
    /// The storage services that this encryption server uses, if it finds them by gossip.
    storages: Option<Arc<Storages>>,
}

/// This service's knowledge of the cluster.
#[derive(Clone, Default)]
struct View {
    members: Vec<Member>,
    problems: Vec<Problem>,
    /// In milliseconds.
    skew: i64,
}

impl Cluster {
    /// Joins the cluster of `config`, as a service with this role and URL.
    pub(crate) async fn join(
        config: &config::Cluster,
        role: Role,
        url: impl FnOnce(SocketAddr) -> String,
        storages: Option<Arc<Storages>>,
    ) -> Result<Self, StartError> {
        Self::join_in(Environment::default(), config, role, url, storages).await
    }

    async fn join_in(
        environment: Environment,
        config: &config::Cluster,
        role: Role,
        url: impl FnOnce(SocketAddr) -> String,
        storages: Option<Arc<Storages>>,
    ) -> Result<Self, StartError> {
        let Environment { clock, resolver } = environment;
        config.check()?;
        let (files, name) = (config.key_files.clone(), config.name.clone());
        let mut keys = read_on_thread(move || keys::read(&files, &name)).await?;
        let default = if keys.is_empty() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        let listen = config.listen.unwrap_or(SocketAddr::from((default, PORT)));
        let is_local = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        let public = [Some(listen), config.advertise].into_iter().flatten().find(|address| !is_local(*address));
        if let (true, Some(address)) = (keys.is_empty(), public) {
            return Err(StartError::NeedsClusterKey(address.to_string()));
        }
        if keys.is_empty() {
            keys.push(ClusterKey::public(&config.name));
        }
        let failed = |source| StartError::Listen { address: format!("{listen} (UDP)"), source };
        let socket = UdpSocket::bind(listen).await.map_err(failed)?;
        let bound = seeds::canonical(socket.local_addr().map_err(failed)?);
        let advertised = match config.advertise {
            Some(address) if address.port() == 0 => SocketAddr::new(address.ip(), bound.port()),
            Some(address) => address,
            None if bound.ip().is_unspecified() => advertise::own_address(&config.join, &resolver, bound).await?,
            None => bound,
        };
        let advertised = seeds::canonical(advertised);
        let url = config.url.clone().unwrap_or_else(|| url(advertised));
        if !config::is_url(&url) {
            return Err(StartError::NeedsUrl(url.escape_debug().to_string()));
        }
        let state = Arc::new(State {
            keys,
            socket: Arc::new(socket),
            advertised,
            clock,
            seeds: Seeds::new(config.join.clone(), resolver, advertised),
            traffic: Arc::default(),
            started: Instant::now(),
            own: Mutex::new(Values::new(role, url, config.zone.clone())),
            view: Mutex::default(),
            storages,
            config: config.clone(),
        });
        tracing::info!(target: "strongroom", gossip = %advertised, cluster = config.name, "joining the cluster");
        let task = tokio::spawn(run(Arc::clone(&state))).abort_handle();
        Ok(Self(Arc::new(Handle { state, task })))
    }

    /// The services of the cluster, as this one knows them.
    pub(crate) fn nodes(&self) -> Nodes {
        let view = self.view();
        let mut nodes: Vec<_> = view.members.iter().filter_map(Member::node).collect();
        nodes.sort_by(|one, other| (one.role as u8, &one.name).cmp(&(other.role as u8, &other.name)));
        Nodes { nodes, problems: view.problems }
    }

    /// Changes what this service tells the others.
    pub(crate) fn set_state(&self, state: NodeState, requests_in_flight: usize) {
        let mut own = lock(&self.0.state.own);
        own.requests_in_flight = requests_in_flight as u64;
        if own.state != NodeState::Draining {
            own.state = state; // a probe that began before the end must not undo it
        }
    }

    /// Tells the others that the service is about to stop.
    pub(crate) fn drain(&self) {
        lock(&self.0.state.own).state = NodeState::Draining;
    }

    /// Tells the others which store the service has.
    pub(crate) fn set_store(&self, store: &StoreIdentity) {
        lock(&self.0.state.own).set_store(store);
    }

    /// Stops gossip. The others notice the silence.
    pub(crate) fn leave(&self) {
        self.0.task.abort();
    }

    fn view(&self) -> View {
        lock(&self.0.state.view).clone()
    }
}

/// No code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gossips, and starts again after a fault.
async fn run(state: Arc<State>) {
    loop {
        let cause = match gossip(&state).await {
            Ok(()) => "it ended".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::error!(target: "strongroom", cause, "gossip failed, and starts again");
        let detail = format!("gossip failed, and starts again: {cause}");
        lock(&state.view).problems.push(Problem { kind: "gossip_failed".to_owned(), detail });
        sleep(RESTART).await;
    }
}

async fn gossip(state: &State) -> anyhow::Result<()> {
    let config = &state.config;
    let round = Duration::from_millis(config.interval_ms);
    let forget = Duration::from_secs(config.forget_seconds);
    // A longer silence is an outage, and not an interval: after it, the mean would hide a death for twice the usual
    // time.
    let longest_interval = round.mul_f64(config.phi / 2.0);
    // The clock orders the processes that had this address, for people; the others' failure detectors do not need it.
    let generation = (state.clock)().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let generation = u64::try_from(generation).unwrap_or(u64::MAX);
    let chitchat = ChitchatConfig {
        chitchat_id: ChitchatId::new(state.advertised.to_string(), generation, state.advertised),
        cluster_id: config.name.clone(),
        gossip_interval: round,
        listen_addr: state.advertised,
        seed_nodes: Vec::new(), // `join` does this, and resolves names sooner
        failure_detector_config: FailureDetectorConfig::new(config.phi, SAMPLES, longest_interval, round, forget),
        marked_for_deletion_grace_period: forget,
        catchup_callback: None,
        extra_liveness_predicate: None,
    };
    let transport = SealedTransport {
        socket: Arc::clone(&state.socket),
        keys: state.keys.clone(),
        advertised: state.advertised,
        max_age_seconds: config.max_age_seconds,
        clock: Arc::clone(&state.clock),
        traffic: Arc::clone(&state.traffic),
    };
    let own = lock(&state.own).texts();
    let handle = spawn_chitchat(chitchat, own, &transport).await?;
    tokio::select! {
        outcome = handle.termination_watcher() => outcome,
        outcome = observe(state, &handle) => outcome,
        outcome = join(state, &handle, round) => outcome,
    }
}

/// Sends messages to the addresses of the configuration: in each round while no other service is known, and then now
/// and then to those that are not known.
async fn join(state: &State, handle: &ChitchatHandle, round: Duration) -> anyhow::Result<()> {
    loop {
        let addresses = state.seeds.round().await;
        let live: BTreeSet<_> = {
            let view = lock(&state.view);
            view.members.iter().filter(|member| member.is_alive && !member.is_this).map(|m| m.address).collect()
        };
        for address in addresses.into_iter().filter(|address| !live.contains(address)) {
            handle.gossip(address)?;
        }
        if live.is_empty() {
            sleep(round).await;
        } else {
            sleep(REJOIN).await;
        }
    }
}

/// Looks at the cluster in intervals, and tells the others what has changed here.
async fn observe(state: &State, handle: &ChitchatHandle) -> anyhow::Result<()> {
    let mut ticks = interval(LOOK.min(Duration::from_millis(state.config.interval_ms)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut observer = Observer::default();
    let mut sent_load = (0, Instant::now());
    let (mut skew, mut skew_at) = (0_i64, Instant::now());
    loop {
        ticks.tick().await;
        let mut own = lock(&state.own).clone();
        if sent_load.1.elapsed() < LOAD {
            own.requests_in_flight = sent_load.0;
        } else {
            sent_load = (own.requests_in_flight, Instant::now());
        }
        let members = {
            let chitchat = handle.chitchat();
            let mut chitchat = chitchat.lock().await;
            let known = chitchat.self_node_state();
            for (name, value) in own.texts() {
                if known.get(&name) != Some(&value) {
                    known.set(name, value);
                }
            }
            observer.look(&chitchat)
        };
        let new = state.traffic.take_skew();
        if new.unsigned_abs() >= skew.unsigned_abs() || skew_at.elapsed() > SKEW {
            (skew, skew_at) = (new, Instant::now());
        }
        let findings = Findings {
            members: &members,
            seeds: &state.seeds,
            traffic: &state.traffic,
            skew,
            max_age_seconds: state.config.max_age_seconds,
            running: state.started.elapsed(),
            has_store_id: state.config.store_id.is_some(),
        };
        let mut problems = findings.problems();
        problems.extend(state.storages.iter().flat_map(|storages| storages.update(&members)));
        let mut view = lock(&state.view);
        log_changes(&view, &members, &problems);
        *view = View { members, problems, skew };
    }
}

/// Logs each service that comes or goes, and each new kind of problem.
fn log_changes(before: &View, members: &[Member], problems: &[Problem]) {
    let live = |members: &[Member]| -> BTreeSet<SocketAddr> {
        members.iter().filter(|member| member.is_alive && !member.is_this).map(|member| member.address).collect()
    };
    let (was, is) = (live(&before.members), live(members));
    for node in is.difference(&was) {
        tracing::info!(target: "strongroom", %node, "a service of the cluster is heard");
    }
    for node in was.difference(&is) {
        tracing::warn!(target: "strongroom", %node, "a service of the cluster is silent");
    }
    let is_new = |problem: &&Problem| before.problems.iter().all(|known| known.kind != problem.kind);
    for problem in problems.iter().filter(is_new) {
        tracing::warn!(target: "strongroom", kind = problem.kind, detail = problem.detail, "a problem in the cluster");
    }
}
