//! Background work of a running engine: syncing commits and records, closing idle views, cancelling
//! operations, and cleaning up again.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::error::StorageError;
use crate::operation::recover::{self, Recovery};
use crate::rows::layers;
use crate::rows::operations;

/// How long commits are collected before they are synced together.
const SYNC_DELAY: Duration = Duration::from_millis(500);

/// How long records are collected before they are synced together.
const RECORDS_SYNC_DELAY: Duration = Duration::from_millis(300);

/// The number of files from which the whole file system is synced rather than each file.
const MAX_SYNCED_FILES: usize = 16;

/// The first and the longest time between attempts to record and remove what could not be recorded
/// or removed before.
const CLEANUP_DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// The longest time between looks at the runs of other engines. They may run for days.
const OTHERS_INTERVAL: Duration = Duration::from_secs(60);

/// How often an engine with operations checks whether another process has cancelled one of them.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);

/// How often an engine without operations closes idle views.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);

/// Maintains an engine until it stops.
///
/// It syncs new commits, closes idle views, and cancels operations that another process has asked
/// to cancel.
pub(crate) async fn maintain(engine: Arc<Engine>) {
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = engine.stopping.cancelled() => return,
            () = engine.accepted.notified() => next = next.min(Instant::now() + BUSY_INTERVAL),
            () = engine.committed.notified() => {
                let syncing = Arc::clone(&engine);
                let delayed = async move {
                    tokio::select! {
                        () = tokio::time::sleep(SYNC_DELAY) => sync(syncing).await,
                        // Stopping an engine syncs as well.
                        () = syncing.stopping.cancelled() => {}
                    }
                };
                engine.tasks.spawn(delayed.boxed());
            }
            () = tokio::time::sleep_until(next) => {
                close_idle_views(&engine);
                let busy = engine.is_busy();
                if busy {
                    cancel_requested(&engine).await;
                }
                next = Instant::now() + if busy { BUSY_INTERVAL } else { IDLE_INTERVAL };
            }
        }
    }
}

/// Syncs records, uploaded files and event logs shortly after they were written, until the engine
/// stops.
pub(crate) async fn sync_records(engine: Arc<Engine>) {
    loop {
        tokio::select! {
            () = engine.stopping.cancelled() => return,
            () = engine.rows.changed() => {}
        }
        tokio::select! {
            () = engine.stopping.cancelled() => return,
            () = tokio::time::sleep(RECORDS_SYNC_DELAY) => {}
        }
        let syncing = Arc::clone(&engine);
        if let Err(error) =
            crate::blocking::blocking(move || Ok(sync_acknowledged(&syncing)?)).await
        {
            tracing::warn!(
                error = error.message(),
                "cannot sync records; a power loss could undo the last changes"
            );
        }
    }
}

/// Makes everything that clients know of safe against a power loss: records, and the files that
/// belong to them.
fn sync_acknowledged(engine: &Engine) -> Result<(), StorageError> {
    let files = engine.take_unsynced_files();
    let synced = sync_files(engine, &files).and_then(|()| Ok(engine.rows.sync()?));
    if synced.is_err() {
        for file in files {
            engine.sync_with_records(file);
        }
    }
    synced
}

