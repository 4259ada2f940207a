//! What the engine, the init and its helpers say to each other: plain data, and the way it travels.

pub(crate) mod boot;
pub(crate) mod entry;
pub(crate) mod failure;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod spec;
pub(crate) mod step;
pub(crate) mod unpacked;
pub(crate) mod watcher;
pub(crate) mod wire;
