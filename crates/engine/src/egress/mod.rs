//! The network of sandboxes: HTTP and HTTPS through a filtering proxy in the engine.
//!
//! A sandbox has loopback alone. A listening socket on it is handed out to the engine before any command runs; the engine
//! accepts there and dials on the machine ([`proxy`]). What may be dialled is decided by name ([`target`], [`policy`], [`rules`])
//! and by address ([`address`], [`own`]), and the address that was checked is the one connected to ([`dial`]).

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
