//! Removing once a day, in the background, what was not used for long.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use rusqlite::Connection;

use super::prune::{PruneOptions, run};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::rows::Rows;
use contree_sqlite::DbError;

/// When it was done last, in the `meta` table: microseconds since the Unix epoch.
const DONE: &str = "retention_at";

const DAY: i64 = 24 * 3600 * 1_000_000;

/// How often an engine that runs for long looks whether it is time.
const LOOK: Duration = Duration::from_secs(3600);

/// Looks while the engine runs. Of several engines on one store one does it.
pub(crate) async fn look_after(engine: Arc<Engine>) {
    if engine.retention_days == 0 {
        return;
    }
    loop {
        let now = Utc::now().timestamp_micros();
        match engine.read(move |c| is_due(c, now)).await {
            Ok(true) => {
                let shared = Arc::clone(&engine);
                let done = blocking(move || {
                    if !shared.rows.write(|t| claim(t, now))? {
                        return Ok(None);
                    }
                    Ok(Some(run(
                        &shared,
                        PruneOptions::new(shared.retention_days),
                    )?))
                });
                match done.await {
                    Ok(None) => {}
                    Ok(Some(pruned)) => tracing::info!(
                        images = pruned.images.len(),
                        layers = pruned.layers,
                        files = pruned.files,
                        operations = pruned.operations,
                        bytes = pruned.bytes,
                        "removed what was not used for {} days",
                        engine.retention_days
                    ),
                    Err(error) => tracing::warn!(
                        error = error.message(),
                        "cannot remove what was not used for long; another try follows tomorrow"
                    ),
                }
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(
                error = error.message(),
                "cannot see whether it is time to tidy up"
            ),
        }
        tokio::select! {
            () = engine.stopping.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn is_due(c: &Connection, now: i64) -> Result<bool, DbError> {
    let done = Rows::meta(c, DONE)?.and_then(|text| text.parse::<i64>().ok());
    Ok(done.is_none_or(|done| now - done >= DAY || done > now))
}

/// Takes today's turn, if nobody has. A new store has nothing that is old.
fn claim(c: &Connection, now: i64) -> Result<bool, DbError> {
    let first = Rows::meta(c, DONE)?.is_none();
    let due = is_due(c, now)?;
    if due {
        Rows::set_meta(c, DONE, &now.to_string())?;
    }
    Ok(due && !first)
}
