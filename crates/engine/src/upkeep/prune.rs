//! Removing unused data: selecting it in the records, then removing its files.

use contree_sandbox::LayerStore;

use super::prune_options::PruneOptions;
use super::removal::{Pruned, Removal};
use super::selection::{Selection, remove_records, select};
use crate::config::LocalConfig;
use crate::engine::Engine;
use crate::error::{EngineError, StorageError};
use crate::operation::recover;
use crate::reserve::Reserve;

/// The most records of files and of operations that one transaction removes on a full disk, where
/// its log has little space.
const SMALL_TRANSACTION: usize = 200;

/// Removes unused data from a data directory. Engines may use it at the same time: their data is
/// kept.
///
/// # Errors
/// If the data directory cannot be used.
pub fn prune(config: &LocalConfig, options: PruneOptions) -> Result<Pruned, EngineError> {
    if options.dry_run {
        return Ok(prune_engine(&Engine::open(config)?, options, false)?);
    }
    let engine = open_on_full_disk(config)?;
    let reserve = engine.release_reserve();
    // On a full disk, this may fail and pruning still works.
    let recovered = recover::recover(&engine);
    let mut pruned = prune_engine(&engine, options, reserve.is_some())?;
    if let Err(error) = recovered {
        pruned
            .problems
            .push(format!("cannot clean up after killed engines: {error}"));
    }
    Ok(pruned)
}

/// Opens a data directory. If the disk is full, the directory may have no reserve yet, as that of
/// an earlier release. Then the run directories of killed engines make room.
fn open_on_full_disk(config: &LocalConfig) -> Result<Engine, EngineError> {
    let error = match Engine::open(config) {
        Ok(engine) => return Ok(engine),
        Err(error) => error,
    };
    if !Reserve::of(&config.data_dir).is_disk_full() {
        return Err(error);
    }
    let store = LayerStore::open(&config.data_dir, config.store_options())?;
    for run in store.runs()? {
        if !store.run_is_live(&run)? {
            store.remove_run(&run)?;
        }
    }
    Engine::open(config)
}

/// Removes unused data from an open engine's data directory. On a `full` disk, it uses little
/// space.
pub(super) fn prune_engine(
    engine: &Engine,
    options: PruneOptions,
    full: bool,
) -> Result<Pruned, StorageError> {
    let rows = &engine.rows;
    let mut removal = Removal {
        engine,
        options,
        ages: rows.read(|c| rows.ages(c))?,
        min_age: options.min_age_micros(),
        pruned: Pruned {
            dry_run: options.dry_run,
            ..Pruned::default()
        },
    };
    if full {
        // These need no space in the database.
        removal.remove_orphans()?;
    }
    let selection = if options.dry_run {
        rows.read_snapshot(|t| select(t, &removal.ages, removal.min_age))?
    } else {
        remove_all_records(engine, &removal, full)?
    };
    removal.pruned.images.clone_from(&selection.images);
    removal.remove_selection(&selection);
    removal.remove_orphans()?;
    Ok(removal.pruned)
}

/// Removes the records of unused data, on a full disk in several transactions. The first ones
/// make no room, since layers are removed after their records.
fn remove_all_records(
    engine: &Engine,
    removal: &Removal<'_>,
    full: bool,
) -> Result<Selection, StorageError> {
    let limit = if full { SMALL_TRANSACTION } else { usize::MAX };
    let mut all = Selection::default();
    loop {
        let step = engine.rows.write(|t| {
            let selection = select(t, &removal.ages, removal.min_age)?;
            remove_records(t, selection, limit)
        });
        let mut step = match step {
            Ok(step) => step,
            // The files of the records that are gone by now make room.
            Err(error) if !all.is_empty() => {
                tracing::warn!(%error, "cannot remove all records of unused data at once");
                return Ok(all);
            }
            Err(error) => return Err(error.into()),
        };
        let removed = step
            .operations
            .iter()
            .filter(|operation| !operation.keeps_record)
            .count();
        let complete = step.files.len() < limit && removed < limit;
        if !complete {
            // Operations whose record is kept are selected again.
            step.operations.retain(|operation| !operation.keeps_record);
        }
        all.extend(step);
        if complete {
            return Ok(all);
        }
    }
}
