//! Routes: a path, a method, and the handler of their requests.

use std::pin::Pin;

use axum::routing::MethodFilter;

use crate::body::unsent_answer::Response;
use crate::call::Call;
use crate::problem::Problem;
use crate::tokens::scope::Scope;

type Answer = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;

pub(crate) type Handler<B> = fn(Call<B>) -> Answer;

/// A path, a method, and their handler.
pub(crate) struct Route<B: 'static> {
    pub(crate) method: MethodFilter,
    pub(crate) path: &'static str,
    /// The scope that the token needs; `None`: no token is needed.
    pub(crate) scope: Option<Scope>,
    pub(crate) handler: Handler<B>,
}
