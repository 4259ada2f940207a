//! Tests of clients that follow an operation through its own engine, or through another engine on
//! the same store.

use std::fs::{File, OpenOptions};
use std::io::Write as _;

use serde_json::{Value, json};

use crate::support::{Answer, TestEngine, frames};

/// The complete stream of an operation's events, as text.
async fn stream(get: impl AsyncFn(String) -> Answer, operation: &str) -> String {
    loop {
        let answer = get(format!("/operations/{operation}/events?follow=1")).await;
        // The operation still waits in the queue, which happens on a slow machine.
        if answer.status != 425 {
            return answer.text;
        }
    }
}

/// The stream that the log of an operation should produce.
fn stream_of_log(local: &TestEngine, operation: &str) -> String {
    let directory = local.engine.data.path().join("events");
    let text = std::fs::read_to_string(directory.join(format!("{operation}.jsonl"))).unwrap();
    let frame = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let kind = event["type"].as_str().unwrap();
        format!("id: {}\nevent: {kind}\ndata: {line}\n\n", event["id"])
    };
    text.lines().map(frame).collect()
}

#[tokio::test]
async fn another_engine_follows_without_loss() {
    let local = TestEngine::new().await;
    let other = local.other_engine().await;
    let operation = local
        .spawn(
            "for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done",
            json!({}),
        )
        .await;
    let (same_engine, other_engine) = tokio::join!(local.done(&operation), other.done(&operation));
    assert_eq!(same_engine.events, other_engine.events);
    assert_eq!(other_engine.stdout, "1\n2\n3\n4\n5\n6\n");
}

#[tokio::test]
async fn every_follower_gets_the_unchanged_lines_of_the_log() {
    let local = TestEngine::new().await;
    let other = local.other_engine().await;
    for _ in 0..20 {
        let operation = local.spawn("echo output; sleep 0.01", json!({})).await;
        let same_engine = || stream(async |path| local.get(&path).await, &operation);
        let other_engine = || stream(async |path| other.get(&path).await, &operation);
        // Several followers use the other engine, because each reads the log at a different time.
        let (one, two, three, four, five) = tokio::join!(
            same_engine(),
            other_engine(),
            other_engine(),
            other_engine(),
            other_engine()
        );
        let log = stream_of_log(&local, &operation);
        for followed in [
            one,
            two,
            three,
            four,
            five,
            same_engine().await,
            other_engine().await,
        ] {
            assert_eq!(followed, log);
        }
    }
}

#[tokio::test]
async fn a_follower_in_another_engine_waits_for_the_owners_completion_event() {
    let local = TestEngine::new().await;
    let other = local.other_engine().await;
    let done = local.run("echo output", json!({})).await;
    let data = local.engine.data.path();
    while std::fs::read_dir(data.join("run")).unwrap().count() > 0 {
        tokio::task::yield_now().await;
    }
    // The state of an owner that has recorded the end and not yet appended the completion event.
    let run = data.join("run").join(&done.operation);
    std::fs::create_dir(&run).unwrap();
    let lock = File::create_new(run.join("lock")).unwrap();
    lock.lock().unwrap();
    let log = data
        .join("events")
        .join(format!("{}.jsonl", done.operation));
    let text = std::fs::read_to_string(&log).unwrap();
    let last_line = text.trim_end().rfind('\n').unwrap() + 1;
    std::fs::write(&log, &text[..last_line]).unwrap();
    let id = done.events.len();
    let write = async {
        let path = format!("/operations/{}", done.operation);
        for _ in 0..50 {
            assert_eq!(other.get(&path).await.json["status"], "SUCCESS");
        }
        // A line that no engine would write in this form.
        let line = format!(
            r#"{{ "spid":0, "id": {id}, "type":"completion", "ts":"2000-01-01T00:00:00Z", "data":{{"status":"SUCCESS","duration_ms": 1}} }}"#
        );
        let mut end = OpenOptions::new().append(true).open(&log).unwrap();
        end.write_all(format!("{line}\n").as_bytes()).unwrap();
        std::fs::remove_dir_all(&run).unwrap();
        drop(lock);
    };
    let events = format!("/operations/{}/events", done.operation);
    let (followed, not_followed, ()) = tokio::join!(
        stream(async |path| other.get(&path).await, &done.operation),
        other.get(&events),
        write
    );
    let log = stream_of_log(&local, &done.operation);
    assert!(log.contains("2000-01-01"), "{log}");
    assert_eq!((&followed, &not_followed.text), (&log, &log));
}

#[tokio::test]
async fn a_follower_in_another_engine_does_not_wait_for_a_stopped_owner() {
    let local = TestEngine::new().await;
    let other = local.other_engine().await;
    let done = local.run("echo output", json!({})).await;
    let data = local.engine.data.path();
    while std::fs::read_dir(data.join("run")).unwrap().count() > 0 {
        tokio::task::yield_now().await;
    }
    // The state of an owner that was stopped by a signal after it had recorded the operation's end:
    // its run directory is locked, and the log has no completion event.
    let run = data.join("run").join(&done.operation);
    std::fs::create_dir(&run).unwrap();
    let lock = File::create_new(run.join("lock")).unwrap();
    lock.lock().unwrap();
    let log = data
        .join("events")
        .join(format!("{}.jsonl", done.operation));
    let complete = std::fs::read_to_string(&log).unwrap();
    let last_line = complete.trim_end().rfind('\n').unwrap() + 1;
    std::fs::write(&log, &complete[..last_line]).unwrap();
    let followed = tokio::time::timeout(
        std::time::Duration::from_secs(60),
        stream(async |path| other.get(&path).await, &done.operation),
    )
    .await
    .unwrap();
    // The other engine makes the completion event from the record, and leaves the log to the owner.
    assert_eq!(frames(&followed), done.events);
    assert_eq!(
        std::fs::read_to_string(&log).unwrap(),
        complete[..last_line]
    );
}

