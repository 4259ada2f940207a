//! Tests of the embedded engine through its API: real sandboxes, and plain HTTP over its unix
//! socket.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archives;
mod depth;
mod descriptors;
mod diff;
mod endings;
mod errors;
mod events;
mod every_operation;
mod following;
mod full_disk;
mod grep;
mod hints;
mod history;
mod images;
mod import;
mod inspect;
mod limits;
mod lost_records;
mod network;
mod placement;
mod queue;
mod registry;
mod runs;
mod stores;
mod subprocesses;
mod support;
mod surroundings;
mod upkeep;
