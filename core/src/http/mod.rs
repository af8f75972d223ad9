//! Calls to the two services over HTTP (`docs/HTTP.md`): connection reuse, deadlines, and safe retries.

mod address;
#[cfg(feature = "object-store")]
mod any_host;
mod balancer;
mod client;
mod connector;
mod endpoint;
mod exchange;
mod failure;
mod invalid_endpoint;
mod problem;
mod request;
mod response;
mod retry;
mod services;
mod timing;
mod tls;
mod token_file;
mod upload;

#[cfg(feature = "object-store")]
pub(crate) use any_host::AnyHost;
pub(crate) use client::HttpClient;
pub use endpoint::Endpoint;
pub(crate) use failure::{Failure, TooLate};
pub use invalid_endpoint::InvalidEndpoint;
pub(crate) use request::ApiRequest;
pub(crate) use response::{ApiResponse, StreamingResponse, part};
pub(crate) use retry::RetryPolicy;
pub(crate) use timing::TimeBudget;
pub(crate) use upload::StreamingRequest;
