//! Following an operation: no event is lost or repeated, however the connection behaves.

use std::time::Duration;

use axum::response::Response;
use contree::{
    Client, Error, OperationStatus,
    events::{Event, Payload},
};
use futures_util::StreamExt as _;
use serde_json::json;

use crate::support::*;

/// Follows to the end and returns the ids of the events and the standard output.
async fn follow(client: &Client) -> Result<(Vec<u64>, String), Error> {
    let mut events = client.follow(OPERATION, None);
    let (mut ids, mut output) = (Vec::new(), String::new());
    while let Some(event) = events.next().await {
        let event: Event = event?;
        ids.push(event.id);
        if let Payload::Stdout(chunk) = &event.payload {
            output.push_str(std::str::from_utf8(&chunk.bytes).unwrap());
        }
    }
    Ok((ids, output))
}

/// Serves `connections` one after the other, and checks that all events come exactly once.
async fn survives(connections: Vec<fn() -> Response>) -> Stub {
    let count = connections.len();
    let stub = Stub::tcp(move |number, _| connections[number]()).await;
    let (ids, output) = follow(&stub.client()).await.unwrap();
    assert_eq!(ids, [1, 2, 3, 4]);
    assert_eq!(output, "abc");
    assert_eq!(stub.count(), count);
    stub
}

fn rest(from: u64) -> Vec<String> {
    let all = [
        stdout(1, "a"),
        stdout(2, "b"),
        stdout(3, "c"),
        completion(4),
    ];
    all.into_iter()
        .skip(usize::try_from(from).unwrap() - 1)
        .collect()
}

fn served(frames: Vec<String>, cut: bool) -> Response {
    sse(&frames.iter().map(String::as_str).collect::<Vec<_>>(), cut)
}

#[tokio::test]
async fn a_broken_stream_resumes_after_its_last_event() {
    let stub = survives(vec![|| served(rest(1)[..2].to_vec(), true), || {
        served(rest(3), false)
    }])
    .await;
    let seen = stub.seen();
    assert_eq!(
        seen[0].target,
        format!("/v1/operations/{OPERATION}/events?follow=1")
    );
    assert_eq!(seen[0].header("accept"), Some("text/event-stream"));
    assert_eq!(seen[0].header("last-event-id"), None);
    assert_eq!(seen[1].header("last-event-id"), Some("2"));
    assert_eq!(seen[1].header("authorization"), Some("Bearer tok"));
}

#[tokio::test]
async fn an_incomplete_frame_is_requested_again() {
    let stub = survives(vec![
        || {
            let cut = &stdout(2, "b")[..40];
            sse(&[&stdout(1, "a"), cut], true)
        },
        || {
            // All of the frame but the empty line that ends it.
            let cut = stdout(2, "b");
            sse(&[cut.trim_end(), "\n"], true)
        },
        || served(rest(2), false),
    ])
    .await;
    assert_eq!(stub.seen()[1].header("last-event-id"), Some("1"));
    assert_eq!(stub.seen()[2].header("last-event-id"), Some("1"));
}

#[tokio::test]
async fn frames_come_in_any_pieces() {
    survives(vec![|| {
        let all = rest(1).concat();
        let bytes: Vec<String> = all.chars().map(String::from).collect();
        served(bytes, false)
    }])
    .await;
}

#[tokio::test]
async fn errors_of_the_stream_and_keepalives_do_not_end_it() {
    survives(vec![
        || {
            sse(
                &[
                    ": keepalive\n\n",
                    &stdout(1, "a"),
                    ": gone\nevent: sse_error\ndata: upstream gone\n\n",
                ],
                false,
            )
        },
        || sse(&[": keepalive\n\n"], false),
        || served(rest(2), false),
    ])
    .await;
}

#[tokio::test]
async fn events_that_a_server_repeats_are_dropped() {
    survives(vec![|| served(rest(1)[..3].to_vec(), true), || {
        served(rest(1), false)
    }])
    .await;
}

#[tokio::test]
async fn a_log_that_is_being_completed_is_requested_again() {
    survives(vec![
        || with_retry_after(refusal(410, "finalising"), "0"),
        || with_retry_after(refusal(503, "restarting"), "0"),
        || served(rest(1), false),
    ])
    .await;
}

