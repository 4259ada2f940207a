//! Running sandboxes, over MCP with the embedded engine: further processes, talking to them, live
//! output, snapshots, limits and the network of one run.

use std::time::{Duration, Instant};

use crate::support::Home;
use crate::support::raw::RawClient;
use serde_json::{Value, json};

fn local(home: &Home) -> RawClient {
    RawClient::initialized(home.command(), "2025-11-25")
}

/// Starts a command that a call does not wait for. Returns its operation.
fn start(raw: &mut RawClient, mut arguments: Value) -> Value {
    let fields = arguments.as_object_mut().unwrap();
    fields.insert("image".into(), json!("tag:host"));
    fields.insert("wait".into(), json!(false));
    fields.entry("timeout").or_insert(json!(600));
    raw.call_ok("run", arguments)["operation_id"].clone()
}

fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer[field].as_str().unwrap_or_default()
}

#[test]
fn a_server_is_started_used_read_and_stopped() {
    let home = Home::new();
    let mut raw = local(&home);
    let server =
        "mkdir /www; echo hello > /www/index.html; cd /www; exec python3 -u -m http.server 8000";
    let id = start(&mut raw, json!({"command": server}));
    let up = raw.call_ok(
        "interact",
        json!({"operation_id": id, "until": "Serving HTTP", "wait_seconds": 60}),
    );
    assert_eq!(up["found"], true, "{up}");
    assert_eq!(up["running"], true, "{up}");
    let client = "import urllib.request as r; print(r.build_opener(r.ProxyHandler({})).open('http://127.0.0.1:8000/').read())";
    let fetched = raw.call_ok(
        "exec",
        json!({"operation_id": id, "command": format!("python3 -c \"{client}\""), "input": "", "wait_seconds": 60}),
    );
    assert_eq!(fetched["exit_code"], 0, "{fetched}");
    assert_eq!(text(&fetched, "stdout"), "b'hello\\n'\n", "{fetched}");
    assert_eq!(fetched["process_id"], 2, "{fetched}");
    // The server's log has the request, and nothing that was shown before.
    let log = raw.call_ok("interact", json!({"operation_id": id, "until": "GET /"}));
    assert!(
        text(&log, "stderr").contains("\"GET / HTTP/1.1\" 200"),
        "{log}"
    );
    assert!(!text(&log, "stdout").contains("Serving"), "{log}");
    // Live output, and the call that waits for it.
    let so_far = raw.call_ok("get_operation", json!({"operation_id": id}));
    assert_eq!(so_far["status"], "EXECUTING", "{so_far}");
    assert!(text(&so_far, "stdout").contains("Serving HTTP"), "{so_far}");
    let tail = raw.call_ok("get_operation", json!({"operation_id": id, "tail": 5}));
    assert!(
        text(&tail, "stderr").len() <= 5 && tail["truncated"] == true,
        "{tail}"
    );
    let pending = raw.call_ok(
        "wait_operations",
        json!({"operation_ids": [id], "timeout": 0}),
    );
    let shown = &pending["running"][id.as_str().unwrap()];
    assert!(text(shown, "stderr").contains("GET /"), "{pending}");
    // The list of running operations.
    let listed = raw.call_ok("list_operations", json!({"status": "EXECUTING"}));
    let run = &listed["operations"][0];
    assert_eq!(run["client"], "left", "{listed}");
    assert_eq!(run["processes"][0]["process_id"], 1, "{listed}");
    assert!(run["memory_bytes"].as_u64().unwrap() > 0, "{listed}");
    // A snapshot has the files, and not the processes.
    let taken = raw.call_ok("snapshot", json!({"operation_id": id}));
    assert!(
        text(&taken, "note").contains("processes are not in it"),
        "{taken}"
    );
    let read = raw.call_ok(
        "read_file",
        json!({"image": taken["image_uuid"], "path": "/www/index.html"}),
    );
    assert_eq!(text(&read, "content"), "hello\n", "{read}");
    let stopped = raw.call_ok(
        "interact",
        json!({"operation_id": id, "signal": "INT", "wait_seconds": 60, "until": "/no such text/"}),
    );
    assert_eq!(stopped["running"], false, "{stopped}");
    assert!(stopped["exit_code"].is_i64(), "{stopped}");
    let ended = raw.call_ok(
        "wait_operations",
        json!({"operation_ids": [id], "timeout": 60}),
    );
    assert_eq!(ended["completed"][0], id, "{ended}");
    let left = raw.call_ok("list_operations", json!({"status": "EXECUTING"}));
    assert_eq!(left["operations"], json!([]), "{left}");
}

