//! Forwarding requests about a sandbox of another process to that process's private socket.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest as _, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::BytesMut;
use contree_error_codes::ErrorCode;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::error::ApiError;

/// The header that marks a forwarded request, which must not be forwarded again.
const FORWARDED: HeaderName = HeaderName::from_static("contree-forwarded");

/// How long the other process may take to answer. Its own time-outs are shorter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The largest answer in bytes. The longest one is the output of a process: two streams of 256 KiB,
/// which JSON's escapes at most double.
const MAX_ANSWER: u64 = 2 * 1024 * 1024;

/// The largest headers of the answer to a request for a stream.
const MAX_HEAD: usize = 64 * 1024;

/// The size of the pieces in which a stream is passed on.
const STREAM_PIECE: usize = 16 * 1024;

/// Whether another engine of the store forwarded this request.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
}

/// Forwards a request. 504 if the other process does not answer; it may have carried out the
/// request even then.
pub(super) async fn forward(socket: &str, request: Request) -> Result<Response, ApiError> {
    forward_within(socket, request, ANSWER_TIMEOUT).await
}

/// Like [`forward`], for a request whose answer may take up to `limit`.
pub(super) async fn forward_within(
    socket: &str,
    request: Request,
    limit: Duration,
) -> Result<Response, ApiError> {
    let head = head(&request, "HTTP/1.1");
    let bytes = axum::body::Bytes::from_request(request, &())
        .await
        .map_err(|error| {
            ApiError::new(
                error.status(),
                ErrorCode::RequestTooLarge,
                error.body_text(),
            )
        })?;
    let head = format!("{head}content-length: {}\r\n\r\n", bytes.len());
    let answer = exchange(socket, &[head.as_bytes(), &bytes], limit).await;
    answer.as_deref().and_then(parse).ok_or_else(|| {
        ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            ErrorCode::SandboxSilent,
            "the process that runs this operation did not answer",
        )
    })
}

/// Requests a path of another engine of the store. `None` if it does not answer within `limit`, or
/// answers with an error.
pub(super) async fn get(socket: &str, path: &str, limit: Duration) -> Option<Vec<u8>> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\n{FORWARDED}: 1\r\nconnection: close\r\n\r\n"
    );
    let mut answer = exchange(socket, &[head.as_bytes()], limit).await?;
    let end = end_of_head(&answer)?;
    let is_fine = parse(&answer)?.status() == StatusCode::OK;
    is_fine.then(|| answer.split_off(end))
}

/// Sends a request, and reads its whole answer.
async fn exchange(socket: &str, request: &[&[u8]], limit: Duration) -> Option<Vec<u8>> {
    let exchange = async {
        let mut stream = connect(socket, rustix::process::geteuid().as_raw()).await?;
        for part in request {
            stream.write_all(part).await?;
        }
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(limit, exchange).await;
    answer.ok().and_then(Result::ok)
}

/// Forwards a request without a body, whose answer is a stream. The stream ends with the connection
/// to the other process, and the connection ends when the client drops the answer.
pub(super) async fn forward_stream(socket: &str, request: Request) -> Result<Response, ApiError> {
    // An answer of HTTP/1.0 is not in chunks: its end is that of the connection.
    let head = format!("{}\r\n", head(&request, "HTTP/1.0"));
    let exchange = async {
        let mut stream = connect(socket, rustix::process::geteuid().as_raw()).await?;
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while end_of_head(&answer).is_none() && answer.len() < MAX_HEAD {
            if stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        io::Result::Ok((answer, stream))
    };
    let answered = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
    let (answer, stream) = answered
        .ok()
        .and_then(Result::ok)
        .ok_or_else(without_answer)?;
    let mut response = parse(&answer).ok_or_else(without_answer)?;
    let first = std::mem::take(response.body_mut());
    let rest = stream::try_unfold(stream, |mut stream| async move {
        let mut piece = BytesMut::with_capacity(STREAM_PIECE);
        let read = stream.read_buf(&mut piece).await?;
        io::Result::Ok((read > 0).then(|| (piece.freeze(), stream)))
    });
    let first = first.into_data_stream().map_err(io::Error::other);
    *response.body_mut() = Body::from_stream(first.chain(rest));
    Ok(response)
}

/// The request line and the headers of a forwarded request.
fn head(request: &Request, version: &str) -> String {
    // The router has removed the prefix `/v1`.
    format!(
        "{} /v1{} {version}\r\nhost: localhost\r\n{FORWARDED}: 1\r\nconnection: close\r\n",
        request.method(),
        request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str()),
    )
}

fn without_answer() -> ApiError {
    ApiError::new(
        StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::SandboxSilent,
        "the process that runs this operation did not answer",
    )
}

/// Connects to a socket on which a process of `user` listens.
///
/// The directory of an ended process is gone, and another user may have made one of the same name.
async fn connect(socket: &str, user: u32) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket).await?;
    let peer = stream.peer_cred()?.uid();
    if peer != user {
        tracing::warn!(
            socket,
            peer,
            "another user answers on the socket of an engine"
        );
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(stream)
}

/// The position after the empty line that ends the head of an answer.
fn end_of_head(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// Parses an HTTP answer of another engine. It is complete because the engine closes the
/// connection.
fn parse(answer: &[u8]) -> Option<Response> {
    let body = end_of_head(answer)?;
    let head = std::str::from_utf8(&answer[..body - 4]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse::<u16>().ok()?;
    let mut response = Response::new(Body::from(answer[body..].to_vec()));
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

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_of_another_user_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let path = path.to_str().unwrap();
        let user = rustix::process::geteuid().as_raw();
        assert!(connect(path, user).await.is_ok());
        let error = connect(path, user + 1).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
