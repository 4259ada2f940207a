//! Cleaning up after killed engines: orphaned operations, unfinished layers, run directories.

use std::fs::{File, TryLockError};
use std::path::Path;

use chrono::{DateTime, Utc};
use contree_error_codes::ErrorCode;
use contree_sandbox::RunHolder;
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::StorageError;
use crate::layer_note;
use crate::operation::completion;
use crate::operation::discard;
use crate::rows::clock::DAY;
use crate::rows::layers;
use crate::rows::operations::{self, OperationEnding, Status};

/// The prefix of temporary files of uploads.
pub(crate) const UPLOAD_PREFIX: &str = ".part-";

/// The age at which the temporary file of an upload counts as left behind, in microseconds. An
/// upload may take long.
const ABANDONED_UPLOAD_AGE: i64 = DAY;

/// The error of an operation whose owner is gone.
const ORPHANED: &str = "the engine that ran this operation ended before the operation did";

/// The state of a data directory after cleaning up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Recovery {
    /// Nothing is left of other engines.
    Complete,
    /// Other engines run, or their locks are not free yet.
    OthersRun,
    /// Data could not be removed or recorded.
    Incomplete,
}

impl Recovery {
    fn all_done(all: bool) -> Self {
        if all {
            Self::Complete
        } else {
            Self::Incomplete
        }
    }
}

/// Cleans up a data directory after engines that crashed or were killed.
///
/// The operations of running engines are not touched: these engines hold locks. A process that a
/// killed engine has just started may still hold the locks of that engine. It also skips data that
/// cannot be removed or recorded. Returns whether something was skipped, and why.
pub(crate) fn recover(engine: &Engine) -> Result<Recovery, StorageError> {
    record_endings(engine);
    for operation in engine.rows.read(operations::unfinished)? {
        end_if_orphaned(engine, operation)?;
    }
    let mut recovery = Recovery::all_done(engine.unrecorded.all().is_empty());
    let mut skip = |result: Result<Recovery, StorageError>, message: &str| {
        recovery = recovery.max(result.unwrap_or_else(|error| {
            tracing::warn!(%error, "{message}");
            Recovery::Incomplete
        }));
    };
    skip(
        remove_unfinished_layers(engine),
        "cannot remove unfinished layers",
    );
    skip(
        engine
            .store
            .remove_retired_layers()
            .map(|()| Recovery::Complete)
            .map_err(StorageError::from),
        "cannot remove the rest of removed layers",
    );
    skip(
        remove_abandoned_uploads(engine).map(Recovery::all_done),
        "cannot remove abandoned uploads",
    );
    skip(
        remove_abandoned_runs(engine),
        "cannot remove run directories",
    );
    skip(
        layer_note::describe_old_layers(engine).map(|()| Recovery::Complete),
        "cannot write notes to the layers of an earlier release",
    );
    engine.store.remove_leftover_groups();
    if recovery != Recovery::OthersRun {
        // A killed engine may have left commits that are not synced yet.
        engine.committed.notify_one();
    }
    Ok(recovery)
}

/// Records the endings of this process that could not be recorded earlier.
pub(crate) fn record_endings(engine: &Engine) {
    for (operation, unrecorded) in engine.unrecorded.all() {
        let recorded = engine
            .rows
            .write(|t| operations::end(t, operation, &unrecorded.ending));
        match recorded {
            Ok(_) => {
                append_missing_completion(engine, operation);
                // The directory is removed while it is locked.
                if let Err(error) = engine.store.remove_run(&operation.to_string()) {
                    tracing::warn!(%operation, %error, "cannot remove a run directory");
                }
                engine.unrecorded.remove(operation);
            }
            Err(error) => {
                tracing::warn!(%operation, %error, "cannot record the ending of an operation");
            }
        }
    }
}

/// Removes run directories that other engines left behind.
fn remove_abandoned_runs(engine: &Engine) -> Result<Recovery, StorageError> {
    let mut recovery = Recovery::Complete;
    for run in engine.store.runs()? {
        let removed = match engine.store.run_holder(&run) {
            Ok(Some(RunHolder::ThisStore)) => Ok(Recovery::Complete),
            Ok(Some(RunHolder::Another)) => Ok(Recovery::OthersRun),
            Ok(None) => engine.store.remove_run(&run).map(|()| Recovery::Complete),
            Err(error) => Err(error),
        };
        recovery = recovery.max(removed.unwrap_or_else(|error| {
            tracing::warn!(%run, %error, "cannot remove a run directory that another engine left behind");
            Recovery::Incomplete
        }));
    }
    Ok(recovery)
}

/// Ends an unfinished operation whose owner is gone, and has its data removed. Returns whether it
/// ended it.
///
/// If the ending cannot be recorded, as on a full disk, this engine answers with it all the same.
pub(crate) fn fail_if_orphaned(engine: &Engine, operation: Uuid) -> Result<bool, StorageError> {
    let ended = end_if_orphaned(engine, operation)?;
    if ended {
        engine.cleanup.notify_one();
    }
    Ok(ended)
}

