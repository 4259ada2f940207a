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
/// cannot be removed or recorded.
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
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::time::{Duration, Instant, SystemTime};

    use super::*;
    use crate::config::LocalConfig;
    use crate::rows::logged;

    fn engine(data: &Path) -> Arc<Engine> {
        Arc::new(Engine::open(&LocalConfig::new(data)).unwrap())
    }

    #[test]
    fn a_layer_that_cannot_be_removed_does_not_keep_the_others() {
        let data = tempfile::tempdir().unwrap();
        let engine = engine(data.path());
        let reserve = || {
            let run = Uuid::new_v4();
            let id = engine
                .rows
                .write(|t| layers::reserve(t, None, run, &engine.boot))
                .unwrap();
            let layer = data.path().join("layers").join(id.to_string());
            fs::create_dir(&layer).unwrap();
            layer
        };
        let removable = reserve();
        let stuck = reserve();
        // The newest layer comes first. The name of its link is that of a directory, which cannot
        // be unlinked.
        let id = stuck.file_name().unwrap();
        fs::create_dir(data.path().join("l").join(id)).unwrap();
        let (recovery, text) = logged(|| remove_unfinished_layers(&engine).unwrap());
        assert_eq!(recovery, Recovery::Incomplete);
        assert!(text.contains("cannot remove an unfinished layer"), "{text}");
        assert!(stuck.exists() && !removable.exists());
        fs::remove_dir(data.path().join("l").join(id)).unwrap();
        assert_eq!(recover(&engine).unwrap(), Recovery::Complete);
        assert!(!stuck.exists());
    }

    #[test]
    fn what_another_process_holds_is_left_for_later() {
        let data = tempfile::tempdir().unwrap();
        let engine = engine(data.path());
        let other = self::engine(data.path());
        let (own, foreign) = (Uuid::new_v4(), Uuid::new_v4());
        let _own = engine.store.create_run(&own.to_string()).unwrap();
        let run = other.store.create_run(&foreign.to_string()).unwrap();
        let layer = engine
            .rows
            .write(|t| layers::reserve(t, None, foreign, &other.boot))
            .unwrap();
        let is_unfinished = || engine.rows.read(|c| layers::is_unfinished(c, layer));
        assert_eq!(
            remove_unfinished_layers(&engine).unwrap(),
            Recovery::OthersRun
        );
        assert_eq!(remove_abandoned_runs(&engine).unwrap(), Recovery::OthersRun);
        assert!(run.path().exists() && is_unfinished().unwrap());
        let path = run.path().to_owned();
        drop(run);
        // A process that another test starts holds the lock until it executes its program.
        soon(|| recover(&engine).unwrap() == Recovery::Complete);
        assert!(!path.exists() && !is_unfinished().unwrap());
        assert_eq!(engine.store.runs().unwrap(), [own.to_string()]);
        let mut copying = None;
        soon(|| {
            copying = crate::image::host::try_lock(&engine).unwrap();
            copying.is_some()
        });
        assert_eq!(
            remove_unfinished_layers(&engine).unwrap(),
            Recovery::OthersRun
        );
    }

    /// Waits until a condition holds.
    fn soon(mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < deadline, "it does not hold in time");
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_upload_of_a_running_process_is_never_abandoned() {
        let data = tempfile::tempdir().unwrap();
        let engine = engine(data.path());
        let old = SystemTime::now() - Duration::from_secs(3 * 24 * 3600);
        let [held, abandoned] = ["held", "abandoned"].map(|name| {
            let path = data.path().join(format!("files/{UPLOAD_PREFIX}{name}"));
            let file = File::create(&path).unwrap();
            file.set_modified(old).unwrap();
            (path, file)
        });
        held.1.lock().unwrap();
        drop(abandoned.1);
        assert!(remove_abandoned_uploads(&engine).unwrap());
        assert!(held.0.exists() && !abandoned.0.exists());
    }

    #[test]
    fn the_ending_of_an_operation_is_answered_until_it_can_be_recorded() {
        let data = tempfile::tempdir().unwrap();
        let engine = engine(data.path());
        let operation = Uuid::new_v4();
        let run = engine.store.create_run(&operation.to_string()).unwrap();
        let find = || engine.rows.read(|c| operations::by_uuid(c, operation));
        engine
            .rows
            .write(|t| {
                let request = serde_json::json!({});
                operations::insert(
                    t,
                    &operations::NewOperation {
                        uuid: operation,
                        kind: "instance",
                        status: Status::Executing,
                        image: None,
                        request: &request,
                        owner_socket: None,
                        client: None,
                        created_at: Utc::now(),
                    },
                )
            })
            .unwrap();
        let ending = OperationEnding {
            status: Status::Failed,
            error: Some("the disk was full".to_owned()),
            code: Some(ErrorCode::DiskFull),
            result_image: None,
            outcome: None,
            image_size: None,
            ended_at: Utc::now(),
        };
        engine
            .unrecorded
            .add(operation, ending, Some(Arc::new(run)));
        assert!(!fail_if_orphaned(&engine, operation).unwrap());
        let mut answered = find().unwrap().unwrap();
        assert_eq!(answered.status, Status::Executing);
        engine.unrecorded.complete(&mut answered);
        assert_eq!(answered.status, Status::Failed);
        assert_eq!(recover(&engine).unwrap(), Recovery::Complete);
        let recorded = find().unwrap().unwrap();
        assert_eq!(recorded.error.as_deref(), Some("the disk was full"));
        assert!(engine.store.runs().unwrap().is_empty());
    }
}
