//! Tests of the embedded engine through its API: real sandboxes, and plain HTTP over its unix
//! socket.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archives;
mod denied_spellings;
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
mod live;
mod lost_records;
mod network;
mod placement;
mod ports;
mod push;
mod push_kills;
mod push_registry;
mod queue;
mod registry;
mod runs;
mod stores;
mod subprocesses;
mod support;
mod surroundings;
mod terminals;
mod upkeep;
