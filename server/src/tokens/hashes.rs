//! The hashes of the tokens that a service accepts, and the lines of their file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bound_namespace::BoundNamespace;
use super::scope::Scope;
use super::token_name;
use super::uses::TokenUses;

/// A file of tokens is not valid.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTokens {
    /// A line is not valid.
    #[error("line {line} of the tokens file is not a hash with scopes, as `strongroom token new` prints them")]
    Line {
        /// Its number, from 1 on.
        line: usize,
    },
    /// The last line lacks its end, and possibly a part that restricts the token.
    #[error("line {line} of the tokens file, its last one, lacks a line feed and may be cut: complete or remove it")]
    Unfinished {
        /// Its number, from 1 on.
        line: usize,
    },
}

/// The tokens that a service accepts, as hashes, and their permissions.
#[derive(Debug, Default)]
pub(crate) struct TokenHashes {
    tokens: Vec<Token>,
}

/// A token, without its text.
#[derive(Debug)]
pub(crate) struct Token {
    hash: blake3::Hash,
    /// Its name, or the start of its hash.
    pub(super) name: Arc<str>,
    pub(super) is_named: bool,
    pub(super) scopes: Vec<Scope>,
    pub(super) namespace: Option<BoundNamespace>,
    /// Unix time in seconds, from which on the token is refused.
    pub(super) expires_at: Option<u64>,
    /// Unix time in seconds; 0 if it was not used since the service started.
    last_used: AtomicU64,
    /// The position of its line in the file, behind white space.
    position: usize,
}

impl Token {
    pub(super) fn is_expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|expires_at| now >= expires_at)
    }

    /// An earlier time replaces a later one: the clock was wrong before.
    pub(super) fn note_use(&self, now: u64) {
        self.last_used.store(now, Ordering::Relaxed);
    }

    /// The start of its hash, which identifies it in a list.
    pub(super) fn short_hash(&self) -> String {
        self.hash.to_hex().chars().take(SHORT_HASH_LEN).collect()
    }
}

/// The digits of the short form of a hash.
const SHORT_HASH_LEN: usize = 16;

