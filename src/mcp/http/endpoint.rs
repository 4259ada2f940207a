//! The endpoint `/mcp`: reads a message within bounds, explains invalid ones, and passes the rest
//! to rmcp.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use rmcp::model::{ErrorData, JsonRpcError, RequestId};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::sessions::Sessions;
use crate::mcp::call_shutdown::CallShutdown;
use crate::mcp::line_reader::{MAX_MESSAGE_BYTES, calls_method};
use crate::mcp::message::{self, ParseOutcome};
use crate::mcp::server::Server;

/// How long a client may pause while sending a message.
const PAUSE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to send a large message.
const LARGE_MESSAGE_TIMEOUT: Duration = Duration::from_secs(120);
/// Maximum number of large messages read at once, over all connections.
const MAX_LARGE: usize = 4;
/// Length in bytes above which a message counts as large.
const MAX_SMALL_BYTES: usize = 256 * 1024;
/// Bytes of an overlong message that are read before the connection is closed.
const MAX_DRAINED_BYTES: usize = 4 * MAX_MESSAGE_BYTES;
/// `Retry-After` in seconds when there are too many sessions.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

#[cfg(feature = "conformance")]
type Handler = crate::mcp::conformance::Fixtures;
#[cfg(not(feature = "conformance"))]
type Handler = Server;

#[derive(Clone)]
pub(super) struct Endpoint {
    service: StreamableHttpService<Arc<Handler>, Sessions>,
    sessions: Sessions,
    shutdown: CallShutdown,
    large_bodies: Arc<Semaphore>,
}

impl Endpoint {
    /// Creates the endpoint. `cut` ends all its streams.
    pub(super) fn new(server: Arc<Server>, shutdown: CallShutdown, cut: CancellationToken) -> Self {
        #[cfg(feature = "conformance")]
        let server = Arc::new(crate::mcp::conformance::Fixtures::new(server));
        let sessions = Sessions::new();
        let config = StreamableHttpServerConfig::default()
            // `RequestFilter` has checked host and origin already.
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_json_response(true)
            // `Sessions` sends priming events, and only to clients that know them.
            .with_sse_retry(None)
            .with_max_request_body_bytes(MAX_MESSAGE_BYTES)
            .with_cancellation_token(cut);
        let service = StreamableHttpService::new(
            move || Ok(server.clone()),
            Arc::new(sessions.clone()),
            config,
        );
        Self {
            service,
            sessions,
            shutdown,
            large_bodies: Arc::new(Semaphore::new(MAX_LARGE)),
        }
    }
}

pub(super) async fn handle(State(endpoint): State<Endpoint>, mut request: Request) -> Response {
    name_accepted_types(&mut request);
    if request.method() != Method::POST {
        let ends_session = request.method() == Method::DELETE;
        let mut answer = endpoint.service.handle(request).await.map(Body::new);
        // The session has ended by then, and clients treat 202 as a failure.
        if ends_session && answer.status() == StatusCode::ACCEPTED {
            *answer.status_mut() = StatusCode::NO_CONTENT;
        }
        return answer;
    }
    let (mut parts, body) = request.into_parts();
    let (bytes, permit) = match read(body, &endpoint.large_bodies).await {
        Ok(read) => read,
        Err(refused) => return refused,
    };
    if let Some(why) = message::too_many_values(&bytes) {
        return error(StatusCode::BAD_REQUEST, message::id_of(&bytes), why);
    }
    let begins_session =
        !parts.headers.contains_key("mcp-session-id") && calls_method(&bytes, "initialize");
    // Protocols since 2026-07-28 have no `initialize`. Versions are dates, and compare as texts.
    let has_initialize = parts
        .headers
        .get("mcp-protocol-version")
        .is_none_or(|version| version.as_bytes() < b"2026-07-28".as_slice());
    if begins_session
        && has_initialize
        && let Some(why) = message::refused_initialize(&bytes)
    {
        return error(StatusCode::BAD_REQUEST, message::id_of(&bytes), why);
    }
    if begins_session && !endpoint.sessions.has_room().await {
        let why =
            ErrorData::internal_error("there are too many sessions; retry in 5 seconds", None);
        let mut answer = error(StatusCode::SERVICE_UNAVAILABLE, message::id_of(&bytes), why);
        answer
            .headers_mut()
            .insert(header::RETRY_AFTER, RETRY_AFTER);
        return answer;
    }
    // The call counts as in flight until its handler is done.
    parts.extensions.insert(endpoint.shutdown.track_call());
    let request = Request::from_parts(parts, Body::from(bytes.clone()));
    let answer = endpoint.service.handle(request).await.map(Body::new);
    drop(permit);
    // rmcp parses the message. It is parsed again here only to explain why rmcp refused it.
    if [
        StatusCode::NOT_ACCEPTABLE,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
    ]
    .contains(&answer.status())
        && let Some(refusal) = refusal(&bytes)
    {
        return refusal;
    }
    answer
}

