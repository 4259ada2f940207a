//! Starts the init, and explains why it cannot be started.

pub(crate) mod classify;
pub(crate) mod error;
pub(crate) mod host_info;
pub(crate) mod handshake;
mod program;
pub(crate) mod unavailable;
