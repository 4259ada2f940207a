//! Requests for a sandbox that another process has: sent on to that process's private socket, and its answer back.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest as _, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::error::ApiError;

/// Says that a request was sent on once, and is not again.
const FORWARDED: HeaderName = HeaderName::from_static("contree-forwarded");

/// How long the other process may take; it gives up sooner itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest answer: a status and a sentence.
const LARGEST: u64 = 1024 * 1024;

/// Whether another engine of the store sent this request on.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
}

/// Sends a request on. 504 if the other process does not answer; what was asked may have been done then.
pub(super) async fn forward(door: &str, request: Request) -> Result<Response, ApiError> {
    // The router has taken the prefix off.
    let head = format!(
        "{} /v1{} HTTP/1.1\r\nhost: localhost\r\n{FORWARDED}: 1\r\nconnection: close\r\n",
        request.method(),
        request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str()),
    );
    let bytes = axum::body::Bytes::from_request(request, &())
        .await
        .map_err(|error| ApiError::new(error.status(), error.body_text()))?;
    let head = format!("{head}content-length: {}\r\n\r\n", bytes.len());
    let exchange = async {
        let mut stream = UnixStream::connect(door).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&bytes).await?;
        let mut answer = Vec::new();
        stream.take(LARGEST).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await;
    let answer = answer.ok().and_then(Result::ok);
    answer.as_deref().and_then(parse).ok_or_else(|| {
        ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "the process that runs this operation did not answer",
        )
    })
}

/// Reads an answer of our own router, whose length is told.
fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse::<u16>().ok()?;
    let mut response = Response::new(Body::from(answer[end + 4..].to_vec()));
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let wanted = [header::CONTENT_TYPE, header::LOCATION, header::RETRY_AFTER];
        if let Some(name) = wanted
            .into_iter()
            .find(|wanted| name.eq_ignore_ascii_case(wanted.as_str()))
        {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_str(value.trim()).ok()?);
        }
    }
    Some(response)
}
