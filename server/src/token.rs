//! Bearer tokens: whoever has the file of them cannot use one.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use rand::TryRng;
use rand::rngs::SysRng;
use strongroom::protocol::secret_text::{self, SecretKind};
use strongroom::protocol::token::shown_token;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::config_files;
use crate::problem::Problem;
use crate::secret_kind::Kind;
use crate::start::StartError;

/// What a token allows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Scope {
    /// To store and replace.
    Store,
    /// To retrieve.
    Retrieve,
    /// To delete, erase and count.
    Erase,
    /// All of the storage service.
    Storage,
}

const SCOPES: [(&str, Scope); 4] =
    [("store", Scope::Store), ("retrieve", Scope::Retrieve), ("erase", Scope::Erase), ("storage", Scope::Storage)];

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = SCOPES.iter().find_map(|(name, scope)| (scope == self).then_some(*name));
        f.write_str(name.unwrap_or_default())
    }
}

/// A text is no scope.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a scope is store, retrieve, erase or storage")]
pub struct InvalidScope;

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        SCOPES.iter().find_map(|(name, scope)| (*name == text).then_some(*scope)).ok_or(InvalidScope)
    }
}

/// A new token, and the line that makes a service accept it.
#[derive(Debug)]
pub struct NewToken {
    text: Zeroizing<String>,
    scopes: Vec<Scope>,
}

impl NewToken {
    /// A token of 32 random bytes.
    ///
    /// # Errors
    ///
    /// Where the operating system gives no random bytes.
    pub fn generate(scopes: Vec<Scope>) -> Result<Self, rand::rngs::SysError> {
        let bytes = Zeroizing::new(random()?);
        Ok(Self { text: secret_text::encode(SecretKind::Token, &bytes), scopes })
    }

    /// The token: `srt1...`, for the client.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line for the services' file of tokens: the text's BLAKE3 hash, and the scopes.
    #[must_use]
    pub fn line(&self) -> String {
        let scopes: Vec<_> = self.scopes.iter().map(ToString::to_string).collect();
        format!("{} {}", blake3::hash(self.text.as_bytes()).to_hex(), scopes.join(","))
    }
}

pub(crate) fn random() -> Result<[u8; 32], rand::rngs::SysError> {
    let mut bytes = [0; 32];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(bytes)
}

/// The file of tokens has a line that is none.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("line {line} of the file of tokens is not a hash and scopes, as `strongroom token new` prints them")]
pub struct InvalidTokens {
    line: usize,
}

/// The tokens that a service accepts: hashes, and what each allows.
#[derive(Debug, Default)]
pub(crate) struct TokenHashes {
    tokens: Vec<(blake3::Hash, Vec<Scope>)>,
    unfinished: Option<usize>,
}

impl TokenHashes {
    pub(crate) fn read(path: &Path) -> Result<Self, StartError> {
        let content = config_files::read(path, "tokens")?;
        config_files::check(&content, "tokens", Kind::TokenHashes)?;
        let hashes = Self::parse(str::from_utf8(&content).unwrap_or_default())?;
        if let Some(line) = hashes.unfinished {
            tracing::warn!(target: "strongroom", line, "the last line of the file of tokens is unfinished, and ignored");
        }
        Ok(hashes)
    }

    /// Lines of `hash scope,scope`; empty ones, and what stands behind `#`, are for people. The beginning of a line at
    /// the end is ignored: an interrupted write left it, and printed no token.
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

    /// Looks at all hashes, each in constant time.
    fn scopes(&self, token: &[u8]) -> Option<Vec<Scope>> {
        let hash = blake3::hash(token);
        let mut found = None;
        for (known, scopes) in &self.tokens {
            if bool::from(known.as_bytes().ct_eq(hash.as_bytes())) {
                found = Some(scopes.clone());
            }
        }
        found
    }
}

/// Whether the line has no end and is the beginning of one, perhaps with zeros where its bytes did not reach the disk.
fn is_unfinished(line: &str) -> bool {
    let line = line.trim_end_matches('\0');
    let (hash, scopes) = line.split_at_checked(64).unwrap_or((line, ""));
    let mut scopes = scopes.strip_prefix(' ').unwrap_or(scopes).rsplit(',');
    let last = scopes.next().unwrap_or_default();
    !line.ends_with('\n')
        && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
        && SCOPES.iter().any(|(scope, _)| scope.starts_with(last))
        && scopes.all(|scope| scope.parse::<Scope>().is_ok())
}

/// The whole lines of a file of tokens, behind which another can be written. An unfinished one at the end is left out.
///
/// # Errors
///
/// [`StartError::WrongFile`] and [`StartError::Tokens`] where the file is none of tokens.
pub fn finished_lines(file: &[u8]) -> Result<&str, StartError> {
    config_files::check(file, "tokens", Kind::TokenHashes)?;
    let file = str::from_utf8(file).unwrap_or_default();
    let finished = file.rfind('\n').map_or("", |end| file.get(..=end).unwrap_or_default());
    Ok(if TokenHashes::parse(file)?.unfinished.is_some() { finished } else { file })
}

/// Checks the tokens of requests.
#[derive(Debug)]
pub(crate) struct Tokens {
    hashes: RwLock<TokenHashes>,
    wrong: Mutex<Allowance>,
}

impl Tokens {
    pub(crate) fn new(hashes: TokenHashes, wrong_per_minute: u32) -> Self {
        Self { hashes: RwLock::new(hashes), wrong: Mutex::new(Allowance::new(wrong_per_minute)) }
    }