#[test]
fn a_repl_is_driven_through_interact() {
    let home = Home::new();
    let mut raw = local(&home);
    let id = start(&mut raw, json!({"command": "sleep 600"}));
    let repl = raw.call_ok(
        "exec",
        json!({"operation_id": id, "command": "python3 -i -q", "wait_seconds": 0}),
    );
    assert_eq!(repl["running"], true, "{repl}");
    let process = repl["process_id"].clone();
    assert!(text(&repl, "next").contains("interact("), "{repl}");
    let mut say = |arguments: Value| {
        let mut call = json!({"operation_id": id, "process_id": process, "wait_seconds": 60});
        let fields = arguments.as_object().unwrap().clone();
        call.as_object_mut().unwrap().extend(fields);
        raw.call_ok("interact", call)
    };
    let answer = say(json!({"input": "x = 6\nprint(x * 7)\n", "until": "/^42$/"}));
    assert_eq!(answer["found"], true, "{answer}");
    let again = say(json!({"input": "print(x + 1)\n", "until": "7\n"}));
    assert!(text(&again, "stdout").contains("7\n"), "{again}");
    assert!(
        !text(&again, "stdout").contains("42"),
        "only what is new: {again}"
    );
    // Without a pattern, it returns soon after the program is quiet.
    let begun = Instant::now();
    let quiet = say(json!({"input": "print('quiet')\n"}));
    assert_eq!(text(&quiet, "stdout"), "quiet\n", "{quiet}");
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "it did not wait for the whole time"
    );
    let ended = say(json!({"input": "import sys; sys.exit(3)\n", "until": "never"}));
    assert_eq!(
        (&ended["running"], &ended["exit_code"]),
        (&json!(false), &json!(3)),
        "{ended}"
    );
    let late = raw.call_error(
        "interact",
        json!({"operation_id": id, "process_id": process, "input": "1\n"}),
    );
    assert!(
        late.contains("has ended") && late.contains("without input"),
        "{late}"
    );
    raw.call_ok("cancel_operation", json!({"operation_id": id}));
}

#[test]
fn the_command_of_a_run_takes_input_if_it_was_left_open() {
    let home = Home::new();
    let mut raw = local(&home);
    let id = start(
        &mut raw,
        json!({"command": "cat", "stdin": "first\n", "stdin_open": true}),
    );
    let said = raw.call_ok(
        "interact",
        json!({"operation_id": id, "input": "second\n", "close": true, "until": "never", "wait_seconds": 60}),
    );
    assert_eq!(text(&said, "stdout"), "first\nsecond\n", "{said}");
    assert_eq!(said["exit_code"], 0, "{said}");
    let closed = start(&mut raw, json!({"command": "sleep 600"}));
    let refused = raw.call_error("interact", json!({"operation_id": closed, "input": "x"}));
    assert!(refused.contains("stdin_open=true"), "{refused}");
    let refused = raw.call_error(
        "run",
        json!({"image": "tag:host", "command": "cat", "stdin_open": true}),
    );
    assert!(refused.contains("wait=false"), "{refused}");
    let refused = raw.call_error("interact", json!({"operation_id": closed, "until": "/[/"}));
    assert!(refused.contains("regular expression"), "{refused}");
    let refused = raw.call_error(
        "interact",
        json!({"operation_id": closed, "signal": "NONE"}),
    );
    assert!(refused.contains("signal"), "{refused}");
    raw.call_ok("cancel_operation", json!({"operation_id": closed}));
    let over = raw.call_error("exec", json!({"operation_id": closed, "command": "true"}));
    // Its processes may still be ending.
    assert!(
        over.contains("has ended") || over.contains("is ending"),
        "{over}"
    );
}

