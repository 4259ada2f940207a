//! Tests of the data directory: shared by engines, reopened, and left behind by a killed engine.

use serde_json::json;

use crate::support::{OtherEngine, TestEngine, data_dir};

#[tokio::test]
async fn two_engines_share_a_store() {
    let local = TestEngine::new().await;
    let other = local.other_engine().await;
    assert_eq!(local.engine.local.store(), other.local.store());
    let (one, two) = tokio::join!(
        local.run("echo one >/one", json!({"disposable": false})),
        other.run("echo two >/two", json!({"disposable": false})),
    );
    let done = other.run("cat /one", json!({"image": one.result})).await;
    assert_eq!(done.stdout, "one\n");
    let done = local.run("cat /two", json!({"image": two.result})).await;
    assert_eq!(done.stdout, "two\n");
}

#[tokio::test]
async fn an_operation_is_followed_and_cancelled_from_another_engine() {
    let local = TestEngine::new().await;
    let other = local.other_engine().await;
    let operation = local.spawn("echo begun; sleep 600", json!({})).await;
    let (done, status) = tokio::join!(other.done(&operation), async {
        while !local
            .events(&operation, "", None)
            .await
            .iter()
            .any(|event| event["type"] == "stdout")
        {}
        other
            .delete(&format!("/operations/{operation}"))
            .await
            .status
    });
    assert_eq!((done.status.as_str(), status), ("CANCELLED", 202));
    assert_eq!(done.stdout, "begun\n");
}

#[tokio::test]
async fn a_stopped_engine_leaves_its_history() {
    let data = data_dir();
    let image = {
        let engine = OtherEngine::on(data.path()).await;
        let kept = json!({"disposable": false});
        let done = engine.run("echo kept >/kept", kept).await;
        done.result.unwrap()
    };
    let engine = OtherEngine::on(data.path()).await;
    let answer = engine.get(&format!("/inspect/{image}/")).await;
    assert_eq!(answer.json["uuid"], image.as_str(), "{answer:?}");
}

#[tokio::test]
async fn stopping_cancels_running_operations() {
    let local = TestEngine::new().await;
    let operation = local.spawn("sleep 600", json!({})).await;
    let engine = std::sync::Arc::into_inner(local.engine).unwrap();
    drop(engine.local);
    let again = OtherEngine::on(engine.data.path()).await;
    let record = again.get(&format!("/operations/{operation}")).await.json;
    assert_eq!(record["status"], "CANCELLED");
    assert!(record["error"].as_str().unwrap().contains("stopped"));
}

/// Not a test by itself: the process that [`a_killed_engine_leaves_nothing_behind`] kills.
#[tokio::test]
async fn driver() {
    let Some(data) = std::env::var_os("CONTREE_TEST_DRIVER") else {
        return;
    };
    let engine = OtherEngine::on(data.as_ref()).await;
    let sleep = std::env::var("CONTREE_TEST_SLEEP").unwrap();
    let command = format!("echo $$ >/pid; (setsid {sleep} &); echo begun; exec {sleep}");
    let operation = engine.spawn(&command, json!({"disposable": false})).await;
    println!("operation {operation}");
    engine.done(&operation).await;
}

#[tokio::test]
async fn a_killed_engine_leaves_nothing_behind() {
    use std::io::{BufRead as _, BufReader};
    let data = data_dir();
    let kept = {
        let engine = OtherEngine::on(data.path()).await;
        images(&engine).await
    };
    let mut driver = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stores::driver", "--nocapture"])
        .env("CONTREE_TEST_DRIVER", data.path())
        .env("CONTREE_TEST_SLEEP", sleep())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let line = lines
        .map_while(Result::ok)
        .find(|line| line.contains("operation "))
        .unwrap();
    let operation: uuid::Uuid = line.rsplit(' ').next().unwrap().parse().unwrap();
    let local = OtherEngine::on(data.path()).await;
    let record = async || local.get(&format!("/operations/{operation}")).await.json;
    while sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    let who = local.get("/whoami").await.json;
    let bounded = who["limits"].get("instance_memory_bytes").is_some();
    assert_eq!(!groups(operation).is_empty(), bounded);
    driver.kill().unwrap();
    driver.wait().unwrap();
    // The end of the process releases its lock. Shortly after that, the kernel kills the processes
    // of the sandbox.
    while record().await["status"] != "FAILED" {}
    let error = record().await["error"].clone();
    assert!(error.as_str().unwrap().contains("ended before"), "{error}");
    while sleepers() > 0 {
        tokio::task::yield_now().await;
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(data.path().to_str().unwrap()), "{mounts}");
    // The engine that failed the operation removes its data, too.
    runs_are_removed(data.path()).await;
    while !groups(operation).is_empty() {
        tokio::task::yield_now().await;
    }
    drop(local);
    let next = OtherEngine::on(data.path()).await;
    assert_eq!(images(&next).await, kept);
}

