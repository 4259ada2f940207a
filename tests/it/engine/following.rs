use serde_json::{Value, json};

use super::support::{Local, frames};

#[tokio::test]
async fn another_engine_follows_without_loss() {
    let local = Local::new().await;
    let twin = local.twin().await;
    let operation = local
        .spawn(
            "for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done",
            json!({}),
        )
        .await;
    let (here, there) = tokio::join!(local.done(&operation), twin.done(&operation));
    assert_eq!(here.events, there.events);
    assert_eq!(there.stdout, "1\n2\n3\n4\n5\n6\n");
}

#[tokio::test]
async fn what_a_dead_engine_owed_is_told_and_stays_the_same() {
    let local = Local::new().await;
    let done = local.run("echo said", json!({})).await;
    let data = local.engine.data.path();
    // Its process has let go of it.
    while std::fs::read_dir(data.join("run")).unwrap().count() > 0 {
        tokio::task::yield_now().await;
    }
    // As if it had been killed after the command's exit, within its next line.
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
        "said\n"
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
    let local = Local::new().await;
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
async fn a_client_that_resumes_anywhere_sees_each_event_once() {
    let local = Local::shared().await;
    let operation = local
        .spawn(
            "for i in $(seq 40); do echo $i; sleep 0.02; done",
            json!({}),
        )
        .await;
    let mut seen: Vec<Value> = Vec::new();
    // Each connection is left after a few bytes of a frame, wherever that is.
    while seen
        .last()
        .is_none_or(|event| event["type"] != "completion")
    {
        let last = seen.last().map_or(0, |event| event["id"].as_u64().unwrap());
        let text = local.some_of(&operation, last, 700).await;
        let whole = text.rfind("\n\n").map_or("", |end| &text[..end + 2]);
        seen.extend(frames(whole));
    }
    assert_eq!(seen, local.events(&operation, "", None).await);
}
