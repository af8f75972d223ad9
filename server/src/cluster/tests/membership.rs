//! Services find each other, notice who is gone, and report what is wrong.

use std::sync::atomic::Ordering;

use rand::TryRng;
use rand::rngs::SysRng;

use super::rounds::rounds;
use super::*;
use crate::start_error::StartError;

/// A random order of the first numbers.
fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..count).collect();
    for n in (1..count).rev() {
        order.swap(n, SysRng.try_next_u32().unwrap() as usize % (n + 1));
    }
    order
}

/// Any one of them is the one to join, and it may start last: its name has no address before.
#[tokio::test(start_paused = true)]
async fn services_start_in_any_order() {
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds(5, 100) {
        let names = Names::default();
        let order = shuffled(5);
        let seed = SysRng.try_next_u32().unwrap() as usize % 5;
        let mut all = Vec::new();
        for number in order {
            let cluster = start(names.environment(), &config(&["seed:1"])).await;
            if number == seed {
                names.set("seed:1", address(&cluster));
            }
            all.push(cluster);
        }
        let all: Vec<_> = all.iter().collect();
        slowest = slowest.max(until_all_know(&all, &all).await);
        assert!(all.iter().all(|cluster| cluster.nodes().nodes.len() == 5));
        // A name that could not be resolved at first is looked up again later.
        let problems = |cluster: &&Cluster| kinds(cluster).into_iter().filter(|kind| kind != "unresolved_name").count();
        assert_eq!(all.iter().map(problems).sum::<usize>(), 0);
        let of_this = |cluster: &&Cluster| cluster.nodes().nodes.iter().filter(|node| node.is_this_node).count();
        assert!(all.iter().map(of_this).all(|count| count == 1));
    }
    eprintln!("5 services, the slowest after the last start: {slowest:?}");
    assert!(slowest <= Duration::from_secs(4), "{slowest:?}");
}

/// The others would ignore the service, and its clients could not use it.
#[tokio::test(start_paused = true)]
async fn a_service_needs_a_url_that_others_accept() {
    let long = format!("https://{}.example", "a".repeat(512));
    let join = async |default: &str, configured: Option<&str>| {
        let config = config::Cluster { url: configured.map(str::to_owned), ..config(&["seed:1"]) };
        let default = default.to_owned();
        Cluster::join_in(Names::default().environment(), &config, Role::Storage, |_| default, None).await.map(drop)
    };
    for wrong in ["", "unix:/a b", "unix:/\u{e4}", "unix:/\u{1b}[2J", "https://a b:1", "https://[fe80::1%2]:1", &long] {
        let error = join(wrong, None).await.unwrap_err();
        assert!(matches!(error, StartError::NeedsUrl(_)) && error.to_string().contains("cluster.url"), "{error}");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
        let error = join("unix:/a", Some(wrong)).await.unwrap_err();
        assert!(matches!(error, StartError::Cluster { name: "url", .. }), "{wrong}: {error}");
        join(wrong, Some("unix:/a")).await.unwrap();
    }
    join("unix:/a", None).await.unwrap();
}

/// The clock of the process that comes back is an hour slow.
#[tokio::test(start_paused = true)]
async fn a_dead_service_is_noticed_and_may_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::default();
    let mut config = config(&["seed:1"]);
    config.key_files = vec![key_file(&folder, "key")];
    config.max_age_seconds = 2 * 60 * 60;
    let seed = start(names.environment(), &config).await;
    names.set("seed:1", address(&seed));
    let other = start(names.environment(), &config).await;
    let third = start(names.environment(), &config).await;
    until_all_know(&[&seed, &other, &third], &[&seed, &other, &third]).await;
    let gone = address(&third);
    third.leave();
    drop(third);
    let dead = |cluster: &Cluster| {
        let nodes = cluster.nodes().nodes;
        nodes.iter().any(|node| node.name == gone.to_string() && node.state == NodeState::Dead)
    };
    let noticed = until("nobody notices", || dead(&seed) && dead(&other)).await;
    config.listen = Some(gone);
    let back = start(names.environment_with_clock(-3600), &config).await;
    let took = until_all_know(&[&seed, &other, &back], &[&seed, &other, &back]).await;
    assert_eq!(seed.nodes().nodes.len(), 3, "each address once");
    eprintln!("a death noticed after {noticed:?}; back with a clock an hour slow after {took:?}");
    let seconds = Duration::from_secs;
    assert!(noticed <= seconds(6) && took <= seconds(6), "{noticed:?}, {took:?}");
}

#[tokio::test(start_paused = true)]
async fn ipv6_alone_suffices() {
    let names = Names::default();
    let mut config = config(&["seed:1"]);
    config.listen = Some("[::1]:0".parse().unwrap());
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        return eprintln!("SKIPPED: this machine has no IPv6");
    }
    let one = start(names.environment(), &config).await;
    names.set("seed:1", address(&one));
    let other = start(names.environment(), &config).await;
    until_all_know(&[&one, &other], &[&one, &other]).await;
    assert!(one.nodes().nodes.iter().all(|node| node.name.starts_with("[::1]:")));
}