/// The processes that a killed engine has just started hold its locks until they execute their
/// programs. An engine that starts meanwhile does not take their runs for those of a living one.
#[tokio::test]
async fn a_run_that_is_given_up_after_the_start_is_removed() {
    let data = data_dir();
    drop(OtherEngine::on(data.path()).await);
    let store = contree_sandbox::LayerStore::open(data.path(), Default::default()).unwrap();
    let run = store.create_run(&uuid::Uuid::new_v4().to_string()).unwrap();
    let engine = OtherEngine::on(data.path()).await;
    // Its start-up ends before a command does.
    assert_eq!(engine.run("echo ran", json!({})).await.stdout, "ran\n");
    assert!(run.path().exists());
    drop(run);
    runs_are_removed(data.path()).await;
}

/// Waits until a data directory has no run directory.
async fn runs_are_removed(data: &std::path::Path) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(120);
    while std::fs::read_dir(data.join("run")).unwrap().count() > 0 {
        assert!(tokio::time::Instant::now() < deadline, "a run is left");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// The number of images.
async fn images(engine: &OtherEngine) -> usize {
    let listed = engine.get("/images").await.json;
    listed["images"].as_array().unwrap().len()
}

/// The control groups of an operation, in all hierarchies.
fn groups(operation: uuid::Uuid) -> Vec<std::path::PathBuf> {
    let mut paths = Vec::new();
    let mut directories = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.ends_with(&operation.to_string()) {
                    paths.push(entry.path());
                }
                directories.push(entry.path());
            }
        }
    }
    paths
}

/// A command that only the driver's sandbox runs on this machine.
fn sleep() -> String {
    format!("sleep 987654.{}", std::process::id())
}

/// Counts the processes of the driver's sandbox from outside.
fn sleepers() -> usize {
    let line = sleep().replace(' ', "\0").into_bytes();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .filter(|line_of_process| line_of_process.starts_with(&line))
        .count()
}

/// An engine detects a power loss by another boot id in the records, so the test changes that id.
#[tokio::test]
async fn images_not_on_disk_are_reported_as_lost_and_tag_host_is_made_again() {
    let data = data_dir();
    let (synced, host) = {
        let engine = OtherEngine::on(data.path()).await;
        let host = engine.host().await;
        let kept = json!({"disposable": false});
        let done = engine.run("echo kept >/kept", kept).await;
        (done.result.unwrap(), host)
    };
    let records = rusqlite::Connection::open(data.path().join("store.db")).unwrap();
    // Stopping the engine has synced everything, so another boot alone loses nothing.
    let remaining: i64 = records
        .query_row("SELECT count(*) FROM layers WHERE synced = 0", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(remaining, 0);
    records
        .execute("UPDATE layers SET boot_id = 'before'", [])
        .unwrap();
    let engine = OtherEngine::on(data.path()).await;
    let path = format!("/inspect/{synced}/");
    assert_eq!(engine.get(&path).await.status, 200);
    drop(engine);
    // The state after a power loss before the bottom layer was on disk.
    records
        .execute("UPDATE layers SET synced = 0, boot_id = 'before'", [])
        .unwrap();
    let engine = OtherEngine::on(data.path()).await;
    let lost = engine.get(&path).await;
    assert_eq!(lost.status, 404);
    assert!(lost.text.contains("lost"), "{lost:?}");
    assert_ne!(engine.host().await, host);
}
