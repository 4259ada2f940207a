//! Tests of running sandboxes: their newest output, snapshots, entries in the list, and their own
//! network.

use contree_engine::NetworkMode;
use serde_json::{Value, json};

use crate::support::{Answer, TestEngine, bytes};

/// Reads the output of a process.
async fn read(local: &TestEngine, operation: &str, spid: u64, query: &str) -> Answer {
    let path = format!("/x/operations/{operation}/processes/{spid}/output{query}");
    local.get(&path).await
}

fn text(answer: &Answer, stream: &str) -> String {
    String::from_utf8(bytes(&answer.json[stream])).unwrap()
}

/// Reads from the start until the output has this text.
async fn read_until(local: &TestEngine, operation: &str, wanted: &str) -> Answer {
    loop {
        let answer = read(local, operation, 1, "?wait_ms=1000").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        if text(&answer, "stdout").contains(wanted) {
            return answer;
        }
    }
}

/// How often a snapshot is tried.
const SNAPSHOT_TRIES: usize = 50;

/// Takes a snapshot. On a busy machine, processes may not stand still in time; then it tries again,
/// as the answer says. The last answer counts.
async fn snapshot(local: &TestEngine, operation: &str) -> Answer {
    let path = format!("/x/operations/{operation}/snapshot");
    let mut answer = local.post(&path, &json!({})).await;
    for _ in 1..SNAPSHOT_TRIES {
        if answer.json["x-code"] != "snapshot-not-possible" || !answer.text.contains("in time") {
            break;
        }
        answer = local.post(&path, &json!({})).await;
    }
    answer
}

async fn cancel(local: &TestEngine, operation: &str) {
    local.delete(&format!("/operations/{operation}")).await;
    local.done(operation).await;
}

#[tokio::test]
async fn output_is_read_from_a_position_on_while_it_is_written() {
    let local = TestEngine::shared().await;
    let fields = json!({"stdin": {"value": "", "close": false}});
    let operation = local
        .spawn("echo one; cat; echo error >&2; exit 3", fields)
        .await;
    let first = read_until(&local, &operation, "one\n").await;
    assert_eq!(first.json["running"], true, "{first:?}");
    let stdin = format!("/operations/{operation}/subprocesses/1/stdin");
    local.post(&stdin, &json!({"value": "two\n"})).await;
    let mut seen = (4, 0);
    let mut all = (String::new(), String::new());
    let end = loop {
        let query = format!("?stdout={}&stderr={}&wait_ms=5000", seen.0, seen.1);
        let answer = read(&local, &operation, 1, &query).await;
        let new = (text(&answer, "stdout"), text(&answer, "stderr"));
        seen = (seen.0 + new.0.len(), seen.1 + new.1.len());
        all.0.push_str(&new.0);
        all.1.push_str(&new.1);
        if answer.json["running"] == false && new.0.is_empty() && new.1.is_empty() {
            break answer;
        }
    };
    assert_eq!(all, ("two\n".to_owned(), "error\n".to_owned()));
    assert_eq!(end.json["exit_code"], 3, "{end:?}");
    local.done(&operation).await;
    // After the end too, and in parts.
    let tail = read(&local, &operation, 1, "?tail=4").await;
    assert_eq!(text(&tail, "stdout"), "two\n");
    let part = read(&local, &operation, 1, "?stdout=1&max_bytes=3").await;
    assert_eq!(
        (
            text(&part, "stdout").as_str(),
            &part.json["stdout"]["total"]
        ),
        ("ne\n", &json!(8))
    );
    for (query, status) in [
        ("?max_bytes=0", 400),
        ("?max_bytes=999999", 400),
        ("?wait_ms=99999", 400),
    ] {
        assert_eq!(
            read(&local, &operation, 1, query).await.status,
            status,
            "{query}"
        );
    }
    assert_eq!(read(&local, &operation, 9, "").await.status, 404);
    assert_eq!(read(&local, &operation, 0, "").await.status, 400);
}

