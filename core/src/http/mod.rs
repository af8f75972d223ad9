//! Calls to the two services over HTTP (`docs/HTTP.md`): connection reuse, deadlines, and safe retries.

mod address;
#[cfg(feature = "object-store")]
mod any_host;
mod balancer;
mod client;
mod connector;
mod discovery;
mod endpoint;
mod exchange;
mod exchanges;
mod failure;
mod invalid_endpoint;
mod pending_call;
mod problem;
mod request;
mod resolver;
mod response;
mod retry;
mod service;
mod service_list;
mod services;
#[cfg(test)]
mod simulation;
mod timing;
mod tls;
mod token_file;
mod trusted_names;
mod upload;
mod upstreams;

#[cfg(feature = "object-store")]
pub(crate) use any_host::AnyHost;
pub(crate) use client::HttpClient;
pub use endpoint::Endpoint;
pub(crate) use exchanges::Exchanges;
pub(crate) use failure::{Failure, TooLate, is_refusal};
pub use invalid_endpoint::InvalidEndpoint;
pub(crate) use pending_call::PendingCall;
#[cfg(test)]
pub(crate) use problem::Problem;
pub(crate) use request::ApiRequest;
pub(crate) use response::{ApiResponse, StreamingResponse, content_length, part};
pub(crate) use retry::RetryPolicy;
pub use service_list::{ServiceAddress, ServiceList};
pub(crate) use timing::TimeBudget;
#[cfg(feature = "object-store")]
pub(crate) use timing::transfer_time;
pub(crate) use upload::StreamingRequest;
pub use upstreams::{Upstream, Upstreams};
