//! Looking after a data directory: what uses its disk space, and removing what nobody needs any more.
//!
//! Several engines may be at work on it meanwhile. What they use is told by open operations in the records: an operation checks in the
//! transaction that records it that its image and its files are still there, and what is removed is chosen in one transaction that looks
//! at open operations. Directories go after their records; where that is cut, the next time finds them as orphans.

mod prune;
mod retention;
mod usage;

use crate::config::LocalConfig;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::image::host;

pub use crate::image::host::HostImageRefresh;
pub use prune::{PruneOptions, Pruned, prune};
pub(super) use retention::look_after;
pub use usage::{Counted, ImageUsage, LayersUsage, Usage, usage};

/// Makes a new image of this machine's programs and moves `tag:host` to it. The one before stays until it is pruned.
///
/// # Errors
/// When the data directory cannot be used, or the programs cannot be copied.
pub fn refresh_host(config: &LocalConfig) -> Result<HostImageRefresh, EngineError> {
    let engine = Engine::open(config)?;
    let refreshed = host::refresh(&engine)?;
    engine.store.sync()?;
    let layer = engine.rows.read(host::layer)?;
    engine
        .rows
        .write(|t| crate::rows::layers::synced(t, layer.as_slice()))?;
    engine.rows.sync().map_err(EngineError::File)?;
    Ok(refreshed)
}