#[tokio::test]
async fn a_flood_keeps_its_newest_output_beyond_the_record() {
    let local = TestEngine::shared().await;
    let script = "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo the end; sleep 600";
    let operation = local
        .spawn(script, json!({"truncate_output_at": 1000}))
        .await;
    let end = loop {
        let answer = read(&local, &operation, 1, "?tail=100").await;
        if text(&answer, "stdout").ends_with("the end\n") {
            break answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let total = 100_000_000 + 9;
    assert_eq!(end.json["stdout"]["total"], total);
    // The answer lacks bytes that are gone, and its position says so.
    let old = read(&local, &operation, 1, "?stdout=5&max_bytes=10").await;
    assert_eq!(old.json["stdout"]["offset"], total - 256 * 1024, "{old:?}");
    // The record has the beginning.
    let record = local
        .get(&format!("/operations/{operation}?inflight=1"))
        .await;
    let recorded = bytes(&record.json["metadata"]["result"]["stdout"]);
    assert_eq!(recorded.len(), 1000);
    cancel(&local, &operation).await;
    let last = read(&local, &operation, 1, "?tail=8").await;
    assert_eq!(text(&last, "stdout"), "the end\n");
}

#[tokio::test]
async fn a_snapshot_has_the_files_of_the_moment_and_the_run_goes_on() {
    let local = TestEngine::shared().await;
    // The counter goes up all the time, in two files that a snapshot must see alike.
    let script = "mkdir /data; ln -s target /data/link; rm /etc/passwd; echo owned > /data/file; \
        chmod 750 /data/file; ln /data/file /data/second; n=0; while :; do n=$((n+1)); \
        for name in a b; do echo $n > /tmp/new; mv /tmp/new /data/$name; done; \
        [ $n = 1 ] && echo ready; done";
    let operation = local.spawn(script, json!({})).await;
    read_until(&local, &operation, "ready").await;
    let taken = snapshot(&local, &operation).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    let image = taken.json["image_uuid"].as_str().unwrap();
    assert!(
        taken.json["note"]
            .as_str()
            .unwrap()
            .contains("processes are not in it")
    );
    assert!(
        taken.json["changed_files"].as_u64().unwrap() >= 4,
        "{taken:?}"
    );
    // It goes on: another snapshot has a later state.
    let counter = |image: String| {
        let local = &local;
        async move {
            let script = "cat /data/a /data/b; ls /data; stat -c '%a %h' /data/file; readlink /data/link; ls /etc/passwd";
            let done = local.run(script, json!({"image": image})).await;
            let lines: Vec<String> = done.stdout.lines().map(str::to_owned).collect();
            let [a, b] = [0, 1].map(|line| lines[line].parse::<i64>().unwrap());
            assert!(a - b <= 1 && a >= b, "{lines:?}");
            let rest = lines[2..].join(" ");
            assert_eq!(rest, "a b file link second 750 2 target", "{done:?}");
            // A removed file stays removed.
            assert!(done.stderr.contains("/etc/passwd"), "{done:?}");
            a
        }
    };
    let first = counter(image.to_owned()).await;
    loop {
        let taken = snapshot(&local, &operation).await;
        let image = taken.json["image_uuid"].as_str().unwrap().to_owned();
        if counter(image).await > first {
            break;
        }
    }
    // Nothing that exists only while a sandbox runs is in the image.
    let hosts = local
        .get(&format!("/inspect/{image}/download?path=/etc/hosts"))
        .await;
    assert!(!hosts.text.contains("Present only while"), "{hosts:?}");
    cancel(&local, &operation).await;
    let over = snapshot(&local, &operation).await;
    assert_eq!(over.status, 409, "{over:?}");
    // Its history leads to the image of the run.
    let log = local.get(&format!("/x/images/{image}/log")).await.json;
    assert_eq!(log["images"][0]["command"], script, "{log}");
    assert_eq!(log["images"][1]["tags"][0], "host", "{log}");
}

#[tokio::test]
async fn a_snapshot_without_changes_is_the_image_of_the_run() {
    let local = TestEngine::shared().await;
    let operation = local.spawn("echo ready; sleep 600", json!({})).await;
    read_until(&local, &operation, "ready").await;
    let taken = snapshot(&local, &operation).await;
    assert_eq!(taken.json["image_uuid"], local.host().await, "{taken:?}");
    cancel(&local, &operation).await;
    let missing = snapshot(&local, "00000000-0000-4000-8000-000000000000").await;
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn a_stopped_process_stays_stopped_after_a_snapshot() {
    let local = TestEngine::shared().await;
    let script = "sleep 600 & kill -STOP $!; \
        until grep -q '^State:.T' /proc/$!/status; do :; done; echo ready; \
        while read line; do cut -d' ' -f3 /proc/$!/stat; done";
    let fields = json!({"stdin": {"value": "", "close": false}});
    let operation = local.spawn(script, fields).await;
    read_until(&local, &operation, "ready").await;
    assert_eq!(snapshot(&local, &operation).await.status, 201);
    let stdin = format!("/operations/{operation}/subprocesses/1/stdin");
    local
        .post(&stdin, &json!({"value": "\n", "close": false}))
        .await;
    read_until(&local, &operation, "T\n").await;
    cancel(&local, &operation).await;
}

#[tokio::test]
async fn the_list_shows_running_sandboxes_and_their_clients() {
    let local = TestEngine::new().await;
    let left = local
        .spawn("echo ready; sleep 600", json!({"x-detached": true}))
        .await;
    read_until(&local, &left, "ready").await;
    let path = format!("/operations/{left}/subprocesses");
    let started = local
        .post(&path, &json!({"command": "sleep", "args": ["500"]}))
        .await;
    assert_eq!(started.json["spid"], 2);
    // The engine soon sees that the client has stopped reading the events.
    let listed = loop {
        let listed = local.get("/operations?status=EXECUTING").await.json;
        if listed[0]["x-live"]["client"] == "left" {
            break listed;
        }
    };
    let live = &listed[0]["x-live"];
    let processes: Vec<(&Value, &Value)> = live["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|process| (&process["spid"], &process["command"]))
        .collect();
    let command = json!("echo ready; sleep 600");
    assert_eq!(
        processes,
        [(&json!(1), &command), (&json!(2), &json!("sleep"))]
    );
    assert!(live["process_count"].as_u64().unwrap() >= 2, "{live}");
    assert!(live["memory_bytes"].as_u64().unwrap() > 0, "{live}");
    let attached = local.spawn("sleep 600", json!({})).await;
    let one = loop {
        let one = local.get(&format!("/operations/{attached}")).await.json;
        if one["status"] == "EXECUTING" && !one["x-live"].is_null() {
            break one;
        }
    };
    assert_eq!(one["x-live"]["client"], "attached", "{one}");
    cancel(&local, &left).await;
    cancel(&local, &attached).await;
    let over = local.get(&format!("/operations/{left}")).await.json;
    assert_eq!(over["x-live"], Value::Null, "{over}");
}

#[tokio::test]
async fn a_run_may_last_a_day_and_no_longer() {
    let local = TestEngine::shared().await;
    let whoami = local.get("/whoami").await.json;
    assert_eq!(whoami["limits"]["instance_max_timeout"], 86_400);
    let day = local.run("true", json!({"timeout": 86_400})).await;
    assert_eq!(day.status, "SUCCESS");
    let body = json!({"command": "true", "image": "tag:host", "timeout": 86_401});
    let refused = local.post("/instances", &body).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.text.contains("86400 seconds"), "{refused:?}");
}

#[tokio::test]
async fn a_run_without_network_has_neither_proxy_nor_addresses() {
    let local = TestEngine::shared().await;
    let script = "env | grep -i proxy; cat /proc/net/route; cut -d: -f1 /proc/net/dev | tail -n +3; \
        bash -c 'echo > /dev/tcp/127.0.0.1/3128' 2>&1";
    let done = local
        .run(script, json!({"networking": {"enabled": false}}))
        .await;
    let lines: Vec<&str> = done.stdout.lines().map(str::trim).collect();
    assert!(
        lines[0].starts_with("Iface"),
        "no variable comes first: {done:?}"
    );
    assert_eq!(lines[1], "lo", "no route and no other interface: {done:?}");
    assert!(
        done.stdout.contains("refused"),
        "no proxy listens: {done:?}"
    );
}

#[tokio::test]
async fn the_hosts_of_a_run_are_enforced_by_its_proxy() {
    let local = TestEngine::shared().await;
    let script = "exec 3<>/dev/tcp/127.0.0.1/3128; \
        printf 'CONNECT other.example:443 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3; read -r line <&3; echo \"$line\"";
    let fields = json!({"shell": false, "args": ["-c", script], "x-network": {"allow_hosts": ["a.example:443"]}});
    let done = local.run("bash", fields).await;
    assert!(done.stdout.starts_with("HTTP/1.1 403"), "{done:?}");
    assert!(done.stderr.contains("allow_hosts"), "{done:?}");
    let recorded = local
        .get(&format!("/operations/{}", done.operation))
        .await
        .json;
    assert_eq!(
        recorded["metadata"]["x-network"]["allow_hosts"][0],
        "a.example:443"
    );
    for network in [
        json!({"allow_hosts": []}),
        json!({"allow_hosts": ["10.0.0.0/8+private"]}),
        json!({"allow_hosts": ["http://a.example"]}),
    ] {
        let body = json!({"command": "true", "image": "tag:host", "x-network": network});
        let refused = local.post("/instances", &body).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.text.contains("allow_hosts"), "{refused:?}");
    }
}

#[tokio::test]
async fn hosts_that_cannot_be_enforced_are_refused() {
    let host = TestEngine::with_settings(|config| config.network = NetworkMode::Host).await;
    let fields = json!({"command": "true", "image": "tag:host", "x-network": {"allow_hosts": ["a.example"]}});
    let refused = host.post("/instances", &fields).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.text.contains("cannot be enforced"), "{refused:?}");
    // An engine without a network stays without one.
    let none = TestEngine::with_settings(|config| config.network = NetworkMode::None).await;
    let done = none
        .run(
            "env | grep -ci _proxy; cut -d: -f1 /proc/net/dev | tail -n +3",
            json!({"x-network": {"allow_hosts": ["*"]}}),
        )
        .await;
    assert_eq!(
        done.stdout.split_whitespace().collect::<Vec<_>>(),
        ["0", "lo"],
        "{done:?}"
    );
}
