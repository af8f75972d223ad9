//! Wrong keys, clocks and addresses, replays and garbage: refused, counted and reported.

use std::sync::atomic::Ordering;

use tokio::net::UdpSocket;

use super::rounds::rounds;
use super::*;

#[tokio::test(start_paused = true)]
async fn services_of_other_clusters_are_not_heard() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::default();
    let with = |key: &str, name: &str| {
        let mut config = config(&["seed:1", "other:1"]);
        config.key_files = vec![folder.path().join(key)];
        config.name = name.into();
        config
    };
    key_file(&folder, "one");
    key_file(&folder, "other");
    let one = start(names.environment(), &with("one", "a")).await;
    for (key, name) in [("other", "a"), ("one", "b")] {
        let other = start(names.environment(), &with(key, name)).await;
        names.set("seed:1", address(&one));
        names.set("other:1", address(&other));
        until("the other key goes unnoticed", || {
            [&one, &other].iter().all(|cluster| kinds(cluster).contains(&"other_key".to_owned()))
        })
        .await;
        assert_eq!((live(&one), live(&other)), (vec![address(&one)], vec![address(&other)]));
        let detail = one.nodes().problems.into_iter().find(|problem| problem.kind == "other_key").unwrap().detail;
        assert!(detail.contains(&address(&other).to_string()) && detail.contains("--cluster-name"), "{detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn clocks_may_differ_by_a_minute() {
    let names = Names::default();
    let one = start(names.environment(), &config(&["other:1"])).await;
    names.set("seed:1", address(&one));
    for skew in [-45, 45] {
        let other = start(names.environment_with_clock(skew), &config(&["seed:1"])).await;
        until("it does not join", || live(&one).contains(&address(&other)) && live(&other).contains(&address(&one)))
            .await;
        until("the difference is not reported", || kinds(&one).contains(&"clock_skew".to_owned())).await;
    }
    for skew in [-90, 90] {
        let before = refused(&one, "time");
        let other = start(names.environment_with_clock(skew), &config(&["seed:1"])).await;
        names.set("other:1", address(&other));
        until("nothing is refused", || refused(&one, "time") > before && refused(&other, "time") > 0).await;
        until("it is not reported", || {
            [&one, &other].iter().all(|cluster| kinds(cluster).contains(&"clock_skew".to_owned()))
        })
        .await;
        assert!(!live(&one).contains(&address(&other)) && live(&other) == [address(&other)]);
    }
}

/// A wire between two services: it forwards datagrams to the second, and keeps copies.
async fn tapped(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (address, kept) = (socket.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let copies = Arc::clone(&kept);
    tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        loop {
            let (len, _) = socket.recv_from(&mut buffer).await.unwrap();
            copies.lock().unwrap().push(buffer[..len].to_vec());
            let _ = socket.send_to(&buffer[..len], to).await;
        }
    });
    (address, kept)
}