impl TokenHashes {
    /// Parses lines of `hash scope,scope`, possibly with ` name=...`, ` expires=` (Unix time in seconds) and
    /// ` namespace=` (base64url). Empty lines, and comments after `#`, are ignored. A token whose line is cut could have
    /// more rights than before, so the last line needs its end, too.
    pub(crate) fn parse(file: &str) -> Result<Self, InvalidTokens> {
        let mut hashes = Self::default();
        let mut end = 0;
        for (line, whole) in (1..).zip(without_zeros(file).split_inclusive('\n')) {
            end += whole.len();
            let text = if line == 1 { whole.trim_start_matches('\u{feff}') } else { whole }.trim_start();
            let content = text.split_once('#').map_or(text, |(content, _)| content).trim_end();
            if content.is_empty() {
                continue;
            }
            if !whole.ends_with('\n') {
                return Err(InvalidTokens::Unfinished { line });
            }
            hashes.tokens.push(parse_line(content, end - text.len()).ok_or(InvalidTokens::Line { line })?);
        }
        Ok(hashes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The token with this text. All hashes are compared, each in constant time.
    pub(super) fn find(&self, token: &[u8]) -> Option<&Token> {
        let hash = blake3::hash(token);
        let mut found = None;
        for known in &self.tokens {
            if known.hash == hash {
                found = Some(known);
            }
        }
        found
    }

    /// The times of the last uses, by the starts of the hashes, of tokens that were used.
    pub(super) fn uses(&self) -> TokenUses {
        let used = self.tokens.iter().map(|token| (token, token.last_used.load(Ordering::Relaxed)));
        used.filter(|(_, last)| *last > 0).map(|(token, last)| (token.short_hash(), last)).collect()
    }

    /// Takes over earlier times of last uses. Times in the future remain until the next use: the clock may be behind
    /// while the service starts.
    pub(super) fn note_uses(&self, earlier: &TokenUses) {
        for token in &self.tokens {
            earlier.get(&token.short_hash()).into_iter().for_each(|last| token.note_use(*last));
        }
    }
}

/// The text without zeros at its end, which a crash leaves in place of bytes that did not reach the disk.
pub(crate) fn without_zeros(file: &str) -> &str {
    file.trim_end_matches('\0')
}

/// The start of the field with the expiry time.
pub(super) const EXPIRES: &str = "expires=";

fn parse_line(line: &str, position: usize) -> Option<Token> {
    let (hash, rest) = line.split_once(char::is_whitespace)?;
    let hash = blake3::Hash::from_hex(hash).ok()?;
    let is_field = |word: &&str| word.contains('=');
    let scopes: String = rest.split_whitespace().take_while(|word| !is_field(word)).collect();
    let scopes = scopes.split(',').map(|scope| scope.parse().ok()).collect::<Option<_>>()?;
    let (mut name, mut expires_at, mut namespace) = (None, None, None);
    for field in rest.split_whitespace().skip_while(|word| !is_field(word)) {
        let is_first = if let Some(text) = field.strip_prefix(token_name::PREFIX) {
            name.replace(token_name::parse(text)?).is_none()
        } else if let Some(seconds) = field.strip_prefix(EXPIRES) {
            expires_at.replace(seconds.parse().ok()?).is_none()
        } else {
            namespace.replace(BoundNamespace::parse(field)?).is_none()
        };
        is_first.then_some(())?;
    }
    let is_named = name.is_some();
    let last_used = AtomicU64::new(0);
    let mut token = Token { hash, name: "".into(), is_named, scopes, namespace, expires_at, last_used, position };
    token.name = name.unwrap_or_else(|| token.short_hash().into());
    Some(token)
}

/// A token in a list.
#[derive(Debug)]
#[non_exhaustive]
pub struct ListedToken {
    /// Its name; none for a token that was made without one.
    pub name: Option<Arc<str>>,
    /// The first 16 digits of its hash.
    pub hash: String,
    /// Its permissions.
    pub scopes: Vec<Scope>,
    /// The namespace to which it is bound.
    pub namespace: Option<Arc<[u8]>>,
    /// Unix time in seconds, from which on it is refused.
    pub expires_at: Option<u64>,
    /// The position of its line in the file. A `#` there revokes it.
    pub position: usize,
}

/// The tokens of a file, in its order.
///
/// # Errors
///
/// [`InvalidTokens`] if a line is invalid, or the last one unfinished.
pub fn list_tokens(file: &str) -> Result<Vec<ListedToken>, InvalidTokens> {
    let listed = TokenHashes::parse(file)?.tokens.into_iter().map(|token| ListedToken {
        hash: token.short_hash(),
        name: token.is_named.then_some(token.name),
        scopes: token.scopes,
        namespace: token.namespace.map(|namespace| namespace.0),
        expires_at: token.expires_at,
        position: token.position,
    });
    Ok(listed.collect())
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
            let found = hashes.find(token.text().as_bytes()).unwrap();
            assert_eq!(found.scopes, [Scope::Store, Scope::Take]);
            assert_eq!(found.namespace.as_ref().map(|bound| &*bound.0), namespace);
        }
        let line = token().bound_to(b"tenant").line();
        for bad in [line.replace("=", "=!"), line.replace(" namespace", " other"), token().bound_to(&[0; 256]).line()] {
            TokenHashes::parse(&format!("{bad}\n")).unwrap_err();
        }
    }

