//! Control groups, which limit a sandbox as a whole if this process may make them.
//!
//! A sandbox's group is made beside or below the engine's own, in each hierarchy with a controller
//! that it needs. Where memory is limited, one group contains the groups of all sandboxes and
//! limits them together. The name of a sandbox's group identifies the store and the run, so that a
//! later engine can remove the groups of a killed one.
//!
//! The init joins by writing `0` to an open file that it is given. The kernel moves a thread that
//! asks for itself without stopping all others, which would take milliseconds.

pub(crate) mod control_groups;
mod files;
pub(crate) mod group;
mod hierarchy;
mod probe;
mod systemd;
mod total;
mod v1;
mod v2;
