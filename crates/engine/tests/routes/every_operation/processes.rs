//! The processes, ports and terminals of running sandboxes.

use serde_json::json;

use super::api::{Api, Body, UNKNOWN};

pub(super) async fn processes(api: &mut Api) {
    let first = api.waiting().await;
    // The engine runs one command at once, and one is running.
    let body = json!({"command": "true", "shell": true, "image": "tag:host", "disposable": true});
    let second = api
        .call("spawnInstance", &[], "", Body::Json(body), 201)
        .await
        .text("/uuid")
        .to_owned();
    let pending = api
        .call("getOperationStatus", &[&second], "", Body::None, 200)
        .await;
    assert_eq!(pending.text("/status"), "PENDING");
    let command = || {
        Body::Json(
            json!({"command": "cat; exit 4", "shell": true, "stdin": {"value": "", "close": false}}),
        )
    };
    let input = |text: &str, close: bool| Body::Json(json!({"value": text, "close": close}));
    api.call(
        "getOperationEvents",
        &[&second],
        "?follow=1",
        Body::None,
        425,
    )
    .await;
    api.call("operationSubprocessCreate", &[&second], "", command(), 425)
        .await;
    api.call("operationSubprocess", &[&second, "1"], "", Body::None, 425)
        .await;
    api.call("getProcessOutput", &[&second, "1"], "", Body::None, 425)
        .await;
    api.call("snapshotOperation", &[&second], "", Body::None, 425)
        .await;
    api.call(
        "operationSubprocessKill",
        &[&second, "1"],
        "",
        Body::None,
        425,
    )
    .await;
    api.call(
        "operationSubprocessStdin",
        &[&second, "1"],
        "",
        input("", true),
        425,
    )
    .await;

    let created = api
        .call("operationSubprocessCreate", &[&first], "", command(), 201)
        .await;
    let spid = created.json["spid"].to_string();
    assert_eq!(
        created.header("location"),
        format!("/v1/operations/{first}/subprocesses/{spid}")
    );
    api.call(
        "operationSubprocessStdin",
        &[&first, &spid],
        "",
        input("fed", true),
        204,
    )
    .await;
    let ended = loop {
        let process = api
            .call("operationSubprocess", &[&first, &spid], "", Body::None, 200)
            .await;
        if process.json["state"]["exit_code"] != -1 {
            break process;
        }
    };
    assert_eq!(
        (
            &ended.json["state"]["exit_code"],
            ended.text("/stdout/value")
        ),
        (&json!(4), "fed")
    );
    api.call(
        "operationSubprocessStdin",
        &[&first, &spid],
        "",
        input("late", true),
        404,
    )
    .await;
    let sleeper = Body::Json(json!({"command": "sleep", "args": ["600"], "shell": false}));
    let created = api
        .call("operationSubprocessCreate", &[&first], "", sleeper, 201)
        .await;
    let spid = created.json["spid"].to_string();
    api.call(
        "operationSubprocessStdin",
        &[&first, &spid],
        "",
        input("late", true),
        409,
    )
    .await;
    api.call(
        "operationSubprocessKill",
        &[&first, &spid],
        "?signal=TERM",
        Body::None,
        204,
    )
    .await;
    while api
        .call("operationSubprocess", &[&first, &spid], "", Body::None, 200)
        .await
        .json["state"]["signal"]
        != 15
    {}
    for (id, body) in [
        ("operationSubprocess", None),
        ("operationSubprocessKill", None),
        ("operationSubprocessStdin", Some(json!({"value": ""}))),
    ] {
        for (parts, status) in [
            ([UNKNOWN, "1"], 404),
            ([first.as_str(), "99"], 404),
            ([first.as_str(), "x"], 400),
        ] {
            let body = body.clone().map_or(Body::None, Body::Json);
            api.call(id, &parts, "", body, status).await;
        }
    }
    api.call(
        "operationSubprocessKill",
        &[&first, "1"],
        "?signal=NONE",
        Body::None,
        400,
    )
    .await;
    api.call(
        "operationSubprocessCreate",
        &[&first],
        "",
        Body::Json(json!({})),
        400,
    )
    .await;
    api.call("operationSubprocessCreate", &[UNKNOWN], "", command(), 404)
        .await;

    let read = api
        .call(
            "getProcessOutput",
            &[&first, "1"],
            "?tail=9",
            Body::None,
            200,
        )
        .await;
    assert_eq!(read.json["running"], true);
    let wrong = "?max_bytes=0";
    api.call("getProcessOutput", &[&first, "1"], wrong, Body::None, 400)
        .await;
    api.call("getProcessOutput", &[UNKNOWN, "1"], "", Body::None, 404)
        .await;
    let taken = api
        .call("snapshotOperation", &[&first], "", Body::None, 201)
        .await;
    api.call(
        "inspectImage",
        &[taken.text("/image_uuid")],
        "",
        Body::None,
        200,
    )
    .await;
    api.call("snapshotOperation", &["no-uuid"], "", Body::None, 400)
        .await;
    api.call("snapshotOperation", &[UNKNOWN], "", Body::None, 404)
        .await;
    api.call("cancelOperation", &[&first], "", Body::None, 202)
        .await;
    let events = api.events(&first).await;
    assert_eq!(events.last().unwrap()["data"]["status"], "CANCELLED");
    api.call(
        "operationSubprocessStdin",
        &[&first, "1"],
        "",
        input("late", true),
        410,
    )
    .await;
    api.call(
        "operationSubprocessKill",
        &[&first, "1"],
        "",
        Body::None,
        409,
    )
    .await;
    api.call("operationSubprocessCreate", &[&first], "", command(), 409)
        .await;
    api.call("snapshotOperation", &[&first], "", Body::None, 409)
        .await;
    assert_eq!(
        api.events(&second).await.last().unwrap()["data"]["status"],
        "SUCCESS",
        "the waiting operation has started"
    );
}

