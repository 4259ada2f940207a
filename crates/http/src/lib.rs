//! The parts that the engine's server and the MCP server share: a bounded accept loop, checks of
//! host and origin, and bearer tokens. It also finds the variables whose values neither shows.
//!
//! The crate depends on neither server. Each server writes its own error responses.

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
