//! The disk usage of the embedded engine, for the web page.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::engine::{LocalConfig, usage};
use crate::tools::{DiskUsage, DiskUsageReader, ImageSize, ToolError};

/// Number of images that are listed, the largest first.
const LARGEST_IMAGES: usize = 12;

/// Returns the function that measures the disk usage of a data directory.
pub(in crate::cli) fn disk_usage_reader(config: LocalConfig) -> DiskUsageReader {
    Arc::new(move || {
        let used = usage(&config).map_err(ToolError::no_backend)?;
        let mut images: Vec<ImageSize> = used
            .images
            .into_iter()
            .map(|image| ImageSize {
                uuid: image.uuid,
                tags: image.tags,
                total: image.bytes,
                unique: image.unique_bytes,
            })
            .collect();
        images.sort_by_key(|image| Reverse((image.unique, image.total)));
        images.truncate(LARGEST_IMAGES);
        Ok(DiskUsage {
            directory: used.data_dir,
            total: used.total_bytes,
            shared_layers: used.layers.shared_bytes,
            unique_layers: used.layers.unique_bytes,
            unused_layers: used.layers.unused_bytes,
            files: used.files.bytes,
            logs: used.logs.bytes,
            records: used.records_bytes,
            images,
        })
    })
}