#[tokio::test]
async fn the_wait_for_an_operation_to_start_is_not_limited_by_retries() {
    let stub = Stub::tcp(|number, seen| {
        if !seen.target.contains("/events") {
            return answer(200, json!({"uuid": OPERATION, "status": "PENDING"}));
        }
        match number {
            0..20 => with_retry_after(refusal(425, "not started"), "0"),
            _ => served(rest(1), false),
        }
    })
    .await;
    let (ids, _) = follow(&stub.client()).await.unwrap();
    assert_eq!(ids, [1, 2, 3, 4]);
}

#[tokio::test]
async fn a_silent_stream_is_replaced_by_a_new_connection() {
    let stub = Stub::tcp(|number, _| match number {
        0 => {
            let first = futures_util::stream::iter([Ok::<_, std::io::Error>(stdout(1, "a"))]);
            let body = axum::body::Body::from_stream(first.chain(futures_util::stream::pending()));
            Response::new(body)
        }
        _ => served(rest(2), false),
    })
    .await;
    let backend = backend(&stub.url).with_idle_timeout(Duration::from_millis(200));
    let (ids, output) = follow(&Client::connect(backend).unwrap()).await.unwrap();
    assert_eq!((ids.len(), output.as_str()), (4, "abc"));
    assert_eq!(stub.seen()[1].header("last-event-id"), Some("1"));
}

#[tokio::test]
async fn an_event_that_trickles_is_requested_again() {
    let stub = Stub::tcp(|number, _| match number {
        0 => trickle("text/event-stream", "data: x"),
        _ => served(rest(1), false),
    })
    .await;
    let client = Client::connect(impatient(&stub.url)).unwrap();
    let (ids, output) = follow(&client).await.unwrap();
    assert_eq!((ids.len(), output.as_str()), (4, "abc"));
    // On a busy machine, the second answer may come too late as well.
    assert!(stub.count() >= 2);
}

#[tokio::test]
async fn comments_keep_a_stream_open_for_longer_than_any_limit() {
    let streams = std::sync::atomic::AtomicUsize::new(0);
    let stub = Stub::tcp(move |_, seen| {
        // While there are no events, the client asks for the status.
        if !seen.target.contains("/events") {
            return answer(200, json!({"uuid": OPERATION, "status": "EXECUTING"}));
        }
        let streams = streams.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(streams, 0, "the stream must not be replaced");
        let comments = futures_util::stream::iter(0..200).then(|_| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, std::io::Error>(":\n\n".to_owned())
        });
        let events = futures_util::stream::iter(rest(1).into_iter().map(Ok));
        Response::new(axum::body::Body::from_stream(comments.chain(events)))
    })
    .await;
    // The comments take longer than each limit, and come much more often than this one allows.
    let backend = impatient(&stub.url).with_idle_timeout(Duration::from_millis(1500));
    let client = Client::connect(backend).unwrap();
    assert_eq!(follow(&client).await.unwrap().0, [1, 2, 3, 4]);
}

#[tokio::test]
async fn carriage_returns_and_byte_order_marks_are_understood_on_every_connection() {
    let returns = |frames: Vec<String>, cut| {
        let text = format!("\u{feff}{}", frames.concat().replace('\n', "\r"));
        let (first, second) = text.split_at(text.len() / 2);
        sse(&[first, second], cut)
    };
    let stub = Stub::tcp(move |number, _| match number {
        0 => returns(rest(1)[..2].to_vec(), true),
        _ => returns(rest(3), false),
    })
    .await;
    let (ids, output) = follow(&stub.client()).await.unwrap();
    assert_eq!((ids, output.as_str()), (vec![1, 2, 3, 4], "abc"));
    assert_eq!(stub.seen()[1].header("last-event-id"), Some("2"));
}

#[tokio::test]
async fn a_stream_that_stays_broken_is_an_error() {
    let stub = Stub::tcp(|_, _| sse(&[], true)).await;
    let error = follow(&stub.client()).await.unwrap_err();
    assert!(matches!(error, Error::Connection(_)), "{error}");
    let stub = Stub::tcp(|_, _| sse(&["event: sse_error\ndata: disk on fire\n\n"], false)).await;
    let error = follow(&stub.client()).await.unwrap_err();
    assert!(error.to_string().contains("disk on fire"), "{error}");
    let stub = Stub::tcp(|_, _| refusal(404, "no such operation")).await;
    assert!(follow(&stub.client()).await.unwrap_err().is_not_found());
    assert_eq!(stub.count(), 1);
}

