//! Tests of running commands.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{TestEngine, bytes};

#[tokio::test]
async fn a_command_runs_isolated() {
    let local = TestEngine::shared().await;
    let done = local
        .run(
            "id -u; echo $((6*7)); hostname; ls /proc | grep -c '^[0-9]'; exit 3",
            json!({}),
        )
        .await;
    assert_eq!(done.status, "SUCCESS", "{done:?}");
    assert_eq!(done.exit_code, 3);
    assert_eq!(done.signal, -1);
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(&lines[..2], ["0", "42"]);
    // Pid 1, the shell, ls and grep, and no process of the host.
    assert!(
        lines.last().unwrap().parse::<u32>().unwrap() <= 5,
        "{done:?}"
    );
    assert_eq!(done.result, None);
}

#[tokio::test]
async fn several_runs_start_from_one_image() {
    let local = TestEngine::shared().await;
    let parent = local.host().await;
    let first = local
        .run(
            "echo one >/a; rm /etc/services",
            json!({"disposable": false}),
        )
        .await;
    let image = first.result.clone().expect("a new image");
    assert_ne!(image, parent);
    let observed = local
        .run("cat /a; ls /etc/services", json!({"image": image}))
        .await;
    assert_eq!(observed.stdout, "one\n");
    assert_ne!(observed.exit_code, 0);
    let unchanged = local
        .run("cat /a; ls /etc/services", json!({"image": parent}))
        .await;
    assert_eq!(unchanged.stdout, "/etc/services\n");
    let second = local
        .run(
            "echo two >>/a",
            json!({"image": image, "disposable": false}),
        )
        .await;
    let both = local.run("cat /a", json!({"image": second.result})).await;
    assert_eq!(both.stdout, "one\ntwo\n");
    let still = local.run("cat /a", json!({"image": image})).await;
    assert_eq!(still.stdout, "one\n");
}

#[tokio::test]
async fn a_run_that_changes_nothing_has_its_source_as_result() {
    let local = TestEngine::shared().await;
    let parent = local.host().await;
    for command in [
        "true",
        "touch /tmp/x && rm /tmp/x",
        "python3 -c 'import json' || true",
    ] {
        let done = local.run(command, json!({"disposable": false})).await;
        assert_eq!(done.result.as_deref(), Some(parent.as_str()), "{command}");
    }
    let env = local
        .run(
            "true",
            json!({"disposable": false, "preserve_env": true, "env": {"KEPT": "yes"}}),
        )
        .await;
    assert_ne!(env.result.as_deref(), Some(parent.as_str()));
    let observed = local.run("echo $KEPT", json!({"image": env.result})).await;
    assert_eq!(observed.stdout, "yes\n");
    let cwd = local
        .run(
            "true",
            json!({"disposable": false, "preserve_cwd": true, "cwd": "/tmp"}),
        )
        .await;
    let observed = local.run("pwd", json!({"image": cwd.result})).await;
    assert_eq!(observed.stdout, "/tmp\n");
}

#[tokio::test]
async fn a_command_gets_its_environment_directory_and_input() {
    let local = TestEngine::shared().await;
    let done = local
        .run(
            "pwd; echo \"$A\"; cat; echo err >&2",
            json!({"cwd": "/made/on/the/way", "env": {"A": "ä b"}, "stdin": {"value": "typed\n"}, "hostname": "box"}),
        )
        .await;
    assert_eq!(done.stdout, "/made/on/the/way\nä b\ntyped\n");
    assert_eq!(
        done.stderr,
        "err\ncontree: the working directory /made/on/the/way was missing in the image, so it was created empty\n"
    );
    let program = local
        .run(
            "/bin/sh",
            json!({"shell": false, "args": ["-c", "echo $0 $1; env", "x", "y z"]}),
        )
        .await;
    assert!(program.stdout.starts_with("x y z\n"), "{program:?}");
    assert!(
        !program.stdout.contains("LANG="),
        "the image's environment is for shells: {program:?}"
    );
    let looked_up = local
        .run("env", json!({"shell": false, "env": {"ONLY": "this"}}))
        .await;
    assert!(looked_up.stdout.contains("ONLY=this"), "{looked_up:?}");
}

#[tokio::test]
async fn large_input_is_delivered_completely_and_output_is_truncated() {
    let local = TestEngine::shared().await;
    let value = "0123456789abcde\n".repeat(1 << 17);
    let done = local.run("wc -c", json!({"stdin": {"value": value}})).await;
    assert_eq!(done.stdout.trim(), (16 << 17).to_string());
    let capped = local
        .run(
            "cat; echo last >&2",
            json!({"stdin": {"value": value}, "truncate_output_at": 1000}),
        )
        .await;
    assert_eq!(capped.stdout.len(), 1000);
    assert_eq!(capped.stderr, "last\n");
    let truncated = capped
        .events
        .iter()
        .find(|event| event["type"] == "truncated" && event["data"]["stream"] == "stdout")
        .unwrap();
    assert_eq!(truncated["data"]["bytes_emitted"], 1000);
    assert_eq!(truncated["data"]["bytes_dropped"], (16 << 17) - 1000);
    let status = local
        .get(&format!("/operations/{}", capped.operation))
        .await
        .json;
    let stdout = &status["metadata"]["result"]["stdout"];
    assert_eq!(stdout["truncated"], true);
    assert_eq!(bytes(stdout).len(), 1000);
}

