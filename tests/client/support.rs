//! Servers for tests, which record their requests.

use std::{
    convert::Infallible,
    io,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use contree::{Backend, Client, RetryPolicy, types};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
};
use uuid::Uuid;

pub const OPERATION: Uuid = Uuid::from_u128(0x018f_2b5c_0000_7000_8000_0000_0000_0001);
pub const IMAGE: Uuid = Uuid::from_u128(0x018f_2b5c_0000_7000_8000_0000_0000_0002);

/// A request that a server received.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl ReceivedRequest {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// An HTTP server whose answer to the n-th request, from 0, is that of a function.
#[derive(Clone)]
pub struct Stub {
    pub url: String,
    seen: Arc<Mutex<Vec<ReceivedRequest>>>,
}

impl Stub {
    pub async fn tcp<F>(answer: F) -> Self
    where
        F: Fn(usize, &ReceivedRequest) -> Response + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (seen, router) = router(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, seen }
    }

    pub async fn unix<F>(socket: &Path, answer: F) -> Self
    where
        F: Fn(usize, &ReceivedRequest) -> Response + Send + Sync + 'static,
    {
        let listener = UnixListener::bind(socket).unwrap();
        let (seen, router) = router(answer);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url = format!("unix:{}", socket.display());
        Self { url, seen }
    }

    pub fn seen(&self) -> Vec<ReceivedRequest> {
        self.seen.lock().unwrap().clone()
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn client(&self) -> Client {
        Client::connect(backend(&self.url)).unwrap()
    }
}

fn router<F>(answer: F) -> (Arc<Mutex<Vec<ReceivedRequest>>>, Router)
where
    F: Fn(usize, &ReceivedRequest) -> Response + Send + Sync + 'static,
{
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&seen);
    let answer = Arc::new(answer);
    let router = Router::new().fallback(move |request: Request| {
        let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
        async move {
            let (head, body) = request.into_parts();
            // A body that breaks off is recorded as empty.
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            let request = ReceivedRequest {
                method: head.method,
                target: head.uri.to_string(),
                headers: head.headers,
                body,
            };
            let number = {
                let mut record = record.lock().unwrap();
                record.push(request.clone());
                record.len() - 1
            };
            Ok::<_, Infallible>(answer(number, &request))
        }
    });
    (seen, router)
}

/// A backend with credentials and short timeouts.
pub fn backend(url: &str) -> Backend {
    let mut retry = RetryPolicy::default();
    retry.max_retries = 3;
    retry.base_delay = Duration::from_millis(1);
    retry.max_delay = Duration::from_millis(4);
    Backend::new(url)
        .unwrap()
        .with_token("tok")
        .with_project("prj")
        .with_retry(retry)
}

pub fn answer(status: u16, value: Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, axum::Json(value)).into_response()
}

pub fn refusal(status: u16, text: &str) -> Response {
    answer(status, json!({"error": text, "status": status}))
}

pub fn with_retry_after(mut response: Response, value: &'static str) -> Response {
    let value = value.parse().unwrap();
    response.headers_mut().insert(header::RETRY_AFTER, value);
    response
}

/// A body in pieces, each sent separately. If `cut`, the connection breaks after the last one.
pub fn pieces(kind: &str, pieces: &[&str], cut: bool) -> Response {
    let mut chunks: Vec<io::Result<Bytes>> = pieces
        .iter()
        .map(|piece| Ok(Bytes::copy_from_slice(piece.as_bytes())))
        .collect();
    if cut {
        chunks.push(Err(io::ErrorKind::ConnectionReset.into()));
    }
    // The stream is pending once after each piece, so that the piece is flushed.
    let body = stream::iter(chunks).then(|chunk| async {
        tokio::task::yield_now().await;
        chunk
    });
    (
        [(header::CONTENT_TYPE, kind.to_owned())],
        Body::from_stream(body),
    )
        .into_response()
}

pub fn sse(frames: &[&str], cut: bool) -> Response {
    pieces("text/event-stream", frames, cut)
}

/// A body that sends a piece after the other, each after a pause, and never ends.
pub fn trickle(kind: &str, piece: &'static str) -> Response {
    let body = stream::repeat(piece).then(|piece| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok::<_, Infallible>(piece)
    });
    let body = Body::from_stream(body);
    ([(header::CONTENT_TYPE, kind.to_owned())], body).into_response()
}

/// A backend with few milliseconds for each call.
pub fn impatient(url: &str) -> Backend {
    backend(url)
        .with_idle_timeout(Duration::from_millis(100))
        .with_call_timeout(Duration::from_millis(400))
}

/// An event as a frame of the stream.
pub fn frame(id: u64, spid: u64, kind: &str, data: Value) -> String {
    let event =
        json!({"id": id, "ts": "2026-01-01T00:00:00Z", "spid": spid, "type": kind, "data": data});
    format!("id: {id}\nevent: {kind}\ndata: {event}\n\n")
}

pub fn stdout(id: u64, text: &str) -> String {
    frame(id, 1, "stdout", json!({"value": text, "encoding": "ascii"}))
}

pub fn completion(id: u64) -> String {
    frame(
        id,
        0,
        "completion",
        json!({"status": "SUCCESS", "duration_ms": 7}),
    )
}

pub fn spawn() -> types::InstanceSpawnRequest {
    types::InstanceSpawnRequest::builder()
        .command("true")
        .image(IMAGE)
        .try_into()
        .unwrap()
}

/// A server that may drop a connection after it has read the head of a request.
pub struct RawServer {
    pub url: String,
    requests: Arc<Mutex<usize>>,
}

impl RawServer {
    /// Starts a server. `answer` returns the complete HTTP response to the n-th request, from 0, or
    /// `None` to drop the connection.
    pub async fn new<F>(answer: F) -> Self
    where
        F: Fn(usize, &str) -> Option<String> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    match connection.read_buf(&mut head).await {
                        Ok(0) | Err(_) => break,
                        Ok(_) => {}
                    }
                }
                let number = {
                    let mut counter = counter.lock().unwrap();
                    *counter += 1;
                    *counter - 1
                };
                if let Some(answer) = answer(number, &String::from_utf8_lossy(&head)) {
                    connection.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Self { url, requests }
    }

    pub fn count(&self) -> usize {
        *self.requests.lock().unwrap()
    }

    pub fn client(&self) -> Client {
        Client::connect(backend(&self.url)).unwrap()
    }
}

/// A complete HTTP response, after which the connection ends.
pub fn raw(status: &str, body: &Value) -> Option<String> {
    let body = body.to_string();
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}
