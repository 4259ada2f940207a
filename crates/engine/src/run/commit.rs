//! Committing the upper directory of a run as an image.

use chrono::Utc;
use contree_sandbox::{LayerId, RunDir, SandboxOutcome};
use uuid::Uuid;

use crate::api::request::SpawnRequest;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::rows::images::{self, Image};
use crate::rows::layers::{self, Layer};
use crate::rows::operations::{self, OperationEnding};

/// Commits the changes of a run, if there are any, and records image and ending in one transaction.
#[expect(clippy::too_many_arguments, reason = "all parts of one transaction")]
pub(crate) fn commit_run(
    engine: &Engine,
    operation: Uuid,
    request: &SpawnRequest,
    image: &Image,
    chain: &[Layer],
    run: &RunDir,
    finished: &Finished,
    ending: &OperationEnding,
) -> Result<OperationEnding, ApiError> {
    let env = request.saved_env(image);
    let cwd = request.saved_cwd(image);
    let chain_bytes: u64 = chain.iter().map(|layer| layer.bytes).sum();
    let changed = finished.changed.unwrap_or(false);
    let mut ending = ending.clone();
    if !changed && env == image.env && cwd == image.cwd {
        ending.result_image = Some(image.uuid);
        ending.image_size = Some(chain_bytes);
        engine
            .rows
            .write(|t| operations::end(t, operation, &ending))?;
        return Ok(ending);
    }
    let mut layer = image.layer;
    let mut bytes = 0;
    if changed {
        bytes = finished.upper_bytes;
        layer = engine
            .rows
            .write(|t| layers::reserve(t, Some(image.layer), operation, &engine.boot))?;
        engine.store.commit(run, LayerId(layer))?;
    }
    let result = Image {
        uuid: Uuid::new_v4(),
        layer,
        env,
        cwd,
        operation: Some(operation),
        lost: false,
        created_at: Utc::now(),
    };
    ending.result_image = Some(result.uuid);
    ending.image_size = Some(chain_bytes + bytes);
    engine.rows.write(|t| {
        if changed {
            layers::mark_ready(t, layer, bytes)?;
        }
        images::insert(t, &result)?;
        operations::end(t, operation, &ending)
    })?;
    engine.committed.notify_one();
    Ok(ending)
}
