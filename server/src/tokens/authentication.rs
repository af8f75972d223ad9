//! Authentication of requests by token.

use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use strongroom::protocol::token::shown_token;

use super::bound_namespace::BoundNamespace;
use super::hashes::TokenHashes;
use super::scope::Scope;
use crate::problem::Problem;

/// Checks the tokens of requests.
#[derive(Debug)]
pub(crate) struct Authentication {
    hashes: RwLock<TokenHashes>,
    wrong: Mutex<MinuteQuota>,
}

impl Authentication {
    pub(crate) fn new(hashes: TokenHashes, wrong_per_minute: u32) -> Self {
        Self { hashes: RwLock::new(hashes), wrong: Mutex::new(MinuteQuota::new(wrong_per_minute)) }
    }

    /// Replaces the accepted tokens.
    pub(crate) fn replace(&self, hashes: TokenHashes) {
        *self.hashes.write().unwrap_or_else(PoisonError::into_inner) = hashes;
    }

    /// Fails if the request has no token with this scope; without a scope, if it has no token. Returns the namespace to which the token is bound.
    pub(crate) fn check(&self, headers: &HeaderMap, scope: Option<Scope>) -> Result<Option<BoundNamespace>, Problem> {
        let Some(header) = headers.get(AUTHORIZATION) else { return Err(Problem::unauthorized()) };
        let hashes = self.hashes.read().unwrap_or_else(PoisonError::into_inner);
        match shown_token(header).and_then(|token| hashes.permissions(token)) {
            Some(permissions) if scope.is_none_or(|scope| permissions.scopes.contains(&scope)) => {
                Ok(permissions.namespace.clone())
            }
            Some(_) => Err(Problem::forbidden()),
            None if self.wrong.lock().unwrap_or_else(PoisonError::into_inner).take() => Err(Problem::unauthorized()),
            None => Err(Problem::too_many_wrong_tokens()),
        }
    }
}

/// The number of events allowed in a minute, for all clients together.
#[derive(Debug)]
struct MinuteQuota {
    per_minute: u32,
    left: u32,
    since: Instant,
}

impl MinuteQuota {
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
    use crate::tokens::new_token::NewToken;

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().unwrap())])
    }

    #[test]
    fn a_token_has_its_scopes_and_no_other() {
        let token = NewToken::generate(vec![Scope::Store, Scope::Retrieve]).unwrap();
        assert!(token.text().starts_with("srt1") && token.text().len() == 62);
        assert!(!token.line().contains(token.text()));
        let hashes = TokenHashes::parse(&format!("# app\n\n{} # of the app\n", token.line())).unwrap();
        let tokens = Authentication::new(hashes, 1);
        let bearer = headers(&format!("Bearer {}", token.text()));
        assert!(tokens.check(&bearer, Some(Scope::Store)).is_ok());
        assert!(tokens.check(&bearer, Some(Scope::Retrieve)).is_ok());
        assert_eq!(tokens.check(&bearer, Some(Scope::Erase)).unwrap_err().status, 403);
        assert_eq!(tokens.check(&HeaderMap::new(), Some(Scope::Store)).unwrap_err().status, 401);
        assert_eq!(tokens.check(&headers(token.text()), Some(Scope::Store)).unwrap_err().status, 401);
        assert_eq!(
            tokens.check(&headers("Bearer srt1wrong"), Some(Scope::Store)).unwrap_err().status,
            429,
            "1 in a minute"
        );
        assert!(tokens.check(&bearer, Some(Scope::Store)).is_ok(), "the others' wrong tokens do not concern it");
    }
}
