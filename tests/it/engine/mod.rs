//! The embedded engine as a client sees it: real sandboxes, real HTTP over its unix socket.

mod archives;
mod depth;
mod errors;
mod events;
mod every_operation;
mod following;
mod grep;
mod images;
mod import;
mod inspect;
mod limits;
mod network;
mod queue;
pub(crate) mod registry;
mod runs;
mod serve;
mod stores;
mod subprocesses;
pub(crate) mod support;
mod upkeep;