/// Builds the answer to an invalid message; `None` if the message is valid.
fn refusal(text: &[u8]) -> Option<Response> {
    Some(match message::parse(text) {
        ParseOutcome::Message(_) => return None,
        // JSON-RPC 2.0, section 4.1: a notification is never answered.
        ParseOutcome::Ignored(why) if why == message::UNKNOWN_NOTIFICATION => {
            StatusCode::ACCEPTED.into_response()
        }
        ParseOutcome::Ignored(why) => {
            let why = ErrorData::parse_error(why, None);
            error(StatusCode::BAD_REQUEST, None, why)
        }
        ParseOutcome::Several(_) => {
            let why = ErrorData::invalid_request("send one message per HTTP request", None);
            error(StatusCode::BAD_REQUEST, None, why)
        }
        ParseOutcome::Refused(id, why) => error(StatusCode::BAD_REQUEST, id, why),
    })
}

/// Names both media types in `Accept` if a POST request accepts anything: rmcp requires the two by
/// name.
fn name_accepted_types(request: &mut Request) {
    let anything = request
        .headers()
        .get_all(header::ACCEPT)
        .iter()
        .all(|value| value.to_str().is_ok_and(|value| value.contains("*/*")));
    if anything && request.method() == Method::POST {
        let both = HeaderValue::from_static("application/json, text/event-stream");
        request.headers_mut().insert(header::ACCEPT, both);
    }
}

/// Reads the whole body. A large one also holds a permit, so that few are in memory at once.
async fn read(
    body: Body,
    large_bodies: &Arc<Semaphore>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Response> {
    let (mut bytes, mut length, mut permit) = (Vec::new(), 0, None);
    let mut large_until = None;
    let mut pieces = body.into_data_stream();
    loop {
        let pause = Instant::now() + PAUSE_TIMEOUT;
        let deadline = large_until.map_or(pause, |until: Instant| until.min(pause));
        let piece = match tokio::time::timeout_at(deadline, pieces.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(error))) => {
                tracing::debug!("the connection broke within a message: {error}");
                return Err(closing(StatusCode::BAD_REQUEST.into_response()));
            }
            Err(_) => return Err(closing(StatusCode::REQUEST_TIMEOUT.into_response())),
        };
        length += piece.len();
        if length > MAX_DRAINED_BYTES {
            break;
        }
        if length > MAX_MESSAGE_BYTES {
            // The rest is read and dropped, since few clients look for an answer before they have
            // sent everything.
            continue;
        }
        if length > MAX_SMALL_BYTES && permit.is_none() {
            // Permits are few, so holding one and waiting for one are both bounded in time.
            permit = match tokio::time::timeout(PAUSE_TIMEOUT, large_bodies.clone().acquire_owned())
                .await
            {
                Ok(acquired) => acquired.ok(),
                Err(_) => return Err(closing(busy())),
            };
            large_until = Some(Instant::now() + LARGE_MESSAGE_TIMEOUT);
        }
        bytes.extend_from_slice(&piece);
    }
    if length <= MAX_MESSAGE_BYTES {
        return Ok((bytes.into(), permit));
    }
    let id = message::id_of(&bytes);
    let limit = MAX_MESSAGE_BYTES / 1024 / 1024;
    let why = ErrorData::invalid_request(
        format!("the message is longer than {limit} MiB; send large content by path"),
        None,
    );
    Err(closing(error(StatusCode::PAYLOAD_TOO_LARGE, id, why)))
}

