//! `--bootstrap-nodes`: the services of a cluster through which a client finds the encryption servers.

/// The names of this machine, to which no other one can answer.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "::1", "localhost"];

/// The URLs of these services, `HOST:PORT` or URLs, separated by commas.
pub(crate) fn urls(nodes: &[String]) -> String {
    nodes.iter().map(|node| url(node)).collect::<Vec<_>>().join(",")
}

/// The text of the endpoint that finds the encryption servers of their cluster. Unless the authorities decide, only the
/// hosts that the user named are trusted, because a server gets the token.
pub(crate) fn endpoint(nodes: &[String], has_authorities: bool) -> String {
    let names: Vec<_> =
        nodes.iter().filter(|node| !has_authorities || is_local(node)).flat_map(|node| names(node)).collect();
    let names = if names.is_empty() { String::new() } else { format!("?names={}", names.join(",")) };
    format!("cluster:{}{names}", urls(nodes))
}

fn url(node: &str) -> String {
    match () {
        () if is_url(node) => node.to_owned(),
        () if is_local(node) => format!("http://{node}"),
        () => format!("https://{node}"),
    }
}

fn is_url(node: &str) -> bool {
    node.contains("://") || node.starts_with("unix:")
}

/// The host of an address or a URL, without brackets.
fn host(node: &str) -> &str {
    let address = node.split_once("://").map_or(node, |(_, address)| address);
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

/// Whether the service is reached without TLS, on this machine.
fn is_local(node: &str) -> bool {
    match is_url(node) {
        true => !node.starts_with("https://"),
        false => LOOPBACK.contains(&host(node)),
    }
}

/// The hosts to trust.
fn names(node: &str) -> Vec<&str> {
    if is_local(node) { LOOPBACK.to_vec() } else { vec![host(node)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint_of(nodes: &[&str], has_authorities: bool) -> String {
        endpoint(&nodes.iter().map(|node| (*node).to_owned()).collect::<Vec<_>>(), has_authorities)
    }

    #[test]
    fn an_address_becomes_the_url_of_a_trusted_host() {
        for (node, expected) in [
            ("127.0.0.1:8420", "cluster:http://127.0.0.1:8420?names=127.0.0.1,::1,localhost"),
            ("[::1]:1", "cluster:http://[::1]:1?names=127.0.0.1,::1,localhost"),
            ("localhost:1", "cluster:http://localhost:1?names=127.0.0.1,::1,localhost"),
            ("unix:/run/s", "cluster:unix:/run/s?names=127.0.0.1,::1,localhost"),
            ("one.example:8420", "cluster:https://one.example:8420?names=one.example"),
            ("[2001:db8::1]:8420", "cluster:https://[2001:db8::1]:8420?names=2001:db8::1"),
            ("https://127.0.0.1:1", "cluster:https://127.0.0.1:1?names=127.0.0.1"),
        ] {
            assert_eq!(endpoint_of(&[node], false), expected);
            assert!(strongroom::Endpoint::new(expected).is_ok());
        }
        let two = ["one.example:1", "two.example:2"];
        assert_eq!(
            endpoint_of(&two, false),
            "cluster:https://one.example:1,https://two.example:2?names=one.example,two.example"
        );
        assert_eq!(endpoint_of(&two, true), "cluster:https://one.example:1,https://two.example:2");
        for wrong in ["", "one.example:port", "http://one.example:1", "ftp://one.example"] {
            assert!(strongroom::Endpoint::new(&endpoint_of(&[wrong], false)).is_err(), "{wrong}");
        }
    }
}
