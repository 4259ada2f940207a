//! Upkeep of a data directory: reporting its disk usage, and removing unused data.
//!
//! Several engines may use the directory at the same time. Unfinished operations in the records
//! show which data they use:
//!
//! - the transaction that records an operation checks that its image still exists;
//! - one transaction selects unused data and removes its records, and it keeps the data of
//!   unfinished operations;
//! - directories and files are removed after their records. If that is interrupted, the next upkeep
//!   removes them as orphans.

mod prune;
mod removal;
mod retention;
mod selection;
mod usage;

use crate::config::LocalConfig;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::image::host;

pub use crate::image::host::Refreshed;
pub use prune::{PruneOptions, prune};
pub use removal::Pruned;
pub(super) use retention::apply_retention;
pub use usage::{FilesUsage, ImageUsage, LayersUsage, Usage, usage};

/// Makes a new image of this machine's programs and moves `tag:host` to it. The earlier image stays
/// until it is pruned.
///
/// # Errors
/// If the data directory cannot be used, or the programs cannot be copied.
pub fn refresh_host(config: &LocalConfig) -> Result<Refreshed, EngineError> {
    let engine = Engine::open(config)?;
    let refreshed = host::refresh(&engine)?;
    engine.store.sync()?;
    let layer = engine.rows.read(host::layer)?;
    engine
        .rows
        .write(|t| crate::rows::layers::mark_synced(t, layer.as_slice()))?;
    engine.rows.sync().map_err(EngineError::File)?;
    Ok(refreshed)
}
