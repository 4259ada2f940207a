//! The limits and the report of unpacking an archive.

use serde::{Deserialize, Serialize};

/// Limits for unpacking an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackLimits {
    /// The most members of the archive, with the directories that it implies.
    pub entries: u64,
    /// The most bytes of all files together, including holes.
    pub bytes: u64,
}

/// The report of an unpacked archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnpackReport {
    /// The number of members.
    pub entries: u64,
    /// Disk space of the layer in bytes.
    pub bytes: u64,
    /// The number of device nodes, which are left out.
    pub devices: u64,
    /// The number of other users' files that belong to root, because the store has only one id.
    pub all_root: u64,
    /// The number of files whose owner is outside the store's ids. They belong to nobody (65534).
    pub unknown_owners: u64,
    /// The number of directories that are not members, but have members inside.
    pub implied_directories: u64,
}

impl UnpackReport {
    /// The number that counts towards [`UnpackLimits::entries`].
    #[must_use]
    pub fn counted_entries(&self) -> u64 {
        self.entries.saturating_add(self.implied_directories)
    }
}
