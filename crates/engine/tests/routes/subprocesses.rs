//! Tests of subprocesses, their input and their signals.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Answer, TestEngine, bytes};

/// Waits for the end of a process, and returns its state and output.
async fn ended(local: &TestEngine, operation: &str, spid: u64) -> Value {
    loop {
        let answer = process(local, operation, spid).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let state = &answer.json["state"];
        if state["exit_code"] != -1 || state["signal"] != -1 {
            return answer.json;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn process(local: &TestEngine, operation: &str, spid: u64) -> Answer {
    local
        .get(&format!("/operations/{operation}/subprocesses/{spid}"))
        .await
}

async fn start(local: &TestEngine, operation: &str, body: Value) -> u64 {
    let answer = local
        .post(&format!("/operations/{operation}/subprocesses"), &body)
        .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let spid = answer.json["spid"].as_u64().unwrap();
    assert_eq!(
        answer.location.unwrap(),
        format!("/v1/operations/{operation}/subprocesses/{spid}")
    );
    spid
}

async fn write(local: &TestEngine, operation: &str, spid: u64, body: Value) -> u16 {
    let path = format!("/operations/{operation}/subprocesses/{spid}/stdin");
    local.post(&path, &body).await.status
}

async fn signal(local: &TestEngine, operation: &str, spid: u64, query: &str) -> u16 {
    local
        .delete(&format!(
            "/operations/{operation}/subprocesses/{spid}{query}"
        ))
        .await
        .status
}

fn output(result: &Value, name: &str) -> String {
    String::from_utf8(bytes(&result[name])).unwrap()
}

#[tokio::test]
async fn a_subprocess_shares_the_sandbox_of_the_main_process() {
    let local = TestEngine::shared().await;
    let operation = local
        .spawn("echo seen >/file; sleep 600", json!({"env": {"MAIN": "1"}}))
        .await;
    let spid = start(
        &local,
        &operation,
        json!({
            "command": "until [ -s /file ]; do :; done; cat /file; echo $OWN$MAIN; pwd; id -u; cat >&2; exit 3", "shell": true,
            "env": {"OWN": "x"}, "cwd": "/tmp", "stdin": {"value": "typed"},
        }),
    )
    .await;
    assert_eq!(spid, 2);
    let result = ended(&local, &operation, spid).await;
    assert_eq!(output(&result, "stdout"), "seen\nx\n/tmp\n0\n");
    assert_eq!(output(&result, "stderr"), "typed");
    assert_eq!(result["state"]["exit_code"], 3);
    assert_eq!(result["state"]["timed_out"], false);
    assert!(
        result["resources"]["max_rss"].as_u64().unwrap() > 0,
        "{result}"
    );
    // The main process still runs, and its result is read in the same way.
    let main = process(&local, &operation, 1).await.json;
    assert_eq!(main["state"]["exit_code"], -1);
    let next = start(&local, &operation, json!({"command": "true"})).await;
    assert_eq!(next, 3);
    let events = local.events(&operation, "spid=2", None).await;
    let mut kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("spawn", "exit"));
    kinds.retain(|kind| *kind == "stdin");
    assert_eq!(kinds.len(), 1);
    ended(&local, &operation, 3).await;
    assert_eq!(
        local
            .delete(&format!("/operations/{operation}"))
            .await
            .status,
        202
    );
    let done = local.done(&operation).await;
    assert_eq!(done.status, "CANCELLED");
    // Their results stay available.
    assert_eq!(ended(&local, &operation, 2).await["state"]["exit_code"], 3);
}

#[tokio::test]
async fn input_arrives_in_order_until_it_is_closed() {
    let local = TestEngine::shared().await;
    let operation = local
        .spawn(
            "cat; echo end",
            json!({"stdin": {"value": "one\n", "close": false}}),
        )
        .await;
    let two = STANDARD.encode("two\u{0}\n");
    assert_eq!(
        write(
            &local,
            &operation,
            1,
            json!({"value": two, "encoding": "base64", "close": false})
        )
        .await,
        204
    );
    let sub = start(
        &local,
        &operation,
        json!({"command": "cat", "stdin": {"value": "", "close": false}}),
    )
    .await;
    // More input than the pipe and the engine's queue hold. The rest waits, and all of it arrives.
    let big = "x".repeat(3_000_000);
    for _ in 0..2 {
        assert_eq!(
            write(
                &local,
                &operation,
                sub,
                json!({"value": big, "close": false})
            )
            .await,
            204
        );
    }
    assert_eq!(
        write(&local, &operation, sub, json!({"value": ""})).await,
        204
    );
    assert_eq!(
        ended(&local, &operation, sub).await["state"]["exit_code"],
        0
    );
    let events = local.events(&operation, &format!("spid={sub}"), None).await;
    let dropped = |stream: &str| -> u64 {
        let find = |e: &&Value| e["type"] == "truncated" && e["data"]["stream"] == stream;
        events.iter().find(find).unwrap()["data"]["bytes_dropped"]
            .as_u64()
            .unwrap()
    };
    let cap = 1024 * 1024;
    assert_eq!(
        (dropped("stdin"), dropped("stdout")),
        (6_000_000 - cap, 6_000_000 - cap)
    );
    assert_eq!(
        write(&local, &operation, sub, json!({"value": "late"})).await,
        404
    );
    let closed = start(
        &local,
        &operation,
        json!({"command": "sleep", "args": ["600"]}),
    )
    .await;
    assert_eq!(
        write(&local, &operation, closed, json!({"value": "x"})).await,
        409
    );
    assert_eq!(
        write(
            &local,
            &operation,
            1,
            json!({"value": "not base64", "encoding": "base64"})
        )
        .await,
        400
    );
    assert_eq!(
        write(
            &local,
            &operation,
            1,
            json!({"value": "x", "encoding": "morse"})
        )
        .await,
        400
    );
    assert_eq!(
        write(&local, &operation, 1, json!({"value": "three\n"})).await,
        204
    );
    let done = local.done(&operation).await;
    let main: Vec<u8> = done
        .events
        .iter()
        .filter(|e| e["type"] == "stdout" && e["spid"] == 1)
        .flat_map(|e| bytes(&e["data"]))
        .collect();
    assert_eq!(main, b"one\ntwo\0\nthree\nend\n");
    assert_eq!(
        write(&local, &operation, 1, json!({"value": "x"})).await,
        410
    );
    // The end of the sandbox has ended the remaining processes, and it is recorded.
    assert_eq!(
        ended(&local, &operation, closed).await["state"]["signal"],
        9
    );
    let last = done
        .events
        .iter()
        .rposition(|e| e["type"] == "exit")
        .unwrap();
    let shutdown = done
        .events
        .iter()
        .position(|e| e["type"] == "shutdown")
        .unwrap();
    assert!(last < shutdown, "{:?}", done.events);
}

#[tokio::test]
async fn signals_reach_the_process_group() {
    let local = TestEngine::shared().await;
    let operation = local.spawn("sleep 600", json!({})).await;
    for (query, number) in [
        ("", 9),
        ("?signal=SIGTERM", 15),
        ("?signal=int", 2),
        ("?signal=10", 10),
    ] {
        // The process and its child: the whole group gets the signal.
        let sub = start(
            &local,
            &operation,
            json!({"command": "sleep 600 & echo up; wait", "shell": true}),
        )
        .await;
        while output(&process(&local, &operation, sub).await.json, "stdout").is_empty() {}
        assert_eq!(signal(&local, &operation, sub, query).await, 204, "{query}");
        let result = ended(&local, &operation, sub).await;
        assert_eq!(result["state"]["signal"], number, "{query}");
        assert_eq!(result["state"]["exit_code"], -1);
        assert_eq!(signal(&local, &operation, sub, "").await, 404);
    }
    for bad in ["NOPE", "0", "65", "SIG", "-1"] {
        assert_eq!(
            signal(&local, &operation, 1, &format!("?signal={bad}")).await,
            400,
            "{bad}"
        );
    }
    assert_eq!(signal(&local, &operation, 7777, "").await, 404);
    assert_eq!(signal(&local, &operation, 1, "?signal=TERM").await, 204);
    let done = local.done(&operation).await;
    assert_eq!((done.status.as_str(), done.signal), ("SUCCESS", 15));
    assert_eq!(signal(&local, &operation, 1, "").await, 409);
}

#[tokio::test]
async fn no_process_is_started_in_a_cancelled_operation() {
    let local = TestEngine::new().await;
    for _ in 0..10 {
        let operation = local.spawn("sleep 600", json!({})).await;
        let command = json!({"command": "true"});
        start(&local, &operation, command.clone()).await;
        let path = format!("/operations/{operation}");
        assert_eq!(local.delete(&path).await.status, 202);
        let refused = local.post(&format!("{path}/subprocesses"), &command).await;
        assert_eq!(refused.status, 409, "{refused:?}");
    }
}

#[tokio::test]
async fn invalid_requests_for_subprocesses_are_refused() {
    let local = TestEngine::shared().await;
    let operation = local.spawn("sleep 600", json!({})).await;
    let path = format!("/operations/{operation}/subprocesses");
    for (body, word) in [
        (json!({}), "command"),
        (json!({"command": ""}), "command"),
        (
            json!({"command": "x", "shell": true, "args": ["y"]}),
            "args",
        ),
        (json!({"command": "/no/such/program"}), "/no/such/program"),
        (
            json!({"command": "true", "cwd": "/no/such/place"}),
            "directory",
        ),
        (json!({"command": "true", "cwd": "relative"}), "cwd"),
        (json!({"command": "true", "uid": 4_000_000_000_u32}), "id"),
        (
            json!({"command": "true", "stdin": {"value": "!", "encoding": "base64"}}),
            "base64",
        ),
    ] {
        let answer = local.post(&path, &body).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        assert_eq!(answer.json["status"], 400);
        assert!(
            answer.json["error"].as_str().unwrap().contains(word),
            "{answer:?}"
        );
    }
    // A process that could not be started does not exist.
    for (spid, status) in [("2", 404), ("0", 400), ("x", 400), ("-1", 400)] {
        assert_eq!(
            local.get(&format!("{path}/{spid}")).await.status,
            status,
            "{spid}"
        );
    }
    let unknown = "00000000-0000-4000-8000-000000000000";
    for answer in [
        local
            .get(&format!("/operations/{unknown}/subprocesses/1"))
            .await,
        local
            .delete(&format!("/operations/{unknown}/subprocesses/1"))
            .await,
        local
            .post(
                &format!("/operations/{unknown}/subprocesses"),
                &json!({"command": "true"}),
            )
            .await,
        local
            .post(
                &format!("/operations/{unknown}/subprocesses/1/stdin"),
                &json!({"value": ""}),
            )
            .await,
    ] {
        assert_eq!(
            (answer.status, &answer.json["status"]),
            (404, &json!(404)),
            "{answer:?}"
        );
    }
    local.delete(&format!("/operations/{operation}")).await;
    local.done(&operation).await;
    let late = local.post(&path, &json!({"command": "true"})).await;
    assert_eq!(
        (late.status, &late.json["status"]),
        (409, &json!(409)),
        "{late:?}"
    );
}

#[tokio::test]
async fn the_number_of_subprocesses_is_limited() {
    let local = TestEngine::new().await;
    let operation = local.spawn("sleep 600", json!({})).await;
    let path = format!("/operations/{operation}/subprocesses");
    let most = local.get("/whoami").await.json["limits"]["instance_max_subprocesses"]
        .as_u64()
        .unwrap();
    for _ in 0..most {
        start(
            &local,
            &operation,
            json!({"command": "sleep", "args": ["600"]}),
        )
        .await;
    }
    let more = local.post(&path, &json!({"command": "true"})).await;
    assert_eq!(more.status, 429, "{more:?}");
    assert_eq!(more.retry_after.as_deref(), Some("1"));
    assert_eq!(signal(&local, &operation, 2, "").await, 204);
    ended(&local, &operation, 2).await;
    start(&local, &operation, json!({"command": "true"})).await;
    local.delete(&format!("/operations/{operation}")).await;
    let done = local.done(&operation).await;
    let exits = done.events.iter().filter(|e| e["type"] == "exit").count() as u64;
    // The end of every process is recorded, including the main process.
    assert_eq!(exits, most + 2);
}

#[tokio::test]
async fn another_engine_of_the_store_uses_the_sandbox() {
    let local = TestEngine::new().await;
    let other = local.other_engine().await;
    let operation = local
        .spawn("cat", json!({"stdin": {"value": "", "close": false}}))
        .await;
    let path = format!("/operations/{operation}/subprocesses");
    let answer = other
        .post(&path, &json!({"command": "sleep", "args": ["600"]}))
        .await;
    assert_eq!(
        (answer.status, &answer.json),
        (201, &json!({"spid": 2})),
        "{answer:?}"
    );
    assert_eq!(answer.location.unwrap(), format!("/v1{path}/2"));
    assert_eq!(
        other.delete(&format!("{path}/2?signal=TERM")).await.status,
        204
    );
    assert_eq!(ended(&local, &operation, 2).await["state"]["signal"], 15);
    assert_eq!(
        other.get(&format!("{path}/2")).await.json["state"]["signal"],
        15
    );
    let refused = other.delete(&format!("{path}/2")).await;
    assert_eq!(
        (refused.status, &refused.json["status"]),
        (404, &json!(404)),
        "{refused:?}"
    );
    let written = other
        .post(&format!("{path}/1/stdin"), &json!({"value": "from afar\n"}))
        .await;
    assert_eq!(written.status, 204, "{written:?}");
    assert_eq!(local.done(&operation).await.stdout, "from afar\n");
    assert_eq!(
        other
            .post(&format!("{path}/1/stdin"), &json!({"value": ""}))
            .await
            .status,
        410
    );
}
