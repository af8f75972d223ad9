//! Bearer tokens: whoever has the file of them cannot use one.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bech32::{Bech32m, Hrp};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use rand::TryRng;
use rand::rngs::SysRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::problem::Problem;

const PREFIX: &str = "srt";

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
        // Room for the whole text at once, so that no copy is left behind by growth.
        let mut text = Zeroizing::new(String::with_capacity(64));
        // Neither the prefix nor the length can be wrong: both are constants.
        if let Ok(prefix) = Hrp::parse(PREFIX) {
            let _ = bech32::encode_lower_to_fmt::<Bech32m, String>(&mut text, prefix, &*bytes);
        }
        Ok(Self { text, scopes })
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

/// The tokens that a service accepts.
#[derive(Debug)]
pub(crate) struct Tokens {
    tokens: Vec<(blake3::Hash, Vec<Scope>)>,
    wrong: Mutex<Allowance>,
}

impl Tokens {
    /// Lines of `hash scope,scope`; empty ones, and what stands behind `#`, are for people.
    pub(crate) fn parse(file: &str, wrong_per_minute: u32) -> Result<Self, InvalidTokens> {
        let mut tokens = Vec::new();
        for (number, line) in (1..).zip(file.lines()) {
            let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
            if !line.is_empty() {
                tokens.push(parse_line(line).ok_or(InvalidTokens { line: number })?);
            }
        }
        Ok(Self { tokens, wrong: Mutex::new(Allowance::new(wrong_per_minute)) })
    }

    /// Fails where the request has no token with this scope.
    pub(crate) fn check(&self, headers: &HeaderMap, scope: Scope) -> Result<(), Problem> {
        let Some(header) = headers.get(AUTHORIZATION) else { return Err(Problem::unauthorized()) };
        let token = header.as_bytes().split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        match token.and_then(|(_, token)| self.scopes(token)) {
            Some(scopes) if scopes.contains(&scope) => Ok(()),
            Some(_) => Err(Problem::forbidden()),
            None if self.wrong.lock().unwrap_or_else(PoisonError::into_inner).take() => Err(Problem::unauthorized()),
            None => Err(Problem::too_many_wrong_tokens()),
        }
    }

    /// Looks at all hashes, each in constant time.
    fn scopes(&self, token: &[u8]) -> Option<&[Scope]> {
        let hash = blake3::hash(token);
        let mut found = None;
        for (known, scopes) in &self.tokens {
            if bool::from(known.as_bytes().ct_eq(hash.as_bytes())) {
                found = Some(scopes.as_slice());
            }
        }
        found
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
        let tokens = Tokens::parse(&format!("# app\n\n{} # of the app\n", token.line()), 1).unwrap();
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
            let error = Tokens::parse(&format!("{good}\n{bad}\n"), 1).unwrap_err();
            assert!(error.to_string().contains("line 2"), "{bad}");
        }
    }
}
