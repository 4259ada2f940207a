//! Routes of subprocesses: further processes in a running sandbox.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use contree_error_codes::ErrorCode;
use uuid::Uuid;

use super::forward;
use crate::api::extract::{Json, Path, Query};
use crate::api::report;
use crate::api::types::{
    ClosableStreamRepr, ExecSpec, InstanceResult, OperationSubprocessKillQuery, SubprocessCreated,
};
use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::operation::start::wait_until_started;
use crate::operation::{events, lookup};
use crate::rows::operations::{self as rows, Operation};
use crate::run::running_sandbox::{RunningSandbox, main_process_ended};
use crate::run::signals;

/// `POST /operations/{operationId}/subprocesses`.
pub(super) async fn create(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    request: Request,
) -> Result<Response, ApiError> {
    let sandbox = match locate(&engine, uuid, request.headers()).await? {
        SandboxLocation::Local(sandbox) => sandbox,
        SandboxLocation::Remote(socket) => return forward::forward(&socket, request).await,
        SandboxLocation::Ended => return Err(main_process_ended()),
    };
    let Json(body) = Json::<ExecSpec>::from_request(request, &()).await?;
    let body = body.into_spawn();
    body.check(engine.store.id_map().is_single())?;
    if engine
        .running(uuid)
        .is_some_and(|running| running.cancel.is_cancelled())
    {
        return Err(is_ending());
    }
    let spid = sandbox.start(body).await?;
    let location = format!("/v1/operations/{uuid}/subprocesses/{spid}");
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Answer(SubprocessCreated { spid }),
    )
        .into_response())
}

/// `GET /operations/{operationId}/subprocesses/{spid}`: read from the log, so it also works for a
/// sandbox that has ended and for a sandbox of another process.
pub(super) async fn get(
    State(engine): State<Arc<Engine>>,
    Path((uuid, spid)): Path<(Uuid, u64)>,
) -> Result<Answer<InstanceResult>, ApiError> {
    check_spid(spid)?;
    let operation = lookup::find(&engine, uuid).await?;
    let operation = wait_until_started(&engine, operation).await?;
    let path = engine.log_path(operation.uuid);
    let process = blocking(move || Ok(events::read_process(&path, spid)?)).await?;
    if process.pid.is_none() {
        return Err(ApiError::missing(
            ErrorCode::ProcessNotFound,
            format!("the operation {uuid} has no process {spid}"),
        ));
    }
    Ok(Answer(report::process_result(&process)))
}

/// 409: the operation was cancelled, and its processes are being killed.
fn is_ending() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        ErrorCode::OperationOver,
        "the operation was cancelled or exceeded a limit, and is ending, so no process can be started in it",
    )
}

/// `DELETE /operations/{operationId}/subprocesses/{spid}`.
pub(super) async fn kill(
    State(engine): State<Arc<Engine>>,
    Path((uuid, spid)): Path<(Uuid, u64)>,
    Query(query): Query<OperationSubprocessKillQuery>,
    request: Request,
) -> Result<Response, ApiError> {
    check_spid(spid)?;
    let signal = query
        .signal
        .map_or(Ok(signals::KILL), |text| signals::parse(&text))
        .map_err(ApiError::bad)?;
    match locate(&engine, uuid, request.headers()).await? {
        SandboxLocation::Local(sandbox) => sandbox.signal(spid, signal).await?,
        SandboxLocation::Remote(socket) => return forward::forward(&socket, request).await,
        SandboxLocation::Ended => return Err(main_process_ended()),
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /operations/{operationId}/subprocesses/{spid}/stdin`.
pub(super) async fn stdin(
    State(engine): State<Arc<Engine>>,
    Path((uuid, spid)): Path<(Uuid, u64)>,
    request: Request,
) -> Result<Response, ApiError> {
    check_spid(spid)?;
    let sandbox = match locate(&engine, uuid, request.headers()).await? {
        SandboxLocation::Local(sandbox) => sandbox,
        SandboxLocation::Remote(socket) => return forward::forward(&socket, request).await,
        SandboxLocation::Ended => return Err(stdin_gone()),
    };
    let Json(body) = Json::<ClosableStreamRepr>::from_request(request, &()).await?;
    let bytes = body.bytes()?;
    match sandbox.write(spid, bytes, body.close).await {
        // The sandbox ended meanwhile.
        Err(_) if sandbox.is_closed() => Err(stdin_gone()),
        written => written.map(|()| StatusCode::NO_CONTENT.into_response()),
    }
}

/// 410: the process that would read the input has ended.
fn stdin_gone() -> ApiError {
    ApiError::new(
        StatusCode::GONE,
        ErrorCode::OperationOver,
        "the main process has ended, and the sandbox with it, so no process reads the input",
    )
}

pub(super) fn check_spid(spid: u64) -> Result<(), ApiError> {
    if spid == 0 {
        return Err(ApiError::bad(
            "`spid` must be at least 1, which is the main process",
        ));
    }
    Ok(())
}

/// The location of a sandbox.
pub(super) enum SandboxLocation {
    /// In this process.
    Local(Arc<RunningSandbox>),
    /// In another process, which listens on this socket.
    Remote(String),
    /// The sandbox has ended.
    Ended,
}

/// Locates the sandbox of an operation. 425 if the operation has not started.
pub(super) async fn locate(
    engine: &Arc<Engine>,
    uuid: Uuid,
    headers: &HeaderMap,
) -> Result<SandboxLocation, ApiError> {
    let operation: Operation = lookup::find(engine, uuid).await?;
    if operation.kind != "instance" {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            ErrorCode::ProcessNotFound,
            format!(
                "the operation {uuid} is of kind {} and has no processes",
                operation.kind
            ),
        ));
    }
    let operation = wait_until_started(engine, operation).await?;
    if let Some(running) = engine.running(uuid) {
        running.contact.touch();
        return Ok(match running.sandbox() {
            Some(sandbox) if !sandbox.is_closed() => SandboxLocation::Local(Arc::clone(sandbox)),
            _ => SandboxLocation::Ended,
        });
    }
    if operation.status.is_terminal() || forward::is_forwarded(headers) {
        return Ok(SandboxLocation::Ended);
    }
    let socket = engine.read(move |c| rows::owner_socket(c, uuid)).await?;
    Ok(socket.map_or(SandboxLocation::Ended, SandboxLocation::Remote))
}
