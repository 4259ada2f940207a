//! The MCP server over HTTP: access, both generations of the protocol, and the ends of calls and
//! process.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::stub::Stub;
use crate::support::web::{Connection, JSON, Legacy, Web, has_empty_data, modern};
use crate::support::{Home, signal};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// An MCP server over HTTP and the stub service behind it.
struct Served {
    web: Web,
    stub: Stub,
    _home: Home,
    _runtime: Runtime,
}

impl Served {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Command)) -> Self {
        let runtime = Runtime::new().unwrap();
        let stub = Stub::default();
        let url = runtime.block_on(stub.start());
        let home = Home::new();
        let mut command = home.command_for(&url);
        change(&mut command);
        Self {
            web: Web::start(command),
            stub,
            _home: home,
            _runtime: runtime,
        }
    }

    fn wait_for(&self, statuses: &[(&str, usize)]) {
        let wanted: BTreeMap<String, usize> = statuses
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect();
        let until = Instant::now() + Duration::from_secs(30);
        while self.stub.statuses() != wanted {
            assert!(
                Instant::now() < until,
                "{:?} instead of {wanted:?}",
                self.stub.statuses()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts a command that runs until it is cancelled. Returns the connection that waits for it.
    fn sleeping(&self) -> Connection {
        let mut connection = self.web.connect();
        connection.post(&modern("tools/call", sleep(Some("t")), 7), &[]);
        assert_eq!(connection.head().status, 200);
        connection.until("line ");
        connection
    }
}

fn sleep(token: Option<&str>) -> Value {
    let mut params = json!({"name": "run", "arguments": {"image": "tag:base", "command": "sleep"}});
    if let Some(token) = token {
        params["_meta"] = json!({"progressToken": token});
    }
    params
}

mod access {
    use super::*;

    #[test]
    fn health_needs_no_access_and_reveals_nothing() {
        let served = Served::new();
        let reply = served
            .web
            .ask("GET", "/healthz", &[("host", "probe.example")], b"");
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok\n"));
        assert_eq!(served.web.get("/nowhere").status, 404);
        assert!(served.stub.take_requests().is_empty());
    }

    #[test]
    fn every_answer_has_security_headers() {
        let served = Served::new();
        for path in ["/healthz", "/nowhere", "/mcp"] {
            let reply = served.web.get(path);
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
            let policy = reply.header("content-security-policy").unwrap();
            assert!(policy.contains("default-src 'none'"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        }
    }

    #[test]
    fn only_allowed_host_names_are_answered() {
        let served = Served::with(|command| {
            command.args(["--http-allow-host", "box.example"]);
        });
        let discover = modern("server/discover", json!({}), 1);
        let port = served.web.address.port();
        let status = |host: &str| served.web.post(&discover, &[("host", host)]).status;
        for host in [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("[::1]:{port}"),
            "localhost".to_owned(),
            "BOX.example:443".to_owned(),
        ] {
            assert_eq!(status(&host), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.1",
            "other.example:9452",
        ] {
            assert_eq!(status(host), 403, "{host}");
        }
        assert_eq!(status(""), 400);
    }

    #[test]
    fn only_own_pages_may_send_requests() {
        let served = Served::new();
        let discover = modern("server/discover", json!({}), 1);
        let status = |origin: &str| served.web.post(&discover, &[("origin", origin)]).status;
        let own = format!("http://{}", served.web.address);
        assert_eq!(status(&own), 200);
        for origin in [
            "https://evil.example",
            // Another local program may serve pages there.
            "http://127.0.0.1:6274",
            "http://localhost:6274",
            "http://127.0.0.1",
            "http://localhost.evil.example",
            "null",
            "file://",
            "",
        ] {
            assert_eq!(status(origin), 403, "{origin}");
        }
        // Requests of a page without an `Origin` header. Only its links may be followed.
        let from = |path: &str, mode: &str, dest: &str| {
            let headers = [
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ];
            served.web.ask("GET", path, &headers, b"").status
        };
        assert_eq!(from("/", "navigate", "document"), 200);
        assert_eq!(from("/", "no-cors", "image"), 403);
        for path in ["/api/images", "/mcp"] {
            assert_eq!(from(path, "navigate", "document"), 403, "{path}");
        }
    }

    #[test]
    fn requests_need_the_right_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let token = "0123456789-abcdefgh";
        std::fs::write(file.path(), format!("{token}\n")).unwrap();
        let served = Served::with(|command| {
            command.arg("--http-token-file").arg(file.path());
        });
        let discover = modern("server/discover", json!({}), 1);
        let with = |value: &str| served.web.post(&discover, &[("authorization", value)]);
        let without = served.web.post(&discover, &[]);
        assert_eq!(without.status, 401);
        assert_eq!(
            without.header("www-authenticate"),
            Some("Bearer realm=\"contree-mcp\"")
        );
        for wrong in [
            "Bearer 0123456789-abcdefgi",
            "Bearer 0123456789-abcdefg",
            "Basic 0123456789-abcdefgh",
        ] {
            let reply = with(wrong);
            assert_eq!(reply.status, 401, "{wrong}");
            let challenge = reply.header("www-authenticate").unwrap();
            assert!(challenge.contains("invalid_token"), "{challenge}");
        }
        assert_eq!(with(&format!("Bearer {token}")).status, 200);
        assert_eq!(served.web.get("/healthz").status, 200);
        assert!(!served.web.stderr().contains(token));
    }

    #[test]
    fn listening_beyond_loopback_needs_a_token() {
        let home = Home::new();
        for listen in ["0.0.0.0", "::"] {
            let mut command = home.command();
            command.args(["--http-listen", listen]);
            let said = Web::try_start(command).err().expect("it did start");
            assert!(said.contains("--http-token-file"), "{said}");
        }
        let file = home.path().join("token");
        std::fs::write(&file, "0123456789-abcdefgh").unwrap();
        let mut command = home.command();
        command
            .args(["--http-listen", "0.0.0.0", "--http-token-file"])
            .arg(&file);
        let mut web = Web::start(command);
        web.address.set_ip([127, 0, 0, 1].into());
        let discover = modern("server/discover", json!({}), 1);
        assert_eq!(web.post(&discover, &[]).status, 401);
        let bearer = ("authorization", "Bearer 0123456789-abcdefgh");
        assert_eq!(web.post(&discover, &[bearer]).status, 200);
        let elsewhere = [bearer, ("host", "0.0.0.0")];
        assert_eq!(web.post(&discover, &elsewhere).status, 403);
        let said = web.stderr();
        assert!(
            said.contains("other users may read the token file"),
            "{said}"
        );
        let mut asking = web.connect();
        let path = "/api/operations?offset=9223372036854775808";
        asking.send("GET", path, &[bearer], b"");
        assert_eq!(asking.head().status, 400);
    }

    #[test]
    fn local_files_are_accessed_only_if_allowed() {
        let allowed = tempfile::tempdir().unwrap();
        let file = allowed.path().join("file");
        std::fs::write(&file, "content").unwrap();
        let (up, down) = (
            json!({"path": file}),
            json!({"image": "tag:base", "path": "/text", "destination": allowed.path().join("new")}),
        );
        let served = Served::new();
        for (tool, arguments) in [("upload", &up), ("download", &down)] {
            let result = served.web.call(tool, arguments.clone());
            assert_eq!(result["isError"], true, "{tool}: {result}");
        }
        assert!(!allowed.path().join("new").exists());
        let served = Served::with(|command| {
            command.arg("--allow-path").arg(allowed.path());
        });
        assert_eq!(served.web.call_ok("upload", up)["size"], 7);
        served.web.call_ok("download", down);
        assert!(allowed.path().join("new").exists());
    }

    #[test]
    fn the_variables_of_the_first_release_still_work() {
        let home = Home::new();
        let mut command = home.command();
        command
            .env("CONTREE_MCP_MODE", "http")
            .env("CONTREE_MCP_HTTP_LISTEN", "127.0.0.1")
            .env("CONTREE_MCP_HTTP_PORT", "1");
        // The command-line option for a free port takes precedence.
        assert_eq!(Web::start(command).get("/healthz").status, 200);
    }
}

mod protocol {
    use super::*;

    #[test]
    fn a_client_of_2026_needs_no_session() {
        let served = Served::new();
        let discovered = served.web.request("server/discover", json!({}));
        let versions = discovered["result"]["supportedVersions"]
            .as_array()
            .unwrap();
        assert!(versions.contains(&json!("2026-07-28")), "{discovered}");
        let tools = served.web.request("tools/list", json!({}));
        assert!(tools["result"]["tools"].as_array().unwrap().len() >= 13);
        let who = served.web.call_ok("whoami", json!({}));
        assert_eq!(who["backend"], "cloud", "{who}");
        let reply = served
            .web
            .post(&modern("no/such/method", json!({}), 3), &[]);
        assert_eq!(reply.status, 404);
        assert_eq!(reply.message(3)["error"]["code"], -32601);
    }

    #[test]
    fn an_earlier_client_has_a_session_until_it_ends_it() {
        let served = Served::new();
        let mut session = Legacy::begin(&served.web);
        let tools = session.request("tools/list", json!({}));
        assert!(tools["result"]["tools"].as_array().unwrap().len() >= 13);
        let ran = session.request(
            "tools/call",
            json!({"name": "run", "arguments": {"image": "tag:base", "command": "hello"}}),
        );
        assert_eq!(ran["result"]["structuredContent"]["stdout"], "hello\n");
        assert_eq!(session.end().status, 204);
        let ping = json!({"jsonrpc": "2.0", "id": 9, "method": "ping"});
        assert_eq!(session.post(&ping).status, 404);
    }

    #[test]
    fn progress_comes_before_the_answer() {
        let served = Served::new();
        let run = json!({"name": "run", "arguments": {"image": "tag:base", "command": "sleep"}, "_meta": {"progressToken": 5}});
        let mut connection = served.web.connect();
        connection.post(&modern("tools/call", run, 2), &[]);
        let head = connection.head();
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        let text = connection.until("notifications/progress");
        assert!(text.contains("\"progressToken\":5"), "{text}");
    }

    #[test]
    fn invalid_messages_are_refused() {
        let served = Served::new();
        let post = |body: &[u8]| served.web.ask("POST", "/mcp", &JSON, body);
        let refused = |body: &str| {
            let reply = post(body.as_bytes());
            assert_eq!(reply.status, 400, "{}", reply.text());
            let answer = reply.json();
            (answer["error"]["code"].clone(), answer["id"].clone())
        };
        assert_eq!(
            refused("{\"jsonrpc\": \"2.0\", "),
            (json!(-32700), Value::Null)
        );
        assert_eq!(refused("rubbish"), (json!(-32700), Value::Null));
        assert_eq!(refused(""), (json!(-32700), Value::Null));
        assert_eq!(refused("[]"), (json!(-32600), Value::Null));
        assert_eq!(
            refused(r#"{"jsonrpc":"1.0","id":4,"method":"ping"}"#),
            (json!(-32600), json!(4))
        );
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":5,"method":"x","params":{}1{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(refused(&deep), (json!(-32700), json!(5)));
        let many = format!(
            r#"{{"jsonrpc":"2.0","id":6,"method":"x","params":{{"a":[{}1]}}}}"#,
            "1,".repeat(1_000_000)
        );
        assert_eq!(refused(&many), (json!(-32600), json!(6)));
        let long = format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"x","params":{{"a":"{}"}}}}"#,
            "a".repeat(20_000_000)
        );
        let reply = post(long.as_bytes());
        assert_eq!((reply.status, &reply.json()["id"]), (413, &json!(7)));
        let list = modern("tools/list", json!({}), 1);
        assert_eq!(served.web.post(&list, &[("accept", "*/*")]).status, 200);
        assert_eq!(
            served.web.ask("PUT", "/mcp", &JSON, b"{}").status,
            405,
            "PUT is not supported"
        );
    }

    #[test]
    fn new_sessions_evict_the_longest_idle_ones() {
        let served = Served::new();
        let first = Legacy::begin(&served.web);
        for _ in 0..256 {
            Legacy::begin(&served.web);
        }
        let ping = json!({"jsonrpc": "2.0", "id": 9, "method": "ping"});
        assert_eq!(first.post(&ping).status, 404, "the oldest had to go");
        let mut last = Legacy::begin(&served.web);
        assert_eq!(last.request("ping", json!({}))["result"], json!({}));
    }
}

mod ends {
    use super::*;

    #[test]
    fn a_closed_connection_cancels_its_call() {
        let mut served = Served::new();
        let connection = served.sleeping();
        served.wait_for(&[("EXECUTING", 1)]);
        drop(connection);
        served.wait_for(&[("CANCELLED", 1)]);
        // The same for a connection that has received nothing yet.
        let mut silent = served.web.connect();
        silent.post(&modern("tools/call", sleep(None), 8), &[]);
        served.wait_for(&[("CANCELLED", 1), ("EXECUTING", 1)]);
        drop(silent);
        served.wait_for(&[("CANCELLED", 2)]);
        // A client that goes away is no error of the server.
        signal(served.web.pid(), "TERM");
        served.web.exit(Duration::from_secs(30));
        let said = served.web.stderr();
        assert!(!said.contains("ERROR"), "{said}");
    }

    #[test]
    fn in_a_session_a_call_continues_only_if_the_client_resumes_it() {
        let served = Served::new();
        let mut session = Legacy::begin(&served.web);
        let (_, mut lost) = session.start("tools/call", sleep(Some("a")));
        let (_, mut kept) = session.start("tools/call", sleep(Some("b")));
        for connection in [&mut lost, &mut kept] {
            assert_eq!(connection.head().status, 200);
        }
        lost.until("line ");
        let text = kept.until("line ");
        served.wait_for(&[("EXECUTING", 2)]);
        drop(lost);
        drop(kept);
        let mut event = text.lines().filter_map(|line| line.strip_prefix("id:"));
        let event = event.next_back().unwrap().trim().to_owned();
        let headers = [
            ("accept", "text/event-stream"),
            ("mcp-session-id", &session.id),
            ("last-event-id", &event),
        ];
        let mut back = served.web.connect();
        back.send("GET", "/mcp", &headers, b"");
        assert_eq!(back.head().status, 200);
        let text = back.until("line ");
        let mut again = text.lines().filter_map(|line| line.strip_prefix("id:"));
        assert!(
            again.all(|id| id.trim() != event),
            "{event} came again: {text}"
        );
        served.wait_for(&[("CANCELLED", 1), ("EXECUTING", 1)]);
        // Ending the session cancels the remaining call at once.
        assert_eq!(session.end().status, 204);
        served.wait_for(&[("CANCELLED", 2)]);
    }

    /// The parsers of earlier clients take the empty data of a priming event for JSON.
    #[test]
    fn priming_events_are_for_clients_that_know_them() {
        let home = Home::new();
        let web = Web::start(home.command());
        for (version, knows_priming) in [
            ("2024-11-05", false),
            ("2025-03-26", false),
            ("2025-06-18", false),
            ("2025-11-25", true),
        ] {
            let mut session = Legacy::begin_with(&web, version);
            let (id, mut connection) = session.start("ping", json!({}));
            let reply = connection.reply();
            assert_eq!(reply.message(id)["result"], json!({}), "{version}");
            assert_eq!(has_empty_data(&reply.text()), knows_priming, "{version}");

            let headers = [
                ("accept", "text/event-stream"),
                ("mcp-session-id", session.id.as_str()),
                ("mcp-protocol-version", version),
            ];
            let mut standing = web.connect();
            standing.send("GET", "/mcp", &headers, b"");
            assert_eq!(standing.head().status, 200, "{version}");
            if !knows_priming {
                continue;
            }
            let text = standing.until("\n\n");
            assert!(has_empty_data(&text), "{text}");
            let first = text.lines().find_map(|line| line.strip_prefix("id:"));
            drop(standing);
            // A client that saw nothing else resumes with this id.
            let mut headers = headers.to_vec();
            headers.push(("last-event-id", first.unwrap().trim()));
            let mut resumed = web.connect();
            resumed.send("GET", "/mcp", &headers, b"");
            assert_eq!(resumed.head().status, 200);
            assert_eq!(session.request("ping", json!({}))["result"], json!({}));
        }
    }

    /// The server may not know yet that the old connection is dead.
    #[test]
    fn a_resumed_call_is_cancelled_when_both_connections_close() {
        let served = Served::new();
        let mut session = Legacy::begin(&served.web);
        let (_, mut old) = session.start("tools/call", sleep(Some("a")));
        assert_eq!(old.head().status, 200);
        let text = old.until("line ");
        let mut event = text.lines().filter_map(|line| line.strip_prefix("id:"));
        let event = event.next_back().unwrap().trim().to_owned();
        let headers = [
            ("accept", "text/event-stream"),
            ("mcp-session-id", &session.id),
            ("last-event-id", &event),
        ];
        let mut back = served.web.connect();
        back.send("GET", "/mcp", &headers, b"");
        assert_eq!(back.head().status, 200);
        back.until("line ");
        drop(old);
        drop(back);
        served.wait_for(&[("CANCELLED", 1)]);
    }

    #[test]
    fn a_call_is_cancelled_by_a_notification() {
        let served = Served::new();
        let mut session = Legacy::begin(&served.web);
        let (id, mut connection) = session.start("tools/call", sleep(Some("a")));
        assert_eq!(connection.head().status, 200);
        connection.until("line ");
        let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
        assert_eq!(session.post(&cancel).status, 202);
        served.wait_for(&[("CANCELLED", 1)]);
        assert_eq!(session.request("ping", json!({}))["result"], json!({}));
    }

    #[test]
    fn sigterm_cancels_long_calls_and_leaves_nothing_running() {
        let mut served = Served::new();
        let mut connection = served.sleeping();
        let idle = served.web.connect();
        let mut session = Legacy::begin(&served.web);
        let (_, mut other) = session.start("tools/call", sleep(Some("a")));
        assert_eq!(other.head().status, 200);
        other.until("line ");
        let listening = [
            ("accept", "text/event-stream"),
            ("mcp-session-id", session.id.as_str()),
        ];
        let mut standing = served.web.connect();
        standing.send("GET", "/mcp", &listening, b"");
        assert_eq!(standing.head().status, 200);
        signal(served.web.pid(), "TERM");
        // Answers of cancelled calls are still delivered.
        connection.until("\"id\":7");
        drop(idle);
        drop(session);
        let status = served.web.exit(Duration::from_secs(30));
        assert!(status.success(), "{status}");
        served.wait_for(&[("CANCELLED", 2)]);
    }

    #[test]
    fn sigterm_lets_a_short_call_finish() {
        let home = Home::new();
        let mut web = Web::start(home.command());
        let mut connection = web.connect();
        let run = json!({"name": "run", "arguments": {"image": "tag:host", "command": "echo begun; sleep 2; echo done"}, "_meta": {"progressToken": 1}});
        connection.post(&modern("tools/call", run, 2), &[]);
        assert_eq!(connection.head().status, 200);
        connection.until("begun");
        signal(web.pid(), "TERM");
        let text = connection.until("\"id\":2");
        assert!(text.contains("done"), "{text}");
        assert!(web.exit(Duration::from_secs(30)).success());
    }
}

mod page {
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_other_servers() {
        let served = Served::new();
        let page = served.web.get("/");
        assert_eq!(page.status, 200);
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("script-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        let html = page.text().replace("&#x2f;", "/");
        for shown in ["id=\"tool-run\"", "claude mcp add", "id=\"guide-workflow\""] {
            assert!(html.contains(shown), "{shown}");
        }
        assert!(html.contains(&format!("http://{}/mcp", served.web.address)));
        // The page references each asset by its versioned URL.
        for (name, kind) in [
            ("app.js", "text/javascript"),
            ("ansi.js", "text/javascript"),
            ("app.css", "text/css"),
        ] {
            let path = html
                .split('"')
                .find(|part| part.starts_with(&format!("/{name}?")))
                .unwrap();
            let asset = served.web.get(path);
            assert!(asset.header("content-type").unwrap().starts_with(kind));
            assert_eq!(asset.header("x-content-type-options"), Some("nosniff"));
            assert!(asset.body.len() > 1000);
        }
        assert_eq!(served.web.get("/icon.svg").status, 200);
        assert!(
            served.stub.take_requests().is_empty(),
            "the page itself must not reach the backend"
        );
    }

    #[test]
    fn lists_name_the_command_and_the_parent_and_are_bounded() {
        let served = Served::new();
        served.web.call_ok(
            "run",
            json!({"image": "tag:base", "command": "<b>hostile</b>"}),
        );
        let operations = served.web.get("/api/operations").json();
        let operation = &operations["operations"][0];
        assert_eq!(operation["command"], "<b>hostile</b>", "{operations}");
        assert_eq!(operation["exit_code"], 0);
        assert_eq!(operation["status"], "SUCCESS");
        let images = served.web.get("/api/images?limit=2").json();
        assert_eq!(images["more"], true, "{images}");
        let image = &images["images"][0];
        assert_eq!(image["tags"], json!(["base/0", "base/1"]), "{images}");
        assert_eq!(served.web.get("/api/images?limit=x").status, 400);
        assert_eq!(served.web.get("/api/images?limit=0").status, 200);
        assert_eq!(served.web.get("/api/operations/x/output").status, 400);
        assert_eq!(served.web.get("/api/nothing").status, 404);
        assert_eq!(
            served.web.ask("POST", "/api/operations", &[], b"").status,
            405
        );
        assert_eq!(
            served.web.ask("DELETE", "/api/operations", &[], b"").status,
            405
        );
        let elsewhere = [("origin", "http://evil.example")];
        assert_eq!(
            served.web.ask("GET", "/api/images", &elsewhere, b"").status,
            403
        );
        let renamed = [("host", "evil.example")];
        assert_eq!(
            served.web.ask("GET", "/api/images", &renamed, b"").status,
            403
        );
        assert_eq!(served.web.ask("GET", "/", &renamed, b"").status, 403);
    }

    #[test]
    fn output_is_streamed_and_then_its_end() {
        let served = Served::new();
        let running = served.sleeping();
        let operations = served.web.get("/api/operations").json();
        let id = operations["operations"][0]["uuid"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            operations["operations"][0]["status"], "EXECUTING",
            "{operations}"
        );
        let mut stream = served.web.connect();
        stream.send("GET", &format!("/api/operations/{id}/output"), &[], b"");
        let head = stream.head();
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        stream.until("line 1");
        drop(running);
        let last = stream.until("event: end");
        assert!(last.contains("CANCELLED"), "{last}");
    }

    #[test]
    fn changes_are_streamed_and_polling_stops_without_readers() {
        let served = Served::new();
        let mut stream = served.web.connect();
        stream.send("GET", "/api/changes", &[], b"");
        assert_eq!(stream.head().status, 200);
        stream.until("\"changes\":1");
        served
            .web
            .call_ok("run", json!({"image": "tag:base", "command": "hello"}));
        stream.until("\"changes\":2");
        drop(stream);
        // A poll in flight may still finish.
        std::thread::sleep(Duration::from_secs(4));
        served.stub.take_requests();
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(served.stub.take_requests(), []);
    }

    #[test]
    fn data_of_the_page_needs_the_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789-abcdefgh").unwrap();
        let served = Served::with(|command| {
            command.arg("--http-token-file").arg(file.path());
        });
        assert_eq!(served.web.get("/").status, 200);
        assert!(
            served
                .web
                .get("/")
                .text()
                .contains("Authorization: Bearer TOKEN")
        );
        for path in ["/api/about", "/api/images", "/api/changes", "/api/nothing"] {
            assert_eq!(served.web.get(path).status, 401, "{path}");
        }
        let bearer = [("authorization", "Bearer 0123456789-abcdefgh")];
        assert_eq!(
            served.web.ask("GET", "/api/images", &bearer, b"").status,
            200
        );
    }
}

#[test]
fn one_engine_serves_all_connections() {
    let home = Home::new();
    let web = Web::start(home.command());
    let made = web.call_ok(
        "run",
        json!({"image": "tag:host", "command": "echo hello > /greeting", "disposable": false}),
    );
    let image = &made["result_image_uuid"];
    let mut session = Legacy::begin(&web);
    let read = session.request(
        "tools/call",
        json!({"name": "read_file", "arguments": {"image": image, "path": "/greeting"}}),
    );
    assert_eq!(
        read["result"]["structuredContent"]["content"], "hello\n",
        "{read}"
    );
}
