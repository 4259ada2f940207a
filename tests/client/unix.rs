//! Backends on a unix socket, which load no certificates.

use std::process::Command;

use contree::Client;
use futures_util::StreamExt as _;
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_socket_serves_requests_and_events() {
    let directory = tempfile::tempdir().unwrap();
    let stub = Stub::unix(&directory.path().join("socket"), |number, seen| {
        if seen.target.contains("/events") {
            return match number {
                1 => sse(&[&stdout(1, "a")], true),
                _ => sse(&[&completion(2)], false),
            };
        }
        answer(200, json!({"images": []}))
    })
    .await;
    let client = stub.client();
    client.list_images().send().await.unwrap();
    assert_eq!(client.follow(OPERATION, None).count().await, 2);
    let seen = stub.seen();
    assert_eq!(seen[0].target, "/v1/images");
    assert_eq!(seen[2].header("last-event-id"), Some("1"));
}

/// Part of the next test, which runs this one in a process without certificates.
#[tokio::test]
#[ignore = "run by local_backends_need_no_certificates"]
async fn without_certificates() {
    assert!(!std::path::Path::new(&std::env::var("SSL_CERT_FILE").unwrap()).exists());
    let directory = tempfile::tempdir().unwrap();
    let unix = Stub::unix(&directory.path().join("socket"), |_, _| {
        answer(200, json!({"images": []}))
    })
    .await;
    let tcp = Stub::tcp(|_, _| answer(200, json!({"images": []}))).await;
    for stub in [unix, tcp] {
        stub.client().list_images().send().await.unwrap();
    }
    assert!(
        Client::connect(backend("https://contree.example")).is_err(),
        "this test needs a process without certificates"
    );
}

#[test]
fn local_backends_need_no_certificates() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "unix::without_certificates", "--ignored"])
        .env("SSL_CERT_FILE", "/nonexistent/file")
        .env("SSL_CERT_DIR", "/nonexistent/directory")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}
