//! Retention: removing unused data once a day, in the background.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use rusqlite::Connection;

use super::prune::prune_engine;
use super::prune_options::PruneOptions;
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::rows::Rows;
use crate::rows::clock::DAY;
use contree_sqlite::DatabaseError;

/// The key of the `meta` table for the time of the last retention, in microseconds since the Unix
/// epoch.
const LAST_RETENTION: &str = "retention_at";

/// How often an engine checks whether retention is due.
const CHECK_INTERVAL: Duration = Duration::from_secs(3600);

/// Applies retention once a day until the engine stops. Only one of several engines on a store does
/// it each day.
pub(crate) async fn apply_retention(engine: Arc<Engine>) {
    if engine.retention_days == 0 {
        return;
    }
    loop {
        let now = Utc::now().timestamp_micros();
        match engine.read(move |c| is_due(c, now)).await {
            Ok(true) => {
                let shared = Arc::clone(&engine);
                let pruning = blocking(move || {
                    if !shared.rows.write(|t| claim(t, now))? {
                        return Ok(None);
                    }
                    let reserve = shared.release_reserve();
                    let options = PruneOptions::new(shared.retention_days);
                    Ok(Some(prune_engine(&shared, options, reserve.is_some())?))
                });
                match pruning.await {
                    Ok(None) => {}
                    Ok(Some(pruned)) => tracing::info!(
                        images = pruned.images.len(),
                        layers = pruned.layers,
                        files = pruned.files,
                        operations = pruned.operations,
                        bytes = pruned.bytes,
                        "removed data that was unused for {} days",
                        engine.retention_days
                    ),
                    Err(error) => tracing::warn!(
                        error = error.message(),
                        "cannot remove unused data; the engine tries again tomorrow"
                    ),
                }
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(
                error = error.message(),
                "cannot read whether removing unused data is due"
            ),
        }
        tokio::select! {
            () = engine.stopping.cancelled() => return,
            () = tokio::time::sleep(CHECK_INTERVAL) => {}
        }
    }
}

fn is_due(c: &Connection, now: i64) -> Result<bool, DatabaseError> {
    let last = Rows::meta(c, LAST_RETENTION)?.and_then(|text| text.parse::<i64>().ok());
    // A time in the future comes from a clock that was wrong.
    Ok(last.is_none_or(|last| now - last >= DAY || last > now))
}

/// Claims today's retention for this engine. False if another engine has it, and for a new store,
/// which has no old data.
fn claim(c: &Connection, now: i64) -> Result<bool, DatabaseError> {
    let new_store = Rows::meta(c, LAST_RETENTION)?.is_none();
    let due = is_due(c, now)?;
    if due {
        Rows::set_meta(c, LAST_RETENTION, &now.to_string())?;
    }
    Ok(due && !new_store)
}
