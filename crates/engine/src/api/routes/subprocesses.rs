//! Further processes in a running sandbox.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
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
use crate::operation::{begun, events, lookup};
use crate::rows::operations::{self as rows, Operation};
use crate::run::instance::{self, Instance};
use crate::run::signals;

/// `POST /operations/{operationId}/subprocesses`.
pub(super) async fn create(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    request: Request,
) -> Result<Response, ApiError> {
    let instance = match reach(&engine, uuid, request.headers()).await? {
        Reached::Here(instance) => instance,
        Reached::There(door) => return forward::forward(&door, request).await,
        Reached::Over => return Err(instance::over()),
    };
    let Json(body) = Json::<ExecSpec>::from_request(request, &()).await?;
    let body = body.into_spawn();
    body.check(engine.store.id_map().is_single())?;
    let spid = instance.start(body).await?;
    let location = format!("/v1/operations/{uuid}/subprocesses/{spid}");
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Answer(SubprocessCreated { spid }),
    )
        .into_response())
}

/// `GET /operations/{operationId}/subprocesses/{spid}`: from the log, so also of a sandbox that is over, and of one in
/// another process.
pub(super) async fn get(
    State(engine): State<Arc<Engine>>,
    Path((uuid, spid)): Path<(Uuid, u64)>,
) -> Result<Answer<InstanceResult>, ApiError> {
    check_spid(spid)?;
    let operation = lookup::find(&engine, uuid).await?;
    let operation = begun::wait(&engine, operation).await?;
    let path = engine.log_path(operation.uuid);
    let process = blocking(move || Ok(events::fold(&path, spid)?)).await?;
    if process.pid.is_none() {
        return Err(ApiError::missing(format!(
            "the operation {uuid} never had a process {spid}"
        )));
    }
    Ok(Answer(report::process(&process)))
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
    match reach(&engine, uuid, request.headers()).await? {
        Reached::Here(instance) => instance.signal(spid, signal).await?,
        Reached::There(door) => return forward::forward(&door, request).await,
        Reached::Over => return Err(instance::over()),
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
    let instance = match reach(&engine, uuid, request.headers()).await? {
        Reached::Here(instance) => instance,
        Reached::There(door) => return forward::forward(&door, request).await,
        Reached::Over => return Err(gone()),
    };
    let Json(body) = Json::<ClosableStreamRepr>::from_request(request, &()).await?;
    let bytes = body.bytes()?;
    match instance.write(spid, bytes, body.close).await {
        // It ended between the two looks, or its main process did.
        Err(_) if instance.is_over().await => Err(gone()),
        written => written.map(|()| StatusCode::NO_CONTENT.into_response()),
    }
}

/// 410: nobody is left who would read.
fn gone() -> ApiError {
    ApiError::new(
        StatusCode::GONE,
        "the main process has ended, and the sandbox with it; nobody reads any more",
    )
}

fn check_spid(spid: u64) -> Result<(), ApiError> {
    if spid == 0 {
        return Err(ApiError::bad(
            "`spid` must be at least 1, which is the main process",
        ));
    }
    Ok(())
}

/// Where a sandbox is.
enum Reached {
    Here(Arc<Instance>),
    /// In the process that listens there.
    There(String),
    Over,
}

/// Finds the sandbox of an operation that has begun; 425 if it has not.
async fn reach(engine: &Arc<Engine>, uuid: Uuid, headers: &HeaderMap) -> Result<Reached, ApiError> {
    let operation: Operation = lookup::find(engine, uuid).await?;
    if operation.kind != "instance" {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            format!(
                "the operation {uuid} is of kind {} and has no processes",
                operation.kind
            ),
        ));
    }
    let operation = begun::wait(engine, operation).await?;
    if let Some(running) = engine.running(uuid) {
        return Ok(match running.instance() {
            Some(instance) if !instance.is_over().await => Reached::Here(Arc::clone(instance)),
            _ => Reached::Over,
        });
    }
    if operation.status.is_terminal() || forward::is_forwarded(headers) {
        return Ok(Reached::Over);
    }
    let door = engine.read(move |c| rows::door(c, uuid)).await?;
    Ok(door.map_or(Reached::Over, Reached::There))
}