#[tokio::test]
async fn unknown_events_are_ignored_and_the_outcome_has_every_byte() {
    let stub = Stub::tcp(|_, _| {
        let frames = [
            frame(1, 0, "init", json!({"init_pid": 1})),
            frame(2, 1, "stdout", json!({"value": "AP/+", "encoding": "base64"})),
            frame(3, 2, "stdout", json!({"value": "another process", "encoding": "ascii"})),
            frame(4, 1, "weather", json!({"sunny": true})),
            frame(5, 1, "stderr", json!({"value": "err", "encoding": "ascii", "truncated": true})),
            frame(6, 1, "truncated", json!({"stream": "stderr", "bytes_emitted": 3, "bytes_dropped": 97})),
            frame(
                7,
                1,
                "exit",
                json!({"pid": 2, "code": 3, "signal": -1, "timed_out": false, "duration_ms": 5, "resources": usage()}),
            ),
            frame(
                8,
                0,
                "completion",
                json!({"status": "SUCCESS", "duration_ms": 1500, "result_image_uuid": IMAGE, "image_size_bytes": 9}),
            ),
        ];
        served(frames.to_vec(), false)
    })
    .await;
    let mut kinds = Vec::new();
    let outcome = stub
        .client()
        .outcome(OPERATION, |event| {
            if let Payload::Unknown { kind, .. } = &event.payload {
                kinds.push(kind.clone());
            }
        })
        .await
        .unwrap();
    assert_eq!(kinds, ["weather"]);
    assert_eq!(outcome.stdout.bytes, b"\x00\xff\xfe");
    assert!(!outcome.stdout.truncated && outcome.stdout.total == 3);
    assert_eq!(outcome.stderr.bytes, b"err");
    assert!(outcome.stderr.truncated && outcome.stderr.total == 100);
    assert_eq!((outcome.exit_code, outcome.signal), (Some(3), None));
    assert_eq!(outcome.status, OperationStatus::Success);
    assert_eq!(outcome.result_image, Some(IMAGE));
    assert_eq!(outcome.image_size, Some(9));
    assert_eq!(outcome.duration, Duration::from_millis(1500));
}

fn usage() -> serde_json::Value {
    let names = [
        "user_time_us",
        "sys_time_us",
        "max_rss_kb",
        "shared_memory",
        "unshared_memory",
        "swaps",
        "minor_faults",
        "major_faults",
        "voluntary_ctx_switches",
        "involuntary_ctx_switches",
        "block_input_ops",
        "block_output_ops",
        "ipc_msgs_sent",
        "ipc_msgs_received",
        "signals_received",
    ];
    names
        .iter()
        .map(|name| ((*name).to_owned(), json!(1)))
        .collect()
}

#[tokio::test]
async fn if_the_events_fail_the_record_is_awaited() {
    record_is_awaited(|| sse(&[&stdout(1, "half")], true)).await;
}

/// Older services have no route for events. Proxies answer with pages of their own.
#[tokio::test]
async fn a_service_without_events_is_asked_for_the_record() {
    record_is_awaited(|| refusal(404, "no such path")).await;
    record_is_awaited(|| answer(404, json!("Not Found"))).await;
    record_is_awaited(|| refusal(405, "method not allowed")).await;
}

#[tokio::test]
async fn an_operation_that_neither_route_knows_is_not_found() {
    let stub = Stub::tcp(|_, _| refusal(404, "no such operation")).await;
    let error = stub.client().outcome(OPERATION, |_| {}).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(stub.count(), 2);
}

async fn record_is_awaited(events: impl Fn() -> Response + Send + Sync + 'static) {
    let stub = Stub::tcp(move |number, seen| {
        if seen.target.contains("/events") {
            return events();
        }
        let running = json!({"uuid": OPERATION, "kind": "instance", "status": "EXECUTING"});
        let over = json!({
            "uuid": OPERATION, "kind": "instance", "status": "SUCCESS", "duration": 0.5, "result_image_uuid": IMAGE,
            "metadata": {"command": "x", "image": IMAGE, "result": {
                "state": {"exit_code": -1, "signal": 9, "timed_out": true, "pid": 2},
                "stdout": {"value": "d2hvbGU=", "encoding": "base64"},
                "stderr": {"value": "", "encoding": "ascii", "truncated": false},
            }},
        });
        answer(200, if number < 6 { running } else { over })
    })
    .await;
    let outcome = stub.client().outcome(OPERATION, |_| {}).await.unwrap();
    assert_eq!(outcome.stdout.bytes, b"whole");
    assert_eq!(
        (outcome.exit_code, outcome.signal, outcome.timed_out),
        (None, Some(9), true)
    );
    assert_eq!(outcome.result_image, Some(IMAGE));
    assert_eq!(outcome.duration, Duration::from_millis(500));
}
