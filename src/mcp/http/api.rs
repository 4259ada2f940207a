//! API of the web page: lists in JSON, and server-sent events.

use std::convert::Infallible;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::activity::ActivityMonitor;
use super::answers::{RouteAnswer, answer, checked, identifier, refused};
use super::{actions, image_api};
use crate::events::Payload;
use crate::tools::{ToolError, take_complete_characters};
use crate::types;

/// Maximum number of entries of a page.
const MAX_PAGE_SIZE: u64 = 200;
/// Maximum number of bytes of an operation's output that are shown.
const MAX_OUTPUT_BYTES: usize = 2 * 1024 * 1024;

pub(super) fn router(activity: ActivityMonitor) -> Router {
    Router::new()
        .route("/about", get(about))
        .route("/images", get(images))
        .route("/operations", get(operations))
        .route("/operations/{id}", get(operation))
        .route("/operations/{id}/output", get(output))
        .route("/changes", get(changes))
        .route("/disk", get(disk))
        .merge(image_api::router())
        .merge(actions::router())
        .fallback(|| async {
            refused(
                StatusCode::NOT_FOUND,
                "there is no such path; see /api/images and /api/operations",
            )
        })
        .with_state(activity)
}

#[derive(Deserialize)]
struct PageQuery {
    #[serde(default)]
    offset: u64,
    #[serde(default = "default_limit")]
    limit: u64,
}

fn default_limit() -> u64 {
    100
}

impl PageQuery {
    fn limit(&self) -> u64 {
        self.limit.clamp(1, MAX_PAGE_SIZE)
    }
}

async fn about(State(activity): State<ActivityMonitor>) -> Response {
    answer(&activity, Ok(activity.server_info()))
}

async fn images(
    State(activity): State<ActivityMonitor>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> RouteAnswer {
    let page = checked(query)?;
    let images = activity.images(page.offset, page.limit()).await;
    Ok(answer(&activity, images))
}

async fn operations(
    State(activity): State<ActivityMonitor>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> RouteAnswer {
    let page = checked(query)?;
    let operations = activity.operations(page.offset, page.limit()).await;
    Ok(answer(&activity, operations))
}

async fn operation(
    State(activity): State<ActivityMonitor>,
    Path(operation): Path<String>,
) -> RouteAnswer {
    let operation = identifier(&operation, "operation")?;
    Ok(answer(&activity, activity.operation(operation).await))
}

/// Measures the disk usage of the embedded engine.
async fn disk(State(activity): State<ActivityMonitor>) -> Response {
    match activity.disk_usage().await {
        Some(usage) => answer(&activity, usage),
        None => refused(
            StatusCode::NOT_FOUND,
            "only the embedded engine measures its disk usage; this server uses a service",
        ),
    }
}

/// Streams one event now, and one after every change.
async fn changes(State(activity): State<ActivityMonitor>) -> Response {
    let changes = activity.changes();
    let events = stream::unfold((changes, true), |(mut changes, first)| async move {
        if !first {
            changes.changed().await.ok()?;
        }
        let count = *changes.borrow_and_update();
        Some((
            event("change", &json!({"changes": count})),
            (changes, false),
        ))
    });
    streamed(&activity, events)
}

/// Streams the output of an operation from its beginning, then its end.
async fn output(
    State(activity): State<ActivityMonitor>,
    Path(operation): Path<String>,
) -> RouteAnswer {
    let operation = identifier(&operation, "operation")?;
    let events = match activity.client().await {
        Ok(client) => client.follow(operation, None),
        Err(error) => return Err(answer::<Value>(&activity, Err(error))),
    };
    let (explainer, mut encoder) = (activity.clone(), OutputEncoder::default());
    let events = events.flat_map(move |event| {
        let frames = match event {
            Ok(event) => encoder.frames(event.payload),
            Err(error) => {
                let why = explainer.explain(ToolError::from(error));
                vec![self::event("failed", &json!({"error": why}))]
            }
        };
        stream::iter(frames)
    });
    Ok(streamed(&activity, events))
}

fn streamed(
    activity: &ActivityMonitor,
    events: impl Stream<Item = Event> + Send + 'static,
) -> Response {
    let stop = activity.stop().clone();
    let events = events
        .take_until(stop.cancelled_owned())
        .map(Ok::<_, Infallible>);
    let mut answer = Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response();
    answer
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    answer
}

fn event(name: &str, data: &Value) -> Event {
    Event::default().event(name).data(data.to_string())
}

/// The event of a published port. Connections to it are not shown.
fn published(port: types::PortEvent) -> Option<Event> {
    let data = json!({"port": port.port, "host_port": port.host_port});
    (port.verdict == "published").then(|| event("port", &data))
}

/// Converts the output of an operation to events. Counts the bytes and holds back incomplete UTF-8
/// characters.
#[derive(Default)]
struct OutputEncoder {
    bytes: usize,
    cut: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl OutputEncoder {
    fn frames(&mut self, payload: Payload) -> Vec<Event> {
        match payload {
            Payload::Stdout(chunk) => self.output("stdout", &chunk.bytes),
            Payload::Stderr(chunk) => self.output("stderr", &chunk.bytes),
            Payload::Truncated(_) => self.cut(),
            Payload::Network(data) => data.x_port.map(published).into_iter().flatten().collect(),
            Payload::Completion(end) => vec![event("end", &json!({"status": end.status}))],
            _ => Vec::new(),
        }
    }

    fn output(&mut self, stream: &str, bytes: &[u8]) -> Vec<Event> {
        if self.bytes >= MAX_OUTPUT_BYTES {
            return self.cut();
        }
        self.bytes += bytes.len();
        let waiting = match stream {
            "stdout" => &mut self.stdout,
            _ => &mut self.stderr,
        };
        waiting.extend_from_slice(bytes);
        let text = take_complete_characters(waiting);
        if text.is_empty() {
            return Vec::new();
        }
        vec![event("output", &json!({"stream": stream, "text": text}))]
    }

    fn cut(&mut self) -> Vec<Event> {
        if std::mem::replace(&mut self.cut, true) {
            return Vec::new();
        }
        vec![event("cut", &json!({}))]
    }
}
