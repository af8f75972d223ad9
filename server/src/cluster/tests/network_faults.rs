//! Networks that lose datagrams or are split: no live service is taken for dead, and the parts find each other again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rand::TryRng;
use rand::rngs::SysRng;
use tokio::net::UdpSocket;

use super::rounds::rounds;
use super::*;

/// Forwards the datagrams to the services' advertised addresses, except those that it loses.
#[derive(Default)]
struct Network {
    /// The number of datagrams that are lost in a hundred.
    loss_percent: AtomicU32,
    /// The sockets of the first half while the network is split; else none.
    first_half: Mutex<HashSet<SocketAddr>>,
    forwarded: AtomicUsize,
    lost: AtomicUsize,
}

impl Network {
    /// Starts a service whose datagrams arrive through this network.
    async fn start(self: &Arc<Self>, environment: Environment, mut config: config::Cluster) -> Cluster {
        let outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        config.advertise = Some(outside.local_addr().unwrap());
        let cluster = start(environment, &config).await;
        let (network, inside) = (Arc::clone(self), socket(&cluster));
        tokio::spawn(async move {
            let mut datagram = vec![0; 1 << 16];
            while let Ok((len, from)) = outside.recv_from(&mut datagram).await {
                if network.loses(from, inside) {
                    network.lost.fetch_add(1, Ordering::Relaxed);
                } else if outside.send_to(&datagram[..len], inside).await.is_ok() {
                    network.forwarded.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        cluster
    }

    fn loses(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let half = lock(&self.first_half);
        let is_split = !half.is_empty() && half.contains(&from) != half.contains(&to);
        is_split || SysRng.try_next_u32().unwrap() % 100 < self.loss_percent.load(Ordering::Relaxed)
    }
}

/// The address from which the service sends.
fn socket(cluster: &Cluster) -> SocketAddr {
    cluster.0.state.socket.local_addr().unwrap()
}

/// Whether each of them knows that so many are live.
fn know(clusters: &[Cluster], count: usize) -> bool {
    clusters.iter().all(|cluster| live(cluster).len() == count)
}

/// At a loss of 20 %, no service is held for dead. On a machine that stops for seconds, this may be wrong for a moment:
/// only the long run, which is alone on its machine, demands that it never is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_datagrams_kill_nobody() {
    let (names, network) = (Names::default(), Arc::new(Network::default()));
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(network.start(names.environment(), config(&["seed:1"])).await);
    }
    names.set("seed:1", address(&all[0]));
    network.loss_percent.store(20, Ordering::Relaxed);
    until("not all are found", || know(&all, 5)).await;
    let (mut looks, mut missing, start) = (0, 0, Instant::now());
    while start.elapsed() < Duration::from_secs(rounds(5, 600)) {
        looks += all.len();
        missing += all.iter().filter(|cluster| live(cluster).len() < 5).count();
        sleep(Duration::from_millis(50)).await;
    }
    until("some stay dead", || know(&all, 5)).await;
    let [forwarded, lost] = [&network.forwarded, &network.lost].map(|count| count.load(Ordering::Relaxed));
    eprintln!("{missing} of {looks} looks missed a live service; {lost} of {} datagrams lost", forwarded + lost);
    assert!(lost * 10 > forwarded, "the network loses nothing");
    assert!(missing == 0 || rounds(true, false), "{missing} of {looks}");
}

/// Both halves forget each other, and meet again through the addresses that they joined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_that_forgot_each_other_meet_again() {
    let (names, network) = (Names::default(), Arc::new(Network::default()));
    let mut config = config(&["one:1", "other:1"]);
    config.forget_seconds = 10;
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(network.start(names.environment(), config.clone()).await);
    }
    names.set("one:1", address(&all[0]));
    names.set("other:1", address(&all[3]));
    until("not all are found", || know(&all, 4)).await;
    let lost_before = network.lost.load(Ordering::Relaxed);
    *lock(&network.first_half) = all[..2].iter().map(socket).collect();
    let apart = until("nobody notices", || know(&all, 2)).await;
    let forgotten = |cluster: &Cluster| lock(&cluster.0.state.view).members.len() == 2;
    let forgot = until("nobody forgets", || all.iter().all(forgotten)).await;
    assert!(network.lost.load(Ordering::Relaxed) > lost_before, "the network is not split");
    lock(&network.first_half).clear();
    let healed = until("the halves stay apart", || know(&all, 4)).await;
    eprintln!("apart after {apart:?}, forgotten {forgot:?} later, together again after {healed:?}");
}
