//! Control groups: what bounds a sandbox as a whole, where this process may make any.
//!
//! A sandbox's group is made beside or below the engine's own, in each hierarchy that has a controller it needs. Its name says of which
//! store and run it is, so that a later engine tells what another one left. The init goes in by itself, by writing `0` to an open file
//! that it is given: the kernel moves a thread that asks for itself without stopping all others, which would take milliseconds.

pub(crate) mod control_groups;
mod files;
pub(crate) mod group;
mod hierarchy;
mod probe;
mod systemd;
mod v1;
mod v2;
