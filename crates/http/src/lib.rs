//! What both HTTP servers do before they look at a request: a bounded accept loop, host and origin checks, bearer tokens.
//!
//! The crate knows neither the engine nor MCP; each writes its own refusals.

#![forbid(unsafe_code)]

pub mod connections;
mod origin;
mod token;

pub use origin::{AllowedHosts, OriginError, RequestOrigin, is_name};
pub use token::{BearerToken, SHORTEST_TOKEN, TokenError};
