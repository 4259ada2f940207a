//! The layer in terms of the domain, against stub servers.

use std::{
    error::Error as _,
    io::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use contree::{Client, Error, ExitStatus, OperationStatus};
use futures_util::{FutureExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::support::{IMAGE, OPERATION, RawServer, Stub, answer, backend, frame, refusal, sse};

/// The operation with a number.
fn operation(number: usize) -> Uuid {
    Uuid::from_u128(0x018f_2b5c_0000_7000_8000_0000_0000_1000 + number as u128)
}

/// A body that arrives once `open` is true.
fn delayed(status: StatusCode, body: &Value, mut open: watch::Receiver<bool>) -> Response {
    let text = body.to_string();
    let body = async move {
        open.wait_for(|open| *open).await.unwrap();
        Ok::<_, std::io::Error>(Bytes::from(text))
    };
    let body = Body::from_stream(stream::once(body.boxed()));
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// A stream of events that sends nothing and does not end.
fn endless_events() -> Response {
    let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// A backend whose runs never end. It reports the starts and the cancellations that it receives.
struct EndlessRuns {
    stub: Stub,
    /// Lets answers to starts arrive.
    open: watch::Sender<bool>,
    followed: mpsc::UnboundedReceiver<()>,
    cancelled: mpsc::UnboundedReceiver<String>,
}

async fn endless_runs(is_open: bool) -> EndlessRuns {
    let (open, opened) = watch::channel(is_open);
    let (follow, followed) = mpsc::unbounded_channel();
    let (cancel, cancelled) = mpsc::unbounded_channel();
    let started = AtomicUsize::new(0);
    let stub = Stub::tcp(move |_, request| match request.method {
        Method::POST => {
            let number = started.fetch_add(1, Ordering::Relaxed);
            let body = json!({"uuid": operation(number), "image": IMAGE});
            let _ = follow.send(());
            delayed(StatusCode::CREATED, &body, opened.clone())
        }
        Method::DELETE => {
            let _ = cancel.send(request.target.clone());
            StatusCode::ACCEPTED.into_response()
        }
        _ if request.target == "/v1/whoami" => {
            let body = json!({
                "token_uuid": OPERATION, "token_expiration": null, "permissions": {}, "limits": {},
                "operations_stat": {}, "x-extensions": ["live"],
            });
            delayed(StatusCode::OK, &body, opened.clone())
        }
        _ => {
            let _ = follow.send(());
            endless_events()
        }
    })
    .await;
    EndlessRuns {
        stub,
        open,
        followed,
        cancelled,
    }
}

impl EndlessRuns {
    /// The operations that are cancelled until `count` of them are.
    async fn cancellations(&mut self, count: usize) -> Vec<String> {
        let mut targets = Vec::new();
        while targets.len() < count {
            targets.push(self.cancelled.recv().await.unwrap());
        }
        targets.sort();
        targets
    }
}

fn targets(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("/v1/operations/{}", operation(number)))
        .collect()
}

#[tokio::test]
async fn runs_are_cancelled_that_are_dropped_before_the_answer() {
    let mut runs = endless_runs(false).await;
    let base = runs.stub.client().image(IMAGE);
    for _ in 0..8 {
        let mut run = base.shell("sleep 600").into_future();
        tokio::select! {
            _ = &mut run => panic!("it has no answer"),
            _ = runs.followed.recv() => {}
        }
    }
    assert!(runs.cancelled.try_recv().is_err());
    runs.open.send(true).unwrap();
    assert_eq!(runs.cancellations(8).await, targets(8));
}

#[tokio::test]
async fn runs_are_cancelled_that_are_dropped_after_the_answer() {
    let mut runs = endless_runs(true).await;
    let base = runs.stub.client().image(IMAGE);
    for _ in 0..8 {
        let mut run = base.shell("sleep 600").into_future();
        // The start and the request for events.
        for _ in 0..2 {
            tokio::select! {
                _ = &mut run => panic!("it does not end"),
                _ = runs.followed.recv() => {}
            }
        }
    }
    assert_eq!(runs.cancellations(8).await, targets(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_cancelled_that_are_dropped_with_their_runtime() {
    let mut runs = endless_runs(true).await;
    let client = runs.stub.client();
    let ended = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().unwrap();
        let run = runtime.block_on(async {
            let client = Client::connect(client.backend().clone()).unwrap();
            let run = client.image(IMAGE).shell("sleep 600").spawn().await;
            run.unwrap()
        });
        let events = run.events();
        runtime.spawn(async move { (run.wait().await, events) });
        runtime.block_on(tokio::task::yield_now());
        drop(runtime);
    });
    assert_eq!(runs.cancellations(1).await, targets(1));
    ended.await.unwrap();
}

#[tokio::test]
async fn runs_are_not_cancelled_that_are_detached_or_attached() {
    let mut runs = endless_runs(true).await;
    let client = runs.stub.client();
    let base = client.image(IMAGE);
    let detached = base.shell("sleep 600").detach().await.unwrap();
    let run = base.shell("sleep 600").spawn().await.unwrap();
    drop(client.attach(detached));
    assert_eq!(run.detach(), operation(1));
    drop(base.shell("sleep 600").spawn().await.unwrap());
    // The third one is the only one.
    assert_eq!(runs.cancellations(1).await, targets(3)[2..]);
    assert!(runs.cancelled.try_recv().is_err());
}

/// A backend whose runs end with these events.
async fn runs_with(events: Vec<String>) -> Stub {
    Stub::tcp(move |_, request| match request.method {
        Method::POST => answer(201, json!({"uuid": OPERATION, "image": IMAGE})),
        _ => {
            let frames: Vec<&str> = events.iter().map(String::as_str).collect();
            sse(&frames, false)
        }
    })
    .await
}

fn exit(id: u64, code: i64, signal: i64, timed_out: bool) -> String {
    let names = [
        "block_input_ops",
        "block_output_ops",
        "involuntary_ctx_switches",
        "ipc_msgs_received",
        "ipc_msgs_sent",
        "major_faults",
        "max_rss_kb",
        "minor_faults",
        "shared_memory",
        "signals_received",
        "swaps",
        "sys_time_us",
        "unshared_memory",
        "user_time_us",
        "voluntary_ctx_switches",
    ];
    let resources: serde_json::Map<_, _> = names
        .iter()
        .map(|name| ((*name).to_owned(), json!(3)))
        .collect();
    frame(
        id,
        1,
        "exit",
        json!({
            "code": code, "signal": signal, "timed_out": timed_out, "pid": 1, "duration_ms": 5,
            "resources": resources
        }),
    )
}

fn end(id: u64, status: &str) -> String {
    let data =
        json!({"status": status, "duration_ms": 7, "result_image_uuid": IMAGE, "error": "broken"});
    frame(id, 0, "completion", data)
}

#[tokio::test]
async fn the_status_says_how_the_command_ended() {
    for (code, signal, timed_out, status) in [
        (0, -1, false, "exit status 0"),
        (7, -1, false, "exit status 7"),
        (-1, 9, false, "signal SIGKILL"),
        (-1, 9, true, "time-out"),
    ] {
        let events = vec![exit(1, code, signal, timed_out), end(2, "SUCCESS")];
        let client = runs_with(events).await.client();
        let out = client.image(IMAGE).shell("x").await.unwrap();
        assert_eq!(out.status.to_string(), status);
        let resources = out.resources.unwrap();
        assert_eq!(resources.max_memory, 3 * 1024);
        assert_eq!(out.ok().is_ok(), status == "exit status 0");
    }
}

#[tokio::test]
async fn a_failing_command_is_an_error_with_its_output_only_if_asked() {
    let stderr = json!({"value": "first\nno such file\n", "encoding": "ascii"});
    let events = vec![
        frame(1, 1, "stderr", stderr),
        exit(2, 2, -1, false),
        end(3, "SUCCESS"),
    ];
    let client = runs_with(events).await.client();
    let error = client
        .image(IMAGE)
        .shell("x")
        .await
        .unwrap()
        .ok()
        .unwrap_err();
    assert_eq!(error.operation(), Some(OPERATION));
    assert!(
        error.to_string().ends_with("exit status 2: no such file"),
        "{error}"
    );
    assert!(!error.is_retryable());
    let Error::Exit(out) = error else { panic!() };
    assert_eq!(out.status, ExitStatus::Code(2));
    assert_eq!(out.image, Some(IMAGE));
    assert_eq!(out.stderr.text(), Ok("first\nno such file\n"));
}

#[tokio::test]
async fn a_run_that_did_not_succeed_is_an_error_with_its_output() {
    for (status, expected) in [
        ("FAILED", OperationStatus::Failed),
        ("CANCELLED", OperationStatus::Cancelled),
    ] {
        let stdout = json!({"value": "half", "encoding": "ascii"});
        let events = vec![frame(1, 1, "stdout", stdout), end(2, status)];
        let client = runs_with(events).await.client();
        let error = client.image(IMAGE).shell("x").await.unwrap_err();
        assert_eq!(error.operation(), Some(OPERATION));
        let Error::Operation {
            status,
            reason,
            output,
            ..
        } = error
        else {
            panic!()
        };
        assert_eq!((status, reason.as_str()), (expected, "broken"));
        assert_eq!(output.stdout.bytes(), b"half");
    }
}

#[tokio::test]
async fn values_that_are_no_text_are_errors_of_the_start() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let stub = Stub::tcp(|_, _| refusal(500, "unexpected")).await;
    let bad = OsStr::from_bytes(b"\xff");
    let base = stub.client().image(IMAGE);
    for command in [
        base.exec("ls", [bad]),
        base.exec(bad, ["x"]),
        base.shell("x").env(bad, "x"),
        base.shell("x").cwd(bad),
        base.shell("x").file(bad, "x"),
        base.shell("x").timeout(Duration::ZERO),
        stub.client().image("ubuntu").shell("x"),
    ] {
        let error = command.await.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
    }
    let mut session = base.session().env("A", bad);
    assert!(session.shell("x").await.is_err());
    assert_eq!(stub.count(), 0);
}

#[tokio::test]
async fn a_command_is_sent_as_it_was_built() {
    let sent = Arc::new(Mutex::new(Value::Null));
    let body = Arc::clone(&sent);
    let stub = Stub::tcp(move |_, request| {
        *body.lock().unwrap() = serde_json::from_slice(&request.body).unwrap();
        refusal(403, "no")
    })
    .await;
    let base = stub.client().image("tag:x");
    let command = base
        .exec("cat", ["-n", "-"])
        .args([7])
        .envs([("A", "b")])
        .env_remove("C")
        .cwd("/x")
        .uid(5)
        .timeout(Duration::from_millis(1500))
        .stdin(b"in")
        .network(false)
        .truncate_output_at(9)
        .discard();
    let error = command.await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::FORBIDDEN));
    assert_eq!(
        *sent.lock().unwrap(),
        json!({
            "args": ["-n", "-", "7"], "command": "cat", "cwd": "/x", "disposable": true,
            "env": {"A": "b", "C": null}, "image": "tag:x", "networking": {"enabled": false},
            "shell": false, "stdin": {"close": true, "encoding": "base64", "value": "aW4="},
            "timeout": 2, "truncate_output_at": 9, "uid": 5
        })
    );
}

#[tokio::test]
async fn lists_read_all_pages_and_repeat_no_entry() {
    let stub = Stub::tcp(|_, request| {
        let offset = request.target.split("offset=").nth(1).unwrap();
        let offset: u128 = offset.split('&').next().unwrap().parse().unwrap();
        // Two new images push two of the first page to the second one.
        let ids = if offset == 0 { 0..200 } else { 198..250 };
        let images: Vec<Value> = ids
            .map(|id| {
                let tag = if id % 2 == 0 { "common/x" } else { "commonplace" };
                json!({"uuid": Uuid::from_u128(id), "tag": tag, "created_at": "2026-01-01T00:00:00Z"})
            })
            .collect();
        answer(200, json!({"images": images}))
    })
    .await;
    let all = stub.client().images().all().await.unwrap();
    let ids: Vec<u128> = all.iter().map(|image| image.uuid.as_u128()).collect();
    assert_eq!(ids, (0..250).collect::<Vec<_>>());
    let some = stub
        .client()
        .images()
        .prefix("common/")
        .all()
        .await
        .unwrap();
    assert_eq!(some.len(), 125);
    assert!(
        stub.seen()[2].target.ends_with("tag=common"),
        "{}",
        stub.seen()[2].target
    );
}

#[tokio::test]
async fn a_list_ends_after_an_error() {
    let stub = Stub::tcp(|_, _| refusal(403, "no")).await;
    let mut operations = stub.client().operations();
    assert!(operations.next().await.unwrap().is_err());
    assert!(operations.next().await.is_none());
    assert_eq!(stub.count(), 1);
}

#[tokio::test]
async fn errors_tell_their_source_and_whether_a_retry_helps() {
    let refused = Client::connect(backend("http://127.0.0.1:1")).unwrap();
    let error = refused.image(IMAGE).info().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let mut source = error.source();
    let mut is_io = false;
    while let Some(cause) = source {
        is_io |= cause.is::<std::io::Error>();
        source = cause.source();
    }
    assert!(is_io, "{error:?}");

    let lost = RawServer::new(|_, _| None).await;
    let error = lost.client().image(IMAGE).shell("x").await.unwrap_err();
    assert!(error.is_unconfirmed() && !error.is_retryable(), "{error}");
    assert!(error.source().and_then(|reason| reason.source()).is_some());

    for (status, expected) in [
        (400, false),
        (404, false),
        (429, true),
        (503, true),
        (501, false),
    ] {
        let stub =
            Stub::tcp(move |_, _| super::support::with_retry_after(refusal(status, "no"), "100"))
                .await;
        let error = stub.client().image(IMAGE).info().await.unwrap_err();
        assert_eq!(error.is_retryable(), expected, "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(100)));
    }
}

#[tokio::test]
async fn a_start_outside_of_a_runtime_is_an_error() {
    let client = Client::builder().url("http://127.0.0.1:1").build().unwrap();
    let start = client.image(IMAGE).shell("x").into_future();
    let started = std::thread::spawn(move || start.now_or_never().unwrap());
    let error = started.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("tokio"), "{error}");
}

#[tokio::test]
async fn the_file_of_a_session_must_fit() {
    let stub = Stub::tcp(|_, _| refusal(403, "no")).await;
    let client = stub.client();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.jsonl");
    let session = client.image(IMAGE).session().env("A", "b");
    let session = session.persist(&path).await.unwrap();
    let in_use = client.session(&path).await.unwrap_err();
    assert!(in_use.to_string().contains("in use"), "{in_use}");
    let exists = client
        .image(IMAGE)
        .session()
        .persist(&path)
        .await
        .unwrap_err();
    assert!(exists.to_string().contains("exists"), "{exists}");
    drop(session);

    // An entry that the process could not complete.
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    file.write_all(b"{\"step\":").unwrap();
    drop(client.session(&path).await.unwrap());
    assert!(std::fs::read(&path).unwrap().ends_with(b"\n"));

    let other = Client::connect(backend(&stub.url).with_identity("other")).unwrap();
    let error = other.session(&path).await.unwrap_err();
    assert!(
        error.to_string().contains("belongs to the backend"),
        "{error}"
    );
    std::fs::write(&path, "not a session\n").unwrap();
    let error = client.session(&path).await.unwrap_err();
    assert!(
        error.to_string().contains("not the file of a session"),
        "{error}"
    );
    assert!(client.session(folder.path().join("none")).await.is_err());
}

#[test]
fn examples_have_at_most_25_lines() {
    for name in [
        "agent_loop",
        "best_of",
        "project_tests",
        "server_processes",
        "terminal_stream",
    ] {
        let path = format!("{}/examples/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= 25, "{name} has {lines} lines");
    }
}
