//! The messages between the engine, the init and its helpers, and how they are sent.

pub(crate) mod boot;
pub(crate) mod compare;
pub(crate) mod entry;
pub(crate) mod layer_limit;
pub(crate) mod pack;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod spec;
pub(crate) mod step;
pub(crate) mod step_failure;
pub(crate) mod unpack;
pub(crate) mod watcher;
pub(crate) mod wire;
