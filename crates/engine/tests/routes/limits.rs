//! Tests of the limits of a run.

use contree_sandbox::{ControlGroups, Limits};
use serde_json::json;

use crate::support::TestEngine;

#[tokio::test]
async fn files_of_the_request_count_towards_the_layer_limit() {
    let local = TestEngine::shared().await;
    let file = local.upload(&vec![7; 5 << 20]).await;
    let done = local
        .run(
            "ls /big",
            json!({"files": {"/big": {"uuid": file["uuid"]}},
                   "resources_limits": {"max_layer_bytes": 1_000_000}}),
        )
        .await;
    assert_eq!(done.status, "FAILED", "{done:?}");
    assert!(done.error.contains("max_layer_bytes"), "{}", done.error);
}

#[tokio::test]
async fn a_run_that_exceeds_its_layer_limit_fails_and_leaves_nothing() {
    let local = TestEngine::new().await;
    let before = local.get("/images").await.json;
    for (disposable, script) in [
        (false, "head -c 500M /dev/zero > /large; sleep 60"),
        (true, "head -c 500M /dev/zero > /large; sleep 60"),
        // The run ends before the engine measures its layer.
        (true, "head -c 30M /dev/zero > /large"),
        (false, "head -c 30M /dev/zero > /large"),
    ] {
        let limits =
            json!({"disposable": disposable, "resources_limits": {"max_layer_bytes": 20 << 20}});
        let done = local.run(script, limits).await;
        assert_eq!(done.status, "FAILED", "{done:?}");
        assert!(done.error.contains("max_layer_bytes"), "{}", done.error);
        assert!(done.error.contains("20971520"), "{}", done.error);
        assert_eq!(done.result, None);
        let cap = done.events.iter().find(|event| event["type"] == "size_cap");
        let cap = &cap.unwrap()["data"];
        assert_eq!(cap["limit_bytes"], 20 << 20);
        assert!(cap["file_size"].as_u64().unwrap() > 20 << 20, "{cap}");
    }
    assert_eq!(local.get("/images").await.json, before);
    let layers = std::fs::read_dir(local.engine.data.path().join("layers"));
    assert_eq!(layers.unwrap().count(), 1);
    // The run directory is removed shortly after the operation is over.
    let runs = local.engine.data.path().join("run");
    for _ in 0..500 {
        if std::fs::read_dir(&runs).unwrap().count() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(std::fs::read_dir(&runs).unwrap().count(), 0);
    let whoami = local.get("/whoami").await.json;
    assert!(whoami["limits"]["instance_max_layer_bytes"].as_u64() > Some(12 << 30));
}

#[tokio::test]
async fn a_run_with_too_many_files_fails_and_names_the_limit() {
    let local = TestEngine::shared().await;
    let limits = json!({"disposable": false, "resources_limits": {"max_layer_bytes": 16 << 20}});
    let script = "mkdir /many; cd /many; seq 40000 | xargs touch; sleep 60";
    let done = local.run(script, limits).await;
    assert_eq!(done.status, "FAILED", "{done:?}");
    assert_eq!(done.result, None);
    for part in [
        "files and directories",
        "the 10000 that max_layer_bytes (16777216)",
    ] {
        assert!(done.error.contains(part), "{}", done.error);
    }
}

#[tokio::test]
async fn a_run_within_its_layer_limit_is_committed() {
    let local = TestEngine::shared().await;
    let limits = json!({"disposable": false, "resources_limits": {"max_layer_bytes": 1000}});
    let done = local.run("ln -s x /small; echo kept", limits).await;
    assert_eq!(
        (done.status.as_str(), done.stdout.as_str()),
        ("SUCCESS", "kept\n"),
        "{done:?}"
    );
    assert!(done.result.is_some());
}

#[tokio::test]
async fn a_memory_limit_is_enforced_or_refused() {
    let local = TestEngine::shared().await;
    let whoami = local.get("/whoami").await.json;
    let notes = whoami["x-engine"]["notes"].as_array().unwrap().iter();
    let note = notes
        .filter_map(|note| note.as_str())
        .find(|note| note.starts_with("control groups"))
        .unwrap();
    let limits = json!({"x-limits": {"memory_bytes": 64 << 20}});
    let hog = "head -c 300M /dev/zero | tail -c 300M | wc -c";
    if whoami["limits"].get("instance_memory_bytes").is_none() {
        let mut body = json!({"command": hog, "shell": true, "image": "tag:host"});
        body["x-limits"] = limits["x-limits"].clone();
        let refused = local.post("/instances", &body).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.text.contains("x-limits"), "{refused:?}");
        let remedy = note.split("as a whole, ").nth(1).unwrap();
        assert!(refused.text.contains(remedy), "{refused:?}\n{note}");
        return;
    }
    let done = local.run(hog, limits).await;
    assert_eq!(done.stdout, "0\n", "{done:?}");
    let diagnostic = "contree: the kernel killed a process because the sandbox's memory limit of 64.0 MiB was reached\n";
    assert!(done.stderr.ends_with(diagnostic), "{done:?}");
    let exit = done.events.iter().find(|event| event["type"] == "exit");
    assert_eq!(exit.unwrap()["data"]["x-oom-killed"], true, "{done:?}");
    let record = local.get(&format!("/operations/{}", done.operation)).await;
    let state = &record.json["metadata"]["result"]["state"];
    assert_eq!(state["x-oom-killed"], true, "{record:?}");
    let done = local.run(":", json!({})).await;
    assert_eq!(done.stderr, "", "{done:?}");
}