#[tokio::test]
async fn binary_output_is_recorded_exactly() {
    let local = TestEngine::shared().await;
    let done = local.run("printf '\\000\\377\\n'", json!({})).await;
    let chunk = done
        .events
        .iter()
        .find(|event| event["type"] == "stdout")
        .unwrap();
    assert_eq!(bytes(&chunk["data"]), [0, 255, 10]);
}

#[tokio::test]
async fn files_of_the_request_are_placed() {
    let local = TestEngine::shared().await;
    let file = local.upload(b"#!/bin/sh\necho placed\n").await;
    let again = local.upload(b"#!/bin/sh\necho placed\n").await;
    assert_eq!(file["uuid"], again["uuid"]);
    let files = json!({"/opt/new/tool": {"uuid": file["uuid"], "mode": "0755"}, "/etc/hosts": {"uuid": file["uuid"]}});
    let done = local
        .run(
            "/opt/new/tool; stat -c %a /opt/new/tool /etc/hosts",
            json!({"files": files}),
        )
        .await;
    assert_eq!(done.stdout, "placed\n755\n644\n", "{done:?}");
}

#[tokio::test]
async fn a_timeout_ends_all_processes_and_commits_the_result() {
    let local = TestEngine::shared().await;
    let begun = Instant::now();
    let command = "trap '' TERM; (setsid sleep 600 &); echo here >/a; echo out; sleep 600";
    let done = local
        .run(command, json!({"timeout": 1, "disposable": false}))
        .await;
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert!(done.timed_out, "{done:?}");
    assert_eq!(
        (done.status.as_str(), done.exit_code, done.signal),
        ("SUCCESS", -1, 9)
    );
    assert_eq!(done.stdout, "out\n");
    let observed = local.run("cat /a", json!({"image": done.result})).await;
    assert_eq!(observed.stdout, "here\n");
}

/// Reads a field of a process's status.
fn status(process: &str, field: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.split_whitespace().last()?.to_owned())
}

/// Finds the process with exactly this command line.
fn find_process(command: &[u8]) -> Option<String> {
    let processes = std::fs::read_dir("/proc").unwrap();
    processes
        .filter_map(|process| process.ok()?.file_name().into_string().ok())
        .find(|process| {
            std::fs::read(format!("/proc/{process}/cmdline")).is_ok_and(|line| line == command)
        })
}

/// The command line of `sleep`, as /proc shows it.
fn command_line(time: &str) -> Vec<u8> {
    format!("sleep\0{time}\0").into_bytes()
}

/// Waits until the engine shows that the command has printed `begun`. It then knows that the
/// command has started.
async fn wait_until_begun(local: &TestEngine, operation: &str) {
    let path = format!("/operations/{operation}?inflight=1");
    loop {
        let record = local.get(&path).await.json;
        if record["metadata"]["result"]["stdout"]["value"] == "begun\n" {
            return;
        }
        let has_ended =
            ["SUCCESS", "FAILED", "CANCELLED"].contains(&record["status"].as_str().unwrap());
        assert!(!has_ended, "{record}");
        tokio::task::yield_now().await;
    }
}

/// Stops the first process of the sandbox that runs a process with exactly this command line.
async fn stop_first_process(command: &[u8]) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut process = loop {
        if let Some(process) = find_process(command) {
            break process;
        }
        assert!(Instant::now() < deadline, "the command does not run");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    // The last number is the process id inside the sandbox.
    while status(&process, "NSpid:").unwrap() != "1" {
        process = status(&process, "PPid:").unwrap();
    }
    let stopped = std::process::Command::new("sh")
        .args(["-c", &format!("kill -STOP {process}")])
        .status();
    assert!(stopped.unwrap().success());
}

#[tokio::test]
async fn a_timeout_is_reported_even_if_the_sandbox_is_ended_by_force() {
    let local = TestEngine::new().await;
    // No other process on this machine has this command line.
    let [first, second] = [1, 2].map(|n| format!("8317{n}.{}", std::process::id()));
    let run_stopped = async |time: &str, disposable: bool| {
        let command = format!("echo begun; exec sleep {time}");
        let fields = json!({"timeout": 15, "disposable": disposable});
        let operation = local.spawn(&command, fields).await;
        wait_until_begun(&local, &operation).await;
        stop_first_process(&command_line(time)).await;
        local.done(&operation).await
    };
    let (disposable, kept) = tokio::join!(run_stopped(&first, true), run_stopped(&second, false));
    assert!(disposable.timed_out, "{disposable:?}");
    let ended = (
        disposable.status.as_str(),
        disposable.exit_code,
        disposable.signal,
    );
    assert_eq!(ended, ("SUCCESS", -1, 9));
    // The files of such a run may be inconsistent, so there is no result.
    assert_eq!((kept.status.as_str(), &kept.result), ("FAILED", &None));
    assert!(kept.error.contains("exceeded its time-out"), "{kept:?}");
    for time in [&first, &second] {
        assert_eq!(find_process(&command_line(time)), None);
    }
}