fn sync_files(engine: &Engine, files: &[PathBuf]) -> Result<(), StorageError> {
    if files.len() > MAX_SYNCED_FILES {
        return Ok(engine.store.sync()?);
    }
    let mut directories = BTreeSet::new();
    for path in files {
        match File::open(path) {
            Ok(file) => file.sync_data()?,
            // It was removed meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        directories.extend(path.parent());
    }
    for directory in directories {
        File::open(directory)?.sync_data()?;
    }
    Ok(())
}

/// Tries again to record and remove what could not be recorded or removed, until the engine stops.
pub(crate) async fn retry_cleanup(engine: Arc<Engine>) {
    loop {
        tokio::select! {
            () = engine.stopping.cancelled() => return,
            () = engine.cleanup.notified() => {}
        }
        let (mut delay, longest) = CLEANUP_DELAY;
        loop {
            tokio::select! {
                () = engine.stopping.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
            }
            let cleaning = Arc::clone(&engine);
            let cleaned = crate::blocking::blocking(move || Ok(recover::recover(&cleaning)?));
            let cleaned = tokio::select! {
                // Stopping does not wait for it: the next start does the rest.
                () = engine.stopping.cancelled() => return,
                cleaned = cleaned => cleaned,
            };
            delay = match cleaned {
                Ok(Recovery::Complete) => break,
                Ok(Recovery::OthersRun) => (delay * 2).min(OTHERS_INTERVAL),
                Ok(Recovery::Incomplete) | Err(_) => (delay * 2).min(longest),
            };
        }
    }
}

/// Cancels the operations of this process that another process has asked to cancel.
async fn cancel_requested(engine: &Arc<Engine>) {
    match engine.read(operations::cancel_requests).await {
        Ok(requests) => {
            for (operation, reason) in requests {
                if let Some(running) = engine.running(operation) {
                    running.cancel(&reason);
                }
            }
        }
        Err(error) => tracing::warn!(%error, "cannot read requests to cancel operations"),
    }
}

/// Closes idle views. Closing one waits for its helper process, so it happens on a thread that may
/// block.
fn close_idle_views(engine: &Engine) {
    let idle = engine.views.take_idle();
    if !idle.is_empty() {
        drop(contree_tasks::blocking(move || drop(idle)));
    }
}

/// Syncs the last commits of an engine that stops.
///
/// If only the copy of this machine's programs is not synced, the engine does not wait for it: the
/// copy can be made again, and the next engine syncs it.
pub(crate) async fn sync_at_end(engine: Arc<Engine>) {
    let ending = Arc::clone(&engine);
    let synced = crate::blocking::blocking(move || {
        recover::record_endings(&ending);
        if ending.rows.has_unsynced_changes() {
            sync_acknowledged(&ending)?;
        }
        Ok(())
    });
    if let Err(error) = synced.await {
        tracing::warn!(error = error.message(), "cannot sync records");
    }
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

/// Makes all committed layers safe against a power loss, then records that they are.
async fn sync(engine: Arc<Engine>) {
    let result = crate::blocking::blocking(move || {
        let layers = engine.rows.read(layers::unsynced)?;
        if layers.is_empty() {
            return Ok(());
        }
        engine.store.sync()?;
        engine.rows.write(|t| layers::mark_synced(t, &layers))?;
        // Without this, a power loss could lose the record but not the layers, and the next start
        // would treat these layers as lost.
        engine.rows.sync()?;
        Ok(())
    })
    .await;
    if let Err(error) = result {
        tracing::warn!(
            %error,
            "cannot sync committed layers; the next commit tries again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LocalConfig;
    use crate::rows::Rows;

    fn engine(data: &std::path::Path) -> Arc<Engine> {
        Arc::new(Engine::open(&LocalConfig::new(data)).unwrap())
    }

    #[tokio::test]
    async fn records_and_their_files_are_synced_in_the_background() {
        let data = tempfile::tempdir().unwrap();
        let engine = engine(data.path());
        sync_acknowledged(&engine).unwrap();
        assert!(!engine.rows.has_unsynced_changes());
        let syncing = tokio::spawn(sync_records(Arc::clone(&engine)));
        engine.sync_with_records(engine.file_path("uploaded"));
        engine
            .write(|t| Rows::set_meta(t, "key", "value"))
            .await
            .unwrap();
        assert!(engine.rows.has_unsynced_changes());
        while engine.rows.has_unsynced_changes() {
            tokio::task::yield_now().await;
        }
        assert!(engine.take_unsynced_files().is_empty());
        engine.stopping.cancel();
        syncing.await.unwrap();
    }
}
