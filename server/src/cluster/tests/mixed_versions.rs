//! Services of other versions: their values are read as far as they are known, and a service of an unknown kind or in
//! an unknown state is shown, and gets no requests.

use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use tokio::net::UdpSocket;

use super::*;
use crate::cluster::keys;
use crate::cluster::traffic::Traffic;
use crate::cluster::transport::SealedTransport;

const STORE: &str = "0123456789abcdef0123456789abcdef";

/// The values of a storage service of today, with these in their place or besides.
fn values(url: &str, changed: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut values: HashMap<_, _> =
        HashMap::from([("role", "storage"), ("url", url), ("version", "0.1.0"), ("state", "ready"), ("store", STORE)]);
    values.extend(changed.iter().copied());
    values.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A service of another version, which gossips these values through the transport of this one.
async fn foreign(config: &config::Cluster, seed: SocketAddr, values: Vec<(String, String)>) -> ChitchatHandle {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let advertised = socket.local_addr().unwrap();
    let transport = SealedTransport {
        socket,
        keys: keys::read(&config.key_files, &config.name).unwrap(),
        advertised,
        max_age_seconds: config.max_age_seconds,
        clock: Arc::new(SystemTime::now),
        traffic: Arc::new(Traffic::default()),
    };
    let chitchat = ChitchatConfig {
        chitchat_id: ChitchatId::new(advertised.to_string(), 1, advertised),
        cluster_id: config.name.clone(),
        gossip_interval: Duration::from_millis(200),
        listen_addr: advertised,
        seed_nodes: vec![seed.to_string()],
        failure_detector_config: FailureDetectorConfig::default(),
        marked_for_deletion_grace_period: Duration::from_secs(600),
        catchup_callback: None,
        extra_liveness_predicate: None,
    };
    spawn_chitchat(chitchat, values, &transport).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn services_of_other_versions_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::default();
    let (document, storages, server) = encryption_server(&folder, &names).await;

    let long = "x".repeat(5_000);
    let mut all = Vec::new();
    for (name, changed) in [
        ("same", &[][..]),
        ("later", &[("version", "7.0.0-rc.1+build"), ("api", "2,3"), ("load-average", "0.7"), ("\u{7f}", "\u{1}")]),
        ("kind", &[("role", "witness")]),
        ("state", &[("state", "hibernating")]),
        ("empty", &[("version", "")]),
        ("long", &[("in-flight", "many"), ("zone", long.as_str())]),
    ] {
        let url = format!("https://{name}.example:8421");
        all.push(foreign(&document.cluster, address(&server), values(&url, changed)).await);
    }
    let seen = || {
        let host = |url: &str| url.split(['/', '.']).nth(2).unwrap_or_default().to_owned();
        let nodes = server.nodes().nodes.into_iter().filter(|node| !node.is_this_node);
        nodes.map(|node| (host(&node.url), node)).collect::<HashMap<_, _>>()
    };
    until("not all are shown", || seen().len() == 5 && live(&server).len() == 6).await;
    let seen = seen();
    assert_eq!((seen["later"].version.as_str(), seen["later"].state), ("7.0.0-rc.1+build", NodeState::Ready));
    assert_eq!((seen["kind"].role, seen["state"].state), (Role::Unknown, NodeState::Unknown));
    assert_eq!((seen["long"].requests_in_flight, seen["long"].zone.as_deref()), (0, None));
    assert!(!seen.contains_key("empty"), "without a version, its values are not those of a service");
    let mut metrics = String::new();
    server.write_metrics(&mut metrics).unwrap();
    assert!(metrics.contains("cluster_members{role=\"unknown\",state=\"ready\"} 1"), "{metrics}");

    // Only those whose role and state are known get requests.
    let used = format!("{:?}", storages.list());
    for (name, is_used) in [("same", true), ("later", true), ("long", true), ("kind", false), ("state", false)] {
        assert_eq!(used.contains(&format!("https://{name}.example:8421")), is_used, "{name}: {used}");
    }
    assert_eq!(refused(&server, "content"), 0);
    drop(all);
}
