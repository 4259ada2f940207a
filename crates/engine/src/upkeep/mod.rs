//! Looking after a data directory: what uses its disk space, and removing what nobody needs any more.
//!
//! Several engines may be at work on it meanwhile. What they use is told by open operations in the records: an operation checks in the
//! transaction that records it that its image and its files are still there, and what is removed is chosen in one transaction that looks
//! at open operations. Directories go after their records; where that is cut, the next time finds them as orphans.

mod prune;
mod retention;
mod usage;

use crate::EngineError;
use crate::LocalConfig;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::image::host;

pub use prune::{PruneOptions, Pruned, prune};
pub use retention::RETENTION_DAYS;
pub(super) use retention::look_after;
pub use usage::{Counted, ImageUsage, LayersUsage, Usage, usage};

/// The image of this machine's programs, made anew.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct Refreshed {
    /// The new image.
    pub image: uuid::Uuid,
    /// The image that `tag:host` named before.
    pub previous: Option<uuid::Uuid>,
    /// Files copied.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Makes a new image of this machine's programs and moves `tag:host` to it. The one before stays until it is pruned.
///
/// # Errors
/// When the data directory cannot be used, or the programs cannot be copied.
pub fn refresh_host(config: &LocalConfig) -> Result<Refreshed, EngineError> {
    let engine = Engine::open(config)?;
    let refreshed = host::refresh(&engine).map_err(failed)?;
    engine.store.sync()?;
    let layer = engine.rows.read(host::layer)?;
    engine
        .rows
        .write(|t| crate::rows::layers::synced(t, layer.as_slice()))?;
    engine
        .rows
        .sync()
        .map_err(|error| EngineError::Records(error.to_string()))?;
    Ok(refreshed)
}

fn failed(error: ApiError) -> EngineError {
    EngineError::Records(error.message().to_owned())
}