/// Does what [`fail_if_orphaned`] does, but leaves the data of the operation.
fn end_if_orphaned(engine: &Engine, operation: Uuid) -> Result<bool, StorageError> {
    if engine.running(operation).is_some()
        || engine.unrecorded.contains(operation)
        || engine.store.run_is_live(&operation.to_string())?
    {
        return Ok(false);
    }
    let accepted = engine.rows.read(|c| operations::by_uuid(c, operation))?;
    // The clock of the machine may have been set back since.
    let now = Utc::now();
    let ended_at = accepted.map_or(now, |accepted| now.max(accepted.created_at));
    let ending = OperationEnding {
        status: Status::Failed,
        error: Some(ORPHANED.to_owned()),
        code: Some(ErrorCode::EngineStopping),
        result_image: None,
        outcome: None,
        image_size: None,
        ended_at,
    };
    // The owner may have ended it since the check; `end` changes only unfinished operations.
    let ended = engine
        .rows
        .write(|t| operations::end(t, operation, &ending));
    match ended {
        Ok(true) => {
            append_missing_completion(engine, operation);
            Ok(true)
        }
        Ok(false) => Ok(false),
        Err(error) => {
            tracing::warn!(%operation, %error, "cannot record the ending of an orphaned operation; the engine tries again");
            engine.unrecorded.add(operation, ending, None);
            Ok(true)
        }
    }
}

/// Appends the completion event that the gone owner did not append. If this fails, a follower of
/// the operation tries again.
fn append_missing_completion(engine: &Engine, operation: Uuid) {
    let written =
        completion::recorded(&engine.rows, &engine.unrecorded, operation).and_then(|recorded| {
            match recorded {
                Some(completion) => Ok(completion.append_abandoned(&engine.log_path(operation))?),
                None => Ok(()),
            }
        });
    if let Err(error) = written {
        tracing::warn!(%operation, %error, "cannot append the completion event of an orphaned operation");
    }
}

/// Removes layers whose commit or copy will never finish. While an engine copies `tag:host`, it
/// holds that image's lock, and nothing is removed.
fn remove_unfinished_layers(engine: &Engine) -> Result<Recovery, StorageError> {
    let Some(_lock) = crate::image::host::try_lock(engine)? else {
        return Ok(Recovery::OthersRun);
    };
    let mut recovery = Recovery::Complete;
    for (layer, run) in engine.rows.read(layers::unfinished)? {
        recovery = recovery.max(
            remove_if_abandoned(engine, layer, run).unwrap_or_else(|error| {
                tracing::warn!(layer, %error, "cannot remove an unfinished layer");
                Recovery::Incomplete
            }),
        );
    }
    // Incomplete copies of this machine's programs.
    for entry in std::fs::read_dir(engine.store.root().join("layers"))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".new-")
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "cannot remove an incomplete copy of this machine's programs");
            recovery = Recovery::Incomplete;
        }
    }
    Ok(recovery)
}

/// Removes an unfinished layer, if the run that makes it is gone.
fn remove_if_abandoned(engine: &Engine, layer: u64, run: Uuid) -> Result<Recovery, StorageError> {
    if engine.running(run).is_some() {
        return Ok(Recovery::Complete);
    }
    match engine.store.run_holder(&run.to_string())? {
        Some(RunHolder::ThisStore) => return Ok(Recovery::Complete),
        Some(RunHolder::Another) => return Ok(Recovery::OthersRun),
        None => {}
    }
    // The owner may have finished the layer and ended since the list was read. The run's lock was
    // free, so no engine can finish the layer from now on.
    if engine.rows.read(|c| layers::is_unfinished(c, layer))? {
        discard::layer(engine, layer)?;
    }
    Ok(Recovery::Complete)
}

/// Removes temporary files of uploads that never finished. Returns whether all could be removed.
fn remove_abandoned_uploads(engine: &Engine) -> Result<bool, StorageError> {
    let ages = engine.rows.read(|c| engine.rows.ages(c))?;
    let mut complete = true;
    for entry in std::fs::read_dir(engine.store.root().join("files"))?.flatten() {
        let path = entry.path();
        let upload = entry
            .file_name()
            .to_string_lossy()
            .starts_with(UPLOAD_PREFIX);
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|at| {
                ages.age(DateTime::<Utc>::from(at).timestamp_micros()) > ABANDONED_UPLOAD_AGE
            });
        if upload
            && old
            && !is_locked(&path)
            && let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove an abandoned upload");
            complete = false;
        }
    }
    Ok(complete)
}

/// Returns whether a process holds the lock of a file. An upload holds it while it lasts.
fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests;