    #[test]
    fn a_token_may_have_a_name_and_an_expiry() {
        let token = || NewToken::generate(vec![Scope::Store, Scope::Take]).unwrap();
        let named = token().named("app-1.eu").unwrap().expires_at(1_800_000_000).bound_to(b"tenant");
        let line = named.line();
        assert!(line.contains(" store,take name=app-1.eu expires=1800000000 namespace="), "{line}");
        let file = format!("# the tokens\n{line}\n{}\n#{line}\n", token().line());
        let hashes = TokenHashes::parse(&file).unwrap();
        let found = hashes.find(named.text().as_bytes()).unwrap();
        assert_eq!(&*found.name, "app-1.eu");
        assert!(!found.is_expired(1_799_999_999) && found.is_expired(1_800_000_000));
        let listed = list_tokens(&file).unwrap();
        assert_eq!(listed.len(), 2, "a comment was listed");
        assert_eq!(listed[0].name.as_deref(), Some("app-1.eu"));
        assert_eq!((listed[1].name.as_deref(), listed[1].expires_at), (None, None));
        assert!(listed.iter().all(|token| file[token.position..].starts_with(&token.hash)));
        // Times of last uses follow a token into the next list.
        found.note_use(7);
        let reloaded = TokenHashes::parse(&file).unwrap();
        reloaded.note_uses(&hashes.uses());
        assert_eq!(reloaded.uses(), TokenUses::from([(listed[0].hash.clone(), 7)]));
        // A clock in the future is corrected at the next use.
        for time in [u64::MAX, 4_102_444_800, 8] {
            reloaded.note_uses(&TokenUses::from([(listed[0].hash.clone(), time)]));
            reloaded.find(named.text().as_bytes()).unwrap().note_use(8);
            assert_eq!(reloaded.uses(), TokenUses::from([(listed[0].hash.clone(), 8)]));
        }

        for bad in ["name=", "name=a/b", "name=a name=b", "expires=", "expires=soon", "expires=1 expires=2", "other=1"]
        {
            TokenHashes::parse(&format!("{} {bad}\n", token().line())).unwrap_err();
        }
        assert!(token().named(&"x".repeat(65)).is_none() && token().named("").is_none());
    }

    /// Requests wait while the tokens are replaced. With a search for each token, this takes minutes.
    #[test]
    fn last_uses_of_many_tokens_are_taken_over_at_once() {
        let file: String = (0..20_000_u64).map(|n| format!("{} store\n", blake3::hash(&n.to_le_bytes()))).collect();
        let [hashes, reloaded] = [&file; 2].map(|file| TokenHashes::parse(file).unwrap());
        hashes.tokens.iter().for_each(|token| token.note_use(7));
        let start = std::time::Instant::now();
        reloaded.note_uses(&hashes.uses());
        assert!(start.elapsed() < std::time::Duration::from_secs(60));
        assert_eq!(reloaded.uses(), hashes.uses());
        assert_eq!(reloaded.uses().len(), 20_000);
    }

    #[test]
    fn a_position_is_that_of_the_hash() {
        let line = NewToken::generate(vec![Scope::Store]).unwrap().line();
        for space in ["", " ", "\t", "\x0b", "\x0c", "\r", "\u{85}", "\u{a0}", "\u{2003}", "\u{3000}", " \u{2028}\t"] {
            let file = format!("\u{feff}{space}{line}\r\n# {line}\n\n{space}{line}{space}\n");
            let listed = list_tokens(&file).unwrap();
            assert_eq!(listed.len(), 2, "{space:?}");
            assert!(listed.iter().all(|token| file[token.position..].starts_with(&token.hash)), "{space:?}");
        }
    }

    /// A cut line could bind the token to no namespace, or never expire.
    #[test]
    fn a_cut_line_is_refused() {
        let token = || NewToken::generate(vec![Scope::Store, Scope::Retrieve]).unwrap();
        let good = token().line();
        let cut = token().named("app").unwrap().expires_at(1_800_000_000).bound_to(b"tenant").line() + " # of the app";
        for len in 1..=cut.len() {
            for zeros in ["", "\0", "\0\0\0"] {
                let outcome = TokenHashes::parse(&format!("{good}\n{}{zeros}", &cut[..len]));
                assert!(matches!(outcome, Err(InvalidTokens::Unfinished { line: 2 })), "{len}: {outcome:?}");
            }
            // A comment gives no right. New lines begin as comments.
            let hashes = TokenHashes::parse(&format!("{good}\n#{}\0", &cut[..len])).unwrap();
            assert_eq!(hashes.tokens.len(), 1, "{len}");
        }
        for end in ["", "\0\0", " ", "\t#", "\r"] {
            assert_eq!(TokenHashes::parse(&format!("{good}\n{end}")).unwrap().tokens.len(), 1, "{end:?}");
        }
        assert_eq!(TokenHashes::parse(&format!("\u{feff}{good}\r\n")).unwrap().tokens.len(), 1);
        assert!(TokenHashes::parse("\u{feff}").unwrap().is_empty());
    }
}