#[tokio::test(start_paused = true)]
async fn values_spread_and_leaving_is_announced() {
    let names = Names::default();
    let one = start(names.environment(), &config(&["seed:1"])).await;
    names.set("seed:1", address(&one));
    let mut in_zone = config(&["seed:1"]);
    in_zone.zone = Some("b".into());
    let other = start(names.environment(), &in_zone).await;
    until_all_know(&[&one, &other], &[&one, &other]).await;
    let seen = || one.nodes().nodes.into_iter().find(|node| node.name == address(&other).to_string()).unwrap();
    assert_eq!((seen().zone.as_deref(), seen().state, seen().store), (Some("b"), NodeState::Ready, None));
    set_store(&other, "0123");
    other.set_state(NodeState::Failing, 7);
    until("the values do not arrive", || {
        let seen = seen();
        seen.state == NodeState::Failing && seen.requests_in_flight == 7 && seen.store.as_deref() == Some("0123")
    })
    .await;
    other.drain();
    other.set_state(NodeState::Ready, 7);
    until("the end is not announced", || seen().state == NodeState::Draining).await;
}

#[tokio::test(start_paused = true)]
async fn two_stores_are_a_problem_unless_one_is_configured() {
    let names = Names::default();
    let one = start(names.environment(), &config(&["seed:1"])).await;
    names.set("seed:1", address(&one));
    let mut choosing = config(&["seed:1"]);
    choosing.store_id = Some("a".repeat(32));
    let other = start(names.environment(), &choosing).await;
    set_store(&one, &"a".repeat(32));
    set_store(&other, &"a".repeat(32));
    until_all_know(&[&one, &other], &[&one, &other]).await;
    set_store(&other, &"b".repeat(32));
    until("two stores go unnoticed", || kinds(&one) == ["two_stores"]).await;
    let detail = one.nodes().problems.remove(0).detail;
    assert!(detail.contains("aaaaaaaa (") && detail.contains(&address(&other).to_string()), "{detail}");
    assert!(kinds(&other).is_empty());
    set_store(&other, &"a".repeat(32));
    until("the problem stays", || kinds(&one).is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn keys_are_rotated_without_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| key_file(&folder, name));
    let names = Names::default();
    let with = |keys: &[&PathBuf], listen: Option<SocketAddr>| {
        let mut config = config(&["seed:1"]);
        config.key_files = keys.iter().map(|path| (*path).clone()).collect();
        config.listen = listen.or(config.listen);
        config
    };
    let one = start(names.environment(), &with(&[&old], None)).await;
    names.set("seed:1", address(&one));
    let other = start(names.environment(), &with(&[&old], None)).await;
    until_all_know(&[&one, &other], &[&one, &other]).await;
    let mut both = vec![one, other];
    for keys in [&[&old, &new][..], &[&new, &old], &[&new]] {
        for _ in 0..2 {
            let listen = address(&both[0]);
            drop(both.remove(0));
            both.push(restarted(&names, &with(keys, Some(listen))).await);
            let both: Vec<_> = both.iter().collect();
            until_all_know(&both, &both).await;
            assert!(both.iter().all(|cluster| refused(cluster, "key") == 0));
        }
    }
}

/// The former process's socket may not be closed yet.
async fn restarted(names: &Names, config: &config::Cluster) -> Cluster {
    let start = Instant::now();
    loop {
        let url = |_| "http://127.0.0.1:8421".to_owned();
        match Cluster::join_in(names.environment(), config, Role::Storage, url, None).await {
            Ok(cluster) => return cluster,
            Err(error) => assert!(start.elapsed() < DEADLINE, "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Many services, with what they cost: a part of them in short runs.
#[tokio::test(start_paused = true)]
async fn many_services_are_one_cluster() {
    let count = rounds(15, 100);
    let folder = tempfile::tempdir().unwrap();
    let key = key_file(&folder, "key");
    let names = Names::default();
    let mut config = config(&["seed:1"]);
    config.key_files = vec![key];
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(start(names.environment(), &config).await);
    }
    names.set("seed:1", address(&all[count / 2]));
    let all: Vec<_> = all.iter().collect();
    let converged = until_all_know(&all, &all).await;
    let sent = || all.iter().map(|cluster| cluster.0.state.traffic.sent.bytes.load(Ordering::Relaxed)).sum::<u64>();
    // The first messages have all values of all services.
    all.iter().for_each(|cluster| cluster.0.state.traffic.sent.largest.store(0, Ordering::Relaxed));
    let (before, start) = (sent(), Instant::now());
    while start.elapsed() < Duration::from_secs(10) {
        sleep(STEP).await;
    }
    let rate = (sent() - before) / start.elapsed().as_secs() / count as u64;
    let largest = all.iter().map(|cluster| cluster.0.state.traffic.sent.largest.load(Ordering::Relaxed)).max().unwrap();
    all[0].leave();
    let dead = until_all_know(&all[1..], &all[1..]).await;
    eprintln!(
        "{count} services: converged after {converged:?}, a death known after {dead:?}, {rate} bytes/s each, the largest \
         datagram has {largest} bytes"
    );
    assert!(converged <= Duration::from_secs(6) && dead <= Duration::from_secs(12), "{converged:?}, {dead:?}");
    assert!(rate <= 20_000 && largest <= 1_400, "{rate} bytes/s, {largest} bytes");
}
