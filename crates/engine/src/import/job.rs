//! Runs one import, from the acceptance of its request to its end.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use contree_error_codes::ErrorCode;
use uuid::Uuid;

use super::commit::commit;
use super::context::ImportContext;
use super::error::ImportError;
use super::prepared::PreparedImage;
use super::progress::Progress;
use super::tasks::ImportTasks;
use super::unpack::discard;
use crate::api::request::import::CheckedImport;
use crate::api::types::ImageImportRequest;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::lifecycle::{self, CommitWork, OperationTask, WorkEnding};
use crate::rows::operations::Status;

/// Checks a request, records its operation, and starts it on `runtime`. Blocks.
pub(crate) fn begin(
    engine: &Arc<Engine>,
    request: ImageImportRequest,
    client: Option<&str>,
    runtime: &tokio::runtime::Handle,
) -> Result<Uuid, ApiError> {
    let checked = request.check()?;
    if checked.origin.is_local() && !engine.imports.allow_local {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            ErrorCode::PathNotAllowed,
            "this engine does not import from paths of its own machine: start it with `--allow-local-imports` if its clients may read them",
        ));
    }
    let operation = Uuid::new_v4();
    let accepted = lifecycle::accept(
        engine,
        &engine.imports.queue,
        operation,
        "image_import",
        None,
        &serde_json::to_value(checked.masked())
            .map_err(|error| ApiError::internal(error.to_string()))?,
        client,
    )?;
    let task_engine = Arc::clone(engine);
    engine.tasks.spawn_on(
        async move {
            let work = |engine, task| run(engine, task, checked);
            lifecycle::carry_out(Arc::clone(&task_engine), accepted, work).await;
            // Removes layers that were not committed, including those that another import completed
            // first.
            discard(&task_engine, operation).await;
        },
        runtime,
    );
    Ok(operation)
}

async fn run(engine: Arc<Engine>, task: OperationTask, checked: CheckedImport) -> WorkEnding {
    if let Err(error) = task.begin(&engine).await {
        return WorkEnding::failed_by(&error);
    }
    let prepared = execute(&engine, &task, &checked).await;
    match prepared {
        Some(Ok(prepared)) => {
            let operation = task.operation;
            let commit_work: CommitWork = Box::new(move |engine, ending| {
                commit(engine, operation, &prepared, checked.tag.as_deref(), ending)
            });
            WorkEnding {
                status: Status::Success,
                error: None,
                code: None,
                outcome: None,
                commit: Some(commit_work),
            }
        }
        failed => {
            // Before the end is visible, so that whoever sees it finds no layers of the import.
            discard(&engine, task.operation).await;
            match failed {
                Some(Err(error)) => WorkEnding::failed(error.code(), error.to_string()),
                _ => WorkEnding::cancelled(),
            }
        }
    }
}

/// Fetches and unpacks everything that the image needs. Returns `None` if the import was cancelled.
/// No task of the import remains afterwards.
async fn execute(
    engine: &Arc<Engine>,
    task: &OperationTask,
    checked: &CheckedImport,
) -> Option<Result<PreparedImage, ImportError>> {
    let tasks = ImportTasks::default();
    let context = ImportContext {
        engine,
        operation: task.operation,
        run: &task.run,
        login: checked.login.as_ref(),
        tasks: &tasks,
        progress: &Progress::new(Arc::clone(&task.running)),
    };
    let seconds = checked.timeout;
    let prepared = tokio::select! {
        biased;
        () = task.running.cancel.cancelled() => None,
        prepared = context.prepare(&checked.origin) => Some(prepared),
        () = tokio::time::sleep(Duration::from_secs(seconds)) => Some(Err(ImportError::TimedOut(seconds))),
    };
    tasks.stop_all().await;
    prepared
}
