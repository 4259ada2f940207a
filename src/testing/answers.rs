//! The answers of a stub service.

use std::{convert::Infallible, io};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use reqwest::Body;
use serde::Serialize;

use crate::types;

/// Length in bytes of one piece of an endless body.
const PIECE: usize = 64 * 1024;

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    // The types of the API have no maps with keys that JSON cannot have.
    let body = serde_json::to_vec(value).unwrap_or_default();
    with_type(status, "application/json", body)
}

/// An error of the API.
pub(super) fn error(status: StatusCode, message: &str) -> Response<Body> {
    let error = types::Error {
        error: message.into(),
        status: Some(status.as_u16().into()),
        traceback: Vec::new(),
        x_code: None,
    };
    json(status, &error)
}

/// An error that is not the request's fault.
pub(super) fn refusal(status: u16, retry_after: Option<u64>) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = error(status, "a fault of the stub service");
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}

/// A redirect to `target`.
pub(super) fn redirect(status: u16, target: &str) -> Response<Body> {
    let mut answer = refusal(status, None);
    if let Ok(target) = HeaderValue::from_str(target) {
        answer.headers_mut().insert(LOCATION, target);
    }
    answer
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::from(""));
    *answer.status_mut() = status;
    answer
}

/// The content of a file.
pub(super) fn file(content: String) -> Response<Body> {
    with_type(StatusCode::OK, "application/octet-stream", content)
}

fn with_type(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// A stream of events.
pub(super) fn events(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response<Body> {
    with_type(
        StatusCode::OK,
        "text/event-stream",
        Body::wrap_stream(pieces),
    )
}

/// The frames of events, after which the stream continues with `rest`.
pub(super) fn frames(
    frames: Vec<String>,
    rest: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response<Body> {
    let frames = frames.into_iter().map(|frame| Ok(Bytes::from(frame)));
    events(stream::iter(frames).chain(rest))
}

/// A broken connection.
pub(super) fn broken() -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    // Earlier pieces are flushed while the stream is pending.
    stream::once(async {
        tokio::task::yield_now().await;
        Err(io::ErrorKind::ConnectionReset.into())
    })
}

/// A body of which every piece is `piece`, without an end.
pub(super) fn endless(status: StatusCode, piece: &str) -> Response<Body> {
    let piece = Bytes::from(piece.repeat(PIECE.div_ceil(piece.len().max(1))));
    let pieces = stream::repeat(piece).map(Ok::<_, Infallible>);
    let body = Body::wrap_stream(pieces);
    with_type(status, "application/octet-stream", body)
}

/// Events of which every piece is `piece`, without an end.
pub(super) fn endless_events(first: &'static str, piece: &str) -> Response<Body> {
    let piece = Bytes::from(piece.repeat(PIECE.div_ceil(piece.len().max(1))));
    let first = stream::iter([Ok(Bytes::from_static(first.as_bytes()))]);
    events(first.chain(stream::repeat(piece).map(Ok)))
}
