//! Wrappers of kernel interfaces. They know nothing of sandboxes.

pub(crate) mod error;
pub(crate) mod extents;
pub(crate) mod file_lock;
pub(crate) mod free_space;
pub(crate) mod limits;
pub(crate) mod notifier;
pub(crate) mod open_resolved;
pub(crate) mod packet_socket;
pub(crate) mod poll;
pub(crate) mod process_tree;
pub(crate) mod programs;
pub(crate) mod scheduling;
pub(crate) mod sys;
pub(crate) mod terminal;
pub(crate) mod tree;
pub(crate) mod usage;
pub(crate) mod users;
