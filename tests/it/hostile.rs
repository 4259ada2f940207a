//! Hostile clients: they flood, stop reading, send invalid data or disconnect. The server must
//! serve others, in bounded memory, and must leave no sandbox behind.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::support::Home;
use crate::support::raw::RawClient;
use crate::support::stub::Stub;
use crate::support::web::{JSON, Web, modern};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Maximum memory that the server may use in these tests, in KiB. A debug build starts at about
/// 30,000.
const MAX_MEMORY_KIB: u64 = 700_000;

/// Starts a stub of a service, and returns its URL.
fn stub() -> (Runtime, Stub, String) {
    let runtime = Runtime::new().unwrap();
    let stub = Stub::default();
    let url = runtime.block_on(stub.start());
    (runtime, stub, url)
}

/// Returns the peak memory of a process, in KiB.
fn peak_memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn assert_memory_is_bounded(pid: u32) {
    let used = peak_memory_kib(pid);
    assert!(used < MAX_MEMORY_KIB, "{used} KiB");
}

fn wait_for(stub: &Stub, condition: impl Fn(&BTreeMap<String, usize>) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition(&stub.statuses()) {
        assert!(Instant::now() < deadline, "{:?}", stub.statuses());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn wait_until_nothing_runs(stub: &Stub) {
    wait_for(stub, |statuses| !statuses.contains_key("EXECUTING"));
}

fn assert_it_serves(web: &Web) {
    assert_eq!(web.get("/healthz").status, 200);
    assert_eq!(web.call_ok("whoami", json!({}))["backend"], "cloud");
}

/// Builds a call that needs no backend.
fn guide_call(id: u64) -> Value {
    let arguments = json!({"name": "get_guide", "arguments": {"section": "tagging"}});
    modern("tools/call", arguments, id)
}

#[test]
fn ten_thousand_calls_at_once_are_answered_over_stdio() {
    let (_runtime, stub, url) = stub();
    let home = Home::new();
    let mut raw = RawClient::initialized(home.command_for(&url), "2025-11-25");
    let mut calls = String::new();
    for id in 1..=10_000 {
        let call = json!({"jsonrpc": "2.0", "id": id + 100_000, "method": "tools/call", "params": {"name": "get_guide", "arguments": {"section": "tagging"}}});
        calls.push_str(&format!("{call}\n"));
    }
    raw.write(calls.as_bytes());
    let last = raw
        .answer_within(110_000, Duration::from_secs(300))
        .unwrap();
    assert_ne!(last["result"]["isError"], true, "{last}");
    assert_eq!(raw.request("ping", json!({}))["result"], json!({}));
    for id in 100_001..110_000 {
        assert!(raw.answer(id).get("result").is_some(), "{id}");
    }
    assert_memory_is_bounded(raw.pid());
    assert_eq!(
        stub.take_requests(),
        [],
        "these calls must not reach the backend"
    );
}

#[test]
fn ten_thousand_calls_at_once_are_answered_over_http() {
    let (_runtime, stub, url) = stub();
    let home = Home::new();
    let web = Web::start(home.command_for(&url));
    // The calls are pipelined over ten connections, each of which writes without awaiting answers.
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut connection = web.connect();
                let mut writer = connection.stream().try_clone().unwrap();
                let body = guide_call(5).to_string();
                let request = format!(
                    "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: */*\r\n\
                     mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: get_guide\r\ncontent-length: {}\r\n\r\n{body}",
                    web.address,
                    body.len()
                );
                let writing = scope.spawn(move || {
                    for _ in 0..1000 {
                        writer.write_all(request.as_bytes()).unwrap();
                    }
                });
                for _ in 0..1000 {
                    let reply = connection.reply();
                    assert_eq!(reply.status, 200);
                    assert!(reply.message(5).get("result").is_some());
                }
                writing.join().unwrap();
            });
        }
        // Other clients are served meanwhile.
        assert_it_serves(&web);
    });
    assert_memory_is_bounded(web.pid());
    assert_eq!(stub.take_requests().len(), 1);
}

