//! Texts from users and files: keys, tokens, addresses, configurations; and the datagrams of a cluster.

use strongroom::{Endpoint, IndexKey, Location, RecordKey, ServiceAddress};
use strongroom_server::{Config, ListenAddress, Scope};

/// Keys, tokens and addresses. A valid key has one text.
pub fn texts(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let trimmed = || text.strip_prefix('\u{feff}').unwrap_or(text).trim().to_ascii_lowercase();
    if let Ok(key) = RecordKey::from_text(text) {
        assert_eq!(*key.to_text(), trimmed());
    }
    if let Ok(key) = IndexKey::from_text(text) {
        assert_eq!(*key.to_text(), trimmed());
    }
    let _ = RecordKey::from_bytes(data);
    let _ = Location::parse(text);
    let _ = ServiceAddress { url: "https://a.example".into(), zone: None }.is_trusted(&[text.to_owned()]);
    let _ = text.parse::<Endpoint>();
    let _ = text.parse::<Scope>();
    if let Ok(address) = text.parse::<ListenAddress>() {
        assert_eq!(String::from(address.clone()).parse::<ListenAddress>().ok(), Some(address));
    }
    let _ = strongroom_server::tokens_text(data);
    if let Ok(tokens) = strongroom_server::list_tokens(text) {
        assert!(tokens.iter().all(|token| data[token.position].is_ascii_hexdigit()));
    }
    strongroom_server::fuzzing::values(text);
}

/// A service's configuration: what is accepted can be written and read again.
pub fn configuration(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(config) = Config::from_toml(text) {
        let written = config.to_toml().unwrap();
        let again = Config::from_toml(&written).unwrap();
        assert_eq!(again.to_toml().unwrap(), written);
        strongroom_server::fuzzing::check(&config);
    }
}

/// Datagrams of a cluster: of anybody, and of a holder of the key with any content.
pub fn datagram(data: &[u8]) {
    strongroom_server::fuzzing::datagram(data);
}
