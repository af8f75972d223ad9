//! The addresses to join. Their names are resolved again while the service is alone, because services start in any
//! order, and regularly later, so that the parts of a split cluster find each other.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;

/// The time limit for resolving a name.
const RESOLVE: Duration = Duration::from_secs(5);
/// The most addresses that are tried in a round.
const PER_ROUND: usize = 8;

/// Resolves `HOST:PORT`: by the system, or for a test.
pub(super) type Resolver = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The system's resolver.
pub(super) fn system() -> Resolver {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host(name).await?.collect()) }))
}

pub(super) struct Seeds {
    names: Vec<String>,
    resolver: Resolver,
    /// The service's own address, which it does not join.
    own: SocketAddr,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The addresses that were found last.
    found: Vec<SocketAddr>,
    /// The address with which the next round begins.
    next: usize,
    /// The names that could not be resolved, with the cause.
    unresolved: Vec<(String, String)>,
}

impl Seeds {
    pub(super) fn new(names: Vec<String>, resolver: Resolver, own: SocketAddr) -> Self {
        Self { names, resolver, own, state: Mutex::default() }
    }

    /// Resolves all names, and returns the addresses of this round: all of them if they are few, or the next ones.
    pub(super) async fn round(&self) -> Vec<SocketAddr> {
        let mut found = BTreeSet::new();
        let mut unresolved = Vec::new();
        for name in &self.names {
            match timeout(RESOLVE, (self.resolver)(name.clone())).await {
                Ok(Ok(addresses)) if !addresses.is_empty() => found.extend(addresses.into_iter().map(canonical)),
                Ok(Ok(_)) => unresolved.push((name.clone(), "no address is known".to_owned())),
                Ok(Err(error)) => unresolved.push((name.clone(), error.to_string())),
                Err(_) => unresolved.push((name.clone(), "the resolver does not answer".to_owned())),
            }
        }
        found.remove(&self.own);
        let mut state = self.lock();
        state.unresolved = unresolved;
        state.found = found.into_iter().collect();
        let start = state.next.checked_rem(state.found.len()).unwrap_or_default();
        let count = state.found.len().min(PER_ROUND);
        state.next = start + count;
        state.found.iter().cycle().skip(start).take(count).copied().collect()
    }

    /// The addresses that were found in the last round, and the names that were not.
    pub(super) fn last(&self) -> (Vec<SocketAddr>, Vec<(String, String)>) {
        let state = self.lock();
        (state.found.clone(), state.unresolved.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An IPv4 address in its own form.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[tokio::test]
    async fn a_name_with_many_addresses_is_tried_in_turns() {
        let resolver: Resolver = Arc::new(|name| {
            Box::pin(async move {
                match &*name {
                    "many" => Ok((1..=20).map(address).collect()),
                    "none" => Ok(Vec::new()),
                    _ => Err(io::ErrorKind::NotFound.into()),
                }
            })
        });
        let seeds = Seeds::new(["many", "none", "unknown"].map(str::to_owned).to_vec(), resolver, address(20));
        let mut tried = BTreeSet::new();
        for _ in 0..3 {
            let round = seeds.round().await;
            assert_eq!(round.len(), PER_ROUND);
            tried.extend(round);
        }
        assert_eq!(tried, (1..20).map(address).collect(), "all but its own");
        let (found, unresolved) = seeds.last();
        assert_eq!((found.len(), unresolved.len()), (19, 2));
    }

    #[tokio::test]
    async fn an_address_needs_no_resolver() {
        let seeds = Seeds::new(vec!["127.0.0.1:1".into(), "[::ffff:127.0.0.1]:2".into()], system(), address(3));
        assert_eq!(seeds.round().await, [address(1), address(2)]);
    }
}
