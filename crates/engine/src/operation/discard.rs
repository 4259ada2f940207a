//! Making layers that were reserved, and removing those that no image will have.

use contree_sandbox::{LayerId, RunDir};

use crate::engine::Engine;
use crate::error::StorageError;
use crate::rows::layers;

/// Turns the upper directory of a run into a reserved layer. If that fails, the layer is no longer
/// reserved. A directory with its number belongs to another layer then, and stays.
pub(crate) fn commit_or_forget(
    engine: &Engine,
    run: &RunDir,
    id: u64,
) -> Result<(), contree_sandbox::Error> {
    engine
        .store
        .commit(run, LayerId(id))
        .inspect_err(|_| forget(engine, id))
}

/// Removes the record of a reserved layer that was not made. If that is not possible now, the
/// engine tries again.
pub(crate) fn forget(engine: &Engine, id: u64) {
    if let Err(error) = engine.rows.write(|t| layers::remove(t, id)) {
        tracing::warn!(layer = id, %error, "cannot remove the record of a layer that was not made; the engine tries again");
        engine.cleanup.notify_one();
    }
}

/// Removes a layer that was reserved and that no image will have: first its directory, which also
/// works on a full disk, then its record.
pub(crate) fn layer(engine: &Engine, id: u64) -> Result<(), StorageError> {
    engine.store.remove_layer(LayerId(id))?;
    Ok(engine.rows.write(|t| layers::remove(t, id))?)
}

/// Removes the layer of a commit that failed. If that is not possible now, the engine tries again.
pub(crate) fn failed_commit(engine: &Engine, id: u64) {
    // A commit that failed in its last step may be recorded all the same.
    let discarded = match engine.rows.read(|c| layers::is_unfinished(c, id)) {
        Ok(false) => return,
        Ok(true) => layer(engine, id),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = discarded {
        tracing::warn!(layer = id, %error, "cannot remove the layer of a failed commit; the engine tries again");
        engine.cleanup.notify_one();
    }
}
