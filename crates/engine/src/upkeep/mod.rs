//! Upkeep of a data directory: reporting its disk usage, and removing unused data.
//!
//! Several engines may use the directory at the same time. Unfinished operations in the records
//! show which data they use:
//!
//! - the transaction that records an operation checks that its image still exists;
//! - one transaction selects unused data and removes its records, and it keeps the data of
//!   unfinished operations;
//! - directories and files are removed after their records. The records name the layers that are
//!   being removed, so the next upkeep completes an interrupted removal. Any other layer without a
//!   record is kept until a person decides.

mod check;
mod delete;
mod missing_layers;
mod prune;
mod prune_options;
mod rebuild;
mod removal;
mod retention;
mod selection;
mod usage;

use crate::config::LocalConfig;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::image::host;

pub use crate::image::host::HostImageRefresh;
pub use check::{StoreCheck, UnrecordedImage, UnrecordedLayer, check_store};
pub(crate) use delete::{DeleteError, delete_image};
pub use missing_layers::MissingLayer;
pub use prune::prune;
pub use prune_options::PruneOptions;
pub use rebuild::Rebuilt;
pub use removal::Pruned;
pub(super) use retention::apply_retention;
pub use usage::{FilesUsage, ImageUsage, LayersUsage, Usage, usage};

/// Makes a new image of this machine's programs and moves `tag:host` to it. The earlier image stays
/// until it is pruned.
///
/// # Errors
/// If the data directory cannot be used, or the programs cannot be copied.
pub fn refresh_host(config: &LocalConfig) -> Result<HostImageRefresh, EngineError> {
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
