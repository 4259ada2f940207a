//! The MCP server over pipes: edge cases of the protocol, ends of sessions, and a whole session on
//! the embedded engine.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::raw::RawClient;
use crate::support::{Home, signal};
use serde_json::{Value, json};

/// All protocol versions with a handshake.
const VERSIONS: &[&str] = &["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

fn local(home: &Home) -> RawClient {
    RawClient::initialized(home.command(), "2025-11-25")
}

mod handshake {
    use super::*;

    #[test]
    fn every_version_is_supported() {
        for version in VERSIONS {
            let home = Home::new();
            let mut raw = RawClient::initialized(home.command(), version);
            let tools = raw.request("tools/list", json!({}));
            assert!(
                tools["result"]["tools"].as_array().unwrap().len() >= 13,
                "{tools}"
            );
            raw.close_input();
            assert!(raw.exit(Duration::from_secs(5)).success());
        }
    }

    #[test]
    fn a_session_of_2026_needs_no_handshake() {
        let home = Home::new();
        let mut raw = RawClient::modern(home.command());
        let discovered = raw.request("server/discover", json!({}));
        let versions = discovered["result"]["supportedVersions"]
            .as_array()
            .unwrap();
        assert!(versions.contains(&json!("2026-07-28")), "{discovered}");
        let tools = raw.request("tools/list", json!({}));
        assert_eq!(tools["result"]["resultType"], "complete", "{tools}");
        assert!(tools["result"]["ttlMs"].as_u64().unwrap() > 0);
    }

    #[test]
    fn the_server_identifies_itself() {
        let home = Home::new();
        let mut raw = RawClient::start(home.command());
        let answer = raw.request(
            "initialize",
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}),
        );
        let result = &answer["result"];
        assert_eq!(result["serverInfo"]["name"], "contree-mcp");
        assert_eq!(result["serverInfo"]["version"], env!("CARGO_PKG_VERSION"));
        let instructions = result["instructions"].as_str().unwrap();
        assert!(
            (100..2500).contains(&instructions.len()),
            "{}",
            instructions.len()
        );
        raw.wait_for_stderr("backend the embedded engine (no token and no URL are configured)");
    }

    #[test]
    fn messages_before_the_first_request_are_ignored() {
        let home = Home::new();
        let mut raw = RawClient::start(home.command());
        raw.notify("notifications/initialized", json!({}));
        raw.write(b"\n\nnot json\n{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}}\n");
        let answer = raw.request(
            "initialize",
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}),
        );
        assert!(answer.get("result").is_some(), "{answer}");
    }

    #[test]
    fn every_tool_has_schemas_and_hints() {
        let home = Home::new();
        let tools = local(&home).request("tools/list", json!({}));
        for tool in tools["result"]["tools"].as_array().unwrap() {
            let name = &tool["name"];
            assert_eq!(tool["inputSchema"]["type"], "object", "{name}");
            assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}");
            assert_eq!(tool["outputSchema"]["type"], "object", "{name}");
            for hint in [
                "readOnlyHint",
                "destructiveHint",
                "idempotentHint",
                "openWorldHint",
            ] {
                assert!(tool["annotations"][hint].is_boolean(), "{name} {hint}");
            }
        }
    }

    #[test]
    fn each_call_reports_incomplete_credentials() {
        let home = Home::new();
        let mut command = home.command();
        command.env("CONTREE_TOKEN", "secret");
        let mut raw = RawClient::initialized(command, "2025-11-25");
        let text = raw.call_error("whoami", json!({}));
        assert!(
            text.contains("there is a token (CONTREE_TOKEN) but no URL"),
            "{text}"
        );
        assert!(!text.contains("secret") && !raw.stderr().contains("secret"));
    }
}

mod wire {
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
}

mod ending {
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
}

mod cancelling {
    use super::*;

    #[test]
    fn cancelling_a_call_ends_its_sandbox() {
        let home = Home::new();
        let mut raw = local(&home);
        let id = raw.send("tools/call", json!({"name": "run", "arguments": {"image": "tag:host", "command": sleep(), "timeout": 900}}));
        wait_for(|| running() == 1, "the command runs");
        raw.notify(
            "notifications/cancelled",
            json!({"requestId": id, "reason": "no longer needed"}),
        );
        wait_for(|| running() == 0, "the command is gone");
        assert!(
            raw.answer_within(id, Duration::from_millis(300)).is_none(),
            "a cancelled call has no answer"
        );
        // The processes end a moment before the record changes.
        let ended = || {
            let listed = raw.call_ok("list_operations", json!({}));
            let status = listed["operations"][0]["status"].as_str().unwrap();
            (status != "EXECUTING").then(|| status.to_owned())
        };
        assert_eq!(wait_until(ended, "its end is recorded"), "CANCELLED");
    }

