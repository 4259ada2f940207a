//! The first checks of an HTTP server: a bounded accept loop, host and origin checks, bearer
//! tokens.
//!
//! The crate knows neither the engine nor MCP; each of them writes its own error responses.

#![forbid(unsafe_code)]

pub mod connections;
mod origin;
mod token;

pub use origin::{AllowedHosts, OriginError, RequestOrigin, is_host_name};
pub use token::{BearerToken, MIN_TOKEN_BYTES, TokenError};
