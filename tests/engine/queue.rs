use contree::engine::LocalConfig;
use serde_json::{Value, json};

use crate::support::{Local, data_dir};

async fn narrow() -> Local {
    let data = data_dir();
    let mut config = LocalConfig::new(data.path());
    config.max_concurrency = 1;
    Local::with(config, data).await
}

async fn status(local: &Local, operation: &str) -> String {
    let answer = local.get(&format!("/operations/{operation}")).await;
    answer.json["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_waits_is_pending_and_comes_in_turn() {
    let local = narrow().await;
    let first = local
        .spawn("cat", json!({"stdin": {"value": "", "close": false}}))
        .await;
    while status(&local, &first).await != "EXECUTING" {}
    let one = local.spawn("true", json!({})).await;
    let gone = local.spawn("true", json!({})).await;
    let two = local.spawn("true", json!({})).await;
    let stat = &local.get("/whoami").await.json;
    assert_eq!(stat["limits"]["instance_max_concurrency"], 1);
    assert_eq!(stat["operations_stat"]["PENDING"], 3);
    for operation in [&one, &gone, &two] {
        assert_eq!(status(&local, operation).await, "PENDING");
    }
    let answer = local.get(&format!("/operations/{one}?inflight=1")).await;
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    assert!(
        answer.json["metadata"].get("result").is_none(),
        "{answer:?}"
    );

    // Nothing can be followed or reached that has not begun.
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

    // One that is cancelled before it began has a log as well.
    assert_eq!(
        local.delete(&format!("/operations/{gone}")).await.status,
        202
    );
    let done = local.done(&gone).await;
    assert_eq!(
        (done.status.as_str(), done.kinds()),
        ("CANCELLED", vec!["completion"])
    );
    assert_eq!(done.error, "cancelled on request");
    assert_eq!(
        local.delete(&format!("/operations/{gone}")).await.status,
        409
    );
    assert_eq!(
        local
            .post(
                &format!("/operations/{gone}/subprocesses"),
                &json!({"command": "true"})
            )
            .await
            .status,
        409
    );
    assert_eq!(
        local
            .get(&format!("/operations/{gone}/subprocesses/1"))
            .await
            .status,
        404
    );

    let path = format!("/operations/{first}/subprocesses/1/stdin");
    assert_eq!(local.post(&path, &json!({"value": ""})).await.status, 204);
    let begun = async |operation: &str| {
        while status(&local, operation).await != "SUCCESS" {}
        let events = local.done(operation).await.events;
        events[0]["ts"].as_str().unwrap().to_owned()
    };
    let (one, two) = (begun(&one).await, begun(&two).await);
    assert!(one < two, "{one} {two}");
}

#[tokio::test]
async fn what_runs_shows_its_output() {
    let local = Local::shared().await;
    let operation = local
        .spawn("echo out; echo err >&2; sleep 600", json!({}))
        .await;
    let path = format!("/operations/{operation}");
    let result = loop {
        let answer = local.get(&format!("{path}?inflight=1")).await;
        let result = answer.json["metadata"]["result"].clone();
        let shown = |name: &str| {
            result[name]["value"]
                .as_str()
                .is_some_and(|text| !text.is_empty())
        };
        if shown("stdout") && shown("stderr") {
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
        assert_eq!(metadata.get("result"), None::<&Value>);
    }
    assert_eq!(local.get(&format!("{path}?inflight=2")).await.status, 400);
    assert_eq!(local.delete(&path).await.status, 202);
    local.done(&operation).await;
    let over = local.get(&path).await;
    assert_eq!(over.retry_after, None);
    assert_eq!(over.json["metadata"]["result"]["stdout"]["value"], "out\n");
}
