//! Background work of a running engine: syncing commits, closing idle views, cancelling operations.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::Engine;
use crate::rows::layers;
use crate::rows::operations;

/// How long commits are collected before they are synced together.
const SYNC_DELAY: Duration = Duration::from_millis(500);

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
                engine.tasks.spawn(async move {
                    tokio::select! {
                        () = tokio::time::sleep(SYNC_DELAY) => sync(syncing).await,
                        // Stopping an engine syncs as well.
                        () = syncing.stopping.cancelled() => {}
                    }
                });
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
        tokio::task::spawn_blocking(move || drop(idle));
    }
}

/// Syncs the last commits of an engine that stops.
///
/// If only the copy of this machine's programs is not synced, the engine does not wait for it: the
/// copy can be made again, and the next engine syncs it.
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
