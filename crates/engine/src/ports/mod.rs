//! Published ports: TCP ports of sandboxes that are reached at this machine's loopback.
//!
//! The engine listens on `127.0.0.1`. For each connection, pid 1 of the sandbox begins one to the
//! sandbox's own loopback and hands its socket to the engine, which copies the bytes. No route is
//! made, so nothing else of the sandbox can be reached, and the sandbox reaches nothing.

mod connection_log;
mod publisher;
mod relay;
mod sandbox_ports;

pub(crate) use publisher::{Publisher, ReservedPort};
pub(crate) use sandbox_ports::SandboxPorts;
