//! The route that makes an image of a running sandbox.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use uuid::Uuid;

use crate::api::extract::Path;
use crate::api::routes::forward;
use crate::api::routes::subprocesses::{SandboxLocation, locate};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::run::running_sandbox::main_process_ended;
use crate::run::snapshot;

/// How long another engine of the store may take. The copy alone may take 10 minutes.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(12 * 60);

/// `POST /x/operations/{operationId}/snapshot`.
pub(in crate::api::routes) async fn snapshot(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    request: Request,
) -> Result<Response, ApiError> {
    let sandbox = match locate(&engine, uuid, request.headers()).await? {
        SandboxLocation::Local(sandbox) => sandbox,
        SandboxLocation::Remote(socket) => {
            return forward::forward_within(&socket, request, FORWARD_TIMEOUT).await;
        }
        SandboxLocation::Ended => return Err(main_process_ended()),
    };
    let running = engine.running(uuid).ok_or_else(main_process_ended)?;
    let work = snapshot::take(Arc::clone(&engine), uuid, sandbox, running.cancel.clone());
    // In a task of its own, which completes the snapshot even if the client goes away.
    let taken = engine.tasks.spawn(work.boxed()).await;
    let taken = taken
        .map_err(|error| ApiError::internal(format!("a task of the engine failed: {error}")))?;
    Ok((StatusCode::CREATED, Answer(taken?)).into_response())
}
