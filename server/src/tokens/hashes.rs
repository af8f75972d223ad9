//! The hashes of the tokens that a service accepts, and the lines of their file.

use subtle::ConstantTimeEq;

use super::bound_namespace::{self, BoundNamespace};
use super::scope::{SCOPES, Scope};

/// A line of the file of tokens is not valid.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("line {line} of the tokens file is not a hash with scopes, as `strongroom token new` prints them")]
pub struct InvalidTokens {
    line: usize,
}

/// The tokens that a service accepts, as hashes, and their permissions.
#[derive(Debug, Default)]
pub(crate) struct TokenHashes {
    tokens: Vec<(blake3::Hash, Permissions)>,
    /// The number of an unfinished line at the end.
    pub(crate) unfinished: Option<usize>,
}

/// The permissions of a token.
#[derive(Clone, Debug)]
pub(super) struct Permissions {
    pub(super) scopes: Vec<Scope>,
    pub(super) namespace: Option<BoundNamespace>,
}

impl TokenHashes {
    /// Parses lines of `hash scope,scope`, possibly with ` namespace=name` in base64url. Empty lines, and comments after `#`, are ignored. An incomplete last line is
    /// also ignored: it comes from an interrupted write, whose token was never printed.
    pub(crate) fn parse(file: &str) -> Result<Self, InvalidTokens> {
        let mut hashes = Self::default();
        for (number, whole) in (1..).zip(file.trim_start_matches('\u{feff}').split_inclusive('\n')) {
            let line = whole.split_once('#').map_or(whole, |(line, _)| line).trim();
            match parse_line(line) {
                _ if line.is_empty() => {}
                Some(token) => hashes.tokens.push(token),
                None if is_unfinished(whole) => hashes.unfinished = Some(number),
                None => return Err(InvalidTokens { line: number }),
            }
        }
        Ok(hashes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The permissions of a token. All hashes are compared, each in constant time.
    pub(super) fn permissions(&self, token: &[u8]) -> Option<&Permissions> {
        let hash = blake3::hash(token);
        let mut found = None;
        for (known, permissions) in &self.tokens {
            if bool::from(known.as_bytes().ct_eq(hash.as_bytes())) {
                found = Some(permissions);
            }
        }
        found
    }
}

/// Whether the line lacks a newline and begins like a valid one, possibly with zeros for bytes that did not reach the
/// disk.
fn is_unfinished(line: &str) -> bool {
    let line = line.trim_end_matches('\0');
    let (hash, scopes) = line.split_at_checked(64).unwrap_or((line, ""));
    let scopes = scopes.strip_prefix(' ').unwrap_or(scopes);
    let (scopes, namespace) = scopes.split_once(' ').map_or((scopes, None), |(scopes, rest)| (scopes, Some(rest)));
    let mut scopes = scopes.rsplit(',');
    let last = scopes.next().unwrap_or_default();
    let ends_well = match namespace {
        None => SCOPES.iter().any(|(scope, _)| scope.starts_with(last)),
        Some(rest) => {
            let begins = rest.starts_with(bound_namespace::PREFIX) || bound_namespace::PREFIX.starts_with(rest);
            begins && last.parse::<Scope>().is_ok()
        }
    };
    !line.ends_with('\n')
        && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
        && ends_well
        && scopes.all(|scope| scope.parse::<Scope>().is_ok())
}

fn parse_line(line: &str) -> Option<(blake3::Hash, Permissions)> {
    let (hash, rest) = line.split_once(char::is_whitespace)?;
    let (scopes, namespace) = match rest.split_once(bound_namespace::PREFIX) {
        Some((scopes, _)) => (scopes, Some(BoundNamespace::parse(rest.get(scopes.len()..)?)?)),
        None => (rest, None),
    };
    let scopes = scopes.trim().split(',').map(|scope| scope.trim().parse().ok()).collect::<Option<_>>()?;
    Some((blake3::Hash::from_hex(hash).ok()?, Permissions { scopes, namespace }))
}

#[cfg(test)]
#[allow(clippy::string_slice, reason = "tests")]
mod tests {
    use super::*;
    use crate::tokens::new_token::NewToken;

    #[test]
    fn a_line_that_is_not_valid_is_named() {
        let good = NewToken::generate(vec![Scope::Storage]).unwrap().line();
        for bad in ["srt1abc storage", "00 store", &good.replace("storage", "all"), good.split(' ').next().unwrap()] {
            let error = TokenHashes::parse(&format!("{good}\n{bad}\n")).unwrap_err();
            assert!(error.to_string().contains("line 2"), "{bad}");
        }
    }

    #[test]
    fn a_line_may_bind_a_token_to_a_namespace() {
        let token = || NewToken::generate(vec![Scope::Store, Scope::Take]).unwrap();
        for namespace in [None, Some(&b""[..]), Some(b"tenant"), Some(&[0xff; 255])] {
            let token = namespace.map_or_else(token, |name| token().bound_to(name));
            let hashes = TokenHashes::parse(&format!("{}  # the app\n", token.line())).unwrap();
            let permissions = hashes.permissions(token.text().as_bytes()).unwrap();
            assert_eq!(permissions.scopes, [Scope::Store, Scope::Take]);
            assert_eq!(permissions.namespace.as_ref().map(|bound| &*bound.0), namespace);
        }
        let line = token().bound_to(b"tenant").line();
        for bad in [line.replace("=", "=!"), line.replace(" namespace", " other"), token().bound_to(&[0; 256]).line()] {
            TokenHashes::parse(&format!("{bad}\n")).unwrap_err();
        }
        // Each beginning is one of an interrupted write, or the line of another token that was never printed.
        for len in 0..line.len() {
            TokenHashes::parse(&line[..len]).unwrap();
        }
    }

    #[test]
    fn the_beginning_of_a_line_at_the_end_is_ignored() {
        let scopes = vec![Scope::Store, Scope::Retrieve];
        let [good, cut] = [(); 2].map(|()| NewToken::generate(scopes.clone()).unwrap().line());
        for len in 0..cut.len() {
            let file = format!("{good}\n{}", &cut[..len]);
            let hashes = TokenHashes::parse(&file).unwrap();
            // A line that was truncated after a scope is complete, but its token was never printed.
            assert_eq!(hashes.tokens.len(), if len == 70 { 2 } else { 1 }, "{len}");
            assert_eq!(hashes.unfinished, (len != 0 && len != 70).then_some(2));
        }
        let zeros = format!("{good}\n{}\0\0\0", &cut[..10]);
        assert_eq!(TokenHashes::parse(&zeros).unwrap().tokens.len(), 1);
        // Any other unfinished line is an error; the last line may lack its end.
        for bad in ["srt1abc", "00 store", "# \n?", &cut.replace("retrieve", "all"), "no token"] {
            TokenHashes::parse(&format!("{good}\n{bad}")).unwrap_err();
        }
        assert_eq!(TokenHashes::parse(&good).unwrap().tokens.len(), 1);
        assert_eq!(TokenHashes::parse(&format!("\u{feff}{good}\r\n")).unwrap().tokens.len(), 1);
    }
}
