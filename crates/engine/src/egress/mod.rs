//! The network of sandboxes: HTTP and HTTPS through a filtering proxy in the engine.
//!
//! A sandbox has only its own loopback. Before any command runs, it hands a listening socket on
//! that loopback to the engine. The engine accepts connections there and opens the outgoing ones
//! from the machine ([`proxy`]).
//!
//! Two checks decide which connections are allowed:
//! - by name, before it is resolved: [`target`], [`policy`], [`rules`];
//! - by address, before the engine connects: [`address`], [`local_address`].
//!
//! The engine connects to exactly the address that it checked ([`dial`]).

mod access;
mod address;
mod check;
mod connection_log;
mod counted;
mod dial;
mod network;
mod own;
mod policy;
mod provide;
mod proxy;
mod rules;
mod settings;
mod target;
#[cfg(test)]
mod tests;
mod upstream;

pub(crate) use check::check;
pub(crate) use network::{Egress, Variables, refused_event};
pub(crate) use proxy::Proxy;
pub use rules::{EgressRule, EgressRuleError};
pub use settings::NetworkMode;
pub(crate) use settings::{EgressSettings, ProxyVariables};
