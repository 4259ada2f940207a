//! The endpoint `/mcp`: reads a message within bounds, answers for what is none, and hands the rest to rmcp.

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
use crate::mcp::ending::Ending;
use crate::mcp::lines::{LONGEST_LINE, calls_method};
use crate::mcp::message::{self, Parsed};
use crate::mcp::server::Server;

/// How long a client may pause while it sends a message.
const PAUSE: Duration = Duration::from_secs(30);
/// How long all of a large message may take.
const LARGE_TIME: Duration = Duration::from_secs(120);
/// How many large messages are taken at once, over all connections.
const LARGE: usize = 4;
/// Up to what length a message is not large, in bytes.
const SMALL: usize = 256 * 1024;
/// How much of a message that is too long is read before the connection is closed, in bytes.
const MOST_DRAINED: usize = 4 * LONGEST_LINE;
/// When to come again, in seconds, if there are too many sessions.
const LATER: HeaderValue = HeaderValue::from_static("5");

#[cfg(feature = "conformance")]
type Handler = crate::mcp::conformance::Fixtures;
#[cfg(not(feature = "conformance"))]
type Handler = Server;

#[derive(Clone)]
pub(super) struct Endpoint {
    service: StreamableHttpService<Arc<Handler>, Sessions>,
    sessions: Sessions,
    ending: Ending,
    reading: Arc<Semaphore>,
}

impl Endpoint {
    /// `cut` ends all streams.
    pub(super) fn new(server: Arc<Server>, ending: Ending, cut: CancellationToken) -> Self {
        #[cfg(feature = "conformance")]
        let server = Arc::new(crate::mcp::conformance::Fixtures::new(server));
        let sessions = Sessions::new();
        let config = StreamableHttpServerConfig::default()
            // Who may ask has been looked at before.
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_json_response(true)
            .with_max_request_body_bytes(LONGEST_LINE)
            .with_cancellation_token(cut);
        let service = StreamableHttpService::new(
            move || Ok(server.clone()),
            Arc::new(sessions.clone()),
            config,
        );
        Self {
            service,
            sessions,
            ending,
            reading: Arc::new(Semaphore::new(LARGE)),
        }
    }
}