    #[test]
    fn killing_the_server_ends_its_sandboxes() {
        let home = Home::new();
        let mut raw = local(&home);
        raw.send("tools/call", json!({"name": "run", "arguments": {"image": "tag:host", "command": sleep(), "timeout": 900}}));
        wait_for(|| running() == 1, "the command runs");
        signal(raw.pid(), "KILL");
        wait_for(|| running() == 0, "the command is gone");
        let listed = local(&home).call_ok("list_images", json!({}));
        assert_eq!(listed["images"][0]["tag"], "host", "{listed}");
    }

    fn wait_for(done: impl Fn() -> bool, what: &str) {
        wait_until(|| done().then_some(()), what);
    }

    fn wait_until<T>(mut done: impl FnMut() -> Option<T>, what: &str) -> T {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(done) = done() {
                return done;
            }
            assert!(Instant::now() < until, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns a command line that is unique on this machine.
    fn sleep() -> String {
        let thread = format!("{:?}", std::thread::current().id());
        let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
        format!("sleep 777.{}{thread}", std::process::id())
    }

    /// Counts the processes with that command line.
    fn running() -> usize {
        let wanted = format!("{}\u{0}", sleep().replace(' ', "\u{0}"));
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter(|entry| {
                std::fs::read(entry.path().join("cmdline"))
                    .is_ok_and(|line| line == wanted.as_bytes())
            })
            .count()
    }
}

/// A whole session of an agent: run, look, branch, wait, upload, cancel, tag.
fn whole_session(mut raw: RawClient, home: &Home) {
    let tools = raw.request("tools/list", json!({}));
    let names: Vec<&str> = tools["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    for name in [
        "run",
        "upload",
        "download",
        "list_files",
        "read_file",
        "set_tag",
        "wait_operations",
        "whoami",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    let whoami = raw.call_ok("whoami", json!({}));
    assert_eq!(whoami["backend"], "local", "{whoami}");
    // The network of sandboxes depends on the machine, but a note always describes it.
    let notes = whoami["notes"].to_string();
    assert!(
        ["by name and by TCP", "HTTP and HTTPS", "no network"]
            .iter()
            .any(|words| notes.contains(words)),
        "{whoami}"
    );

    let first = raw.call_ok(
        "run",
        json!({"image": "tag:host", "command": "mkdir /work && printf 'one\\n' > /work/note && echo made", "disposable": false}),
    );
    assert_eq!(
        (&first["exit_code"], &first["stdout"]),
        (&json!(0), &json!("made\n")),
        "{first}"
    );
    let (parent, child) = (
        first["image_uuid"].clone(),
        first["result_image_uuid"].clone(),
    );
    assert!(child.is_string() && parent != child, "{first}");

    let files = raw.call_ok("list_files", json!({"image": child, "path": "/work"}));
    assert_eq!(
        (&files["count"], &files["files"][0]["path"]),
        (&json!(1), &json!("/work/note")),
        "{files}"
    );
    let read = raw.call_ok("read_file", json!({"image": child, "path": "/work/note"}));
    assert_eq!(
        (&read["content"], &read["bytes_size"], &read["encoding"]),
        (&json!("one\n"), &json!(4), &json!("utf-8")),
        "{read}"
    );
    let saved = home.path().join("saved");
    let download = raw.call_ok(
        "download",
        json!({"image": child, "path": "/work/note", "destination": saved, "executable": true}),
    );
    assert_eq!(download["size"], 4, "{download}");
    assert_eq!(std::fs::read_to_string(&saved).unwrap(), "one\n");
    let mode = std::os::unix::fs::PermissionsExt::mode(&saved.metadata().unwrap().permissions());
    assert_eq!(mode & 0o111, 0o111);

    let other = raw.call_ok(
        "run",
        json!({"image": parent, "command": "ls /work; echo two > /two", "disposable": false}),
    );
    assert!(
        other["stderr"].as_str().unwrap().contains("/work"),
        "the second branch sees the first's file: {other}"
    );
    assert_ne!(other["result_image_uuid"], child);

    let failing = raw.call_ok(
        "run",
        json!({"image": parent, "command": "echo oops >&2; exit 7"}),
    );
    assert_eq!(
        (&failing["exit_code"], &failing["stderr"]),
        (&json!(7), &json!("oops\n")),
        "{failing}"
    );
    let late = raw.call_ok(
        "run",
        json!({"image": parent, "command": "sleep 20", "timeout": 1}),
    );
    assert_eq!(late["timed_out"], true, "{late}");

    let a = raw.call_ok(
        "run",
        json!({"image": parent, "command": "echo a", "wait": false}),
    )["operation_id"]
        .clone();
    let b = raw.call_ok(
        "run",
        json!({"image": parent, "command": "echo b", "wait": false}),
    )["operation_id"]
        .clone();
    let waited = raw.call_ok(
        "wait_operations",
        json!({"operation_ids": [a, b, "nonsense"], "timeout": 30}),
    );
    assert_eq!(
        waited["results"][a.as_str().unwrap()]["stdout"],
        "a\n",
        "{waited}"
    );
    assert_eq!(
        waited["results"][b.as_str().unwrap()]["exit_code"],
        0,
        "{waited}"
    );
    assert!(waited["errors"]["nonsense"].is_string(), "{waited}");

    let slow = raw.call_ok(
        "run",
        json!({"image": parent, "command": "sleep 40", "wait": false, "timeout": 60}),
    )["operation_id"]
        .clone();
    let quick = raw.call_ok(
        "run",
        json!({"image": parent, "command": "true", "wait": false}),
    )["operation_id"]
        .clone();
    let partly = raw.call_ok(
        "wait_operations",
        json!({"operation_ids": [slow], "timeout": 0.2}),
    );
    assert_eq!(
        (&partly["timed_out"], &partly["pending"]),
        (&json!(true), &json!([slow])),
        "{partly}"
    );
    let any = raw.call_ok(
        "wait_operations",
        json!({"operation_ids": [slow, quick], "mode": "any"}),
    );
    assert_eq!(
        (&any["completed"], &any["cancelled"]),
        (&json!([quick]), &json!([slow])),
        "{any}"
    );

    let upload = raw.call_ok("upload", json!({"content": "print('from a file')\n"}));
    let placed = raw.call_ok("run", json!({"image": "tag:host", "command": "cat /opt/deep/script.py", "files": {"/opt/deep/script.py": upload["uuid"]}}));
    assert_eq!(placed["stdout"], "print('from a file')\n", "{placed}");
    let stdin = raw.call_ok(
        "run",
        json!({"image": "tag:host", "command": "cat; echo $X", "stdin": "in ä", "env": {"X": "y"}}),
    );
    assert_eq!(stdin["stdout"], "in äy\n", "{stdin}");

    let running = raw.call_ok(
        "run",
        json!({"image": parent, "command": "sleep 40", "wait": false, "timeout": 60}),
    )["operation_id"]
        .clone();
    assert_eq!(
        raw.call_ok("cancel_operation", json!({"operation_id": running}))["cancelled"],
        true
    );
    raw.call_ok("wait_operations", json!({"operation_ids": [running]}));
    assert_eq!(
        raw.call_ok("cancel_operation", json!({"operation_id": running}))["cancelled"],
        false
    );
    assert_eq!(
        raw.call_ok("get_operation", json!({"operation_id": running}))["status"],
        "CANCELLED"
    );

    let tagged = raw.call_ok(
        "set_tag",
        json!({"image_uuid": child, "tag": "common/note/host"}),
    );
    assert_eq!(tagged["tag"], "common/note/host", "{tagged}");
    let by_tag = raw.call_ok(
        "run",
        json!({"image": "tag:common/note/host", "command": "cat /work/note"}),
    );
    assert_eq!(by_tag["stdout"], "one\n", "{by_tag}");
    assert_eq!(
        raw.call_ok("get_image", json!({"image": "tag:common/note/host"}))["uuid"],
        child
    );
    let images = raw.call_ok("list_images", json!({"tag_prefix": "common/"}));
    assert_eq!(images["images"].as_array().unwrap().len(), 1, "{images}");
    // Some clients fill every parameter in.
    let filled = json!({"tag_prefix": "common/", "since": 0, "until": 0, "limit": 0, "offset": 0});
    assert_eq!(raw.call_ok("list_images", filled), images);
    // The backend matches whole parts of tags; the tool filters by the exact prefix.
    for prefix in ["com/", "/", "common/note:"] {
        let images = raw.call_ok("list_images", json!({"tag_prefix": prefix}));
        assert_eq!(images["images"], json!([]), "{prefix}");
    }
    raw.call_ok("set_tag", json!({"image_uuid": child}));
    let text = raw.call_error("get_image", json!({"image": "tag:common/note/host"}));
    assert!(text.contains("no image has the tag"), "{text}");

    for (tool, arguments) in [
        ("run", json!({"image": "host", "command": "true"})),
        ("run", json!({"image": "tag:missing", "command": "true"})),
        ("read_file", json!({"image": child, "path": "/nowhere"})),
        ("get_operation", json!({"operation_id": child})),
        (
            "run",
            json!({"image": parent, "command": "head -c 1M /dev/zero > /x", "max_layer_bytes": 1000}),
        ),
        ("upload", json!({})),
        ("upload", json!({"path": "relative"})),
    ] {
        let text = raw.call_error(tool, arguments.clone());
        assert!(text.len() > 20, "{tool} {arguments}: {text}");
    }
    raw.close_input();
    assert!(raw.exit(Duration::from_secs(10)).success());
}

#[test]
fn a_whole_session_with_a_handshake() {
    let home = Home::new();
    whole_session(local(&home), &home);
}

#[test]
fn a_whole_session_of_2026() {
    let home = Home::new();
    whole_session(RawClient::modern(home.command()), &home);
}

#[test]
fn a_small_answer_is_short() {
    let home = Home::new();
    let mut raw = local(&home);
    let result = raw.call("run", json!({"image": "tag:host", "command": "echo hi"}));
    let structured = result["structuredContent"].to_string();
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(
        structured.len() <= 300,
        "{} bytes: {structured}",
        structured.len()
    );
    assert!(text.len() <= 300, "{} bytes: {text}", text.len());
    assert!(
        text.contains("hi\n") && text.contains("exit code 0"),
        "{text}"
    );
    assert_eq!(result["structuredContent"]["stdout"], "hi\n");
}

#[test]
fn an_error_has_its_code_and_no_content_that_the_schema_forbids() {
    let home = Home::new();
    let mut raw = local(&home);
    let result = raw.call("run", json!({"image": "tag:none", "command": "true"}));
    assert_eq!(result["isError"], true, "{result}");
    assert_eq!(result["_meta"]["dev.contree/code"], "image-not-found");
    // Clients compare it with the output schema, also in errors.
    assert_eq!(result.get("structuredContent"), None, "{result}");
}

#[test]
fn output_is_cut_once_and_both_renderings_report_it() {
    let home = Home::new();
    let mut raw = local(&home);
    let result = raw.call("run", json!({"image": "tag:host", "command": "head -c 20000 /dev/zero | tr '\\0' x; printf '\\377' >&2"}));
    let structured = &result["structuredContent"];
    let stdout = structured["stdout"].as_str().unwrap();
    assert!((7990..=8000).contains(&stdout.len()), "{}", stdout.len());
    assert_eq!(
        (
            &structured["truncated"],
            &structured["stdout_bytes"],
            &structured["lossy"]
        ),
        (&json!(true), &json!(20000), &json!(true)),
        "{}",
        structured["stdout_bytes"]
    );
    assert!(
        structured["next"]
            .as_str()
            .unwrap()
            .contains("truncate_output_at=")
    );
    let text = result["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("stdout has 20000 bytes") && text.contains("truncate_output_at="));
}

/// Without a progress message, the last kept line would look like the newest one.
#[test]
fn progress_says_when_output_is_no_longer_kept() {
    let home = Home::new();
    let mut raw = local(&home);
    let command = "head -c 11000000 /dev/zero | tr '\\0' x; until [ -e /stop ]; do sleep 0.1; done";
    let id = raw.send(
        "tools/call",
        json!({"name": "run", "arguments": {"image": "tag:host", "command": command, "timeout": 60},
               "_meta": {"progressToken": "p"}}),
    );
    let message_text = std::iter::from_fn(|| raw.message(crate::support::raw::ANSWER_TIMEOUT))
        .map(|message| {
            message["params"]["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .find(|text| text.contains("still running"))
        .expect("a progress message about the cut");
    assert!(
        message_text.ends_with("only the first 10485760 bytes of stdout are kept"),
        "{message_text}"
    );
    raw.notify("notifications/cancelled", json!({"requestId": id}));
    raw.close_input();
    assert!(raw.exit(crate::support::raw::ANSWER_TIMEOUT).success());
}

/// The server with rmcp's own client.
#[tokio::test]
async fn the_rmcp_client_works() {
    use rmcp::ServiceExt;
    use rmcp::model::CallToolRequestParams;
    use rmcp::transport::TokioChildProcess;

    let home = Home::new();
    let client =
        ().serve(TokioChildProcess::new(tokio::process::Command::from(home.command())).unwrap())
            .await
            .unwrap();
    assert!(client.list_all_tools().await.unwrap().len() >= 13);
    let arguments = json!({"image": "tag:host", "command": "echo $((6*7)); exit 3"});
    let Value::Object(arguments) = arguments else {
        unreachable!()
    };
    let result = client
        .call_tool(CallToolRequestParams::new("run").with_arguments(arguments))
        .await
        .unwrap();
    let structured = result.structured_content.unwrap();
    assert_eq!(
        (&structured["stdout"], &structured["exit_code"]),
        (&json!("42\n"), &json!(3)),
        "{structured}"
    );
    client.cancel().await.unwrap();
}