#[tokio::test]
async fn cancelling_ends_a_run_and_commits_nothing() {
    let local = TestEngine::shared().await;
    let operation = local
        .spawn("echo begun; sleep 600", json!({"disposable": false}))
        .await;
    wait_until_begun(&local, &operation).await;
    let path = format!("/operations/{operation}");
    assert_eq!(local.delete(&path).await.status, 202);
    let done = local.done(&operation).await;
    assert_eq!((done.status.as_str(), done.result), ("CANCELLED", None));
    assert!(!done.error.is_empty());
    assert_eq!(local.delete(&path).await.status, 409);
    assert_eq!(local.get(&path).await.json["status"], "CANCELLED");
}

#[tokio::test]
async fn a_command_that_cannot_start_is_failed() {
    let local = TestEngine::shared().await;
    let done = local.run("/no/such/program", json!({"shell": false})).await;
    assert_eq!(done.status, "FAILED");
    assert!(done.error.contains("/no/such/program"), "{}", done.error);
    let shell = local.run("/no/such/program", json!({})).await;
    assert_eq!((shell.status.as_str(), shell.exit_code), ("SUCCESS", 127));
}

#[tokio::test]
async fn a_fatal_signal_is_reported() {
    let local = TestEngine::shared().await;
    let done = local.run("kill -SEGV $$", json!({})).await;
    assert_eq!((done.exit_code, done.signal), (-1, 11));
}

#[tokio::test]
async fn resources_are_measured() {
    let local = TestEngine::shared().await;
    let done = local
        .run(
            "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done",
            json!({}),
        )
        .await;
    let status = local
        .get(&format!("/operations/{}", done.operation))
        .await
        .json;
    let resources = &status["metadata"]["result"]["resources"];
    assert!(
        resources["user_cpu_time"].as_f64().unwrap() > 0.0,
        "{status}"
    );
    assert!(resources["max_rss"].as_u64().unwrap() > 0);
    assert!(status["consumed_cpu"].as_f64().unwrap() > 0.0);
    assert!(status["duration"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn another_user_is_used_or_refused() {
    let local = TestEngine::shared().await;
    let body = json!({"command": "id -u; id -g; touch /tmp/mine; stat -c %u /tmp/mine", "shell": true,
                      "image": "tag:host", "disposable": true, "uid": 1000, "gid": 1001});
    let answer = local.post("/instances", &body).await;
    if answer.status == 400 {
        // A single user id: the error gives the reason and a fix.
        assert!(
            answer.json["error"].as_str().unwrap().contains("newuidmap"),
            "{answer:?}"
        );
        return;
    }
    let done = local.done(answer.json["uuid"].as_str().unwrap()).await;
    assert_eq!(done.stdout, "1000\n1001\n1000\n");
}

#[tokio::test]
async fn many_runs_at_once_succeed() {
    let local = TestEngine::shared().await;
    let runs =
        (0..24).map(|n| local.run(Box::leak(format!("echo {n}").into_boxed_str()), json!({})));
    let done = futures_util::future::join_all(runs).await;
    for (n, done) in done.iter().enumerate() {
        assert_eq!(done.stdout, format!("{n}\n"));
    }
}

#[tokio::test]
async fn a_client_that_disconnects_while_spawning_leaves_nothing_pending() {
    let local = TestEngine::new().await;
    local.host().await;
    let body = json!({"command": "true", "shell": true, "image": "tag:host", "disposable": true});
    for _ in 0..10 {
        // The request is dropped shortly after it was sent, whether or not it was answered.
        let _ =
            tokio::time::timeout(Duration::from_millis(1), local.post("/instances", &body)).await;
    }
    loop {
        let operations = local.get("/operations").await.json;
        let unfinished = |operation: &serde_json::Value| operation["status"] != "SUCCESS";
        if !operations.as_array().unwrap().iter().any(unfinished) {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn small_writes_are_collected_and_none_is_lost() {
    let local = TestEngine::shared().await;
    let done = local
        .run(
            "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done",
            json!({}),
        )
        .await;
    let numbers: Vec<u32> = done
        .stdout
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    assert_eq!(numbers, (0..20000).collect::<Vec<_>>());
    let events = done
        .events
        .iter()
        .filter(|event| event["type"] == "stdout")
        .count();
    assert!(events < 5000, "{events} events");
}

#[tokio::test]
async fn a_command_can_start_in_a_file_system_of_the_kernel() {
    let local = TestEngine::shared().await;
    for path in ["/proc", "/dev/shm", "/sys"] {
        let done = local.run("pwd", json!({"cwd": path})).await;
        assert_eq!(done.stdout.trim(), path, "{done:?}");
    }
}

#[tokio::test]
async fn a_null_unsets_a_variable_of_the_image() {
    let local = TestEngine::shared().await;
    let done = local
        .run("echo ${LANG-unset}", json!({"env": {"LANG": null}}))
        .await;
    assert_eq!(done.stdout, "unset\n");
}
