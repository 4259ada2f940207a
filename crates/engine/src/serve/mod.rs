//! Serving an engine: on a private socket for its own process, or where other programs reach it.

mod access;
pub(crate) mod body;
mod drain;
pub(crate) mod local;
pub(crate) mod server;
mod service;
mod socket;
