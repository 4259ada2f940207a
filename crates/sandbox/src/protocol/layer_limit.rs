//! The limit of a sandbox's writable layer.

use serde::{Deserialize, Serialize};

/// The bytes of the limit for each file. Common file systems have one inode for each 16 KiB, so a
/// sandbox cannot take a larger part of the inodes than of the space.
const BYTES_PER_FILE: u64 = 16 * 1024;
/// The number of files that every layer may have.
const MIN_FILES: u64 = 10_000;

/// The most files, directories and links that a layer limited to `bytes` may have.
pub(crate) fn max_files(bytes: u64) -> u64 {
    (bytes / BYTES_PER_FILE).max(MIN_FILES)
}

/// The reason for which a sandbox was ended by the watcher of its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LayerExcess {
    /// The layer's bytes exceed the limit.
    Bytes(u64),
    /// The layer's files exceed the limit.
    Files(u64),
    /// The layer cannot be measured. It may have at most this much.
    NotMeasurable { bytes: u64, files: u64 },
    /// The file system has few free bytes.
    FreeBytes { free: u64, floor: u64 },
    /// The file system has few free inodes.
    FreeInodes { free: u64, floor: u64 },
}

impl LayerExcess {
    /// The reason for which a layer of this size is too large, if it is.
    pub(crate) fn of(bytes: u64, files: u64, limit: u64) -> Option<Self> {
        if bytes > limit {
            return Some(Self::Bytes(bytes));
        }
        (files > max_files(limit)).then_some(Self::Files(files))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_files_follows_the_bytes() {
        assert_eq!(max_files(1), 10_000);
        assert_eq!(max_files(16 << 20), 10_000);
        assert_eq!(max_files(12 << 30), 786_432);
    }

    #[test]
    fn a_layer_is_too_large_in_bytes_or_in_files() {
        let limit = 16 << 20;
        assert_eq!(LayerExcess::of(limit, 10_000, limit), None);
        let bytes = LayerExcess::of(limit + 1, 0, limit);
        assert_eq!(bytes, Some(LayerExcess::Bytes(limit + 1)));
        let files = LayerExcess::of(0, 10_001, limit);
        assert_eq!(files, Some(LayerExcess::Files(10_001)));
    }
}
