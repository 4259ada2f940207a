//! The part that all kinds of operations share: queue, life cycle, event log, and cleaning up after
//! killed engines.

pub(crate) mod completion;
pub(crate) mod contact;
pub(crate) mod discard;
#[cfg(test)]
mod duration_tests;
pub(crate) mod events;
pub(crate) mod lifecycle;
pub(crate) mod lookup;
pub(crate) mod maintenance;
pub(crate) mod queue;
pub(crate) mod recover;
pub(crate) mod running;
pub(crate) mod silent_owners;
pub(crate) mod start;
pub(crate) mod unrecorded_endings;
