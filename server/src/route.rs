//! Routes: a path, a method, and the handler of their requests.

use std::pin::Pin;

use axum::routing::MethodFilter;

use crate::body::unsent_answer::Response;
use crate::call::Call;
use crate::problem::Problem;
use crate::tokens::scope::Scope;

/// The clients that may use a route, if tokens are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// No token is needed.
    Everybody,
    /// Any accepted token.
    AnyToken,
    /// A token with this scope.
    Scope(Scope),
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

pub(crate) type Handler<B> = fn(Call<B>) -> Answer;

/// A path, a method, and their handler.
pub(crate) struct Route<B: 'static> {
    pub(crate) method: MethodFilter,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) handler: Handler<B>,
}
