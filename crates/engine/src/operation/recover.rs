//! What other engines left: operations without an owner, half-made layers, run directories.

use std::sync::Arc;
use std::time::Duration;

use contree_sandbox::LayerId;
use tokio::time::Instant;
use uuid::Uuid;

use crate::engine::Engine;
use crate::error::StorageError;
use crate::operation::completion;
use crate::rows::layers;
use crate::rows::operations::{self, Ending, Status};

/// What the temporary files of uploads begin with.
pub(crate) const PART: &str = ".part-";

/// How long an upload may be under way, at the least, before its temporary file counts as left behind.
const CUT_UPLOAD: Duration = Duration::from_secs(24 * 3600);

/// How long commits are gathered before they are synced together.
const GATHER: Duration = Duration::from_millis(500);

/// How often an engine with operations looks whether another process asked for the end of one.
const WATCH: Duration = Duration::from_millis(50);

/// How often an engine without operations looks after itself.
const IDLE: Duration = Duration::from_secs(1);

/// Why an operation whose engine is gone is FAILED.
const ORPHANED: &str = "the engine that ran this operation ended before it was over";

/// Brings a data directory in order that an engine may have left by crash or kill. Engines that run on it now are left
/// alone: they hold locks. What cannot be cleared away is passed over.
pub(crate) fn recover(engine: &Engine) -> Result<(), StorageError> {
    for operation in engine.rows.read(operations::open)? {
        fail_if_orphaned(engine, operation)?;
    }
    if let Err(error) = remove_unfinished_layers(engine) {
        tracing::warn!(
            %error,
            "cannot clear unfinished layers away"
        );
    }
    remove_cut_uploads(engine);
    for run in engine.store.runs()? {
        if !engine.store.run_is_live(&run)?
            && let Err(error) = engine.store.remove_run(&run)
        {
            tracing::warn!(%run, %error, "cannot clear a run directory that another engine left");
        }
    }
    engine.store.remove_leftover_groups();
    // A killed engine may have left commits that nobody has synced yet.
    engine.committed.notify_one();
    Ok(())
}

/// Ends an open operation whose engine is gone; says whether it did.
pub(crate) fn fail_if_orphaned(engine: &Engine, operation: Uuid) -> Result<bool, StorageError> {
    if engine.running(operation).is_some() || engine.store.run_is_live(&operation.to_string())? {
        return Ok(false);
    }
    let ending = Ending {
        status: Status::Failed,
        error: Some(ORPHANED.to_owned()),
        result_image: None,
        outcome: None,
        image_size: None,
    };
    // Its engine may have ended it between the two looks; `end` changes open operations alone.
    let ended = engine
        .rows
        .write(|t| operations::end(t, operation, &ending))?;
    if ended {
        write_owed_completion(engine, operation);
    }
    Ok(ended)
}

/// Appends the completion that an engine owed which is gone. Whoever follows the operation tries again if this fails.
fn write_owed_completion(engine: &Engine, operation: Uuid) {
    let written = completion::recorded(&engine.rows, operation).and_then(|ended| match ended {
        Some(ended) => Ok(ended.append_abandoned(&engine.log_path(operation))?),
        None => Ok(()),
    });
    if let Err(error) = written {
        tracing::warn!(%operation, %error, "cannot complete the log of an ended engine's operation");
    }
}

/// Removes layers whose commit or copy nobody will finish. The lock of `tag:host` tells one that is being copied.
fn remove_unfinished_layers(engine: &Engine) -> Result<(), StorageError> {
    let Some(_lock) = crate::image::host::try_lock(engine)? else {
        return Ok(());
    };
    for (layer, run) in engine.rows.read(layers::unfinished)? {
        if engine.running(run).is_some() || engine.store.run_is_live(&run.to_string())? {
            continue;
        }
        // Its owner may have finished it and gone since the list was read. Now that the lock was free, nobody will.
        if !engine.rows.read(|c| layers::is_unfinished(c, layer))? {
            continue;
        }
        if engine.store.layer_exists(LayerId(layer)) {
            engine.store.remove_layer(LayerId(layer))?;
        }
        engine.rows.write(|t| layers::forget(t, layer))?;
    }
    // Copies of this machine's programs that were cut.
    for entry in std::fs::read_dir(engine.store.root().join("layers"))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".new-") {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Removes what is left of uploads that never ended. One may be under way for long, so young ones stay.
fn remove_cut_uploads(engine: &Engine) {
    let files = std::fs::read_dir(engine.store.root().join("files"));
    for entry in files.into_iter().flatten().flatten() {
        let old = entry
            .metadata()
            .and_then(|about| about.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > CUT_UPLOAD));
        let part = entry.file_name().to_string_lossy().starts_with(PART);
        if part && old {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Looks after an engine while it runs: syncs what was committed, closes idle views, and notices that another process
/// asked for one of our operations to end.
pub(crate) async fn look_after(engine: Arc<Engine>) {
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = engine.stopping.cancelled() => return,
            () = engine.accepted.notified() => next = next.min(Instant::now() + WATCH),
            () = engine.committed.notified() => {
                let syncing = Arc::clone(&engine);
                engine.tasks.spawn(async move {
                    tokio::select! {
                        () = tokio::time::sleep(GATHER) => sync(syncing).await,
                        // Stopping syncs by itself.
                        () = syncing.stopping.cancelled() => {}
                    }
                });
            }
            () = tokio::time::sleep_until(next) => {
                close_idle_views(&engine);
                let busy = engine.is_busy();
                if busy {
                    cancel_as_asked(&engine).await;
                }
                next = Instant::now() + if busy { WATCH } else { IDLE };
            }
        }
    }
}

async fn cancel_as_asked(engine: &Arc<Engine>) {
    match engine.read(operations::asked_to_cancel).await {
        Ok(asked) => {
            for (operation, reason) in asked {
                if let Some(running) = engine.running(operation) {
                    running.cancel(&reason);
                }
            }
        }
        Err(error) => tracing::warn!(%error, "cannot look for cancellations"),
    }
}

/// Closing a view waits for its helper, which is not for an asynchronous thread.
fn close_idle_views(engine: &Engine) {
    let idle = engine.views.take_idle();
    if !idle.is_empty() {
        tokio::task::spawn_blocking(move || drop(idle));
    }
}

/// The last sync of an engine that stops. What was committed last is as safe as the rest then; the copy of this machine's programs alone is
/// not worth waiting for: it can be made again, and the next engine syncs it.
pub(crate) async fn sync_at_end(engine: Arc<Engine>) {
    let only_the_host = engine.read(|c| {
        let host = crate::image::host::layer(c)?;
        Ok(layers::unsynced(c)?
            .iter()
            .all(|layer| Some(*layer) == host))
    });
    if !only_the_host.await.unwrap_or(false) {
        sync(engine).await;
    }
}

/// Makes all committed layers safe against a power loss, and then records that they are.
pub(crate) async fn sync(engine: Arc<Engine>) {
    let done = crate::blocking::blocking(move || {
        let layers = engine.rows.read(layers::unsynced)?;
        if layers.is_empty() {
            return Ok(());
        }
        engine.store.sync()?;
        engine.rows.write(|t| layers::synced(t, &layers))?;
        // Else the record could be lost where the layers are not, and they would be taken for lost.
        engine.rows.sync()?;
        Ok(())
    })
    .await;
    if let Err(error) = done {
        tracing::warn!(
            %error,
            "cannot sync committed layers; the next commit tries again"
        );
    }
}
