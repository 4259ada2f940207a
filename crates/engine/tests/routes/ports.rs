//! Tests of published ports.

use std::time::Duration;

use contree_engine::NetworkMode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{Answer, TestEngine};

/// A server on port 8000 that answers each connection with `hello` and what it received.
const SERVER: &str = r#"exec python3 -c '
import asyncio
async def answer(reader, writer):
    received = await reader.read(100)
    writer.write(b"hello " + received)
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 8000, backlog=1000)
    print("ready", flush=True)
    await server.serve_forever()
asyncio.run(main())
'"#;

async fn publishing() -> TestEngine {
    TestEngine::with_settings(|config| config.publish = true).await
}

async fn publish(local: &TestEngine, operation: &str, body: Value) -> Answer {
    local
        .post(&format!("/x/operations/{operation}/ports"), &body)
        .await
}

/// Waits until the operation has written `ready`. Its command has the word too.
async fn ready(local: &TestEngine, operation: &str) {
    let seen = local.read_some_events(operation, 0, 1).await;
    let mut seen = seen;
    while !seen.contains(r#""value":"ready"#) {
        seen = local.read_some_events(operation, 0, seen.len() + 1).await;
    }
}

async fn ask(port: u64) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).await?;
    stream.write_all(b"question").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// The events about ports.
fn port_events(events: &[Value]) -> Vec<Value> {
    events
        .iter()
        .filter_map(|event| event["data"].get("x-port").cloned())
        .collect()
}

#[tokio::test]
async fn a_published_port_is_reached_until_the_sandbox_ends() {
    let local = publishing().await;
    let body =
        json!({"command": SERVER, "shell": true, "image": "tag:host", "x-ports": [8000, 8000]});
    let spawned = local.post("/instances", &body).await;
    assert_eq!(spawned.status, 201, "{spawned:?}");
    let operation = spawned.json["uuid"].as_str().unwrap();
    let ports = spawned.json["x-ports"].as_array().unwrap();
    assert_eq!(ports.len(), 1, "{ports:?}");
    let host_port = ports[0]["host_port"].as_u64().unwrap();
    assert_eq!(ports[0]["url"], format!("http://127.0.0.1:{host_port}"));
    ready(&local, operation).await;
    assert_eq!(ask(host_port).await.unwrap(), "hello question");
    // The same port again has the same address, and another address can be asked for.
    let again = publish(&local, operation, json!({"port": 8000})).await;
    assert_eq!((again.status, &again.json), (201, &ports[0]));
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wanted = u64::from(free.local_addr().unwrap().port());
    let taken = publish(
        &local,
        operation,
        json!({"port": 8000, "host_port": wanted}),
    )
    .await;
    assert_eq!(taken.status, 409, "{taken:?}");
    assert!(taken.text.contains("in use"), "{taken:?}");
    drop(free);
    let second = publish(
        &local,
        operation,
        json!({"port": 8000, "host_port": wanted}),
    )
    .await;
    assert_eq!(second.json["host_port"], wanted, "{second:?}");
    assert_eq!(ask(wanted).await.unwrap(), "hello question");
    let listed = local.get(&format!("/x/operations/{operation}/ports")).await;
    assert_eq!(listed.json["ports"], json!([ports[0], second.json]));

    local.delete(&format!("/operations/{operation}")).await;
    let done = local.done(operation).await;
    for port in [host_port, wanted] {
        let error = ask(port).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    }
    let events = port_events(&done.events);
    let verdicts: Vec<&Value> = events.iter().map(|event| &event["verdict"]).collect();
    assert_eq!(
        verdicts,
        ["published", "connected", "published", "connected"]
    );
    assert!(
        events[1]["client"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );
    let totals = done
        .events
        .iter()
        .find_map(|event| event["data"].get("x-ports"));
    assert_eq!(totals, Some(&json!({"connected": 2, "refused": 0})));
}

#[tokio::test]
async fn ports_are_published_only_if_the_engine_may() {
    let local = TestEngine::shared().await;
    let operation = local
        .spawn("cat", json!({"stdin": {"value": "", "close": false}}))
        .await;
    let refused = publish(&local, &operation, json!({"port": 80})).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.text.contains("--publish allow"), "{refused:?}");
    let body = json!({"command": "true", "image": "tag:host", "x-ports": [80]});
    assert_eq!(local.post("/instances", &body).await.status, 403);
    local.delete(&format!("/operations/{operation}")).await;
    let notes = local.get("/whoami").await.json["x-engine"]["notes"].to_string();
    assert!(notes.contains("--publish allow"), "{notes}");
}

