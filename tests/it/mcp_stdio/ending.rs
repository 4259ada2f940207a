//! Ends of sessions: closed pipes and signals.

use super::*;

/// Starts a call that runs for a while with progress. Returns once it has begun.
fn start_sleep(raw: &mut RawClient, seconds: &str) -> u64 {
    let command = format!(
        "for i in $(seq 1000); do echo tick $i; sleep 0.05; done & sleep {seconds}; echo done"
    );
    let id = raw.send(
            "tools/call",
            json!({"name": "run", "arguments": {"image": "tag:host", "command": command, "timeout": 60}, "_meta": {"progressToken": "p"}}),
        );
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        let message = raw.message(Duration::from_secs(60)).expect("progress");
        let text = message["params"]["message"].as_str().unwrap_or_default();
        if message["method"] == "notifications/progress" && text.starts_with("tick") {
            return id;
        }
    }
    panic!("no progress: {}", raw.stderr());
}

#[test]
fn the_end_of_the_input_lets_short_calls_finish() {
    let home = Home::new();
    let mut raw = local(&home);
    let id = start_sleep(&mut raw, "1");
    raw.close_input();
    let rest = raw.rest();
    let answer = rest
        .iter()
        .find(|message| message["id"] == id)
        .expect("an answer");
    assert!(
        answer["result"]["structuredContent"]["stdout"]
            .as_str()
            .unwrap()
            .contains("done\n"),
        "{answer}"
    );
    assert!(raw.exit(crate::support::raw::ANSWER_TIMEOUT).success());
}

#[test]
fn the_end_of_the_input_cancels_long_calls_after_a_while() {
    let home = Home::new();
    let mut raw = local(&home);
    let id = start_sleep(&mut raw, "50");
    let begun = Instant::now();
    raw.close_input();
    let rest = raw.rest();
    let answer = rest
        .iter()
        .find(|message| message["id"] == id)
        .expect("an answer");
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert!(raw.exit(crate::support::raw::ANSWER_TIMEOUT).success());
    let took = begun.elapsed();
    // The command takes 50 seconds.
    assert!(
        (Duration::from_millis(4500)..Duration::from_secs(40)).contains(&took),
        "{took:?}"
    );
    assert_eq!(operations(&home), ["CANCELLED"]);
}

#[test]
fn a_signal_cancels_at_once() {
    for name in ["TERM", "INT"] {
        let home = Home::new();
        let mut raw = local(&home);
        start_sleep(&mut raw, "50");
        let begun = Instant::now();
        signal(raw.pid(), name);
        assert!(
            raw.exit(Duration::from_secs(10)).success(),
            "{}",
            raw.stderr()
        );
        assert!(
            begun.elapsed() < Duration::from_millis(4500),
            "{name}: {:?}",
            begun.elapsed()
        );
        assert_eq!(operations(&home), ["CANCELLED"]);
    }
}

#[test]
fn an_idle_server_ends_immediately() {
    for name in ["", "TERM"] {
        let home = Home::new();
        let mut raw = local(&home);
        let begun = Instant::now();
        if name.is_empty() {
            raw.close_input()
        } else {
            signal(raw.pid(), name)
        }
        assert!(raw.exit(crate::support::raw::ANSWER_TIMEOUT).success());
        // A running call would get five seconds.
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn the_input_may_end_before_the_handshake() {
    let home = Home::new();
    let mut raw = RawClient::start(home.command());
    raw.close_input();
    assert!(raw.exit(Duration::from_secs(5)).success());
}

#[test]
fn a_refused_last_message_is_answered() {
    let home = Home::new();
    for _ in 0..10 {
        let mut raw = local(&home);
        raw.write(b"{\"jsonrpc\": \"2.0\", \"id\": 77, \"method\": 5}\n");
        raw.close_input();
        let rest = raw.rest();
        assert_eq!(rest[0]["error"]["code"], -32600, "{rest:?}");
    }
}

#[test]
fn requests_read_together_with_the_end_are_answered() {
    let home = Home::new();
    let mut raw = local(&home);
    // The first use creates `tag:host`, which may take longer than the grace period.
    raw.call_ok("get_image", json!({"image": "tag:host"}));
    let id = raw.send("tools/call", json!({"name": "run", "arguments": {"image": "tag:host", "command": "echo last"}, "_meta": {"progressToken": 1}}));
    raw.close_input();
    let rest = raw.rest();
    let answer = rest
        .iter()
        .find(|message| message["id"] == id)
        .expect("an answer");
    assert_eq!(
        answer["result"]["structuredContent"]["stdout"], "last\n",
        "{answer}"
    );
}

#[test]
fn unattended_operations_end_with_the_session() {
    let home = Home::new();
    let mut raw = local(&home);
    let started = raw.call_ok(
        "run",
        json!({"image": "tag:host", "command": "sleep 50", "wait": false, "timeout": 60}),
    );
    assert!(started["operation_id"].is_string(), "{started}");
    raw.close_input();
    assert!(raw.exit(Duration::from_secs(40)).success());
    assert_eq!(operations(&home), ["CANCELLED"]);
}

/// Returns the statuses of all operations, as a new server reports them.
fn operations(home: &Home) -> Vec<String> {
    let listed = local(home).call_ok("list_operations", json!({}));
    listed["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|operation| operation["status"].as_str().unwrap().to_owned())
        .collect()
}