/// Returns whether this machine enforces limits. If not, checks that a run with them is refused.
async fn is_enforceable(local: &TestEngine, limits: Limits, fields: &serde_json::Value) -> bool {
    let Some(why) = ControlGroups::get().refusal(&limits) else {
        return true;
    };
    let body = json!({"command": "true", "image": "tag:host", "x-limits": fields});
    let refused = local.post("/instances", &body).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(refused.json["x-code"], "limits-not-enforced", "{refused:?}");
    let remedy = why.rsplit(": ").next().unwrap_or_default();
    assert!(refused.text.contains(remedy), "{refused:?}\n{why}");
    false
}

#[tokio::test]
async fn a_limit_of_processor_time_is_enforced_or_refused() {
    let local = TestEngine::shared().await;
    let fields = json!({"cpus": 0.1});
    let limits = Limits {
        cpus: Some(0.1),
        ..Limits::default()
    };
    if !is_enforceable(&local, limits, &fields).await {
        return;
    }
    // Uses half a second of processor time, in two processes at once.
    let script = "import os, time\n\
        child = os.fork()\n\
        start = time.monotonic()\n\
        while time.process_time() < 0.25: pass\n\
        if not child: os._exit(0)\n\
        os.wait(); print(time.monotonic() - start)";
    let body = json!({"shell": false, "args": ["-c", script], "x-limits": fields});
    let done = local.run("python3", body).await;
    let seconds: f64 = done.stdout.trim().parse().unwrap();
    // The kernel may let some hundredths of a second pass before it counts.
    assert!(seconds > 3.0, "{done:?}");
}

#[tokio::test]
async fn a_limit_of_processes_is_enforced_or_refused() {
    let local = TestEngine::shared().await;
    let fields = json!({"processes": 20});
    let limits = Limits {
        processes: Some(20),
        ..Limits::default()
    };
    if !is_enforceable(&local, limits, &fields).await {
        return;
    }
    let script = "import errno, os, signal\n\
        started = []\n\
        try:\n\
        \x20   for n in range(100):\n\
        \x20       child = os.fork()\n\
        \x20       if not child: signal.pause()\n\
        \x20       started.append(child)\n\
        except OSError as e: print(len(started), errno.errorcode[e.errno])\n\
        for child in started: os.kill(child, 9)";
    let body = json!({"shell": false, "args": ["-c", script], "x-limits": fields});
    let done = local.run("python3", body).await;
    let (started, error) = done.stdout.trim().split_once(' ').unwrap();
    let started: u32 = started.parse().unwrap();
    assert!((10..20).contains(&started), "{done:?}");
    assert_eq!(error, "EAGAIN", "{done:?}");
}

#[tokio::test]
async fn limits_out_of_bounds_are_refused() {
    let local = TestEngine::shared().await;
    for limits in [
        json!({"memory_bytes": 1000}),
        json!({"memory_bytes": -1}),
        json!({"cpus": 0}),
        json!({"cpus": 1e9}),
        json!({"processes": 1}),
        json!({"processes": 1_000_000}),
        json!({"gpus": 1}),
    ] {
        let body = json!({"command": "true", "image": "tag:host", "x-limits": limits});
        let refused = local.post("/instances", &body).await;
        assert_eq!(refused.status, 400, "{limits}: {refused:?}");
    }
}
