//! Messages that are malformed, large or out of order.

use super::*;

#[test]
fn malformed_requests_are_answered_and_the_session_lives() {
    let home = Home::new();
    let mut raw = local(&home);
    raw.write(b"garbage\n\xff\xfe\n[1,2]\n");
    let answer = raw.message(Duration::from_secs(10)).unwrap();
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
    for (method, params, code) in [
        ("tools/call", json!({}), -32602),
        ("tools/call", json!({"name": 5}), -32602),
        (
            "tools/call",
            json!({"name": "run", "arguments": [1]}),
            -32602,
        ),
        ("tools/call", json!({"name": "no_such_tool"}), -32602),
        ("tools/list", json!({"cursor": "x"}), -32602),
        ("no/such/method", json!({}), -32601),
        ("prompts/list", json!({}), -32601),
    ] {
        let answer = raw.request(method, params.clone());
        if method == "prompts/list" && answer["result"].is_object() {
            continue;
        }
        assert_eq!(answer["error"]["code"], code, "{method} {params}: {answer}");
    }
    let deep = "[".repeat(200) + &"]".repeat(200);
    raw.write(
            format!("{{\"jsonrpc\":\"2.0\",\"id\":88,\"method\":\"tools/call\",\"params\":{{\"name\":\"run\",\"arguments\":{{\"x\":{deep}}}}}}}\n")
                .as_bytes(),
        );
    let answer = raw.answer(88);
    assert_eq!(answer["error"]["code"], -32700, "{answer}");
    assert!(answer.to_string().contains("nested too deeply"), "{answer}");
    raw.write(b"{\"jsonrpc\":\"2.0\",\"id\":89,\"method\":\"tools/list\",}\n");
    assert_eq!(raw.answer(89)["error"]["code"], -32700);
    raw.write(
            b"{\"jsonrpc\":\"2.0\",\"id\":90,\"method\":\"ping\"} {\"jsonrpc\":\"2.0\",\"id\":91,\"method\":\"ping\"}\n",
        );
    for id in [90, 91] {
        let answer = raw.answer(id);
        assert!(answer["result"].is_object(), "{answer}");
    }
    raw.write(b"{\"jsonrpc\":\"1.0\",\"id\":77,\"method\":\"tools/list\"}\n");
    assert_eq!(raw.answer(77)["error"]["code"], -32600);
    assert!(raw.request("tools/list", json!({})).get("result").is_some());
}

#[test]
fn malformed_texts_and_handshakes_name_what_is_wrong() {
    let home = Home::new();
    let mut raw = RawClient::start(home.command());
    let answer = raw.request(
        "initialize",
        json!({"capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}),
    );
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    let text = answer.to_string();
    assert!(text.contains("protocolVersion"), "{text}");
    // The client may try again.
    raw.request(
            "initialize",
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}),
        );
    raw.notify("notifications/initialized", json!({}));
    raw.write(b"{\"jsonrpc\":\"2.0\",\"id\":88,\"method\":\"tools/call\",\"params\":{\"name\":\"run\",\"arguments\":{\"command\":\"\\ud83d\"}}}\n");
    let text = raw.answer(88).to_string();
    assert!(
        text.contains("surrogate") && !text.contains("deep"),
        "{text}"
    );
    raw.write(b"{\"jsonrpc\":\"2.0\",\"id\":89,\"method\":\"tools/call\",\"params\":{\"name\":\"run\",\"arguments\":{\"command\":\"\xff\"}}}\n");
    let text = raw.answer(89).to_string();
    assert!(text.contains("not UTF-8"), "{text}");
    let arguments = json!({"name": "run", "arguments": "{\"command\": \"true\"}"});
    let text = raw.request("tools/call", arguments).to_string();
    assert!(text.contains("`arguments`"), "{text}");
    for method in ["tool/call", "logging/setLevel", "resources/subscribe"] {
        let answer = raw.request(method, json!({"level": "info", "uri": "contree://guide/x"}));
        assert_eq!(answer["error"]["code"], -32601, "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("has no method"), "{message}");
    }
}

/// `nohup` ignores SIGHUP, and scripts ignore SIGINT for what they start in the background.
#[cfg(target_os = "linux")]
#[test]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let home = Home::new();
    let program = home.command();
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' HUP INT; exec \"$0\""])
        .arg(env!("CARGO_BIN_EXE_contree-mcp"))
        .env_clear()
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(home.path());
    let mut raw = RawClient::initialized(command, "2025-11-25");
    assert!(raw.request("ping", json!({}))["result"].is_object());
    let status = std::fs::read_to_string(format!("/proc/{}/status", raw.pid())).unwrap();
    let mask = |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(found.unwrap().trim(), 16).unwrap()
    };
    // SIGHUP is signal 1, SIGINT is 2, SIGTERM is 15.
    assert_eq!(mask("SigIgn:") & 0b11, 0b11, "{status}");
    assert_eq!(mask("SigCgt:") & 1 << 14, 1 << 14, "{status}");
}

#[test]
fn wrong_arguments_are_tool_errors() {
    let home = Home::new();
    let mut raw = local(&home);
    for (arguments, expected) in [
        (
            json!({"command": "ls", "imge": "x"}),
            "did you mean `image`?",
        ),
        (json!({"command": "ls"}), "`image`"),
        (
            json!({"command": "ls", "image": "tag:x", "timeout": "soon"}),
            "`timeout`",
        ),
    ] {
        let text = raw.call_error("run", arguments);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn an_overlong_message_is_refused_and_the_next_is_read() {
    let home = Home::new();
    let mut raw = local(&home);
    let content = "x".repeat(20 * 1024 * 1024);
    let id = raw.send(
        "tools/call",
        json!({"name": "upload", "arguments": {"content": content}}),
    );
    let answer = raw.answer(id);
    assert_eq!(answer["error"]["code"], -32600, "{answer}");
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("16 MiB")
    );
    assert!(raw.request("tools/list", json!({})).get("result").is_some());
}

#[test]
fn a_flood_of_calls_is_answered() {
    const CALLS: u64 = 10_000;
    let home = Home::new();
    let mut raw = local(&home);
    // All calls are written before any answer is read, as a careless client would.
    let mut flood = Vec::new();
    for id in 1..=CALLS {
        let call = json!({"jsonrpc": "2.0", "id": id + 1000, "method": "tools/call", "params": {"name": "run", "arguments": {"imge": "x"}}});
        flood.extend_from_slice(format!("{call}\n").as_bytes());
    }
    raw.write(&flood);
    for id in 1..=CALLS {
        assert_eq!(raw.answer(id + 1000)["result"]["isError"], true);
    }
    let peak = peak_memory_kib(raw.pid());
    assert!(peak < 300 * 1024, "{peak} KiB");
}

#[test]
fn unread_answers_stop_the_server_from_reading() {
    let home = Home::new();
    let mut child = home
        .command()
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let pid = child.id();
    // The writer ends with a broken pipe when the process is killed.
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
                "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        let mut sent = 0u64;
        let _ = writeln!(stdin, "{initialize}");
        while sent < 1_000_000 && writeln!(stdin, "{list}").is_ok() {
            sent += 1;
        }
        sent
    });
    std::thread::sleep(Duration::from_secs(4));
    let peak = peak_memory_kib(pid);
    child.kill().unwrap();
    child.wait().unwrap();
    let sent = writer.join().unwrap();
    assert!(peak < 400 * 1024, "{peak} KiB after {sent} requests");
}

fn peak_memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