pub(super) async fn handle(State(endpoint): State<Endpoint>, mut request: Request) -> Response {
    accept_everything(&mut request);
    if request.method() != Method::POST {
        let ends = request.method() == Method::DELETE;
        let mut answer = endpoint.service.handle(request).await.map(Body::new);
        // The session is over by then; clients take 202 for a failure.
        if ends && answer.status() == StatusCode::ACCEPTED {
            *answer.status_mut() = StatusCode::NO_CONTENT;
        }
        return answer;
    }
    let (mut parts, body) = request.into_parts();
    let (bytes, reading) = match read(body, &endpoint.reading).await {
        Ok(read) => read,
        Err(refused) => return refused,
    };
    if let Some(why) = message::too_many_values(&bytes) {
        return error(StatusCode::BAD_REQUEST, message::id_of(&bytes), why);
    }
    let begins =
        !parts.headers.contains_key("mcp-session-id") && calls_method(&bytes, "initialize");
    if begins && !endpoint.sessions.has_room().await {
        let why = ErrorData::internal_error("there are too many sessions; try again later", None);
        let mut answer = error(StatusCode::SERVICE_UNAVAILABLE, message::id_of(&bytes), why);
        answer.headers_mut().insert(header::RETRY_AFTER, LATER);
        return answer;
    }
    // Counted from here until its handler is done.
    parts.extensions.insert(endpoint.ending.call());
    let request = Request::from_parts(parts, Body::from(bytes.clone()));
    let answer = endpoint.service.handle(request).await.map(Body::new);
    drop(reading);
    // rmcp reads the message. Only what it does not take is read here as well, to say what is wrong with it.
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

/// What is answered to a text that is no message; nothing if it is one.
fn refusal(text: &[u8]) -> Option<Response> {
    Some(match message::parse(text) {
        Parsed::Message(_) => return None,
        // As JSON-RPC has it, a notification is never answered.
        Parsed::Ignored(why) if why == message::UNKNOWN_NOTIFICATION => {
            StatusCode::ACCEPTED.into_response()
        }
        Parsed::Ignored(why) => {
            let why = ErrorData::parse_error(why, None);
            error(StatusCode::BAD_REQUEST, None, why)
        }
        Parsed::Several(_) => {
            let why = ErrorData::invalid_request("one message a request, please", None);
            error(StatusCode::BAD_REQUEST, None, why)
        }
        Parsed::Refused(id, why) => error(StatusCode::BAD_REQUEST, id, why),
    })
}

/// What a client that takes anything takes is what rmcp wants to read.
fn accept_everything(request: &mut Request) {
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

/// The whole body and, if it is large, its share of what may be read at once: large messages wait for each other, small
/// ones for none.
async fn read(
    body: Body,
    reading: &Arc<Semaphore>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Response> {
    let (mut bytes, mut length, mut share) = (Vec::new(), 0, None);
    let mut whole = None;
    let mut pieces = body.into_data_stream();
    loop {
        let pause = Instant::now() + PAUSE;
        let deadline = whole.map_or(pause, |whole: Instant| whole.min(pause));
        let piece = match tokio::time::timeout_at(deadline, pieces.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(broken))) => {
                tracing::debug!("a message broke off: {broken}");
                return Err(closing(StatusCode::BAD_REQUEST.into_response()));
            }
            Err(_) => return Err(closing(StatusCode::REQUEST_TIMEOUT.into_response())),
        };
        length += piece.len();
        if length > MOST_DRAINED {
            break;
        }
        if length > LONGEST_LINE {
            // Read to its end all the same: few clients look for an answer before they have sent everything.
            continue;
        }
        if length > SMALL && share.is_none() {
            // Few at a time, so none may keep its place for long, nor wait for one without end.
            share = match tokio::time::timeout(PAUSE, reading.clone().acquire_owned()).await {
                Ok(share) => share.ok(),
                Err(_) => return Err(closing(busy())),
            };
            whole = Some(Instant::now() + LARGE_TIME);
        }
        bytes.extend_from_slice(&piece);
    }
    if length <= LONGEST_LINE {
        return Ok((bytes.into(), share));
    }
    let id = message::id_of(&bytes);
    let limit = LONGEST_LINE / 1024 / 1024;
    let why = ErrorData::invalid_request(format!("the message is longer than {limit} MiB"), None);
    Err(closing(error(StatusCode::PAYLOAD_TOO_LARGE, id, why)))
}

/// Others are being read that are as large.
fn busy() -> Response {
    let headers = [(header::RETRY_AFTER, "5")];
    let text = "too many large messages at once; send it again\n";
    (StatusCode::SERVICE_UNAVAILABLE, headers, text).into_response()
}

/// What the client still sends is not read.
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

    /// A body that begins with `first` bytes and goes on with one every `pause`, without end.
    fn trickle(first: usize, pause: Duration) -> Body {
        let begin = futures_util::stream::iter([Bytes::from(vec![b' '; first])]);
        let rest = futures_util::stream::unfold((), move |()| async move {
            tokio::time::sleep(pause).await;
            Some((Bytes::from_static(b" "), ()))
        });
        Body::from_stream(begin.chain(rest).map(Ok::<_, std::convert::Infallible>))
    }

    async fn refused(body: Body) -> (StatusCode, Duration) {
        let (begun, reading) = (Instant::now(), Arc::new(Semaphore::new(LARGE)));
        let answer = tokio::time::timeout(LARGE_TIME * 2, read(body, &reading))
            .await
            .expect("it is not waited for without end")
            .expect_err("it has no end");
        assert_eq!(
            reading.available_permits(),
            LARGE,
            "its place is free again"
        );
        assert_eq!(answer.headers()[header::CONNECTION], "close");
        (answer.status(), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_has_a_time_for_all_of_it() {
        let often = PAUSE / 2;
        let (status, took) = refused(trickle(SMALL + 1, often)).await;
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
        assert!(took >= LARGE_TIME && took < LARGE_TIME + often, "{took:?}");
        // One that stops is not waited for as long.
        let (status, took) = refused(trickle(SMALL + 1, PAUSE * 2)).await;
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
        assert!(took >= PAUSE && took < PAUSE * 2, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn large_messages_wait_for_each_other_for_a_while() {
        let reading = Arc::new(Semaphore::new(LARGE));
        let body = || Body::from(vec![b' '; SMALL + 1]);
        let mut places = Vec::new();
        for _ in 0..LARGE {
            let (bytes, place) = read(body(), &reading).await.expect("there is room");
            assert_eq!(bytes.len(), SMALL + 1);
            places.push(place.expect("a place"));
        }
        let answer = read(body(), &reading).await.expect_err("no room");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "5");
        let (_, place) = read(Body::from(vec![b' '; SMALL]), &reading)
            .await
            .expect("it is small");
        assert!(place.is_none());
        places.pop();
        assert!(read(body(), &reading).await.is_ok());
    }
}
