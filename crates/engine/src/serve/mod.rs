//! Serving an engine: on a private socket for its own process, or on an address for other programs.

pub(crate) mod body;
mod bounds;
mod disk_space;
mod drain;
pub(crate) mod local;
mod request_guard;
pub(crate) mod server;
mod service;
mod socket;
