//! Authentication of requests by token.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use strongroom::protocol::token::shown_token;

use super::bound_namespace::BoundNamespace;
use super::hashes::TokenHashes;
use super::scope::Scope;
use super::uses::TokenUses;
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

    /// Replaces the accepted tokens. The times of their last uses remain.
    pub(crate) fn replace(&self, hashes: TokenHashes) {
        let mut current = self.hashes.write().unwrap_or_else(PoisonError::into_inner);
        hashes.note_uses(&current.uses());
        *current = hashes;
    }

    /// Takes over the times of last uses of an earlier process.
    pub(crate) fn note_uses(&self, uses: &TokenUses) {
        self.hashes.read().unwrap_or_else(PoisonError::into_inner).note_uses(uses);
    }

    /// The times at which tokens were last used.
    pub(crate) fn uses(&self) -> TokenUses {
        self.hashes.read().unwrap_or_else(PoisonError::into_inner).uses()
    }

    /// Fails if the request has no token with this scope; without a scope, if it has no token. Passes the name of the
    /// token, also of a refused one, to `name`. Returns the namespace to which the token is bound.
    pub(crate) fn check(
        &self,
        headers: &HeaderMap,
        scope: Option<Scope>,
        name: &mut Option<Arc<str>>,
    ) -> Result<Option<BoundNamespace>, Problem> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        self.check_at(now.map(|now| now.as_secs()), headers, scope, name)
    }

    /// `now` is Unix time in seconds; `None` if the clock cannot be read.
    fn check_at(
        &self,
        now: Option<u64>,
        headers: &HeaderMap,
        scope: Option<Scope>,
        name: &mut Option<Arc<str>>,
    ) -> Result<Option<BoundNamespace>, Problem> {
        let Some(header) = headers.get(AUTHORIZATION) else { return Err(Problem::unauthorized()) };
        let hashes = self.hashes.read().unwrap_or_else(PoisonError::into_inner);
        let found = shown_token(header).and_then(|token| hashes.find(token));
        *name = found.map(|token| Arc::clone(&token.name));
        match found {
            // A clock that cannot be read counts as one after every expiry.
            Some(token) if token.is_expired(now.unwrap_or(u64::MAX)) => Err(Problem::expired_token()),
            Some(token) if scope.is_none_or(|scope| token.scopes.contains(&scope)) => {
                now.into_iter().for_each(|now| token.note_use(now));
                Ok(token.namespace.clone())
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
        assert!(tokens.check(&bearer, Some(Scope::Store), &mut None).is_ok());
        assert!(tokens.check(&bearer, Some(Scope::Retrieve), &mut None).is_ok());
        assert_eq!(tokens.check(&bearer, Some(Scope::Erase), &mut None).unwrap_err().status, 403);
        assert_eq!(tokens.check(&HeaderMap::new(), Some(Scope::Store), &mut None).unwrap_err().status, 401);
        assert_eq!(tokens.check(&headers(token.text()), Some(Scope::Store), &mut None).unwrap_err().status, 401);
        assert_eq!(
            tokens.check(&headers("Bearer srt1wrong"), Some(Scope::Store), &mut None).unwrap_err().status,
            429,
            "1 in a minute"
        );
        assert!(
            tokens.check(&bearer, Some(Scope::Store), &mut None).is_ok(),
            "the others' wrong tokens do not concern it"
        );
    }

    #[test]
    fn an_expired_token_is_refused_and_its_use_is_noted_only_before() {
        let [past, valid] = [1, u64::MAX].map(|time| {
            let token = NewToken::generate(vec![Scope::Store]).unwrap();
            token.named(if time == 1 { "past" } else { "valid" }).unwrap().expires_at(time)
        });
        let hashes = TokenHashes::parse(&format!("{}\n{}\n", past.line(), valid.line())).unwrap();
        let tokens = Authentication::new(hashes, 1);
        for (token, status) in [(&past, Some(401)), (&valid, None)] {
            let mut name = None;
            let bearer = headers(&format!("Bearer {}", token.text()));
            let outcome = tokens.check(&bearer, Some(Scope::Store), &mut name);
            assert_eq!(outcome.err().map(|problem| problem.status.as_u16()), status);
            assert_eq!(name.as_deref(), Some(if status.is_some() { "past" } else { "valid" }));
        }
        let hash: String = valid.line().chars().take(16).collect();
        assert_eq!(tokens.uses().into_keys().collect::<Vec<_>>(), [hash]);
    }

    #[test]
    fn a_clock_that_cannot_be_read_notes_no_use_and_is_after_every_expiry() {
        let [plain, expiring] = [(); 2].map(|()| NewToken::generate(vec![Scope::Store]).unwrap());
        let expiring = expiring.expires_at(u64::MAX);
        let hashes = TokenHashes::parse(&format!("{}\n{}\n", plain.line(), expiring.line())).unwrap();
        let tokens = Authentication::new(hashes, 1);
        let check = |now, token: &NewToken| {
            tokens.check_at(now, &headers(&format!("Bearer {}", token.text())), Some(Scope::Store), &mut None)
        };
        assert_eq!(check(None, &expiring).unwrap_err().status, 401);
        assert!(check(None, &plain).is_ok());
        assert!(tokens.uses().is_empty());
        for now in [7, 9, 8] {
            assert!(check(Some(now), &plain).is_ok() && check(None, &plain).is_ok());
            assert_eq!(tokens.uses().into_values().collect::<Vec<_>>(), [now]);
        }
    }
}
