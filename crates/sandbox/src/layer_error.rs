//! The errors of sandboxes that the watcher of the writable layer ended.

use crate::error::Error;
use crate::protocol::layer_limit::{LayerExcess, max_files};

/// The error of a sandbox that was limited to `limit` bytes.
pub(crate) fn layer_error(excess: LayerExcess, limit: u64) -> Error {
    match excess {
        LayerExcess::Bytes(bytes) => Error::LayerTooLarge { bytes, limit },
        LayerExcess::Files(files) => Error::LayerTooManyFiles {
            files,
            limit: max_files(limit),
            max_layer_bytes: limit,
        },
        LayerExcess::NotMeasurable { bytes, files } => Error::LayerNotMeasurable {
            bytes,
            files,
            limit,
        },
        LayerExcess::FreeBytes { free, floor } => Error::DiskNearlyFull {
            free,
            floor,
            unit: "bytes",
        },
        LayerExcess::FreeInodes { free, floor } => Error::DiskNearlyFull {
            free,
            floor,
            unit: "inodes",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_limit_that_was_passed() {
        for (excess, parts) in [
            (
                LayerExcess::Bytes(16_777_217),
                ["16777217 bytes", "max_layer_bytes", "(16777216)"],
            ),
            (
                LayerExcess::Files(10_001),
                [
                    "10001 files",
                    "the 10000 that",
                    "max_layer_bytes (16777216)",
                ],
            ),
            (
                LayerExcess::FreeBytes { free: 7, floor: 9 },
                ["has 7 bytes left", "below 9", "free space"],
            ),
            (
                LayerExcess::FreeInodes { free: 7, floor: 9 },
                ["has 7 inodes left", "below 9", "free space"],
            ),
        ] {
            let text = layer_error(excess, 16 << 20).to_string();
            for part in parts {
                assert!(text.contains(part), "`{part}` is not in: {text}");
            }
        }
    }
}