    /// From now on, these and no others are accepted.
    pub(crate) fn replace(&self, hashes: TokenHashes) {
        *self.hashes.write().unwrap_or_else(PoisonError::into_inner) = hashes;
    }

    /// Fails where the request has no token with this scope.
    pub(crate) fn check(&self, headers: &HeaderMap, scope: Scope) -> Result<(), Problem> {
        let Some(header) = headers.get(AUTHORIZATION) else { return Err(Problem::unauthorized()) };
        let hashes = self.hashes.read().unwrap_or_else(PoisonError::into_inner);
        match shown_token(header).and_then(|token| hashes.scopes(token)) {
            Some(scopes) if scopes.contains(&scope) => Ok(()),
            Some(_) => Err(Problem::forbidden()),
            None if self.wrong.lock().unwrap_or_else(PoisonError::into_inner).take() => Err(Problem::unauthorized()),
            None => Err(Problem::too_many_wrong_tokens()),
        }
    }
}

fn parse_line(line: &str) -> Option<(blake3::Hash, Vec<Scope>)> {
    let (hash, scopes) = line.split_once(char::is_whitespace)?;
    let scopes = scopes.trim().split(',').map(|scope| scope.trim().parse().ok()).collect::<Option<_>>()?;
    Some((blake3::Hash::from_hex(hash).ok()?, scopes))
}

/// How many of something may happen in a minute. Those who do not do it are not concerned.
#[derive(Debug)]
struct Allowance {
    per_minute: u32,
    left: u32,
    since: Instant,
}

impl Allowance {
    fn new(per_minute: u32) -> Self {
        Self { per_minute, left: per_minute, since: Instant::now() }
    }

    fn take(&mut self) -> bool {
        if self.since.elapsed() >= Duration::from_secs(60) {
            *self = Self::new(self.per_minute);
        }
        let some_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some_left
    }
}

#[cfg(test)]
#[allow(clippy::string_slice, reason = "tests")]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().unwrap())])
    }

    #[test]
    fn a_token_has_its_scopes_and_no_other() {
        let token = NewToken::generate(vec![Scope::Store, Scope::Retrieve]).unwrap();
        assert!(token.text().starts_with("srt1") && token.text().len() == 62);
        assert!(!token.line().contains(token.text()));
        let hashes = TokenHashes::parse(&format!("# app\n\n{} # of the app\n", token.line())).unwrap();
        let tokens = Tokens::new(hashes, 1);
        let bearer = headers(&format!("Bearer {}", token.text()));
        assert!(tokens.check(&bearer, Scope::Store).is_ok());
        assert!(tokens.check(&bearer, Scope::Retrieve).is_ok());
        assert_eq!(tokens.check(&bearer, Scope::Erase).unwrap_err().status, 403);
        assert_eq!(tokens.check(&HeaderMap::new(), Scope::Store).unwrap_err().status, 401);
        assert_eq!(tokens.check(&headers(token.text()), Scope::Store).unwrap_err().status, 401);
        assert_eq!(tokens.check(&headers("Bearer srt1wrong"), Scope::Store).unwrap_err().status, 429, "1 in a minute");
        assert!(tokens.check(&bearer, Scope::Store).is_ok(), "the others' wrong tokens do not concern it");
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let good = NewToken::generate(vec![Scope::Storage]).unwrap().line();
        for bad in ["srt1abc storage", "00 store", &good.replace("storage", "all"), good.split(' ').next().unwrap()] {
            let error = TokenHashes::parse(&format!("{good}\n{bad}\n")).unwrap_err();
            assert!(error.to_string().contains("line 2"), "{bad}");
        }
    }

    #[test]
    fn the_beginning_of_a_line_at_the_end_is_ignored() {
        let scopes = vec![Scope::Store, Scope::Retrieve];
        let [good, cut] = [(); 2].map(|()| NewToken::generate(scopes.clone()).unwrap().line());
        for len in 0..cut.len() {
            let file = format!("{good}\n{}", &cut[..len]);
            let hashes = TokenHashes::parse(&file).unwrap();
            // A line that was cut behind a scope is whole, but its token was never printed.
            assert_eq!(hashes.tokens.len(), if len == 70 { 2 } else { 1 }, "{len}");
            assert_eq!(hashes.unfinished, (len != 0 && len != 70).then_some(2));
            let finished = if len == 70 { file.len() } else { good.len() + 1 };
            assert_eq!(finished_lines(file.as_bytes()).unwrap(), &file[..finished]);
        }
        let zeros = format!("{good}\n{}\0\0\0", &cut[..10]);
        assert_eq!(TokenHashes::parse(&zeros).unwrap().tokens.len(), 1);
        // Any other unfinished line is an error, too; the last line may lack its end.
        for bad in ["srt1abc", "00 store", "# \n?", &cut.replace("retrieve", "all"), "no token"] {
            TokenHashes::parse(&format!("{good}\n{bad}")).unwrap_err();
        }
        assert_eq!(TokenHashes::parse(&good).unwrap().tokens.len(), 1);
        assert_eq!(finished_lines(good.as_bytes()).unwrap(), good);
        assert_eq!(finished_lines(b"").unwrap(), "");
        assert!(matches!(finished_lines(b"\xff"), Err(StartError::Tokens(_))));
        assert_eq!(TokenHashes::parse(&format!("\u{feff}{good}\r\n")).unwrap().tokens.len(), 1);
    }
}
