//! The storage services that an encryption server uses: those of one store, at trusted hosts.

use super::*;

#[tokio::test(start_paused = true)]
async fn only_trusted_services_of_one_store_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let names = Names::default();
    let (document, storages, server) = encryption_server(&folder, &names).await;
    names.set("seed:1", address(&server));
    let used = || format!("{:?}", storages.list());
    until("the lack of a storage is not reported", || kinds(&server) == ["no_storage"]).await;

    let start_storage = async |url: &str, store: &str| {
        let mut config = document.cluster.clone();
        config.url = Some(url.into());
        let cluster = start(names.environment(), &config).await;
        set_store(&cluster, &store.repeat(32));
        cluster
    };
    let one = "[\"https://one.example:8421\"]";
    let first = start_storage("https://one.example:8421", "a").await;
    until("it is not used", || used() == one).await;
    until("the store is not chosen", || storages.are_found()).await;

    let untrusted = start_storage("https://evil.test:8421", "a").await;
    until("it is not reported", || kinds(&server) == ["untrusted_storage"]).await;
    let detail = server.nodes().problems.remove(0).detail;
    assert!(detail.contains("evil.test") && detail.contains("cluster.names"), "{detail}");
    assert_eq!(used(), one);
    untrusted.leave();

    let other = start_storage("https://two.example:8421", "b").await;
    until("two stores are not reported", || kinds(&server).contains(&"two_stores".to_owned())).await;
    until("one is chosen", || !storages.are_found() && used() == "[]").await;
    storages.fix("a".repeat(32));
    until("the open store is not used", || used() == one && storages.are_found()).await;

    first.set_state(NodeState::Failing, 0);
    until("a service that cannot reach its storage is used", || used() == "[]").await;
    first.set_state(NodeState::Ready, 0);
    until("it is not used again", || used() == one).await;

    first.leave();
    let detail = || server.nodes().problems.into_iter().find(|problem| problem.kind == "no_storage");
    until("the other store is not named", || {
        detail().is_some_and(|problem| ["a", "b"].iter().all(|store| problem.detail.contains(&store.repeat(32))))
    })
    .await;
    other.leave();
    until("a service of the store is not asked for", || {
        detail().is_some_and(|problem| problem.detail.contains("no storage service is ready"))
    })
    .await;
}
