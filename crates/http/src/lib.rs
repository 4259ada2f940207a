//! What every HTTP server of this crate does before it looks at a request: it accepts a bounded number of connections, and judges who
//! asks. It knows neither the engine nor MCP; what a refusal looks like is theirs.

#![forbid(unsafe_code)]

pub mod connections;
mod origin;
mod patient;
mod token;

pub use origin::is_name;
pub use origin::{AllowedHosts, OriginError, RequestOrigin};
pub use token::TokenError;
pub use token::{Bearer, SHORTEST_TOKEN};