#[tokio::test]
async fn the_completion_event_of_a_gone_owner_is_appended_once() {
    let local = TestEngine::new().await;
    let other = local.other_engine().await;
    let done = local.run("echo output", json!({})).await;
    let data = local.engine.data.path();
    while std::fs::read_dir(data.join("run")).unwrap().count() > 0 {
        tokio::task::yield_now().await;
    }
    let log = data
        .join("events")
        .join(format!("{}.jsonl", done.operation));
    let text = std::fs::read_to_string(&log).unwrap();
    let last_line = text.trim_end().rfind('\n').unwrap() + 1;
    std::fs::write(&log, format!("{}{{\"id\":", &text[..last_line])).unwrap();
    let same_engine = || stream(async |path| local.get(&path).await, &done.operation);
    let other_engine = || stream(async |path| other.get(&path).await, &done.operation);
    let followed = tokio::join!(same_engine(), other_engine(), same_engine(), other_engine());
    let expected = stream_of_log(&local, &done.operation);
    for followed in [
        followed.0,
        followed.1,
        followed.2,
        followed.3,
        other_engine().await,
    ] {
        assert_eq!(followed, expected);
    }
    // The event is made from the record, as its owner would have made it.
    assert_eq!(std::fs::read_to_string(&log).unwrap(), text);
}

#[tokio::test]
async fn an_orphaned_operation_gets_a_completion_event_that_stays_the_same() {
    let local = TestEngine::new().await;
    let done = local.run("echo output", json!({})).await;
    let data = local.engine.data.path();
    // Waits until the owner has removed the run directory.
    while std::fs::read_dir(data.join("run")).unwrap().count() > 0 {
        tokio::task::yield_now().await;
    }
    // The state of an owner that was killed after the command's exit, while it wrote the next line.
    let log = data
        .join("events")
        .join(format!("{}.jsonl", done.operation));
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let kept = lines[..lines.len() - 2].join("\n");
    std::fs::write(&log, format!("{kept}\n{{\"id\":")).unwrap();
    let records = rusqlite::Connection::open(data.join("store.db")).unwrap();
    records
        .execute(
            "UPDATE operations SET status = 'EXECUTING', ended_at = NULL, outcome = NULL WHERE uuid = ?1",
            [&done.operation],
        )
        .unwrap();
    let path = format!("/operations/{}", done.operation);
    let answer = local.get(&path).await;
    assert_eq!(answer.json["status"], "FAILED");
    assert!(
        answer.json["error"]
            .as_str()
            .unwrap()
            .contains("ended before"),
        "{answer:?}"
    );
    assert_eq!(
        answer.json["metadata"]["result"]["stdout"]["value"],
        "output
"
    );
    let all = local.events(&done.operation, "follow=1", None).await;
    let (last, before) = all.split_last().unwrap();
    assert_eq!(before, &done.events[..before.len()]);
    assert_eq!(
        (&last["type"], &last["data"]["status"]),
        (&json!("completion"), &json!("FAILED"))
    );
    assert_eq!(last["id"], json!(before.len() + 1));
    assert_eq!(local.events(&done.operation, "", None).await, all);
    let resumed = local
        .events(&done.operation, "follow", Some(before.len() as u64))
        .await;
    assert_eq!(resumed, std::slice::from_ref(last));
}

#[tokio::test]
async fn a_log_that_cannot_be_read_ends_with_an_error_frame() {
    let local = TestEngine::new().await;
    let done = local.run("true", json!({})).await;
    let log = local
        .engine
        .data
        .path()
        .join("events")
        .join(format!("{}.jsonl", done.operation));
    std::fs::remove_file(&log).unwrap();
    std::fs::create_dir(&log).unwrap();
    let answer = local
        .get(&format!("/operations/{}/events?follow=1", done.operation))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text.starts_with(": "), "{answer:?}");
    assert!(
        answer.text.contains("event: sse_error\ndata: "),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_client_that_resumes_within_a_frame_gets_each_event_once() {
    let local = TestEngine::shared().await;
    let operation = local
        .spawn(
            "for i in $(seq 40); do echo $i; sleep 0.02; done",
            json!({}),
        )
        .await;
    let mut events: Vec<Value> = Vec::new();
    // Each connection is dropped after a few hundred bytes, also in the middle of a frame.
    while events
        .last()
        .is_none_or(|event| event["type"] != "completion")
    {
        let last = events
            .last()
            .map_or(0, |event| event["id"].as_u64().unwrap());
        let text = local.read_some_events(&operation, last, 700).await;
        let complete = text.rfind("\n\n").map_or("", |end| &text[..end + 2]);
        events.extend(frames(complete));
    }
    assert_eq!(events, local.events(&operation, "", None).await);
}