#[test]
fn connections_over_the_limit_do_not_block_others() {
    let (_runtime, _stub, url) = stub();
    let home = Home::new();
    let web = Web::start(home.command_for(&url));
    // Connections that send nothing, or only the beginning of a request.
    let mut idle: Vec<_> = (0..600)
        .filter_map(|_| std::net::TcpStream::connect(web.address).ok())
        .collect();
    for stream in idle.iter_mut().step_by(7) {
        let _ = stream.write_all(b"POST /mcp HT");
    }
    assert_it_serves(&web);
    drop(idle);
    assert_it_serves(&web);
    assert_memory_is_bounded(web.pid());
}

#[test]
fn sandboxes_of_disconnected_clients_are_cancelled() {
    let (_runtime, stub, url) = stub();
    let home = Home::new();
    let web = Web::start(home.command_for(&url));
    let sleep = json!({"name": "run", "arguments": {"image": "tag:base", "command": "sleep"}, "_meta": {"progressToken": 1}});
    let clients: Vec<_> = (0..40)
        .map(|id| {
            let mut connection = web.connect();
            connection.post(&modern("tools/call", sleep.clone(), id), &[]);
            connection
        })
        .collect();
    wait_for(&stub, |statuses| statuses.get("EXECUTING") == Some(&40));
    assert_it_serves(&web);
    drop(clients);
    wait_until_nothing_runs(&stub);
    assert_eq!(stub.statuses()["CANCELLED"], 40);
}

#[test]
fn a_client_that_stops_reading_does_not_affect_others() {
    let (_runtime, stub, url) = stub();
    let home = Home::new();
    let web = Web::start(home.command_for(&url));
    let sleep = json!({"name": "run", "arguments": {"image": "tag:base", "command": "sleep"}, "_meta": {"progressToken": 1}});
    let mut running = web.connect();
    running.post(&modern("tools/call", sleep, 1), &[]);
    // Requests with large answers that the client never reads.
    let list = modern("tools/list", json!({}), 2);
    let body = list.to_string();
    let mut stalled = std::net::TcpStream::connect(web.address).unwrap();
    stalled
        .set_write_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: */*\r\nmcp-protocol-version: 2026-07-28\r\n\
         mcp-method: tools/list\r\ncontent-length: {}\r\n\r\n{body}",
        web.address,
        body.len()
    );
    for _ in 0..20_000 {
        if stalled.write_all(request.as_bytes()).is_err() {
            break;
        }
    }
    assert_it_serves(&web);
    assert_memory_is_bounded(web.pid());
    drop(stalled);
    drop(running);
    wait_until_nothing_runs(&stub);
    assert_it_serves(&web);
}

#[test]
fn invalid_data_and_messages_of_twenty_megabytes_are_refused() {
    let (_runtime, _stub, url) = stub();
    let home = Home::new();
    let web = Web::start(home.command_for(&url));
    let long = format!(
        r#"{{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{{"name":"upload","arguments":{{"content":"{}"}}}}}}"#,
        "x".repeat(20_000_000)
    );
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let reply = web.ask("POST", "/mcp", &JSON, long.as_bytes());
                assert_eq!(reply.status, 413);
            });
        }
        assert_it_serves(&web);
    });
    for data in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\r\n\r\n\r\n\0\0\0\0",
    ] {
        let mut stream = std::net::TcpStream::connect(web.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(data).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(
            !answer.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    // A request head that never ends.
    let mut stream = std::net::TcpStream::connect(web.address).unwrap();
    let _ = stream.write_all(b"GET / HTTP/1.1\r\n");
    for _ in 0..2000 {
        if stream.write_all(&[b'a'; 1000]).is_err() {
            break;
        }
    }
    assert_it_serves(&web);
    assert_memory_is_bounded(web.pid());
}
