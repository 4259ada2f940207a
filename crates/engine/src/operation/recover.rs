//! Cleaning up after killed engines: orphaned operations, unfinished layers, run directories.

use std::time::Duration;

use chrono::Utc;
use contree_sandbox::LayerId;
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::StorageError;
use crate::operation::completion;
use crate::rows::layers;
use crate::rows::operations::{self, OperationEnding, Status};

/// The prefix of temporary files of uploads.
pub(crate) const UPLOAD_PREFIX: &str = ".part-";

/// The age at which the temporary file of an upload counts as left behind. An upload may take long.
const ABANDONED_UPLOAD_AGE: Duration = Duration::from_secs(24 * 3600);

/// The error of an operation whose owner is gone.
const ORPHANED: &str = "the engine that ran this operation ended before the operation did";

/// Cleans up a data directory after engines that crashed or were killed.
///
/// The operations of running engines are not touched: these engines hold locks. A layer, upload or
/// run directory that cannot be removed is skipped.
pub(crate) fn recover(engine: &Engine) -> Result<(), StorageError> {
    for operation in engine.rows.read(operations::unfinished)? {
        fail_if_orphaned(engine, operation)?;
    }
    if let Err(error) = remove_unfinished_layers(engine) {
        tracing::warn!(
            %error,
            "cannot remove unfinished layers"
        );
    }
    remove_abandoned_uploads(engine);
    for run in engine.store.runs()? {
        if !engine.store.run_is_live(&run)?
            && let Err(error) = engine.store.remove_run(&run)
        {
            tracing::warn!(%run, %error, "cannot remove a run directory that another engine left behind");
        }
    }
    engine.store.remove_leftover_groups();
    // A killed engine may have left commits that are not synced yet.
    engine.committed.notify_one();
    Ok(())
}

/// Ends an unfinished operation whose owner is gone. Returns whether it ended it.
pub(crate) fn fail_if_orphaned(engine: &Engine, operation: Uuid) -> Result<bool, StorageError> {
    if engine.running(operation).is_some() || engine.store.run_is_live(&operation.to_string())? {
        return Ok(false);
    }
    let ending = OperationEnding {
        status: Status::Failed,
        error: Some(ORPHANED.to_owned()),
        result_image: None,
        outcome: None,
        image_size: None,
        ended_at: Utc::now(),
    };
    // The owner may have ended it since the check; `end` changes only unfinished operations.
    let ended = engine
        .rows
        .write(|t| operations::end(t, operation, &ending))?;
    if ended {
        append_missing_completion(engine, operation);
    }
    Ok(ended)
}

/// Appends the completion event that the gone owner did not append. If this fails, a follower of
/// the operation tries again.
fn append_missing_completion(engine: &Engine, operation: Uuid) {
    let written =
        completion::recorded(&engine.rows, operation).and_then(|recorded| match recorded {
            Some(completion) => Ok(completion.append_abandoned(&engine.log_path(operation))?),
            None => Ok(()),
        });
    if let Err(error) = written {
        tracing::warn!(%operation, %error, "cannot append the completion event of an orphaned operation");
    }
}

/// Removes layers whose commit or copy will never finish. While an engine copies `tag:host`, it
/// holds that image's lock, and nothing is removed.
fn remove_unfinished_layers(engine: &Engine) -> Result<(), StorageError> {
    let Some(_lock) = crate::image::host::try_lock(engine)? else {
        return Ok(());
    };
    for (layer, run) in engine.rows.read(layers::unfinished)? {
        if engine.running(run).is_some() || engine.store.run_is_live(&run.to_string())? {
            continue;
        }
        // The owner may have finished the layer and ended since the list was read. The run's lock
        // was free, so no engine can finish the layer from now on.
        if !engine.rows.read(|c| layers::is_unfinished(c, layer))? {
            continue;
        }
        if engine.store.layer_exists(LayerId(layer)) {
            engine.store.remove_layer(LayerId(layer))?;
        }
        engine.rows.write(|t| layers::remove(t, layer))?;
    }
    // Incomplete copies of this machine's programs.
    for entry in std::fs::read_dir(engine.store.root().join("layers"))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".new-") {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Removes temporary files of uploads that never finished.
fn remove_abandoned_uploads(engine: &Engine) {
    let files = std::fs::read_dir(engine.store.root().join("files"));
    for entry in files.into_iter().flatten().flatten() {
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED_UPLOAD_AGE));
        let upload = entry
            .file_name()
            .to_string_lossy()
            .starts_with(UPLOAD_PREFIX);
        if upload && old {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