#[tokio::test(start_paused = true)]
async fn replays_and_redirected_datagrams_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::default();
    let mut config = config(&["seed:1"]);
    config.key_files = vec![key_file(&folder, "key")];
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (wire, recorded) = tapped(free).await;
    let behind = config::Cluster { listen: Some(free), advertise: Some(wire), ..config.clone() };
    let victim = start(names.environment(), &behind).await;
    names.set("seed:1", address(&victim));
    let other = start(names.environment(), &config).await;
    until_all_know(&[&victim, &other], &[&victim, &other]).await;
    until("nothing is recorded", || recorded.lock().unwrap().len() >= 30).await;
    let recorded = recorded.lock().unwrap().clone();
    let attacker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let count = recorded.len() as u64;
    for (target, to) in [(&victim, free), (&other, address(&other))] {
        let before = ["replayed", "altered"].map(|reason| refused(target, reason));
        for datagram in &recorded {
            attacker.send_to(datagram, to).await.unwrap();
            let mut flipped = datagram.clone();
            *flipped.last_mut().unwrap() ^= 1;
            attacker.send_to(&flipped, to).await.unwrap();
            sleep(Duration::from_millis(1)).await; // no faster than the socket's buffer
        }
        let is_refused = || {
            let after = ["replayed", "altered"].map(|reason| refused(target, reason));
            after[0] + after[1] - before[0] - before[1] >= 2 * count
        };
        until("an attack is not refused", is_refused).await;
    }
    let mut answer = [0; 100];
    assert!(attacker.try_recv(&mut answer).is_err(), "nothing is answered");
    assert_eq!(live(&victim).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn garbage_gets_no_answer() {
    let names = Names::default();
    let one = start(names.environment(), &config(&["seed:1"])).await;
    let other = start(names.environment(), &config(&["seed:1"])).await;
    names.set("seed:1", address(&one));
    until_all_know(&[&one, &other], &[&one, &other]).await;
    let attacker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let count = rounds(20_000, 1_000_000);
    for n in 0..count {
        let len = [0, 1, 60, 100, 1_000][n % 5];
        attacker.send_to(&vec![1; len], address(&one)).await.unwrap();
        if n % 100 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    until("garbage is not counted", || refused(&one, "format") + refused(&one, "key") > count as u64 / 10).await;
    assert_eq!(attacker.try_recv(&mut [0; 100]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!((live(&one).len(), live(&other).len()), (2, 2));
    until("garbage is not reported", || kinds(&one).contains(&"foreign_messages".to_owned())).await;
}

/// A service that names another's address gets no answers, and both sides learn of it.
#[tokio::test(start_paused = true)]
async fn a_foreign_advertised_address_is_reported() {
    let names = Names::default();
    let one = start(names.environment(), &config(&["seed:1"])).await;
    names.set("seed:1", address(&one));
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut foreign = config(&["seed:1"]);
    foreign.advertise = Some(nobody.local_addr().unwrap());
    let other = start(names.environment(), &foreign).await;
    until("it is not alone", || kinds(&other).contains(&"alone".to_owned())).await;
    until("its address is not reported", || kinds(&one).contains(&"unreachable_node".to_owned())).await;
    assert_eq!(live(&one), [address(&one)]);
}

#[tokio::test]
async fn without_a_key_a_cluster_is_local() {
    use crate::start_error::StartError;
    let join = async |change: fn(&mut config::Cluster)| {
        let mut config = config(&["127.0.0.1:1"]);
        change(&mut config);
        Cluster::join(&config, Role::Storage, |_| "http://127.0.0.1:8421".into(), None).await.err()
    };
    assert!(join(|_| {}).await.is_none());
    let everywhere = join(|config| config.listen = Some(SocketAddr::from(([0, 0, 0, 0], 0)))).await;
    assert!(matches!(everywhere, Some(StartError::NeedsClusterKey(_))));
    let elsewhere = join(|config| config.advertise = Some(SocketAddr::from(([192, 0, 2, 1], 8422)))).await;
    assert!(matches!(elsewhere, Some(StartError::NeedsClusterKey(_))));
    let invalid = join(|config| config.join = vec!["host".into()]).await;
    assert!(matches!(invalid, Some(StartError::Cluster { name: "join", .. })));
}

/// The counters of the metrics are those of the traffic.
#[tokio::test(start_paused = true)]
async fn metrics_show_members_and_traffic() {
    let names = Names::default();
    let one = start(names.environment(), &config(&["seed:1"])).await;
    names.set("seed:1", address(&one));
    let other = start(names.environment(), &config(&["seed:1"])).await;
    until_all_know(&[&one, &other], &[&one, &other]).await;
    let mut text = String::new();
    one.write_metrics(&mut text).unwrap();
    let value = |name: &str| -> String {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {text}")).to_owned()
    };
    assert_eq!(value("strongroom_cluster_members{role=\"storage\",state=\"ready\"}"), "2");
    let sent = one.0.state.traffic.sent.datagrams.load(Ordering::Relaxed);
    let counted: u64 = value("strongroom_gossip_datagrams_total{direction=\"sent\"}").parse().unwrap();
    assert!((1..=sent).contains(&counted));
    for name in [
        "strongroom_cluster_stores",
        "strongroom_cluster_problems",
        "strongroom_gossip_bytes_total{direction=\"received\"}",
        "strongroom_gossip_refused_total{reason=\"replayed\"}",
        "strongroom_gossip_clock_skew_seconds",
    ] {
        value(name);
    }
}
