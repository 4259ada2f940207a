//! The first checks of an HTTP server: a bounded accept loop, host and origin checks, bearer
//! tokens. Also what neither of them shows: the values of variables that look like secrets.
//!
//! The crate knows neither the engine nor MCP; each of them writes its own error responses.

#![forbid(unsafe_code)]

mod bearer_token;
mod client_progress;
pub mod connections;
mod open_connections;
mod origin;
pub mod secret_variables;

pub use bearer_token::{BearerToken, MIN_TOKEN_BYTES, TokenError};
pub use client_progress::BodyStalled;
pub use origin::{AllowedHosts, OriginError, RequestOrigin, is_host_name};
