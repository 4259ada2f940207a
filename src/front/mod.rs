//! What every HTTP server of this crate does before it looks at a request: it accepts a bounded number of connections, and judges who
//! asks. It knows neither the engine nor MCP; what a refusal looks like is theirs.

pub(crate) mod connections;
mod patient;
mod place;
mod token;

#[cfg(feature = "mcp")]
pub(crate) use place::is_name;
pub(crate) use place::{Asked, Names, Stranger};
#[cfg(all(feature = "engine", target_os = "linux"))]
pub(crate) use token::TokenError;
pub(crate) use token::{Bearer, SHORTEST_TOKEN};
