//! Errors of a configuration. They do not quote it, because it may have a secret in the wrong field.

use std::fmt;

use super::address::{InvalidListenAddress, InvalidSocketMode};

/// A document is not a valid configuration. The error has the line, the field's name if it is known, and the expected
/// value, but no other content of the document.
#[derive(Clone, Debug)]
pub struct InvalidConfig {
    line: usize,
    field: Option<String>,
    expected: String,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(field) = &self.field {
            write!(f, " ({field})")?;
        }
        write!(f, ": {}", self.expected)
    }
}

impl std::error::Error for InvalidConfig {}

impl InvalidConfig {
    pub(crate) fn new(document: &str, error: &toml::de::Error) -> Self {
        let start = error.span().map_or(0, |span| span.start);
        let before = document.get(..start).unwrap_or_default();
        let line = before.split('\n').count();
        let name =
            document.split('\n').nth(line - 1).and_then(|line| line.split_once('=')).map(|(name, _)| name.trim());
        let field = name.filter(|name| FIELDS.contains(name)).map(str::to_owned);
        Self { line, field, expected: expected(error.message()) }
    }

    /// The expected value.
    #[cfg(test)]
    pub(super) fn expected(&self) -> &str {
        &self.expected
    }
}

/// The part of serde's message that does not depend on the document.
fn expected(message: &str) -> String {
    const QUOTES_THE_DOCUMENT: [&str; 4] =
        ["unknown field `", "unknown variant `", "invalid type: ", "invalid value: "];
    let ours = [InvalidListenAddress.to_string(), InvalidSocketMode.to_string()];
    if let Some(ours) = ours.into_iter().find(|ours| ours == message) {
        return ours;
    }
    if message == "invalid socket address syntax" {
        return "expected an IP address with a port, such as 192.0.2.1:8422 or [::]:8422".to_owned();
    }
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if QUOTES_THE_DOCUMENT.iter().any(|start| message.starts_with(start)) => {
            format!("expected {expected}")
        }
        _ if message.starts_with("missing field `") => message.to_owned(),
        _ => "expected TOML: NAME = VALUE, with each name once".to_owned(),
    }
}

/// The names of all fields. An error shows no other name, because it can be a secret.
pub(super) const FIELDS: &[&str] = &[
    "admin",
    "advertise",
    "answer_bytes",
    "audit",
    "authorities",
    "batch_bytes",
    "body_bytes_per_second",
    "body_max_seconds",
    "body_seconds",
    "certificate",
    "client_authorities",
    "client_certificate",
    "client_key",
    "client_namespaces",
    "client_revocations",
    "cluster",
    "connections",
    "drain_seconds",
    "forget_seconds",
    "format",
    "grace_seconds",
    "head_seconds",
    "health",
    "idle_seconds",
    "index_key_command",
    "index_key_file",
    "insecure_health",
    "insecure_loopback",
    "interval_ms",
    "interval_seconds",
    "join",
    "json_bytes",
    "key",
    "key_files",
    "level",
    "limits",
    "listen",
    "log",
    "long_bodies",
    "maintenance",
    "max_age_seconds",
    "name",
    "names",
    "pad",
    "phi",
    "previous_index_key_file",
    "purge",
    "record_bytes",
    "remote",
    "revocations",
    "socket_group",
    "socket_mode",
    "store",
    "store_id",
    "threads",
    "timeout_seconds",
    "tls",
    "token_command",
    "token_file",
    "token_uses",
    "tokens",
    "url",
    "wait_seconds",
    "waiting",
    "wrong_tokens_per_minute",
    "zone",
];