pub(super) async fn ports_and_terminals(api: &mut Api) {
    let first = api.waiting().await;
    let body = json!({"command": "true", "image": "tag:host", "disposable": true});
    let second = api
        .call("spawnInstance", &[], "", Body::Json(body), 201)
        .await
        .text("/uuid")
        .to_owned();
    let port = |port: u64| Body::Json(json!({"port": port}));
    let size = |rows: u64| Body::Json(json!({"columns": 80, "rows": rows}));
    api.call("listPorts", &[&second], "", Body::None, 425).await;
    api.call("publishPort", &[&second], "", port(80), 425).await;
    let spid = [second.as_str(), "1"];
    api.call("getTerminalOutput", &spid, "", Body::None, 425)
        .await;
    api.call("resizeTerminal", &spid, "", size(24), 425).await;

    let published = api.call("publishPort", &[&first], "", port(80), 201).await;
    let listed = api.call("listPorts", &[&first], "", Body::None, 200).await;
    assert_eq!(listed.json["ports"], json!([published.json]));
    api.call("publishPort", &[&first], "", port(0), 400).await;
    api.call("publishPort", &[UNKNOWN], "", port(80), 404).await;
    api.call("listPorts", &["x"], "", Body::None, 400).await;
    api.call("listPorts", &[UNKNOWN], "", Body::None, 404).await;

    let on_terminal = json!({
        "command": "stty size", "shell": true, "x-terminal": {"columns": 80, "rows": 24},
        "stdin": {"value": "", "close": false},
    });
    let body = Body::Json(on_terminal);
    let created = api
        .call("operationSubprocessCreate", &[&first], "", body, 201)
        .await;
    let spid = created.json["spid"].to_string();
    let body = Body::Json(json!({
        "command": "cat", "x-terminal": {"columns": 80, "rows": 24},
        "stdin": {"value": "", "close": false},
    }));
    let created = api
        .call("operationSubprocessCreate", &[&first], "", body, 201)
        .await;
    let held = created.json["spid"].to_string();
    api.call("resizeTerminal", &[&first, &held], "", size(30), 204)
        .await;
    api.call("resizeTerminal", &[&first, &held], "", size(0), 400)
        .await;
    let input = json!({"value": "typed\n", "close": true});
    api.call(
        "operationSubprocessStdin",
        &[&first, &held],
        "",
        Body::Json(input),
        204,
    )
    .await;
    let shown = api
        .call("getTerminalOutput", &[&first, &held], "", Body::None, 200)
        .await;
    let frames = String::from_utf8(shown.body).unwrap();
    assert!(
        frames.contains("event: output") && frames.contains("event: end"),
        "{frames}"
    );
    while api
        .call("operationSubprocess", &[&first, &spid], "", Body::None, 200)
        .await
        .json["state"]["exit_code"]
        != 0
    {}
    for (parts, status) in [
        ([UNKNOWN, "1"], 404),
        ([first.as_str(), "99"], 404),
        ([first.as_str(), "0"], 400),
        // The main process has pipes.
        ([first.as_str(), "1"], 409),
    ] {
        api.call("getTerminalOutput", &parts, "", Body::None, status)
            .await;
        api.call("resizeTerminal", &parts, "", size(24), status)
            .await;
    }
    api.call("cancelOperation", &[&first], "", Body::None, 202)
        .await;
    api.events(&first).await;
    api.call("publishPort", &[&first], "", port(80), 409).await;
    api.call("listPorts", &[&first], "", Body::None, 409).await;
    api.events(&second).await;
}