#[tokio::test]
async fn ports_that_cannot_be_published_are_refused_with_the_reason() {
    let local = publishing().await;
    let operation = local
        .spawn("cat", json!({"stdin": {"value": "", "close": false}}))
        .await;
    for (body, status, part) in [
        (json!({"port": 0}), 400, "`port` must be from 1"),
        (json!({"port": 65536}), 400, "not 65536"),
        (json!({"port": -1}), 400, "port"),
        (json!({"port": "http"}), 400, "port"),
        (json!({}), 400, "port"),
        (
            json!({"port": 80, "host_port": 0}),
            400,
            "`host_port` must be from 1",
        ),
        (json!({"port": 80, "host_port": 70000}), 400, "`host_port`"),
        (json!({"port": 3128}), 400, "proxy"),
    ] {
        let answer = publish(&local, &operation, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.text.contains(part), "{body}: {answer:?}");
    }
    let body = json!({"command": "true", "image": "tag:host", "x-ports": [80, 3128]});
    assert_eq!(local.post("/instances", &body).await.status, 400);
    local.delete(&format!("/operations/{operation}")).await;

    let shared = TestEngine::with_settings(|config| {
        config.publish = true;
        config.network = NetworkMode::Host;
    })
    .await;
    let body = json!({"command": "true", "image": "tag:host", "x-ports": [80]});
    let answer = shared.post("/instances", &body).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.text.contains("--network host"), "{answer:?}");
}

#[tokio::test]
async fn a_port_of_the_machine_or_of_another_sandbox_is_never_reached() {
    let local = publishing().await;
    let machine = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let machine_port = machine.local_addr().unwrap().port();
    let neighbour = local.spawn(SERVER, json!({})).await;
    ready(&local, &neighbour).await;
    let operation = local
        .spawn("cat", json!({"stdin": {"value": "", "close": false}}))
        .await;
    for port in [machine_port, 8000] {
        let published = publish(&local, &operation, json!({"port": port})).await;
        let host_port = published.json["host_port"].as_u64().unwrap();
        let error = ask(host_port).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    let reached = tokio::time::timeout(Duration::from_millis(100), machine.accept()).await;
    assert!(reached.is_err(), "the machine's port was reached");
    // The sandbox itself is no nearer to this machine either.
    local.delete(&format!("/operations/{neighbour}")).await;
    local.delete(&format!("/operations/{operation}")).await;
    let events = port_events(&local.done(&operation).await.events);
    let refused: Vec<&Value> = events
        .iter()
        .filter(|event| event["verdict"] == "refused")
        .collect();
    assert_eq!(refused.len(), 2, "{events:?}");
    let reason = refused[0]["reason"].as_str().unwrap();
    assert!(reason.contains("nothing listens on port"), "{reason}");
}

/// The number of open descriptors of this process, which runs the engine too.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_are_served_within_bounds() {
    const CONNECTIONS: usize = 10_000;
    const AT_ONCE: usize = 250;
    contree_sandbox::raise_descriptor_limit();
    let local = publishing().await;
    let operation = local.spawn(SERVER, json!({"timeout": 600})).await;
    ready(&local, &operation).await;
    let published = publish(&local, &operation, json!({"port": 8000})).await;
    let host_port = published.json["host_port"].as_u64().unwrap();
    let before = descriptors();
    let mut most = 0;
    let mut asking = JoinSet::new();
    for sent in 0..CONNECTIONS {
        if asking.len() >= AT_ONCE {
            assert_eq!(asking.join_next().await.unwrap().unwrap(), "hello question");
        }
        if sent % 500 == 0 {
            most = most.max(descriptors());
        }
        asking.spawn(async move { ask(host_port).await.unwrap() });
    }
    while let Some(answer) = asking.join_next().await {
        assert_eq!(answer.unwrap(), "hello question");
    }
    // The clients of this test take one each, and the engine two for each of 128 at most.
    assert!(most < before + AT_ONCE + 2 * 128 + 100, "{before} {most}");
    local.delete(&format!("/operations/{operation}")).await;
    let done = local.done(&operation).await;
    let totals = done
        .events
        .iter()
        .find_map(|event| event["data"].get("x-ports"));
    assert_eq!(
        totals,
        Some(&json!({"connected": CONNECTIONS, "refused": 0}))
    );
    // Only the first ones have an event each.
    assert_eq!(port_events(&done.events).len(), 1001);
}

