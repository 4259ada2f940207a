//! The MCP server with a Contree service as its backend: requests, answers and errors of each tool.

mod operations;
mod session;
mod tool_calls;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::support::schema::problems;
use crate::support::stub::{IMAGE, RESULT};
use axum::http::StatusCode;
use serde_json::{Value, json};

use operations::Operations;
use session::Session;
use tool_calls::use_tool;

/// Each tool has its own server and service, since some requests follow a call's answer.
#[test]
fn each_tool_calls_what_the_manifest_says() {
    let api = Operations::load();
    for tool in &contree::tools::TOOLS {
        let used: BTreeSet<String> = tool.uses.iter().map(ToString::to_string).collect();
        let mut session = Session::new();
        use_tool(tool.name, &mut session);
        assert_eq!(
            session.all_called(&api, &used),
            used,
            "`uses` of {} in tools.yaml against what it called",
            tool.name
        );
        let authorizations = session.stub.authorizations();
        assert!(
            authorizations
                .iter()
                .all(|value| value.as_deref() == Some("Bearer a-secret-token"))
        );
        assert!(!session.raw.stderr().contains("a-secret-token"));
    }
}

#[test]
fn results_match_their_schemas() {
    let mut session = Session::new();
    let listed = session.raw.request("tools/list", json!({}));
    let schemas: BTreeMap<String, Value> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| {
            (
                tool["name"].as_str().unwrap().to_owned(),
                tool["outputSchema"].clone(),
            )
        })
        .collect();
    session.stub.extend();
    let saved = session.home.path().join("saved");
    let sleeping = session.sleeping();
    let over = session.raw.call_ok(
        "run",
        json!({"image": "tag:base", "command": "hi", "wait": false}),
    )["operation_id"]
        .clone();
    let tree = session.home.path().join("tree");
    std::fs::create_dir_all(tree.join("empty")).unwrap();
    let place = session.home.path().join("place");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(tree.join("file"), "x").unwrap();
    let registry = session.registry();
    let consent = "i_accept_that_anonymous_access_might_be_rate_limited";
    let mut seen = BTreeSet::new();
    for (tool, arguments) in [
        ("rsync", json!({"source": tree, "destination": "/tree"})),
        ("grep", json!({"image": IMAGE, "pattern": "t"})),
        (
            "import_image",
            json!({"registry_url": "docker://x", "tag": "x", consent: true}),
        ),
        (
            "import_image",
            json!({"registry_url": "docker://x", "wait": false, consent: true}),
        ),
        (
            "registry_token_obtain",
            json!({"registry_url": "docker.io"}),
        ),
        (
            "registry_auth",
            json!({"registry_url": registry, "username": "u", "token": "t"}),
        ),
        ("run", json!({"image": "tag:base", "command": "hello"})),
        (
            "run",
            json!({"image": "tag:base", "command": "big", "disposable": false}),
        ),
        (
            "run",
            json!({"image": "tag:base", "command": "exit 0", "wait": false}),
        ),
        ("upload", json!({"content": ""})),
        ("upload", json!({"content_base64": "/wA="})),
        (
            "download",
            json!({"image": IMAGE, "path": "/binary", "destination": saved, "executable": true}),
        ),
        ("list_files", json!({"image": IMAGE, "path": "/"})),
        (
            "list_files",
            json!({"image": IMAGE, "path": "/", "limit": 1}),
        ),
        ("read_file", json!({"image": IMAGE, "path": "/text"})),
        ("read_file", json!({"image": IMAGE, "path": "/binary"})),
        ("read_file", json!({"image": IMAGE, "path": "/long"})),
        ("list_images", json!({})),
        ("list_images", json!({"limit": 2})),
        ("list_images", json!({"offset": 50})),
        ("get_image", json!({"image": IMAGE})),
        ("set_tag", json!({"image_uuid": IMAGE, "tag": "tag:x"})),
        ("set_tag", json!({"image_uuid": IMAGE, "tag": null})),
        ("get_operation", json!({"operation_id": sleeping})),
        ("get_operation", json!({"operation_id": over})),
        ("list_operations", json!({"limit": 5})),
        (
            "wait_operations",
            json!({"operation_ids": [sleeping], "timeout": 0}),
        ),
        (
            "wait_operations",
            json!({"operation_ids": [over, "nonsense"]}),
        ),
        (
            "wait_operations",
            json!({"operation_ids": [over, sleeping], "mode": "any"}),
        ),
        (
            "publish",
            json!({"operation_id": sleeping, "port": 80, "host_port": 40_000}),
        ),
        (
            "exec",
            json!({"operation_id": sleeping, "command": "hello"}),
        ),
        (
            "interact",
            json!({"operation_id": sleeping, "process_id": 2, "wait_seconds": 1}),
        ),
        ("snapshot", json!({"operation_id": sleeping})),
        ("cancel_operation", json!({"operation_id": sleeping})),
        ("log", json!({"image": IMAGE})),
        (
            "apply",
            json!({"image": IMAGE, "path": "/", "destination": place, "base": IMAGE, "dry_run": true}),
        ),
        ("diff", json!({"image": IMAGE, "patch": true})),
        (
            "push_image",
            json!({"image": IMAGE, "registry_url": "127.0.0.1:1/a:1"}),
        ),
        ("delete_image", json!({"image": IMAGE})),
        ("whoami", json!({})),
        ("get_guide", json!({"section": "async"})),
    ] {
        let result = session.raw.call(tool, arguments.clone());
        assert_ne!(result["isError"], true, "{tool} {arguments}: {result}");
        let structured = &result["structuredContent"];
        assert_eq!(
            problems(&schemas[tool], structured, tool),
            [""; 0],
            "{tool} {arguments}: {structured}"
        );
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(!text.is_empty());
        // The text must be enough for clients that show nothing else.
        for name in ["result_image_uuid", "operation_id", "next", "uuid"] {
            if let Some(value) = structured[name].as_str() {
                assert!(
                    text.contains(value),
                    "{tool}: the text lacks {name}: {text}"
                );
            }
        }
        seen.insert(tool);
    }
    assert_eq!(seen.len(), schemas.len(), "a tool was not called");
}

