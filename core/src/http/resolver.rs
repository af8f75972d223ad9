//! The addresses of hosts' names. A name with several addresses stands for several services.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::util::threads;

/// The most addresses of a name that are used.
const MOST_ADDRESSES: usize = 64;
/// How long a name's addresses are used before they are looked up again.
pub(super) const LOOKUP_INTERVAL: Duration = Duration::from_secs(10);

type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

/// Looks up names: the system, or a function in its place.
#[derive(Clone, Default)]
pub(super) struct Resolver(Option<Arc<Lookup>>);

impl Resolver {
    pub(super) fn new(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(lookup)))
    }

    /// The addresses of a name. A thread of this library looks them up, because tokio would panic if the system could
    /// not start one.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let (outbox, found) = oneshot::channel();
        let (host, lookup) = (host.to_owned(), self.0.clone());
        threads::spawn("strongroom-dns", move || {
            let addresses: io::Result<Vec<_>> = match lookup {
                Some(lookup) => lookup(&host).map(|all| all.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()),
                None => (host.as_str(), port).to_socket_addrs().map(Iterator::collect),
            };
            let _ = outbox.send(addresses); // fails if the caller no longer waits
        })?;
        found.await.unwrap_or_else(|_| Err(io::Error::other("the thread for name lookups has ended")))
    }
}

/// The names that connections have looked up, with their addresses.
#[derive(Default)]
pub(super) struct KnownNames {
    resolver: Resolver,
    names: Mutex<HashMap<(String, u16), Known>>,
    version: AtomicU64,
}

struct Known {
    addresses: Vec<SocketAddr>,
    /// Whether there have ever been several.
    are_several: bool,
    looked_up: Instant,
}

impl KnownNames {
    pub(super) fn new(resolver: Resolver) -> Self {
        Self { resolver, ..Self::default() }
    }

    /// A number that grows when a name gets other addresses.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Looks up a name, and keeps the result. A lookup that fails leaves the last result.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = self.resolver.addresses(host, port).await;
        self.keep(host, port, found.as_deref().unwrap_or_default(), Instant::now());
        found
    }

    fn keep(&self, host: &str, port: u16, found: &[SocketAddr], now: Instant) {
        let mut names = self.lock();
        let known = names.entry((host.to_owned(), port));
        let known = known.or_insert(Known { addresses: Vec::new(), are_several: false, looked_up: now });
        known.looked_up = now;
        if found.is_empty() {
            return;
        }
        // Those in use stay in use, even if the name has more than can be used.
        let mut addresses: Vec<_> = known.addresses.iter().filter(|known| found.contains(known)).copied().collect();
        for address in found {
            if addresses.len() < MOST_ADDRESSES && !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        if addresses != known.addresses {
            known.are_several |= addresses.len() > 1;
            known.addresses = addresses;
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// The addresses of a name that stands for several services; empty for others.
    pub(super) fn several(&self, host: &str, port: u16) -> Vec<SocketAddr> {
        let names = self.lock();
        let known = names.get(&(host.to_owned(), port)).filter(|known| known.are_several);
        known.map(|known| known.addresses.clone()).unwrap_or_default()
    }

    /// Looks up again the names that were looked up some time ago, if `is_used`, and forgets the others.
    pub(super) async fn look_up_again(&self, is_used: impl Fn(&str, u16) -> bool) {
        let due: Vec<_> = {
            let mut names = self.lock();
            names.retain(|(host, port), _| is_used(host, *port));
            let due = names.iter().filter(|(_, known)| known.looked_up.elapsed() >= LOOKUP_INTERVAL);
            due.map(|(name, _)| name.clone()).collect()
        };
        for (host, port) in due {
            let _ = self.addresses(&host, port).await; // the last addresses stay
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, u16), Known>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 8421).into()
    }

    #[test]
    fn a_name_keeps_the_addresses_in_use() {
        let (names, now) = (KnownNames::default(), Instant::now());
        let keep = |found: &[SocketAddr]| {
            names.keep("a.example", 8421, found, now);
            names.several("a.example", 8421)
        };
        assert_eq!(keep(&[address(1)]), [], "one address is the service itself");
        assert_eq!(keep(&[address(2), address(1), address(2)]), [address(1), address(2)]);
        let version = names.version();
        assert_eq!(keep(&[address(1), address(2)]), [address(1), address(2)], "the order does not matter");
        assert_eq!(keep(&[]), [address(1), address(2)], "a failed lookup changes nothing");
        assert_eq!(names.version(), version);
        assert_eq!(keep(&[address(2)]), [address(2)], "the service with this address is the same as before");
        let hundred: Vec<_> = (3..103).map(address).chain([address(2)]).collect();
        let used = keep(&hundred);
        assert!(used.len() == MOST_ADDRESSES && used[0] == address(2), "{used:?}");
        assert_eq!(names.several("b.example", 8421), []);
    }
}
