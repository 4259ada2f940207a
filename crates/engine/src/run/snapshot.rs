//! Making an image of a running sandbox, while its processes stand still.

use std::sync::Arc;

use axum::http::StatusCode;
use chrono::Utc;
use contree_error_codes::ErrorCode;
use contree_sandbox::{RunDir, Sandbox, SandboxOutcome};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::types::Snapshot;
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::layer_note::{LayerNote, NotedImage};
use crate::limits;
use crate::operation::discard;
use crate::rows::images::{self, Image};
use crate::rows::layers;
use crate::run::commit::make_layer;
use crate::run::running_sandbox::{RunningSandbox, main_process_ended, sandbox_error};

/// The sentence about the parts of a running sandbox that its image lacks.
const NOTE: &str = "the image has the files as they were while the processes stood still; the processes are not in it";

/// Makes an image of the files of a sandbox as they are now. `cancel` abandons it.
pub(crate) async fn take(
    engine: Arc<Engine>,
    operation: Uuid,
    running: Arc<RunningSandbox>,
    cancel: CancellationToken,
) -> Result<Snapshot, ApiError> {
    if running.result.layers >= limits::MAX_LAYERS {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            ErrorCode::TooManyLayers,
            format!(
                "the image of this run has {} layers, which is the limit; start from an earlier image",
                running.result.layers
            ),
        ));
    }
    // Nothing else may reach the processes, and the sandbox must not end meanwhile.
    let sandbox = running.exclusive().await;
    blocking(move || {
        let Some(sandbox) = &*sandbox else {
            return Err(main_process_ended());
        };
        // The lock of its directory shows other engines that this work is in progress.
        let id = Uuid::new_v4();
        let run = engine.store.create_run(&id.to_string())?;
        let work = SnapshotWork {
            engine: &engine,
            operation,
            running: &running,
            run: &run,
            id,
        };
        let made = work.perform(sandbox, &cancel);
        if let Err(error) = engine.store.remove_run(run.name()) {
            tracing::warn!(%operation, %error, "cannot remove the directory of a snapshot; the engine tries again");
            engine.cleanup.notify_one();
        }
        made
    })
    .await
}

/// One snapshot that is being made.
struct SnapshotWork<'a> {
    engine: &'a Engine,
    operation: Uuid,
    running: &'a RunningSandbox,
    /// The directory for the copy.
    run: &'a RunDir,
    id: Uuid,
}

impl SnapshotWork<'_> {
    fn perform(&self, sandbox: &Sandbox, cancel: &CancellationToken) -> Result<Snapshot, ApiError> {
        // The end of the run waits for the snapshot, so its time-out must not wait for a long copy.
        let is_abandoned = || cancel.is_cancelled() || self.running.has_timed_out();
        let copied = sandbox
            .snapshot(self.run, is_abandoned)
            .map_err(sandbox_error)?;
        Ok(Snapshot {
            image_uuid: self.commit(&copied)?,
            changed_files: copied.changed_files,
            bytes: copied.upper_bytes,
            note: NOTE.to_owned(),
        })
    }

    /// Makes the copy a layer, and records the image.
    fn commit(&self, copied: &SandboxOutcome) -> Result<Uuid, ApiError> {
        let (engine, base) = (self.engine, self.running.image());
        let settings = &self.running.result;
        let changed = copied.changed.unwrap_or(false);
        if !changed && settings.env == base.env && settings.cwd == base.cwd {
            return Ok(base.uuid);
        }
        let layer = if changed {
            engine
                .rows
                .write(|t| layers::reserve(t, Some(base.layer), self.id, &engine.boot))?
        } else {
            base.layer
        };
        let image = Image {
            uuid: Uuid::new_v4(),
            layer,
            env: settings.env.clone(),
            cwd: settings.cwd.clone(),
            operation: Some(self.operation),
            lost: false,
            created_at: Utc::now(),
        };
        let note = LayerNote::Image(NotedImage {
            command: Some(settings.command.clone()),
            ..NotedImage::of(&image)
        });
        let (bytes, files) = (copied.upper_bytes, copied.changed_files);
        let source = changed.then_some((self.run, bytes, files));
        make_layer(engine, base, &image, &note, source)?;
        let recorded = engine.rows.write(|t| {
            if changed {
                layers::mark_ready(t, layer, bytes, Some(files))?;
            }
            images::insert(t, &image)
        });
        if let Err(error) = recorded {
            if changed {
                discard::failed_commit(engine, layer);
            }
            return Err(error.into());
        }
        engine.committed.notify_one();
        Ok(image.uuid)
    }
}
