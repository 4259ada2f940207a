//! Tests of an engine whose process has too few file descriptors.

use std::fs::File;
use std::process::Command;

use serde_json::json;

use crate::support::TestEngine;

/// Names the test that [`driver`] performs.
const TEST: &str = "CONTREE_TEST_DESCRIPTORS";

/// Runs [`driver`] in a process with a limit of descriptors.
fn with_descriptors(limit: u32) {
    let output = Command::new("sh")
        .args([
            "-ec",
            &format!("ulimit -n {limit}; exec \"$0\" --exact descriptors::driver --nocapture"),
        ])
        .arg(std::env::current_exe().unwrap())
        .env(TEST, "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Takes descriptors until only `left` are free.
fn take_all_but(left: usize) -> Vec<File> {
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    taken.truncate(taken.len() - left);
    taken
}

/// Not a test by itself: the process that [`with_descriptors`] starts.
#[tokio::test]
async fn driver() {
    if std::env::var_os(TEST).is_none() {
        return;
    }
    let local = TestEngine::new().await;
    // Opens the connections of the client, and the files of the first run.
    assert_eq!(local.run("true", json!({})).await.status, "SUCCESS");
    let listed = async || {
        local
            .get("/operations")
            .await
            .json
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(listed().await, 1);
    let runs = local.engine.data.path().join("run");
    let directories = || std::fs::read_dir(&runs).unwrap().count();
    while directories() > 0 {
        tokio::task::yield_now().await;
    }
    for left in [0, 1, 3, 8, 20] {
        let taken = take_all_but(left);
        let body = json!({"command": "true", "image": "tag:host"});
        let answer = local.post("/instances", &body).await;
        drop(taken);
        assert_eq!(
            (answer.status, answer.retry_after.as_deref()),
            (429, Some("1")),
            "{left} left: {answer:?}"
        );
        let message = answer.json["error"].as_str().unwrap();
        assert!(message.contains("ulimit -n"), "{message}");
        assert_eq!(listed().await, 1, "nothing was accepted");
        assert_eq!(directories(), 0);
    }
    // An accepted run waits for descriptors, and none of several fails.
    let mut waiting = Vec::new();
    let taken = take_all_but(60);
    for _ in 0..8 {
        let body = json!({"command": "true", "image": "tag:host"});
        let answer = local.post("/instances", &body).await;
        match answer.status {
            201 => waiting.push(answer.json["uuid"].as_str().unwrap().to_owned()),
            other => assert_eq!(other, 429, "{answer:?}"),
        }
    }
    drop(taken);
    assert!(!waiting.is_empty());
    for operation in waiting {
        let done = local.done(&operation).await;
        assert_eq!(done.status, "SUCCESS", "{}", done.error);
    }
}

#[test]
fn too_few_descriptors_refuse_a_run_and_fail_none() {
    with_descriptors(200);
}