#[test]
fn a_program_that_an_ended_process_left_behind_holds_no_call() {
    let home = Home::new();
    let mut raw = local(&home);
    let id = start(&mut raw, json!({"command": "sleep 600"}));
    let ended = raw.call_ok(
        "exec",
        json!({"operation_id": id, "command": "yes &", "input": "", "wait_seconds": 60}),
    );
    assert_eq!(ended["exit_code"], 0, "{ended}");
    let said = raw.call_ok(
        "interact",
        json!({"operation_id": id, "process_id": ended["process_id"], "wait_seconds": 1}),
    );
    assert_eq!(said["running"], false, "{said}");
    assert!(text(&said, "stdout").contains("y\n"), "{said}");
    raw.call_ok("cancel_operation", json!({"operation_id": id}));
}

#[test]
fn a_flood_stays_bounded_and_is_counted() {
    let home = Home::new();
    let mut raw = local(&home);
    let flood = "head -c 1000000000 /dev/zero | tr '\\0' x; echo; echo done; sleep 600";
    let id = start(&mut raw, json!({"command": flood}));
    let mut dropped = 0;
    let mut shown = 0;
    loop {
        let said = raw.call_ok(
            "interact",
            json!({"operation_id": id, "until": "done\n", "wait_seconds": 5}),
        );
        let new = text(&said, "stdout").len();
        assert!(new <= 16 * 1024, "{new}");
        shown += new as u64;
        dropped += said["dropped_bytes"].as_u64().unwrap();
        if said["found"] == true {
            assert!(text(&said, "stdout").ends_with("done\n"), "{said}");
            break;
        }
    }
    assert_eq!(shown + dropped, 1_000_000_000 + 6);
    raw.call_ok("cancel_operation", json!({"operation_id": id}));
}

#[test]
fn limits_and_network_of_one_run_reach_the_engine() {
    let home = Home::new();
    let mut raw = local(&home);
    let none = raw.call_ok(
        "run",
        json!({"image": "tag:host", "network": "none", "command": "cut -d: -f1 /proc/net/dev | tail -n +3; env | grep -ci _proxy"}),
    );
    let words: Vec<&str> = text(&none, "stdout").split_whitespace().collect();
    assert_eq!(words, ["lo", "0"], "{none}");
    let both = json!({"image": "tag:host", "command": "true", "network": "none", "allow_hosts": ["a.example"]});
    let refused = raw.call_error("run", both);
    assert!(refused.contains("exclude each other"), "{refused}");
    let denied = raw.call_ok(
        "run",
        json!({"image": "tag:host", "allow_hosts": ["a.example"], "command": "curl -sS https://other.example/ || true"}),
    );
    assert!(text(&denied, "stderr").contains("allow_hosts"), "{denied}");
    let account = raw.call_ok("whoami", json!({}));
    let hungry = "python3 -c 'x = bytearray(1 << 30)'";
    let limits = json!({"image": "tag:host", "memory_mb": 64, "processes": 64, "cpus": 1, "command": hungry});
    // A machine with control groups enforces limits. Others refuse them.
    if account["limits"]["instance_memory_bytes"].is_u64() {
        let limited = raw.call_ok("run", limits);
        assert_eq!(limited["oom_killed"], true, "{limited}");
        assert!(
            text(&limited, "stderr").contains("memory limit of 64.0 MiB"),
            "{limited}"
        );
    } else {
        let refused = raw.call("run", limits).to_string();
        assert!(refused.contains("limits-not-enforced"), "{refused}");
    }
}
