//! Committing the upper directory of a run as an image.

use chrono::Utc;
use contree_sandbox::{RunDir, SandboxOutcome};
use uuid::Uuid;

use crate::api::request::SpawnRequest;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::layer_note::{self, LayerNote, NotedImage, NotedLayer};
use crate::operation::discard;
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
    finished: &SandboxOutcome,
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
    let layer = if changed {
        engine
            .rows
            .write(|t| layers::reserve(t, Some(image.layer), operation, &engine.boot))?
    } else {
        image.layer
    };
    let bytes = if changed { finished.upper_bytes } else { 0 };
    let files = finished.changed_files;
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
    let note = LayerNote::Image(NotedImage {
        command: Some(request.command.clone()),
        ..NotedImage::of(&result)
    });
    make_layer(
        engine,
        image,
        &result,
        &note,
        changed.then_some((run, bytes, files)),
    )?;
    let recorded = engine.rows.write(|t| {
        if changed {
            layers::mark_ready(t, layer, bytes, Some(files))?;
        }
        images::insert(t, &result)?;
        operations::end(t, operation, &ending)
    });
    if let Err(error) = recorded {
        if changed {
            discard::failed_commit(engine, layer);
        }
        return Err(error.into());
    }
    engine.committed.notify_one();
    Ok(ending)
}

/// Makes the layer of an image from the upper directory of a run, with its size and its number of
/// files. Without a run, the image shares the layer of the image `base`.
pub(super) fn make_layer(
    engine: &Engine,
    base: &Image,
    result: &Image,
    note: &LayerNote,
    run: Option<(&RunDir, u64, u64)>,
) -> Result<(), ApiError> {
    let Some((run, bytes, files)) = run else {
        layer_note::add(engine, result.layer, note);
        return Ok(());
    };
    let layer = LayerNote::Layer(NotedLayer {
        parent: Some(base.layer),
        bytes,
        chain: None,
        stands_for: None,
        files: Some(files),
    });
    for note in [&layer, note] {
        engine
            .store
            .describe_run(run, &note.line())
            .inspect_err(|_| discard::forget(engine, result.layer))?;
    }
    Ok(discard::commit_or_forget(engine, run, result.layer)?)
}
