//! Networks that lose or delay datagrams, or are split: no live service is taken for dead, and the parts find each
//! other again.

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
    /// The socket of a service that has stopped: datagrams from it and to it wait until it continues.
    stopped: Mutex<Option<SocketAddr>>,
    forwarded: AtomicUsize,
    lost: AtomicUsize,
}

impl Network {
    /// Starts a service whose datagrams arrive through this network.
    async fn start(self: &Arc<Self>, environment: Environment, mut config: config::Cluster) -> Cluster {
        let outside = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        config.advertise = Some(outside.local_addr().unwrap());
        let cluster = start(environment, &config).await;
        let (network, inside) = (Arc::clone(self), socket(&cluster));
        tokio::spawn(async move {
            let mut datagram = vec![0; 1 << 16];
            while let Ok((len, from)) = outside.recv_from(&mut datagram).await {
                if network.loses(from, inside) {
                    network.lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let (network, outside, datagram) =
                    (Arc::clone(&network), Arc::clone(&outside), datagram[..len].to_vec());
                tokio::spawn(async move {
                    while network.has_stopped([from, inside]) {
                        sleep(STEP).await;
                    }
                    if outside.send_to(&datagram, inside).await.is_ok() {
                        network.forwarded.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        cluster
    }

    fn loses(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let half = lock(&self.first_half);
        let is_split = !half.is_empty() && half.contains(&from) != half.contains(&to);
        is_split || SysRng.try_next_u32().unwrap() % 100 < self.loss_percent.load(Ordering::Relaxed)
    }

    fn has_stopped(&self, sockets: [SocketAddr; 2]) -> bool {
        lock(&self.stopped).is_some_and(|stopped| sockets.contains(&stopped))
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

/// Five services that join the first one.
async fn five(network: &Arc<Network>, names: &Names) -> Vec<Cluster> {
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(network.start(names.environment(), config(&["seed:1"])).await);
    }
    names.set("seed:1", address(&all[0]));
    all
}

/// At a loss of 20 % for 10 minutes, no service is taken for dead.
#[tokio::test(start_paused = true)]
async fn lost_datagrams_kill_nobody() {
    let (names, network) = (Names::default(), Arc::new(Network::default()));
    let all = five(&network, &names).await;
    network.loss_percent.store(20, Ordering::Relaxed);
    until("not all are found", || know(&all, 5)).await;
    let (mut looks, mut missing, start) = (0, 0, Instant::now());
    while start.elapsed() < Duration::from_secs(rounds(60, 600)) {
        looks += all.len();
        missing += all.iter().filter(|cluster| live(cluster).len() < 5).count();
        sleep(STEP).await;
    }
    until("some stay dead", || know(&all, 5)).await;
    let [forwarded, lost] = [&network.forwarded, &network.lost].map(|count| count.load(Ordering::Relaxed));
    eprintln!("{missing} of {looks} looks missed a live service; {lost} of {} datagrams lost", forwarded + lost);
    assert!(lost * 10 > forwarded, "the network loses nothing");
    assert_eq!(missing, 0, "of {looks}");
}

/// A service that stops for a second is not taken for dead; one that stops for longer is, until it continues.
#[tokio::test(start_paused = true)]
async fn a_service_that_stops_for_a_second_is_not_dead() {
    let (names, network) = (Names::default(), Arc::new(Network::default()));
    let all = five(&network, &names).await;
    until("not all are found", || know(&all, 5)).await;
    for number in 0..rounds(20, 500) {
        *lock(&network.stopped) = Some(socket(&all[number % 5]));
        let (start, millis) = (Instant::now(), 3_000 + u64::from(SysRng.try_next_u32().unwrap() % 500));
        while start.elapsed() < Duration::from_millis(millis) {
            if start.elapsed() >= Duration::from_secs(1) {
                *lock(&network.stopped) = None;
            }
            assert!(know(&all, 5), "in turn {number}");
            sleep(STEP).await;
        }
    }
    *lock(&network.stopped) = Some(socket(&all[0]));
    let noticed = until("a stop is not noticed", || know(&all[1..], 4)).await;
    *lock(&network.stopped) = None;
    let forgiven = until("a stop is not forgiven", || know(&all, 5)).await;
    eprintln!("a stop noticed after {noticed:?}, forgiven {forgiven:?} after its end");
}

/// Both halves forget each other, and meet again through the addresses that they joined.
#[tokio::test(start_paused = true)]
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
    let seconds = Duration::from_secs;
    assert!(apart <= seconds(12) && healed <= seconds(6), "{apart:?}, {healed:?}");
}
