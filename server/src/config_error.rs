//! Errors of a configuration, which repeat nothing of it: a secret can stand in the wrong place.

use std::fmt;

use crate::config::{InvalidAddress, InvalidSocketMode};

/// A document is no configuration: the line, the field if its name is known, and what is expected there. Nothing else of
/// the document is in it.
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
}

/// The part of serde's message that does not depend on the document.
fn expected(message: &str) -> String {
    const QUOTES_THE_DOCUMENT: [&str; 4] =
        ["unknown field `", "unknown variant `", "invalid type: ", "invalid value: "];
    let ours = [InvalidAddress.to_string(), InvalidSocketMode.to_string()];
    if let Some(ours) = ours.into_iter().find(|ours| ours == message) {
        return ours;
    }
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if QUOTES_THE_DOCUMENT.iter().any(|start| message.starts_with(start)) => {
            format!("expected {expected}")
        }
        _ if message.starts_with("missing field `") => message.to_owned(),
        _ => "expected TOML: NAME = VALUE, with each name once".to_owned(),
    }
}

/// The names of all fields: a name that is none of these is not repeated, since it can be a secret.
const FIELDS: &[&str] = &[
    "answer_bytes",
    "authorities",
    "batch_bytes",
    "body_bytes_per_second",
    "body_most_seconds",
    "body_seconds",
    "certificate",
    "client_authorities",
    "client_certificate",
    "client_key",
    "client_revocations",
    "connections",
    "format",
    "grace_seconds",
    "head_seconds",
    "idle_seconds",
    "index_key_file",
    "insecure_loopback",
    "json_bytes",
    "key",
    "level",
    "limits",
    "listen",
    "log",
    "long",
    "names",
    "record_bytes",
    "remote",
    "revocations",
    "socket_group",
    "socket_mode",
    "store",
    "threads",
    "timeout_seconds",
    "tls",
    "token_file",
    "tokens",
    "wait_seconds",
    "waiting",
    "wrong_tokens_per_minute",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_error_names_line_and_field_and_repeats_nothing() {
        const SECRET: &str = "srx1qqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0s";
        for (document, said) in [
            ("[log]\nlevel = \"SECRET\"", "line 2 (level): expected one of `error`"),
            ("[log]\nlevel = \"x, expected SECRET\"", "line 2 (level): expected one of `error`"),
            ("[log]\nformat = SECRET", "line 2 (format): expected TOML"),
            ("SECRET = 1", "line 1: expected one of `store`"),
            ("\nSECRET", "line 2: expected TOML"),
            ("[SECRET]\nx = 1", "line 1: expected one of `store`"),
            ("[limits]\nthreads = \"SECRET\"", "line 2 (threads): expected usize"),
            ("[limits]\nSECRET = 1", "line 2: expected one of `connections`"),
            ("listen = [\"SECRET\"]", "line 1 (listen): an address is"),
            ("listen = [\"unix:SECRET\"]", "line 1 (listen): an address is"),
            ("listen = \"SECRET\"", "line 1 (listen): expected a sequence"),
            ("socket_mode = \"SECRET\"", "line 1 (socket_mode): a socket's mode"),
            ("[tls]\nkey = \"SECRET\"", "line 1: missing field `certificate`"),
            ("tls = \"SECRET\"", "line 1 (tls): expected struct Tls"),
            ("insecure_loopback = \"SECRET\"", "line 1 (insecure_loopback): expected a boolean"),
            ("store = \"a\"\nstore = \"SECRET\"", "line 2 (store): expected TOML"),
            ("[remote]\ntoken = \"SECRET\"", "line 2: expected one of `token_file`"),
            ("remote = { token_file = [\"SECRET\"] }", "line 1 (remote): expected"),
        ] {
            let error = Config::from_toml(&document.replace("SECRET", SECRET)).unwrap_err();
            assert!(error.to_string().starts_with(said), "{error}, not {said}");
            for told in [error.to_string(), format!("{error:?}")] {
                assert!(!told.contains("srx1") && !told.contains("qqqsy"), "{told}");
            }
        }
    }

    #[test]
    fn all_fields_are_known() {
        let document = "[a]\nx = 1";
        let known = |document: &str| Config::from_toml(document).unwrap_err().expected;
        let tables = ["", "[remote]\n", "[log]\n", "[limits]\n", "[tls]\n"];
        let mut names: Vec<String> = Vec::new();
        for table in tables {
            let expected = known(&format!("{table}nothing = 1"));
            names.extend(expected.split('`').skip(1).step_by(2).map(str::to_owned));
        }
        names.sort();
        names.dedup();
        assert_eq!(names, FIELDS, "{}", known(document));
    }
}
