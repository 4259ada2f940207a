//! Waits for operations, and the progress of calls that wait.

use std::time::Duration;

use serde_json::json;

use super::session::Session;
use crate::support::stub::RESULT;

#[test]
fn a_wait_that_times_out_cancels_nothing() {
    let mut session = Session::new();
    let sleeping = session.sleeping();
    let done = session.raw.call_ok(
        "run",
        json!({"image": "tag:base", "command": "done", "wait": false}),
    )["operation_id"]
        .clone();
    let waited = session.raw.call_ok(
        "wait_operations",
        json!({"operation_ids": [sleeping, done, RESULT, "x"], "timeout": 3}),
    );
    assert_eq!(
        (
            &waited["timed_out"],
            &waited["pending"],
            &waited["completed"]
        ),
        (&json!(true), &json!([sleeping]), &json!([done])),
        "{waited}"
    );
    assert_eq!(waited["cancelled"], json!([]));
    assert_eq!(waited["errors"].as_object().unwrap().len(), 2, "{waited}");
    session.wait_for(&[("EXECUTING", 1), ("SUCCESS", 1)]);
}

#[test]
fn waiting_is_bounded() {
    let mut session = Session::new();
    let done = session.raw.call_ok(
        "run",
        json!({"image": "tag:base", "command": "done", "wait": false}),
    )["operation_id"]
        .as_str()
        .unwrap()
        .to_owned();
    // One operation, given three times in different spellings, with a timeout beyond any clock.
    let ids = [done.clone(), format!(" {done}"), done.to_uppercase()];
    let waited = session.raw.call_ok(
        "wait_operations",
        json!({"operation_ids": ids, "timeout": 1e19}),
    );
    assert_eq!(waited["completed"], json!([done]), "{waited}");
    // The proposed next call has the same mode.
    let sleeping = session.sleeping();
    let waited = session.raw.call_ok(
        "wait_operations",
        json!({"operation_ids": [sleeping], "mode": "any", "timeout": 0}),
    );
    assert!(
        waited["next"].as_str().unwrap().contains(r#"mode="any""#),
        "{waited}"
    );
    let many: Vec<String> = (0..257)
        .map(|n| uuid::Uuid::from_u128(n).to_string())
        .collect();
    let error = session
        .raw
        .call_error("wait_operations", json!({"operation_ids": many}));
    assert!(error.contains("256"), "{error}");
}

#[test]
fn a_service_without_events_is_asked_for_the_status() {
    let mut session = Session::new();
    session.stub.without_events();
    let ended = session
        .raw
        .call_ok("run", json!({"image": "tag:base", "command": "exit 7"}));
    assert_eq!(
        (&ended["exit_code"], &ended["stdout"], &ended["status"]),
        (&json!(7), &json!("exit 7\n"), &json!("SUCCESS")),
        "{ended}"
    );
    let failed = session
        .raw
        .call_error("run", json!({"image": "tag:base", "command": "fail"}));
    assert!(failed.contains("the init process broke"), "{failed}");
    let imported = session.raw.call_ok(
        "import_image",
        json!({"registry_url": "docker://alpine", "i_accept_that_anonymous_access_might_be_rate_limited": true}),
    );
    assert_eq!(imported["status"], "SUCCESS", "{imported}");
    // A run that goes on is polled until it ends.
    let id = session.raw.send(
        "tools/call",
        json!({"name": "run", "arguments": {"image": "tag:base", "command": "sleep"}}),
    );
    while !session.stub.statuses().contains_key("EXECUTING") {
        std::thread::sleep(Duration::from_millis(5));
    }
    session.stub.cancel_all();
    let answer = session.raw.answer(id);
    assert_eq!(
        answer["result"]["structuredContent"]["status"], "CANCELLED",
        "{answer}"
    );
}

#[test]
fn progress_shows_the_newest_line() {
    let mut session = Session::new();
    let id = session.raw.send(
        "tools/call",
        json!({"name": "run", "arguments": {"image": "tag:base", "command": "sleep"}, "_meta": {"progressToken": "mine"}}),
    );
    let mut last = (0.0, String::new());
    for _ in 0..3 {
        let message = session
            .raw
            .message(Duration::from_secs(20))
            .expect("progress");
        assert_eq!(
            (&message["method"], &message["params"]["progressToken"]),
            (&json!("notifications/progress"), &json!("mine"))
        );
        let line = message["params"]["message"].as_str().unwrap().to_owned();
        let progress = message["params"]["progress"].as_f64().unwrap();
        assert!(
            line.starts_with("line ") && line != last.1 && progress > last.0,
            "{message} after {last:?}"
        );
        last = (progress, line);
    }
    session
        .raw
        .notify("notifications/cancelled", json!({"requestId": id}));
    session.wait_for(&[("CANCELLED", 1)]);
}
