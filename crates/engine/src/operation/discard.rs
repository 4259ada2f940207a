//! Removing layers that were reserved and that no image will have.

use contree_sandbox::LayerId;

use crate::engine::Engine;
use crate::error::StorageError;
use crate::rows::layers;

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
