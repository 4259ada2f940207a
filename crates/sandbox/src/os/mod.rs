//! The kernel's interfaces, wrapped for the rest of the crate. Knows nothing of sandboxes.

pub(crate) mod error;
pub(crate) mod limits;
pub(crate) mod poll;
pub(crate) mod programs;
pub(crate) mod sys;
pub(crate) mod tree;
pub(crate) mod usage;
pub(crate) mod users;
