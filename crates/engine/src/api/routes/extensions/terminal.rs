//! The routes of the extension `terminal`: showing and resizing the terminals of processes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use uuid::Uuid;

use super::super::follow::KEEPALIVE;
use super::super::forward;
use super::super::subprocesses::{SandboxLocation, check_spid, locate};
use crate::api::extract::{Json, Path};
use crate::api::types::TerminalSize;
use crate::engine::Engine;
use crate::error::ApiError;
use crate::run::running_sandbox::main_process_ended;
use crate::run::terminal::TerminalEvent;

/// `GET /x/operations/{operationId}/subprocesses/{spid}/terminal`.
pub(in crate::api::routes) async fn terminal_output(
    State(engine): State<Arc<Engine>>,
    Path((uuid, spid)): Path<(Uuid, u64)>,
    request: Request,
) -> Result<Response, ApiError> {
    check_spid(spid)?;
    let view = match locate(&engine, uuid, request.headers()).await? {
        SandboxLocation::Local(sandbox) => sandbox.view_terminal(spid)?,
        SandboxLocation::Remote(socket) => {
            return forward::forward_stream(&socket, request).await;
        }
        SandboxLocation::Ended => return Err(main_process_ended()),
    };
    let frames = stream::unfold(Some(view), |view| async move {
        let mut view = view?;
        let (frame, rest) = match view.next().await {
            TerminalEvent::Output(bytes) => (
                Event::default()
                    .event("output")
                    .data(STANDARD.encode(bytes)),
                Some(view),
            ),
            TerminalEvent::TakenOver => (end_frame("another client shows this terminal now"), None),
            TerminalEvent::Ended => (end_frame("ended"), None),
        };
        Some((Ok::<_, Infallible>(frame), rest))
    });
    Ok(Sse::new(frames)
        .keep_alive(KeepAlive::new().interval(KEEPALIVE).text("keepalive"))
        .into_response())
}

/// `PATCH /x/operations/{operationId}/subprocesses/{spid}/terminal`.
pub(in crate::api::routes) async fn resize_terminal(
    State(engine): State<Arc<Engine>>,
    Path((uuid, spid)): Path<(Uuid, u64)>,
    request: Request,
) -> Result<Response, ApiError> {
    check_spid(spid)?;
    let sandbox = match locate(&engine, uuid, request.headers()).await? {
        SandboxLocation::Local(sandbox) => sandbox,
        SandboxLocation::Remote(socket) => return forward::forward(&socket, request).await,
        SandboxLocation::Ended => return Err(main_process_ended()),
    };
    let Json(size) = Json::<TerminalSize>::from_request(request, &()).await?;
    sandbox.resize_terminal(spid, size.checked()?)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The last frame, with the reason of the end.
fn end_frame(reason: &str) -> Event {
    Event::default().event("end").data(reason)
}
