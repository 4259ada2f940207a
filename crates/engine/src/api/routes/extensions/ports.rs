//! The routes of the extension `ports`: publishing ports of sandboxes on this machine.

use std::sync::Arc;

use axum::Json as Answer;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use uuid::Uuid;

use super::super::forward;
use super::super::subprocesses::{SandboxLocation, locate};
use crate::api::extract::{Json, Path};
use crate::api::types::{PublishRequest, PublishedPorts};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::run::running_sandbox::main_process_ended;

/// `GET /x/operations/{operationId}/ports`.
pub(in crate::api::routes) async fn list_ports(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    request: Request,
) -> Result<Response, ApiError> {
    match locate(&engine, uuid, request.headers()).await? {
        SandboxLocation::Local(sandbox) => {
            let ports = sandbox.ports.list();
            Ok(Answer(PublishedPorts { ports }).into_response())
        }
        SandboxLocation::Remote(socket) => forward::forward(&socket, request).await,
        SandboxLocation::Ended => Err(main_process_ended()),
    }
}

/// `POST /x/operations/{operationId}/ports`.
pub(in crate::api::routes) async fn publish_port(
    State(engine): State<Arc<Engine>>,
    Path(uuid): Path<Uuid>,
    request: Request,
) -> Result<Response, ApiError> {
    let sandbox = match locate(&engine, uuid, request.headers()).await? {
        SandboxLocation::Local(sandbox) => sandbox,
        SandboxLocation::Remote(socket) => return forward::forward(&socket, request).await,
        SandboxLocation::Ended => return Err(main_process_ended()),
    };
    let Json(body) = Json::<PublishRequest>::from_request(request, &()).await?;
    let published = sandbox.ports.publish(body.port, body.host_port)?;
    Ok((StatusCode::CREATED, Answer(published)).into_response())
}