#[test]
fn partial_answers_name_the_next_call() {
    let mut session = Session::new();
    let files = session.raw.call_ok(
        "list_files",
        json!({"image": "tag:base", "path": "etc", "limit": 2}),
    );
    assert_eq!(
        (&files["count"], &files["path"]),
        (&json!(3), &json!("/etc")),
        "{files}"
    );
    assert_eq!(
        files["next"],
        r#"list_files(image="tag:base", path="/etc", offset=2, limit=2)"#
    );
    assert_eq!(
        files["files"][0],
        json!({"name": "a", "path": "/etc/a", "type": "directory", "size": 5, "mode": "0755"})
    );
    let rest = session.raw.call_ok(
        "list_files",
        json!({"image": "tag:base", "path": "/etc", "offset": 2, "limit": 2}),
    );
    assert_eq!(
        rest["files"],
        json!([{"name": "c", "path": "/etc/c", "type": "symlink", "size": 5, "mode": "0777", "target": "b"}])
    );
    assert!(rest.get("next").is_none());

    // The limit falls in the middle of a character of two bytes.
    let first = session.raw.call_ok(
        "read_file",
        json!({"image": IMAGE, "path": "/long", "limit": 65_535}),
    );
    assert_eq!(
        (
            first["bytes_size"].as_u64(),
            first["content"].as_str().unwrap().len()
        ),
        (Some(200_000), 65_534)
    );
    assert_eq!(
        first["next"],
        format!(r#"read_file(image="{IMAGE}", path="/long", offset=65534, limit=65535)"#)
    );
    let last = session.raw.call_ok(
        "read_file",
        json!({"image": IMAGE, "path": "/long", "offset": 199_998}),
    );
    assert_eq!((&last["content"], last.get("next")), (&json!("ä"), None));
    let beyond = session.raw.call_ok(
        "read_file",
        json!({"image": IMAGE, "path": "/long", "offset": 300_000}),
    );
    assert_eq!(
        (&beyond["content"], &beyond["bytes_size"]),
        (&json!(""), &json!(200_000))
    );

    let images = session.raw.call_ok(
        "list_images",
        json!({"limit": 2, "offset": 1, "tag_prefix": "base/"}),
    );
    assert_eq!(
        images["next"],
        r#"list_images(offset=3, limit=2, tag_prefix="base/")"#
    );
}

#[test]
fn failures_are_tool_errors_with_a_hint() {
    let mut session = Session::new();
    for (tool, arguments, expected) in [
        (
            "run",
            json!({"image": "tag:base", "command": "fail"}),
            "FAILED: the init process broke",
        ),
        ("run", json!({"image": "base", "command": "x"}), "tag:base"),
        (
            "run",
            json!({"image": "tag:base", "command": "x", "files": {"/a": "no uuid"}}),
            "call `upload`",
        ),
        (
            "read_file",
            json!({"image": IMAGE, "path": "/directory"}),
            "not a regular file",
        ),
        (
            "list_files",
            json!({"image": IMAGE, "path": "/nowhere"}),
            "no such path",
        ),
        (
            "get_operation",
            json!({"operation_id": RESULT}),
            "no such operation",
        ),
        (
            "cancel_operation",
            json!({"operation_id": RESULT}),
            "there is no operation",
        ),
        (
            "wait_operations",
            json!({"operation_ids": [RESULT]}),
            "no such operation",
        ),
        (
            "wait_operations",
            json!({"operation_ids": ["nonsense"]}),
            "not the UUID",
        ),
        (
            "upload",
            json!({"content": "a", "path": "/b"}),
            "exactly one",
        ),
        ("upload", json!({"path": "/no/such/file"}), "/no/such/file"),
        ("upload", json!({"content_base64": "%"}), "base64"),
        (
            "download",
            json!({"image": IMAGE, "path": "/text", "destination": "relative"}),
            "absolute",
        ),
        (
            "set_tag",
            json!({"image_uuid": RESULT, "tag": "x"}),
            "no such image",
        ),
    ] {
        let text = session.raw.call_error(tool, arguments.clone());
        assert!(text.contains(expected), "{tool} {arguments}: {text}");
    }
    session.stub.refuse_spawns(StatusCode::FORBIDDEN);
    let text = session
        .raw
        .call_error("run", json!({"image": "tag:base", "command": "x"}));
    assert!(text.contains("no more sandboxes"), "{text}");
    assert!(
        session
            .raw
            .request("tools/list", json!({}))
            .get("result")
            .is_some()
    );
}

#[test]
fn a_killed_command_has_an_exit_code_too() {
    let mut session = Session::new();
    let arguments = json!({"image": "tag:base", "command": "signal 9"});
    let ended = session.raw.call_ok("run", arguments);
    let record = session
        .raw
        .call_ok("get_operation", json!({"operation_id": ended["uuid"]}));
    for answer in [ended, record] {
        assert_eq!(
            (&answer["status"], &answer["exit_code"], &answer["signal"]),
            (&json!("SUCCESS"), &json!(-1), &json!(9)),
            "{answer}"
        );
    }
}

#[test]
fn operations_of_a_service_outlive_the_session() {
    let mut session = Session::new();
    session.sleeping();
    session.raw.close_input();
    assert!(session.raw.exit(Duration::from_secs(5)).success());
    session.wait_for(&[("EXECUTING", 1)]);
}

#[test]
fn two_hundred_calls_at_once_are_served() {
    let mut session = Session::new();
    let ids: Vec<u64> = (0..200)
        .map(|n| session.raw.send("tools/call", json!({"name": "run", "arguments": {"image": "tag:base", "command": format!("n{n}")}})))
        .collect();
    for (n, id) in ids.into_iter().enumerate() {
        let answer = session.raw.answer(id);
        assert_eq!(
            answer["result"]["structuredContent"]["stdout"],
            format!("n{n}\n"),
            "{answer}"
        );
    }
}
