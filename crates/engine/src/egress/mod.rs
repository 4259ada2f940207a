//! The network of sandboxes: a filtering HTTP proxy in the engine, and the same policy for programs
//! that know no proxy.
//!
//! A sandbox has only its own loopback. Before any command runs, it hands a listening socket on
//! that loopback to the engine. The engine accepts connections there and opens the outgoing ones
//! from the machine ([`proxy`]). It also gets the packets to foreign addresses ([`interception`]).
//!
//! Two checks decide which connections are allowed:
//! - by name, before it is resolved: [`target`], [`policy`], [`rules`], [`denial`];
//! - by address, before the engine connects: [`address`], [`local_address`], [`on_link`].
//!
//! The engine connects to exactly the address that it checked ([`dial`]). One sandbox cannot use up
//! what all share: [`lookup`] and [`network`] give each its part.

mod address;
mod address_class;
mod certificates;
mod check;
mod connection_context;
mod connection_log;
mod denial;
mod dial;
mod embedded_ipv4;
mod forwarding;
mod interception;
mod local_address;
mod lookup;
mod network;
mod network_access;
mod on_link;
mod policy;
mod provisions;
mod proxy;
mod proxy_error;
mod rules;
mod run_network;
mod settings;
mod target;
#[cfg(test)]
mod tests;
mod tool_settings;
mod traffic;
mod upstream;

pub(crate) use check::checks;
pub(crate) use network::{Egress, NetworkVariables, SandboxNetwork, missing_network_event};
pub(crate) use network_access::NetworkAccess;
pub(crate) use proxy::Proxy;
pub use rules::{EgressRule, EgressRuleError};
pub(crate) use settings::{EgressSettings, ProxyVariables};
pub use settings::{NetworkMode, TransparentNetwork};
