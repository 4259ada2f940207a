//! Forwarding requests about a sandbox of another process to that process's private socket.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest as _, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::error::ApiError;

/// The header that marks a forwarded request, which must not be forwarded again.
const FORWARDED: HeaderName = HeaderName::from_static("contree-forwarded");

/// How long the other process may take to answer. Its own time-outs are shorter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer in bytes. An answer is a status and a short body.
const MAX_ANSWER: u64 = 1024 * 1024;

/// Whether another engine of the store forwarded this request.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
}

/// Forwards a request. 504 if the other process does not answer; it may have carried out the
/// request even then.
pub(super) async fn forward(socket: &str, request: Request) -> Result<Response, ApiError> {
    // The router has removed the prefix `/v1`.
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
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&bytes).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
    let answer = answer.ok().and_then(Result::ok);
    answer.as_deref().and_then(parse).ok_or_else(|| {
        ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "the process that runs this operation did not answer",
        )
    })
}

/// Parses an HTTP answer of another engine. It is complete because the engine closes the
/// connection.
fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse::<u16>().ok()?;
    let mut response = Response::new(Body::from(answer[end + 4..].to_vec()));
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let forwarded = [header::CONTENT_TYPE, header::LOCATION, header::RETRY_AFTER];
        if let Some(name) = forwarded
            .into_iter()
            .find(|header| name.eq_ignore_ascii_case(header.as_str()))
        {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_str(value.trim()).ok()?);
        }
    }
    Some(response)
}
