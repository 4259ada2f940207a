//! Tests of what an operation leaves in the records.

use std::path::Path;

use rusqlite::Connection;
use serde_json::json;

use crate::support::TestEngine;

/// Runs a statement on the engine's database, as another process would.
fn execute(data: &Path, statement: &str) {
    let connection = Connection::open(data.join("store.db")).unwrap();
    connection
        .busy_timeout(std::time::Duration::from_secs(30))
        .unwrap();
    connection.execute_batch(statement).unwrap();
}

#[tokio::test]
async fn an_ending_that_cannot_be_recorded_is_not_taken_for_the_end_of_the_engine() {
    let local = TestEngine::new().await;
    local.host().await;
    let data = local.engine.data.path();
    // It refuses the record of an ending, as a full disk does.
    execute(
        data,
        "CREATE TRIGGER refuse BEFORE UPDATE OF ended_at ON operations
         BEGIN SELECT raise(ABORT, 'no room'); END",
    );
    let other = local.other_engine().await;
    let done = local.run("echo kept", json!({})).await;
    assert_eq!(done.status, "FAILED");
    assert!(done.error.contains("could not be recorded"), "{done:?}");
    let path = format!("/operations/{}", done.operation);
    let record = local.get(&path).await.json;
    assert_eq!(record["error"], done.error.as_str(), "{record}");
    let listed = local.get("/operations").await.json;
    assert_eq!(listed[0]["status"], "FAILED", "{listed}");
    // The engine lives, so no other engine takes its operation for orphaned.
    let seen = other.get(&path).await.json;
    assert_eq!(
        (&seen["status"], &seen["error"]),
        (&json!("EXECUTING"), &json!(null))
    );
    // Other operations run meanwhile, and the ending is recorded as soon as that is possible.
    assert_eq!(local.run("echo more", json!({})).await.stdout, "more\n");
    execute(data, "DROP TRIGGER refuse");
    loop {
        let seen = other.get(&path).await.json;
        if seen["status"] != "EXECUTING" {
            assert_eq!(seen["error"], done.error.as_str(), "{seen}");
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// A script that leaves a process behind. `on_term` is its reaction to SIGTERM.
fn leaving(on_term: &str) -> String {
    format!(
        "setsid sh -c \"trap '{on_term}' TERM; echo up >/up; while :; do sleep 0.05; done\" &
         while [ ! -s /up ]; do sleep 0.01; done"
    )
}

#[tokio::test]
async fn processes_that_a_kept_run_leaves_get_sigterm_and_time() {
    let local = TestEngine::shared().await;
    let command = leaving("sleep 0.2; echo saved >/saved; echo ended; exit");
    let kept = local.run(&command, json!({"disposable": false})).await;
    assert_eq!((kept.stdout.as_str(), kept.exit_code), ("ended\n", 0));
    let later = local.run("cat /saved", json!({"image": kept.result})).await;
    assert_eq!(later.stdout, "saved\n");
    // A run without a result gives them none.
    let discarded = local.run(&command, json!({})).await;
    assert_eq!(discarded.stdout, "", "{discarded:?}");
    // The time is limited.
    let begun = std::time::Instant::now();
    let stays = leaving("echo asked");
    let kept = local.run(&stays, json!({"disposable": false})).await;
    assert_eq!((kept.status.as_str(), kept.exit_code), ("SUCCESS", 0));
    assert!(kept.result.is_some() && kept.stdout.starts_with("asked\n"));
    assert!(begun.elapsed().as_secs() < 30);
}

#[tokio::test]
async fn a_run_that_is_cancelled_while_its_processes_end_keeps_nothing() {
    let local = TestEngine::shared().await;
    // On a very busy machine, the time may be over before the request arrives.
    for _ in 0..10 {
        let operation = local
            .spawn(&leaving("echo asked"), json!({"disposable": false}))
            .await;
        let path = format!("/operations/{operation}");
        while local.get(&format!("{path}?inflight=1")).await.json["metadata"]["result"]["stdout"]["value"]
            != "asked\n"
        {
            tokio::task::yield_now().await;
        }
        if local.delete(&path).await.status != 202 {
            continue;
        }
        let done = local.done(&operation).await;
        assert_eq!((done.status.as_str(), done.result), ("CANCELLED", None));
        return;
    }
    panic!("no request arrived in time");
}

/// All files of a data directory whose content has `text`.
fn files_with(directory: &Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            if bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
            {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn records_keep_neither_input_nor_secret_variables() {
    let local = TestEngine::new().await;
    let (secret, input) = ("hunter2-in-a-variable", "hunter2-in-the-input");
    let fields = json!({
        "env": {"MY_TOKEN": secret, "PLAIN": "shown"},
        "stdin": {"value": input},
        "disposable": false,
        "preserve_env": true,
    });
    // The command itself is recorded, so it does not have them in full.
    let command = "test $MY_TOKEN = hunter2-in-a-\"variable\" && test $(cat) = hunter2-in-the-\"input\" && echo both";
    let done = local.run(command, fields).await;
    assert_eq!(done.stdout, "both\n", "{done:?}");
    let record = local.get(&format!("/operations/{}", done.operation)).await;
    let metadata = &record.json["metadata"];
    assert_eq!(
        metadata["env"],
        json!({"MY_TOKEN": "***", "PLAIN": "shown"})
    );
    assert!(!record.text.contains(secret) && !record.text.contains(input));
    // The image has the variable, as the request asked for.
    let later = local
        .run("echo $MY_TOKEN", json!({"image": done.result}))
        .await;
    assert_eq!(later.stdout.trim(), secret);
    let data = local.engine.data.path();
    assert_eq!(
        files_with(&data.join("events"), input),
        Vec::<std::path::PathBuf>::new()
    );
    assert_eq!(files_with(data, input), Vec::<std::path::PathBuf>::new());
    let requests = Connection::open(data.join("store.db")).unwrap();
    let kept: i64 = requests
        .query_row(
            "SELECT count(*) FROM operations WHERE instr(request, ?1) > 0",
            [secret],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(kept, 0);
}
