use serde_json::json;

use crate::support::TestEngine;

#[tokio::test]
async fn events_come_in_order_and_end_with_completion() {
    let local = TestEngine::shared().await;
    let done = local
        .run("echo out", json!({"stdin": {"value": "in"}}))
        .await;
    assert_eq!(
        done.kinds(),
        [
            "init",
            "spawn",
            "stdin",
            "stdout",
            "exit",
            "shutdown",
            "completion"
        ]
    );
    let ids: Vec<u64> = done
        .events
        .iter()
        .map(|event| event["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    for event in &done.events {
        let system = matches!(
            event["type"].as_str().unwrap(),
            "init" | "shutdown" | "completion"
        );
        assert_eq!(event["spid"], u64::from(!system), "{event}");
    }
}

#[tokio::test]
async fn resuming_neither_loses_nor_repeats_events() {
    let local = TestEngine::shared().await;
    let done = local
        .run(
            "for i in 1 2 3 4 5; do echo $i; done; echo e >&2",
            json!({}),
        )
        .await;
    let all = local.events(&done.operation, "follow=0", None).await;
    assert_eq!(all, done.events);
    for last_id in 0..all.len() as u64 {
        let rest = local
            .events(&done.operation, "follow=1", Some(last_id))
            .await;
        assert_eq!(rest, all[last_id as usize..], "after {last_id}");
        assert_eq!(
            local
                .events(&done.operation, &format!("since={last_id}"), None)
                .await,
            rest
        );
    }
    let main = local.events(&done.operation, "spid=1", None).await;
    assert!(main.iter().all(|event| event["spid"] == 1) && !main.is_empty());
}

#[tokio::test]
async fn without_follow_the_stream_of_a_running_operation_ends_at_the_last_event() {
    let local = TestEngine::shared().await;
    let operation = local.spawn("echo begun; sleep 600", json!({})).await;
    loop {
        let events = local.events(&operation, "follow=0", None).await;
        assert!(events.iter().all(|event| event["type"] != "completion"));
        if events.iter().any(|event| event["type"] == "stdout") {
            break;
        }
    }
    assert_eq!(
        local
            .delete(&format!("/operations/{operation}"))
            .await
            .status,
        202
    );
    assert_eq!(local.done(&operation).await.status, "CANCELLED");
}

#[tokio::test]
async fn invalid_requests_for_events_are_refused() {
    let local = TestEngine::shared().await;
    let unknown = "00000000-0000-4000-8000-000000000000";
    assert_eq!(
        local
            .get(&format!("/operations/{unknown}/events"))
            .await
            .status,
        404
    );
    let done = local.run("true", json!({})).await;
    assert_eq!(
        local
            .get(&format!("/operations/{}/events?follow=7", done.operation))
            .await
            .status,
        400
    );
    assert_eq!(
        local
            .get(&format!("/operations/{}/events?since=x", done.operation))
            .await
            .status,
        400
    );
}
