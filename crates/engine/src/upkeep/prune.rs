//! Removing unused data: selecting it in the records, then removing its files.

use chrono::Utc;

use super::removal::{Pruned, Removal};
use super::selection::select;
use crate::config::LocalConfig;
use crate::engine::Engine;
use crate::error::{EngineError, StorageError};
use crate::operation::recover;

/// Options of pruning.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Days for which images without a tag, uploaded files and records of operations must be unused
    /// to be removed.
    pub older_than_days: u32,
    /// Only report, and remove nothing.
    pub dry_run: bool,
}

impl PruneOptions {
    /// Options to remove data that was unused for `older_than_days` days.
    #[must_use]
    pub fn new(older_than_days: u32) -> Self {
        Self {
            older_than_days,
            dry_run: false,
        }
    }
}

/// Removes unused data from a data directory. Engines may use it at the same time: their data is
/// kept.
///
/// # Errors
/// If the data directory cannot be used.
pub fn prune(config: &LocalConfig, options: PruneOptions) -> Result<Pruned, EngineError> {
    let engine = Engine::open(config)?;
    if !options.dry_run {
        recover::recover(&engine)?;
    }
    Ok(prune_engine(&engine, options)?)
}

/// Removes unused data from an open engine's data directory.
pub(super) fn prune_engine(engine: &Engine, options: PruneOptions) -> Result<Pruned, StorageError> {
    let now = Utc::now();
    let age = chrono::Duration::days(options.older_than_days.into());
    let before = (now - age).timestamp_micros();
    let selection = if options.dry_run {
        engine.rows.dry_run(|t| select(t, before))?
    } else {
        engine.rows.write(|t| select(t, before))?
    };
    let mut removal = Removal {
        engine,
        dry_run: options.dry_run,
        pruned: Pruned {
            dry_run: options.dry_run,
            images: selection.images.clone(),
            ..Pruned::default()
        },
    };
    removal.remove_selection(&selection, before);
    removal.remove_orphans()?;
    Ok(removal.pruned)
}