/// Answers that too many large messages are being read.
fn busy() -> Response {
    let headers = [(header::RETRY_AFTER, "5")];
    let text = "too many large messages are being read; retry in 5 seconds\n";
    (StatusCode::SERVICE_UNAVAILABLE, headers, text).into_response()
}

/// Closes the connection after the answer; the rest of the request is not read.
fn closing(mut answer: Response) -> Response {
    answer
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn error(status: StatusCode, id: Option<RequestId>, why: ErrorData) -> Response {
    tracing::debug!("refused a message: {}", why.message);
    (status, axum::Json(JsonRpcError::new(id, why))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of `first` bytes at once and then one byte every `pause`, without end.
    fn trickle(first: usize, pause: Duration) -> Body {
        let begin = futures_util::stream::iter([Bytes::from(vec![b' '; first])]);
        let rest = futures_util::stream::unfold((), move |()| async move {
            tokio::time::sleep(pause).await;
            Some((Bytes::from_static(b" "), ()))
        });
        Body::from_stream(begin.chain(rest).map(Ok::<_, std::convert::Infallible>))
    }

    async fn refused(body: Body) -> (StatusCode, Duration) {
        let (begun, large_bodies) = (Instant::now(), Arc::new(Semaphore::new(MAX_LARGE)));
        let answer = tokio::time::timeout(LARGE_MESSAGE_TIMEOUT * 2, read(body, &large_bodies))
            .await
            .expect("reading is bounded in time")
            .expect_err("the body never ends");
        assert_eq!(
            large_bodies.available_permits(),
            MAX_LARGE,
            "the permit is released"
        );
        assert_eq!(answer.headers()[header::CONNECTION], "close");
        (answer.status(), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_must_arrive_in_time() {
        let often = PAUSE_TIMEOUT / 2;
        let (status, took) = refused(trickle(MAX_SMALL_BYTES + 1, often)).await;
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
        assert!(
            took >= LARGE_MESSAGE_TIMEOUT && took < LARGE_MESSAGE_TIMEOUT + often,
            "{took:?}"
        );
        // A client that stops sending is given up earlier.
        let (status, took) = refused(trickle(MAX_SMALL_BYTES + 1, PAUSE_TIMEOUT * 2)).await;
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
        assert!(
            took >= PAUSE_TIMEOUT && took < PAUSE_TIMEOUT * 2,
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn large_messages_wait_for_a_permit_for_a_bounded_time() {
        let large_bodies = Arc::new(Semaphore::new(MAX_LARGE));
        let body = || Body::from(vec![b' '; MAX_SMALL_BYTES + 1]);
        let mut permits = Vec::new();
        for _ in 0..MAX_LARGE {
            let (bytes, permit) = read(body(), &large_bodies).await.expect("there is room");
            assert_eq!(bytes.len(), MAX_SMALL_BYTES + 1);
            permits.push(permit.expect("a permit"));
        }
        let answer = read(body(), &large_bodies).await.expect_err("no room");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "5");
        let (_, permit) = read(Body::from(vec![b' '; MAX_SMALL_BYTES]), &large_bodies)
            .await
            .expect("it is small");
        assert!(permit.is_none());
        permits.pop();
        assert!(read(body(), &large_bodies).await.is_ok());
    }
}
