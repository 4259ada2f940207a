//! The report of packing layers.

use serde::{Deserialize, Serialize};

/// The report of layers that were written as an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PackReport {
    /// The number of members of the archive.
    pub entries: u64,
    /// The number of sockets, which are left out.
    pub sockets: u64,
}
