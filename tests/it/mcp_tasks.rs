//! Calls that become tasks, for clients that support tasks.

use std::time::{Duration, Instant};

use crate::support::raw::RawClient;
use crate::support::stub::Stub;
use crate::support::{Home, signal};
use serde_json::{Value, json};

fn task_capability() -> Value {
    json!({"extensions": {"io.modelcontextprotocol/tasks": {}}})
}

fn modern(home: &Home) -> RawClient {
    RawClient::modern_with(home.command(), task_capability())
}

/// Starts a command that must become a task, and returns the task's id.
fn start_task(raw: &mut RawClient, arguments: Value) -> String {
    let answer = raw.request("tools/call", json!({"name": "run", "arguments": arguments}));
    let result = &answer["result"];
    assert_eq!(result["resultType"], "task", "{answer}\n{}", raw.stderr());
    assert_eq!(result["status"], "working", "{answer}");
    assert!(result["pollIntervalMs"].as_u64().unwrap() > 0, "{answer}");
    result["taskId"].as_str().unwrap().to_owned()
}

/// Polls the task until it has this status.
fn wait_for_status(raw: &mut RawClient, id: &str, status: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = raw.request("tasks/get", json!({"taskId": id}));
        if answer["result"]["status"] == status {
            return answer["result"].clone();
        }
        assert_eq!(answer["result"]["status"], "working", "{answer}");
        assert!(Instant::now() < deadline, "{answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_long_call_becomes_a_task_that_outlives_the_server() {
    let home = Home::new();
    let id = {
        let mut raw = modern(&home);
        let short = raw.call("whoami", json!({}));
        assert_eq!(short["resultType"], "complete", "{short}");
        let id = start_task(
            &mut raw,
            json!({"image": "tag:host", "command": "echo begun; sleep 10; echo done; exit 4", "disposable": false}),
        );
        // The status message is the newest line of output.
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let working = raw.request("tasks/get", json!({"taskId": id}));
            if working["result"]["statusMessage"] == "begun" {
                break;
            }
            assert!(Instant::now() < deadline, "{working}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let ended = wait_for_status(&mut raw, &id, "completed");
        let result = &ended["result"];
        assert_eq!(
            result["structuredContent"]["stdout"], "begun\ndone\n",
            "{ended}"
        );
        assert_eq!(result["structuredContent"]["exit_code"], 4, "{ended}");
        assert!(
            result["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains("exit code 4")
        );
        assert_ne!(result["isError"], true);
        raw.close_input();
        assert!(raw.exit(Duration::from_secs(30)).success());
        id
    };
    // Another server shows the task to a client with a handshake.
    let mut raw = RawClient::initialized_with(home.command(), "2025-11-25", task_capability());
    let again = raw.request("tasks/get", json!({"taskId": id}));
    let result = &again["result"]["result"];
    assert_eq!(again["result"]["status"], "completed", "{again}");
    assert_eq!(
        result["structuredContent"]["stdout"], "begun\ndone\n",
        "{again}"
    );
    assert_eq!(again["result"]["taskId"], id);
    let cancelled = raw.request("tasks/cancel", json!({"taskId": id}));
    assert!(cancelled["result"].is_object(), "{cancelled}");
    let update = raw.request("tasks/update", json!({"taskId": id, "inputResponses": {}}));
    assert!(update["result"].is_object(), "{update}");
}

#[test]
fn a_client_with_a_handshake_gets_no_task_although_it_declares_tasks() {
    let home = Home::new();
    for version in ["2025-06-18", "2025-11-25"] {
        let mut raw = RawClient::initialized_with(home.command(), version, task_capability());
        let result = raw.call(
            "run",
            json!({"image": "tag:host", "command": "sleep 2; echo waited"}),
        );
        assert_eq!(
            result["structuredContent"]["stdout"], "waited\n",
            "{version}: {result}"
        );
    }
}

#[test]
fn cancelling_a_task_ends_its_sandbox() {
    let home = Home::new();
    let mut raw = modern(&home);
    let id = start_task(
        &mut raw,
        json!({"image": "tag:host", "command": "sleep 300", "timeout": 400}),
    );
    let answer = raw.request("tasks/cancel", json!({"taskId": id}));
    assert!(answer["result"].is_object(), "{answer}");
    wait_for_status(&mut raw, &id, "cancelled");
    let listed = raw.call_ok("list_operations", json!({}));
    assert_eq!(listed["operations"][0]["status"], "CANCELLED", "{listed}");
}

#[test]
fn tasks_of_the_embedded_engine_end_with_the_server() {
    for ending in ["", "TERM"] {
        let home = Home::new();
        let mut raw = modern(&home);
        let id = start_task(
            &mut raw,
            json!({"image": "tag:host", "command": "sleep 300", "timeout": 400}),
        );
        if ending.is_empty() {
            raw.close_input();
        } else {
            signal(raw.pid(), ending);
        }
        assert!(raw.exit(Duration::from_secs(30)).success());
        let mut raw = modern(&home);
        wait_for_status(&mut raw, &id, "cancelled");
    }
}

#[test]
fn a_task_of_a_service_goes_on_without_the_server() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stub = Stub::default();
    let url = runtime.block_on(stub.start());
    let home = Home::new();
    let mut raw = RawClient::modern_with(home.command_for(&url), task_capability());
    let id = start_task(&mut raw, json!({"image": "tag:base", "command": "sleep"}));
    raw.close_input();
    assert!(raw.exit(Duration::from_secs(30)).success());
    assert_eq!(stub.statuses()["EXECUTING"], 1);
    // A read-only server can show the task but not cancel it.
    let mut command = home.command_for(&url);
    command.arg("--read-only");
    let mut read_only = RawClient::modern_with(command, task_capability());
    let answer = read_only.request("tasks/get", json!({"taskId": id}));
    assert_eq!(answer["result"]["status"], "working", "{answer}");
    let answer = read_only.request("tasks/cancel", json!({"taskId": id}));
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert_eq!(stub.statuses()["EXECUTING"], 1);
    let mut raw = RawClient::modern_with(home.command_for(&url), task_capability());
    let answer = raw.request("tasks/get", json!({"taskId": id}));
    assert_eq!(answer["result"]["status"], "working", "{answer}");
    raw.request("tasks/cancel", json!({"taskId": id}));
    wait_for_status(&mut raw, &id, "cancelled");
    // A server with another backend refuses the task.
    let answer = modern(&home).request("tasks/get", json!({"taskId": id}));
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert!(answer.to_string().contains("another backend"), "{answer}");
}

#[test]
fn unknown_tasks_are_refused_and_other_clients_get_no_tasks() {
    let home = Home::new();
    let mut raw = modern(&home);
    for id in [
        "nonsense",
        "6f9619ff-8b86-4011-842d-00c04fc964ff.000000000000",
    ] {
        for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
            let answer = raw.request(method, json!({"taskId": id, "inputResponses": {}}));
            assert_eq!(answer["error"]["code"], -32602, "{method} {id}: {answer}");
        }
    }
    let mut plain = RawClient::modern(home.command());
    let answer = plain.request("tasks/get", json!({"taskId": "x"}));
    assert_eq!(answer["error"]["code"], -32021, "{answer}");
    let result = plain.call(
        "run",
        json!({"image": "tag:host", "command": "sleep 1; echo waited"}),
    );
    assert_eq!(
        result["structuredContent"]["stdout"], "waited\n",
        "{result}"
    );
}