#[tokio::test]
async fn a_server_that_never_answers_is_bounded_and_ends_with_its_sandbox() {
    contree_sandbox::raise_descriptor_limit();
    let local = publishing().await;
    let silent = r#"exec python3 -c '
import socket, time
server = socket.create_server(("127.0.0.1", 8000), backlog=4000)
print("ready", flush=True)
time.sleep(600)
'"#;
    let operation = local.spawn(silent, json!({})).await;
    ready(&local, &operation).await;
    let published = publish(&local, &operation, json!({"port": 8000})).await;
    let host_port = u16::try_from(published.json["host_port"].as_u64().unwrap()).unwrap();
    let before = descriptors();
    let mut held = Vec::new();
    for _ in 0..300 {
        let stream = TcpStream::connect(("127.0.0.1", host_port));
        // Beyond the bound, the kernel's queue takes some. Further connections get no answer.
        match tokio::time::timeout(Duration::from_millis(200), stream).await {
            Ok(stream) => held.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    assert!(held.len() > 128, "{}", held.len());
    let engine = descriptors() - before - held.len();
    // Without a bound it would be twice as many. Other tests in this process need some too.
    assert!(engine < 2 * 200, "{engine}");
    // Another sandbox has connections of its own.
    let other = local.spawn(SERVER, json!({})).await;
    ready(&local, &other).await;
    let published = publish(&local, &other, json!({"port": 8000})).await;
    let other_port = published.json["host_port"].as_u64().unwrap();
    assert_eq!(ask(other_port).await.unwrap(), "hello question");
    for operation in [&operation, &other] {
        local.delete(&format!("/operations/{operation}")).await;
        assert_eq!(local.done(operation).await.status, "CANCELLED");
    }
    let mut rest = Vec::new();
    let _ = held[0].read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn another_engine_of_the_store_publishes_through_the_owner() {
    let local = publishing().await;
    let operation = local.spawn(SERVER, json!({})).await;
    ready(&local, &operation).await;
    let other = local.other_engine().await;
    let path = format!("/x/operations/{operation}/ports");
    let published = other.post(&path, &json!({"port": 8000})).await;
    assert_eq!(published.status, 201, "{published:?}");
    let host_port = published.json["host_port"].as_u64().unwrap();
    assert_eq!(ask(host_port).await.unwrap(), "hello question");
    assert_eq!(
        other.get(&path).await.json["ports"],
        json!([published.json])
    );
    // Each engine lists the runs of the other with their ports and processes.
    let status = format!("/operations/{operation}");
    let executing = "/operations?status=EXECUTING";
    for [listed, one] in [
        [
            local.get(executing).await.json,
            local.get(&status).await.json,
        ],
        [
            other.get(executing).await.json,
            other.get(&status).await.json,
        ],
    ] {
        let live = &listed[0]["x-live"];
        assert_eq!(live["ports"], json!([published.json]), "{listed}");
        assert_eq!(live["processes"][0]["spid"], 1, "{listed}");
        assert_eq!(one["x-live"]["ports"], live["ports"], "{one}");
    }
    local.delete(&format!("/operations/{operation}")).await;
    local.done(&operation).await;
}
