//! The MCP server over pipes: edge cases of the protocol, ends of sessions, and a whole session on
//! the embedded engine.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::raw::RawClient;
use crate::support::{Home, signal};
use serde_json::{Value, json};

/// All protocol versions with a handshake.
const VERSIONS: &[&str] = &["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

fn local(home: &Home) -> RawClient {
    RawClient::initialized(home.command(), "2025-11-25")
}

mod handshake;

mod wire;

mod ending;

mod cancelling;

/// A whole session of an agent: run, look, branch, wait, upload, cancel, tag.
fn whole_session(mut raw: RawClient, home: &Home) {
    let tools = raw.request("tools/list", json!({}));
    let names: Vec<&str> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    for name in [
        "run",
        "upload",
        "download",
        "list_files",
        "read_file",
        "set_tag",
        "wait_operations",
        "whoami",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let whoami = raw.call_ok("whoami", json!({}));
    assert_eq!(whoami["backend"], "local", "{whoami}");
    // The network of sandboxes depends on the machine, but a note always describes it.
    let notes = whoami["notes"].to_string();
    assert!(
        ["by name and by TCP", "HTTP and HTTPS", "no network"]
            .iter()
            .any(|words| notes.contains(words)),
        "{whoami}"
    );

    let first = raw.call_ok(
        "run",
        json!({"image": "tag:host", "command": "mkdir /work && printf 'one\\n' > /work/note && echo made", "disposable": false}),
    );
    assert_eq!(
        (&first["exit_code"], &first["stdout"]),
        (&json!(0), &json!("made\n")),
        "{first}"
    );
    let (parent, child) = (
        first["image_uuid"].clone(),
        first["result_image_uuid"].clone(),
    );
    assert!(child.is_string() && parent != child, "{first}");

    let files = raw.call_ok("list_files", json!({"image": child, "path": "/work"}));
    assert_eq!(
        (&files["count"], &files["files"][0]["path"]),
        (&json!(1), &json!("/work/note")),
        "{files}"
    );
    let read = raw.call_ok("read_file", json!({"image": child, "path": "/work/note"}));
    assert_eq!(
        (&read["content"], &read["bytes_size"], &read["encoding"]),
        (&json!("one\n"), &json!(4), &json!("utf-8")),
        "{read}"
    );
    let saved = home.path().join("saved");
    let download = raw.call_ok(
        "download",
        json!({"image": child, "path": "/work/note", "destination": saved, "executable": true}),
    );
    assert_eq!(download["size"], 4, "{download}");
    assert_eq!(std::fs::read_to_string(&saved).unwrap(), "one\n");
    let mode = std::os::unix::fs::PermissionsExt::mode(&saved.metadata().unwrap().permissions());
    assert_eq!(mode & 0o111, 0o111);

    let other = raw.call_ok(
        "run",
        json!({"image": parent, "command": "ls /work; echo two > /two", "disposable": false}),
    );
    assert!(
        other["stderr"].as_str().unwrap().contains("/work"),
        "the second branch sees the first's file: {other}"
    );
    assert_ne!(other["result_image_uuid"], child);

    let failing = raw.call_ok(
        "run",
        json!({"image": parent, "command": "echo oops >&2; exit 7"}),
    );
    assert_eq!(
        (&failing["exit_code"], &failing["stderr"]),
        (&json!(7), &json!("oops\n")),
        "{failing}"
    );
    let late = raw.call_ok(
        "run",
        json!({"image": parent, "command": "sleep 20", "timeout": 1}),
    );
    assert_eq!(late["timed_out"], true, "{late}");

    let a = raw.call_ok(
        "run",
        json!({"image": parent, "command": "echo a", "wait": false}),
    )["operation_id"]
        .clone();
    let b = raw.call_ok(
        "run",
        json!({"image": parent, "command": "echo b", "wait": false}),
    )["operation_id"]
        .clone();
    let waited = raw.call_ok(
        "wait_operations",
        json!({"operation_ids": [a, b, "nonsense"], "timeout": 30}),
    );
    assert_eq!(
        waited["results"][a.as_str().unwrap()]["stdout"],
        "a\n",
        "{waited}"
    );
    assert_eq!(
        waited["results"][b.as_str().unwrap()]["exit_code"],
        0,
        "{waited}"
    );
    assert!(waited["errors"]["nonsense"].is_string(), "{waited}");

    let slow = raw.call_ok(
        "run",
        json!({"image": parent, "command": "sleep 40", "wait": false, "timeout": 60}),
    )["operation_id"]
        .clone();
    let quick = raw.call_ok(
        "run",
        json!({"image": parent, "command": "true", "wait": false}),
    )["operation_id"]
        .clone();
    let partly = raw.call_ok(
        "wait_operations",
        json!({"operation_ids": [slow], "timeout": 0.2}),
    );
    assert_eq!(
        (&partly["timed_out"], &partly["pending"]),
        (&json!(true), &json!([slow])),
        "{partly}"
    );
    let any = raw.call_ok(
        "wait_operations",
        json!({"operation_ids": [slow, quick], "mode": "any"}),
    );
    assert_eq!(
        (&any["completed"], &any["cancelled"]),
        (&json!([quick]), &json!([slow])),
        "{any}"
    );

    let upload = raw.call_ok("upload", json!({"content": "print('from a file')\n"}));
    let placed = raw.call_ok("run", json!({"image": "tag:host", "command": "cat /opt/deep/script.py", "files": {"/opt/deep/script.py": upload["uuid"]}}));
    assert_eq!(placed["stdout"], "print('from a file')\n", "{placed}");
    let stdin = raw.call_ok(
        "run",
        json!({"image": "tag:host", "command": "cat; echo $X", "stdin": "in ä", "env": {"X": "y"}}),
    );
    assert_eq!(stdin["stdout"], "in äy\n", "{stdin}");

    let running = raw.call_ok(
        "run",
        json!({"image": parent, "command": "sleep 40", "wait": false, "timeout": 60}),
    )["operation_id"]
        .clone();
    assert_eq!(
        raw.call_ok("cancel_operation", json!({"operation_id": running}))["cancelled"],
        true
    );
    raw.call_ok("wait_operations", json!({"operation_ids": [running]}));
    assert_eq!(
        raw.call_ok("cancel_operation", json!({"operation_id": running}))["cancelled"],
        false
    );
    assert_eq!(
        raw.call_ok("get_operation", json!({"operation_id": running}))["status"],
        "CANCELLED"
    );

    let tagged = raw.call_ok(
        "set_tag",
        json!({"image_uuid": child, "tag": "common/note/host"}),
    );
    assert_eq!(tagged["tag"], "common/note/host", "{tagged}");
    let by_tag = raw.call_ok(
        "run",
        json!({"image": "tag:common/note/host", "command": "cat /work/note"}),
    );
    assert_eq!(by_tag["stdout"], "one\n", "{by_tag}");
    assert_eq!(
        raw.call_ok("get_image", json!({"image": "tag:common/note/host"}))["uuid"],
        child
    );
    let images = raw.call_ok("list_images", json!({"tag_prefix": "common/"}));
    assert_eq!(images["images"].as_array().unwrap().len(), 1, "{images}");
    // Some clients fill every parameter in.
    let filled = json!({"tag_prefix": "common/", "since": 0, "until": 0, "limit": 0, "offset": 0});
    assert_eq!(raw.call_ok("list_images", filled), images);
    // The backend matches whole parts of tags; the tool filters by the exact prefix.
    for prefix in ["com/", "/", "common/note:"] {
        let images = raw.call_ok("list_images", json!({"tag_prefix": prefix}));
        assert_eq!(images["images"], json!([]), "{prefix}");
    }
    raw.call_ok("set_tag", json!({"image_uuid": child}));
    let text = raw.call_error("get_image", json!({"image": "tag:common/note/host"}));
    assert!(text.contains("no image has the tag"), "{text}");

    for (tool, arguments) in [
        ("run", json!({"image": "host", "command": "true"})),
        ("run", json!({"image": "tag:missing", "command": "true"})),
        ("read_file", json!({"image": child, "path": "/nowhere"})),
        ("get_operation", json!({"operation_id": child})),
        (
            "run",
            json!({"image": parent, "command": "head -c 1M /dev/zero > /x", "max_layer_bytes": 1000}),
        ),
        ("upload", json!({})),
        ("upload", json!({"path": "relative"})),
    ] {
        let text = raw.call_error(tool, arguments.clone());
        assert!(text.len() > 20, "{tool} {arguments}: {text}");
    }
    raw.close_input();
    assert!(raw.exit(Duration::from_secs(10)).success());
}

#[test]
fn a_whole_session_with_a_handshake() {
    let home = Home::new();
    whole_session(local(&home), &home);
}

#[test]
fn a_whole_session_of_2026() {
    let home = Home::new();
    whole_session(RawClient::modern(home.command()), &home);
}

#[test]
fn a_small_answer_is_short() {
    let home = Home::new();
    let mut raw = local(&home);
    let result = raw.call("run", json!({"image": "tag:host", "command": "echo hi"}));
    let structured = result["structuredContent"].to_string();
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(
        structured.len() <= 300,
        "{} bytes: {structured}",
        structured.len()
    );
    assert!(text.len() <= 300, "{} bytes: {text}", text.len());
    assert!(
        text.contains("hi\n") && text.contains("exit code 0"),
        "{text}"
    );
    assert_eq!(result["structuredContent"]["stdout"], "hi\n");
}

#[test]
fn an_error_has_its_code_and_no_content_that_the_schema_forbids() {
    let home = Home::new();
    let mut raw = local(&home);
    let result = raw.call("run", json!({"image": "tag:none", "command": "true"}));
    assert_eq!(result["isError"], true, "{result}");
    assert_eq!(result["_meta"]["dev.contree/code"], "image-not-found");
    // Clients compare it with the output schema, also in errors.
    assert_eq!(result.get("structuredContent"), None, "{result}");
}

#[test]
fn output_is_cut_once_and_both_renderings_report_it() {
    let home = Home::new();
    let mut raw = local(&home);
    let result = raw.call("run", json!({"image": "tag:host", "command": "head -c 20000 /dev/zero | tr '\\0' x; printf '\\377' >&2"}));
    let structured = &result["structuredContent"];
    let stdout = structured["stdout"].as_str().unwrap();
    assert!((7990..=8000).contains(&stdout.len()), "{}", stdout.len());
    assert_eq!(
        (
            &structured["truncated"],
            &structured["stdout_bytes"],
            &structured["lossy"]
        ),
        (&json!(true), &json!(20000), &json!(true)),
        "{}",
        structured["stdout_bytes"]
    );
    assert!(
        structured["next"]
            .as_str()
            .unwrap()
            .contains("truncate_output_at=")
    );
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("stdout has 20000 bytes") && text.contains("truncate_output_at="));
}

/// Without a progress message, the last kept line would look like the newest one.
#[test]
fn progress_says_when_output_is_no_longer_kept() {
    let home = Home::new();
    let mut raw = local(&home);
    let command = "head -c 11000000 /dev/zero | tr '\\0' x; until [ -e /stop ]; do sleep 0.1; done";
    let id = raw.send(
        "tools/call",
        json!({"name": "run", "arguments": {"image": "tag:host", "command": command, "timeout": 60},
               "_meta": {"progressToken": "p"}}),
    );
    let message_text = std::iter::from_fn(|| raw.message(crate::support::raw::ANSWER_TIMEOUT))
        .map(|message| {
            message["params"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .find(|text| text.contains("still running"))
        .expect("a progress message about the cut");
    assert!(
        message_text.ends_with("only the first 10485760 bytes of stdout are kept"),
        "{message_text}"
    );
    raw.notify("notifications/cancelled", json!({"requestId": id}));
    raw.close_input();
    assert!(raw.exit(crate::support::raw::ANSWER_TIMEOUT).success());
}

/// The server with rmcp's own client.
#[tokio::test]
async fn the_rmcp_client_works() {
    use rmcp::ServiceExt;
    use rmcp::model::CallToolRequestParams;
    use rmcp::transport::TokioChildProcess;

    let home = Home::new();
    let client =
        ().serve(TokioChildProcess::new(tokio::process::Command::from(home.command())).unwrap())
            .await
            .unwrap();
    assert!(client.list_all_tools().await.unwrap().len() >= 13);
    let arguments = json!({"image": "tag:host", "command": "echo $((6*7)); exit 3"});
    let Value::Object(arguments) = arguments else {
        unreachable!()
    };
    let result = client
        .call_tool(CallToolRequestParams::new("run").with_arguments(arguments))
        .await
        .unwrap();
    let structured = result.structured_content.unwrap();
    assert_eq!(
        (&structured["stdout"], &structured["exit_code"]),
        (&json!("42\n"), &json!(3)),
        "{structured}"
    );
    client.cancel().await.unwrap();
}
