//! The embedded engine as a client sees it: real sandboxes, real HTTP over its unix socket.
#![cfg(all(feature = "engine", target_os = "linux"))]
#![allow(clippy::unwrap_used, missing_docs)]

mod archives;
mod errors;
mod events;
mod grep;
mod images;
mod inspect;
mod limits;
mod runs;
mod stores;
mod support;
