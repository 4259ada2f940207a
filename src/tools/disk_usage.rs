//! The disk usage of the embedded engine.

use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

use super::ToolError;

/// Measures the disk usage. It blocks.
pub(crate) type DiskUsageReader = Arc<dyn Fn() -> Result<DiskUsage, ToolError> + Send + Sync>;

/// The disk usage of the data directory, in bytes.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(
    not(all(feature = "engine", target_os = "linux")),
    allow(dead_code, reason = "only the embedded engine measures it")
)]
pub(crate) struct DiskUsage {
    pub(crate) directory: String,
    pub(crate) total: u64,
    /// Layers that two or more images have.
    pub(crate) shared_layers: u64,
    /// Layers that only one image has.
    pub(crate) unique_layers: u64,
    /// Layers that no image has.
    pub(crate) unused_layers: u64,
    pub(crate) files: u64,
    pub(crate) logs: u64,
    pub(crate) records: u64,
    /// The largest images.
    pub(crate) images: Vec<ImageSize>,
}

/// The disk usage of an image, in bytes.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(
    not(all(feature = "engine", target_os = "linux")),
    allow(dead_code, reason = "only the embedded engine measures it")
)]
pub(crate) struct ImageSize {
    pub(crate) uuid: Uuid,
    pub(crate) tags: Vec<String>,
    /// All its layers.
    pub(crate) total: u64,
    /// The layers that no other image has.
    pub(crate) unique: u64,
}
