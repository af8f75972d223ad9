//! The storage services that an encryption server finds by gossip: those of one store, whose hosts it trusts.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use strongroom::protocol::nodes::{NodeState, Problem, Role};
use strongroom::{ServiceAddress, ServiceList};
use tokio::time::Instant;

use super::lock;
use super::members::Member;
use super::problems::list;
use crate::config::document::Config;
use crate::start_error::StartError;

/// How long one store must be the only one before it is used, so that a second one is noticed first.
const SETTLING: Duration = Duration::from_secs(2);

/// The storage services of one store.
pub(crate) struct Storages {
    list: ServiceList,
    /// The trusted hosts.
    names: Vec<String>,
    choice: Mutex<Choice>,
}

/// The store whose services are used.
#[derive(Clone, Debug)]
enum Choice {
    /// None is known, or there are several.
    None,
    /// The only one, since this time.
    Only(String, Instant),
    /// This one, also if there are others: it is configured, or has been opened.
    Fixed(String),
}

impl Storages {
    /// Fails if the configuration would send a token to any host.
    pub(crate) fn new(config: &Config) -> Result<Self, StartError> {
        let (cluster, remote) = (&config.cluster, &config.remote);
        if !cluster.is_active() {
            return Err(StartError::NeedsJoin);
        }
        let has_no_key = cluster.key_files.is_empty();
        if has_no_key && (remote.token_file.is_some() || remote.token_command.is_some()) {
            return Err(StartError::TokenNeedsClusterKey);
        }
        if !has_no_key && cluster.names.is_empty() && remote.authorities.is_none() {
            return Err(StartError::NeedsTrustedNames);
        }
        let probe = ServiceAddress { url: "https://localhost".into(), zone: None };
        probe.is_trusted(&cluster.names).map_err(|_| StartError::TrustedNames)?;
        let names = cluster.trusted_names();
        let choice = cluster.store_id.as_ref().map_or(Choice::None, |id| Choice::Fixed(id.to_ascii_lowercase()));
        Ok(Self { list: ServiceList::default(), names, choice: Mutex::new(choice) })
    }

    /// The changing list of services, for an endpoint.
    pub(crate) fn list(&self) -> ServiceList {
        self.list.clone()
    }

    /// Whether the store has been chosen.
    pub(crate) fn are_found(&self) -> bool {
        match &*lock(&self.choice) {
            Choice::None => false,
            Choice::Only(_, since) => since.elapsed() >= SETTLING,
            Choice::Fixed(_) => true,
        }
    }

    /// Keeps to the store, which has been opened: others that appear are not used.
    pub(crate) fn fix(&self, store: String) {
        *lock(&self.choice) = Choice::Fixed(store);
    }

    /// Updates the list. Returns the problems.
    pub(super) fn update(&self, members: &[Member]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |kind: &str, detail: String| problems.push(Problem { kind: kind.to_owned(), detail });
        let mut stores: BTreeMap<&str, Vec<ServiceAddress>> = BTreeMap::new();
        for member in members.iter().filter(|member| member.is_alive) {
            let Some(values) = member.values.as_ref().filter(|values| values.role == Role::Storage) else { continue };
            let service = ServiceAddress { url: values.url.clone(), zone: values.zone.clone() };
            if !service.is_trusted(&self.names).unwrap_or(false) {
                let text = "is invalid, or its host is not in cluster.names: it gets no requests";
                add(
                    "untrusted_storage",
                    format!("the URL of the storage service {}, {}, {text}", member.address, service.url),
                );
                continue;
            }
            let Some(store) = &values.store else { continue };
            let services = stores.entry(store).or_default();
            if values.state == NodeState::Ready {
                services.push(service);
            }
        }
        let mut choice = lock(&self.choice);
        let only = stores.keys().next().filter(|_| stores.len() == 1).map(|store| (*store).to_owned());
        *choice = match (choice.clone(), only) {
            (Choice::Fixed(store), _) => Choice::Fixed(store),
            (Choice::Only(store, since), Some(only)) if store == only => Choice::Only(store, since),
            (_, Some(only)) => Choice::Only(only, Instant::now()),
            (_, None) => Choice::None,
        };
        let services = match &*choice {
            Choice::None => None,
            Choice::Only(store, _) | Choice::Fixed(store) => stores.remove(&**store),
        };
        if services.as_ref().is_none_or(Vec::is_empty) {
            let text = match &*choice {
                Choice::None if stores.len() > 1 => {
                    "there are storage services of several stores: set cluster.store_id".to_owned()
                }
                Choice::Fixed(store) if services.is_none() && !stores.is_empty() => format!(
                    "the store {store}, which is open or in cluster.store_id, has no storage service; there are those \
                     of {}: start one of this store with --join, or correct cluster.store_id and restart this service",
                    list(stores.keys().map(|store| (*store).to_owned()))
                ),
                _ => "no storage service is ready: start one with --join".to_owned(),
            };
            add("no_storage", text);
        }
        // An empty list leaves the last services in use for a while: faults of gossip do not stop requests.
        self.list.set(services.unwrap_or_default());
        problems
    }
}
