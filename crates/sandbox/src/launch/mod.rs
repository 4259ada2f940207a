//! Starts the init, and explains why it cannot be started.

pub(crate) mod classify;
pub(crate) mod error;
pub(crate) mod handshake;
pub(crate) mod host_info;
mod program;
pub(crate) mod unavailable;
