//! Bounds of unpacking an archive, and what came of it.

use serde::{Deserialize, Serialize};

/// Bounds of what is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackLimits {
    /// Most members of the archive.
    pub entries: u64,
    /// Most bytes of all its files together, holes among them.
    pub bytes: u64,
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Unpacked {
    /// Members of the archive.
    pub entries: u64,
    /// Disk space of the layer.
    pub bytes: u64,
    /// Device nodes, which are left out.
    pub devices: u64,
    /// Files of users other than root that belong to root now, since the store has one id alone.
    pub all_root: u64,
    /// Files whose owner the store's range of ids does not have; they belong to nobody (65534) now.
    pub unknown_owners: u64,
}
