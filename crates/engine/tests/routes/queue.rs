//! Tests of the queue, and of listing operations.

use contree_engine::LocalConfig;
use serde_json::{Value, json};

use crate::support::{TestEngine, data_dir};

/// Starts an engine that runs one command at once and lets `waiting` commands wait.
async fn with_one_slot(waiting: usize) -> TestEngine {
    let data = data_dir();
    let mut config = LocalConfig::new(data.path());
    config.max_concurrency = 1;
    config.max_pending = waiting;
    TestEngine::with(config, data).await
}

async fn status(local: &TestEngine, operation: &str) -> String {
    let answer = local.get(&format!("/operations/{operation}")).await;
    answer.json["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn waiting_operations_are_pending_and_start_in_order() {
    let local = with_one_slot(100).await;
    let first = local
        .spawn("cat", json!({"stdin": {"value": "", "close": false}}))
        .await;
    while status(&local, &first).await != "EXECUTING" {}
    let one = local.spawn("true", json!({})).await;
    let cancelled = local.spawn("true", json!({})).await;
    let two = local.spawn("true", json!({})).await;
    let stat = &local.get("/whoami").await.json;
    assert_eq!(stat["limits"]["instance_max_concurrency"], 1);
    assert_eq!(stat["operations_stat"]["PENDING"], 3);
    for operation in [&one, &cancelled, &two] {
        assert_eq!(status(&local, operation).await, "PENDING");
    }
    let answer = local.get(&format!("/operations/{one}?inflight=1")).await;
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    assert!(answer.json["metadata"]["result"].is_null(), "{answer:?}");

    // An operation that has not started cannot be followed, and its processes cannot be used.
    let process = format!("/operations/{one}/subprocesses");
    let (followed, read, written) = (
        format!("/operations/{one}/events?follow=1"),
        format!("{process}/1"),
        format!("{process}/1/stdin"),
    );
    let (command, nothing) = (json!({"command": "true"}), json!({"value": ""}));
    let (events, created, read, killed, written) = tokio::join!(
        local.get(&followed),
        local.post(&process, &command),
        local.get(&read),
        local.delete(&read),
        local.post(&written, &nothing),
    );
    for answer in [events, created, read, killed, written] {
        assert_eq!(
            (answer.status, &answer.json["status"]),
            (425, &json!(425)),
            "{answer:?}"
        );
        assert_eq!(answer.retry_after.as_deref(), Some("1"));
    }

    // An operation that is cancelled before it starts has a log too.
    assert_eq!(
        local
            .delete(&format!("/operations/{cancelled}"))
            .await
            .status,
        202
    );
    let done = local.done(&cancelled).await;
    assert_eq!(
        (done.status.as_str(), done.kinds()),
        ("CANCELLED", vec!["completion"])
    );
    assert_eq!(done.error, "cancelled on request");
    assert_eq!(
        local
            .delete(&format!("/operations/{cancelled}"))
            .await
            .status,
        409
    );
    assert_eq!(
        local
            .post(
                &format!("/operations/{cancelled}/subprocesses"),
                &json!({"command": "true"})
            )
            .await
            .status,
        409
    );
    assert_eq!(
        local
            .get(&format!("/operations/{cancelled}/subprocesses/1"))
            .await
            .status,
        404
    );

    let path = format!("/operations/{first}/subprocesses/1/stdin");
    assert_eq!(local.post(&path, &json!({"value": ""})).await.status, 204);
    let start_time = async |operation: &str| {
        while status(&local, operation).await != "SUCCESS" {}
        let events = local.done(operation).await.events;
        events[0]["ts"].as_str().unwrap().to_owned()
    };
    let (one, two) = (start_time(&one).await, start_time(&two).await);
    assert!(one < two, "{one} {two}");
}

#[tokio::test]
async fn a_running_command_shows_its_output_so_far() {
    let local = TestEngine::shared().await;
    let operation = local
        .spawn("echo out; echo err >&2; sleep 600", json!({}))
        .await;
    let path = format!("/operations/{operation}");
    let result = loop {
        let answer = local.get(&format!("{path}?inflight=1")).await;
        let result = answer.json["metadata"]["result"].clone();
        let has_output = |name: &str| {
            result[name]["value"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        };
        if has_output("stdout") && has_output("stderr") {
            assert_eq!(answer.retry_after.as_deref(), Some("1"));
            break result;
        }
    };
    assert_eq!(
        (&result["stdout"]["value"], &result["stderr"]["value"]),
        (&json!("out\n"), &json!("err\n"))
    );
    assert_eq!(result["state"]["exit_code"], -1);
    for query in ["", "?inflight=0"] {
        let metadata = local.get(&format!("{path}{query}")).await.json["metadata"].clone();
        assert_eq!(metadata.get("result"), Some(&Value::Null));
    }
    assert_eq!(local.get(&format!("{path}?inflight=2")).await.status, 400);
    assert_eq!(local.delete(&path).await.status, 202);
    local.done(&operation).await;
    let ended = local.get(&path).await;
    assert_eq!(ended.retry_after, None);
    assert_eq!(ended.json["metadata"]["result"]["stdout"]["value"], "out\n");
}

#[tokio::test]
async fn a_full_queue_refuses_requests_and_keeps_nothing_of_them() {
    let local = with_one_slot(2).await;
    let first = local.spawn("sleep 600", json!({})).await;
    let waiting = [
        local.spawn("true", json!({})).await,
        local.spawn("true", json!({})).await,
    ];
    let body = json!({"command": "true", "image": "tag:host"});
    for _ in 0..3 {
        let answer = local.post("/instances", &body).await;
        assert_eq!(
            (answer.status, &answer.json["status"]),
            (429, &json!(429)),
            "{answer:?}"
        );
        assert!(answer.retry_after.is_some());
    }
    let listed = local.get("/operations").await.json;
    assert_eq!(listed.as_array().unwrap().len(), 3);
    let runs = std::fs::read_dir(local.engine.data.path().join("run"));
    assert_eq!(runs.unwrap().count(), 3);
    assert_eq!(
        local.get("/whoami").await.json["limits"]["instance_max_pending"],
        2
    );
    // A cancelled operation leaves the queue.
    assert_eq!(
        local
            .delete(&format!("/operations/{}", waiting[0]))
            .await
            .status,
        202
    );
    while status(&local, &waiting[0]).await != "CANCELLED" {}
    let late = local.spawn("true", json!({})).await;
    assert_eq!(
        local.delete(&format!("/operations/{first}")).await.status,
        202
    );
    for operation in [&waiting[1], &late] {
        assert_eq!(local.done(operation).await.status, "SUCCESS");
    }
}

#[tokio::test]
async fn operations_are_listed_by_age_and_filtered() {
    let local = TestEngine::new().await;
    let mut all = Vec::new();
    for command in ["true", "exit 3", "true"] {
        all.push(local.run(command, json!({})).await.operation);
    }
    all.push(
        local
            .run("true", json!({"cwd": "/etc/passwd"}))
            .await
            .operation,
    );
    all.reverse();
    let listed = async |query: &str| -> Vec<String> {
        let answer = local.get(&format!("/operations?{query}")).await.json;
        let uuid = |row: &Value| row["uuid"].as_str().unwrap().to_owned();
        answer.as_array().unwrap().iter().map(uuid).collect()
    };
    assert_eq!(listed("").await, all);
    assert_eq!(listed("limit=2").await, all[..2]);
    assert_eq!(listed("limit=2&offset=3").await, all[3..]);
    assert_eq!(listed("status=FAILED").await, all[..1]);
    assert_eq!(listed("status=SUCCESS").await, all[1..]);
    assert_eq!(listed("kind=instance").await, all);
    assert!(listed("kind=image_import").await.is_empty());
    assert_eq!(listed("since=1h").await, all);
    assert!(listed("until=1h").await.is_empty());
    assert!(listed("since=2100-01-01T00:00:00Z").await.is_empty());
    let second = local.get(&format!("/operations/{}", all[2])).await.json;
    let at = second["created_at"].as_str().unwrap();
    assert_eq!(listed(&format!("since={at}")).await, all[..3]);
    assert_eq!(listed(&format!("until={at}")).await, all[2..]);
    assert_eq!(second["metadata"]["result"]["state"]["exit_code"], 3);
    assert_eq!(second["status"], "SUCCESS");
}
