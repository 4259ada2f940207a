//! The set-up that pid 1 does before anything of the image runs.

pub(super) mod allocating_calls;
pub(super) mod capabilities;
pub(super) mod devices;
pub(super) mod files;
pub(super) mod interception;
mod mounts;
pub(super) mod network;
pub(super) mod overlay;
pub(super) mod procfs;
pub(super) mod seccomp;
pub(super) mod side_files;
pub(super) mod sysfs;
pub(super) mod temporary_lines;
pub(super) mod upper;
