//! The MCP server with a Contree service as its backend: requests, answers and errors of each tool.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::support::Home;
use crate::support::raw::{ANSWER_TIMEOUT, RawClient};
use crate::support::schema::problems;
use crate::support::stub::{IMAGE, RESULT, Stub};
use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// An MCP server and the stub service behind it.
struct Session {
    raw: RawClient,
    stub: Stub,
    url: String,
    home: Home,
    _runtime: Runtime,
}

impl Session {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let stub = Stub::default();
        let url = runtime.block_on(stub.start());
        let home = Home::new();
        let raw = RawClient::initialized(home.command_for(&url), "2025-11-25");
        Self {
            raw,
            stub,
            url,
            home,
            _runtime: runtime,
        }
    }

    /// Starts a registry that requires no credentials and returns its address.
    fn registry(&self) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        listener.set_nonblocking(true).unwrap();
        let router = axum::Router::new().route("/v2/", axum::routing::get(|| async { "{}" }));
        self._runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        address
    }

    /// Adds an operation that made the image [`RESULT`].
    fn add_result(&self) {
        self.stub.add_operation(json!({
            "image_uuid": IMAGE, "result_image_uuid": RESULT, "metadata": {"command": "make", "image": IMAGE},
        }));
    }

    /// Gives the service the extensions, and starts a new server, since a server asks only once.
    fn extend(&mut self) {
        self.stub.extend();
        self.raw.close_input();
        self.raw.exit(ANSWER_TIMEOUT);
        self.raw = RawClient::initialized(self.home.command_for(&self.url), "2025-11-25");
    }

    /// Starts a command that runs until it is cancelled.
    fn sleeping(&mut self) -> Value {
        self.raw.call_ok(
            "run",
            json!({"image": "tag:base", "command": "sleep", "wait": false}),
        )["operation_id"]
            .clone()
    }

    fn wait_for(&self, statuses: &[(&str, usize)]) {
        let count = |&(name, count): &(&str, usize)| (name.to_owned(), count);
        self.wait_for_statuses(&statuses.iter().map(count).collect());
    }

    fn wait_for_statuses(&self, wanted: &BTreeMap<String, usize>) {
        let until = Instant::now() + ANSWER_TIMEOUT;
        while self.stub.statuses() != *wanted {
            assert!(
                Instant::now() < until,
                "{:?} instead of {wanted:?}",
                self.stub.statuses()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the API operations that were called so far.
    fn called(&self, api: &Api) -> BTreeSet<String> {
        let requests = self.stub.requests();
        let names = requests.iter();
        names
            .map(|(method, path)| api.operation(method, path))
            .collect()
    }

    /// Waits for these API operations, ends the server and returns all operations that were called.
    ///
    /// Some are called only after the answer to the tool's call. The ended server calls nothing
    /// more.
    fn all_called(&mut self, api: &Api, awaited: &BTreeSet<String>) -> BTreeSet<String> {
        let until = Instant::now() + ANSWER_TIMEOUT;
        while !self.called(api).is_superset(awaited) {
            if Instant::now() > until {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.raw.close_input();
        self.raw.exit(ANSWER_TIMEOUT);
        self.called(api)
    }

    /// Calls a tool and cancels the call once its operation runs.
    fn cancel_call(&mut self, tool: &str, arguments: Value) {
        let before = self.stub.statuses();
        let changed = |status: &str| {
            let mut wanted = before.clone();
            *wanted.entry(status.to_owned()).or_default() += 1;
            wanted
        };
        let id = self
            .raw
            .send("tools/call", json!({"name": tool, "arguments": arguments}));
        self.wait_for_statuses(&changed("EXECUTING"));
        self.raw
            .notify("notifications/cancelled", json!({"requestId": id}));
        self.wait_for_statuses(&changed("CANCELLED"));
    }

    /// Sends a directory from another server with the same state directory. Returns the directory
    /// state's id.
    fn send_directory(&self) -> Value {
        let tree = self.home.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("large"), vec![b'x'; 100_000]).unwrap();
        std::fs::write(tree.join("small"), "x").unwrap();
        let mut raw = RawClient::initialized(self.home.command_for(&self.url), "2025-11-25");
        let sent = raw.call_ok("rsync", json!({"source": tree, "destination": "/tree"}));
        raw.close_input();
        raw.exit(ANSWER_TIMEOUT);
        sent["directory_state_id"].clone()
    }
}

/// The API document's operations, to name the operation of a request.
struct Api(Vec<(String, Vec<String>, String)>);

impl Api {
    fn load() -> Self {
        let read = |name: &str| {
            let path = crate::support::repository().join("openapi").join(name);
            std::fs::read_to_string(path).unwrap()
        };
        let merged = contree_codegen::extensions::merge_texts(
            &read("contree.yaml"),
            &read("extensions.yaml"),
        );
        let document: Value = serde_yaml::from_str(&merged.unwrap()).unwrap();
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if let Some(id) = operation["operationId"].as_str() {
                    operations.push((method.to_uppercase(), segments(path), id.to_owned()));
                }
            }
        }
        Self(operations)
    }

    fn operation(&self, method: &str, path: &str) -> String {
        let path = segments(path.strip_prefix("/v1").unwrap());
        let matching = self.0.iter().filter(|(known, template, _)| {
            known == method
                && template.len() == path.len()
                && template
                    .iter()
                    .zip(&path)
                    .all(|(template, part)| template.starts_with('{') || template == part)
        });
        // The template with the fewest parameters wins: `/a/b` before `/a/{x}`.
        let best = matching.min_by_key(|(_, template, _)| {
            template.iter().filter(|part| part.starts_with('{')).count()
        });
        best.unwrap_or_else(|| panic!("the API has no {method} {path:?}"))
            .2
            .clone()
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').skip(1).map(str::to_owned).collect()
}

/// Calls a tool in every way that causes different requests to the backend.
fn use_tool(tool: &str, session: &mut Session) {
    let consent = "i_accept_that_anonymous_access_might_be_rate_limited";
    // Left by another client, so that this server makes no request to create it.
    let running = |session: &Session| {
        json!(session.stub.add_operation(
            json!({"status": "EXECUTING", "metadata": {"command": "sleep", "image": IMAGE}})
        ))
    };
    let calls = match tool {
        "run" => {
            let state = session.send_directory();
            session.stub.take_requests();
            let hello = json!({"image": "tag:base", "command": "hello"});
            session.raw.call_ok("run", hello.clone());
            let followed = session.stub.take_requests();
            assert_eq!(followed.len(), 2, "a run is two requests: {followed:?}");
            session.stub.lose_files(|_| false);
            session.stub.check_files();
            let mut with_state = hello.clone();
            with_state["directory_state_id"] = state;
            session.raw.call_ok("run", with_state);
            session.raw.call_ok("run", hello);
            session.cancel_call("run", json!({"image": "tag:base", "command": "sleep"}));
            let limited = json!({"image": "tag:base", "command": "hello", "memory_mb": 64});
            let refused = session.raw.call_error("run", limited);
            assert!(
                refused.contains("this service cannot limit memory"),
                "{refused}"
            );
            let hosts =
                json!({"image": "tag:base", "command": "hello", "allow_hosts": ["a.example"]});
            let refused = session.raw.call_error("run", hosts);
            assert!(
                refused.contains("this service cannot limit the hosts"),
                "{refused}"
            );
            let mut with_ports = json!({"image": "tag:base", "command": "hello", "ports": [8000]});
            let refused = session.raw.call_error("run", with_ports.clone());
            assert!(refused.contains("cannot publish ports"), "{refused}");
            // The server looks for an earlier state before it places a newer one.
            session.extend();
            let tree = session.home.path().join("tree");
            std::fs::remove_file(tree.join("small")).unwrap();
            let changed = session
                .raw
                .call_ok("rsync", json!({"source": tree, "destination": "/tree"}));
            assert_eq!(changed["removed"], 1, "{changed}");
            let mut with_state = json!({"image": "tag:base", "command": "hello"});
            with_state["directory_state_id"] = changed["directory_state_id"].clone();
            session.raw.call_ok("run", with_state);
            let done = session.raw.call_ok("run", with_ports.clone());
            assert_eq!(done["ports"][0]["url"], "http://127.0.0.1:40000", "{done}");
            with_ports["wait"] = json!(false);
            vec![with_ports]
        }
        "publish" => {
            let operation = running(session);
            let arguments = json!({"operation_id": operation, "port": 8000});
            let refused = session.raw.call_error("publish", arguments.clone());
            assert!(refused.contains("cannot publish ports"), "{refused}");
            session.extend();
            let too_large = json!({"operation_id": operation, "port": 70_000});
            session.raw.call_error("publish", too_large);
            vec![arguments]
        }
        "upload" => vec![json!({"content": "text"}), json!({"content": "text"})],
        "rsync" => {
            session.send_directory();
            let tree = session.home.path().join("tree");
            std::fs::create_dir(tree.join("empty")).unwrap();
            vec![json!({"source": tree, "destination": "/tree"})]
        }
        "download" => {
            let saved = session.home.path().join("saved");
            let whole = session.home.path().join("whole");
            vec![
                json!({"image": "tag:base", "path": "/text", "destination": saved}),
                json!({"image": "tag:base", "path": "/", "destination": whole}),
            ]
        }
        "apply" => {
            let place = session.home.path().join("place");
            std::fs::create_dir(&place).unwrap();
            std::fs::write(place.join("b"), "one\n").unwrap();
            let arguments = json!({
                "image": RESULT, "path": "/", "destination": place, "base": "tag:base",
            });
            let applied = session.raw.call_ok("apply", arguments.clone());
            assert_eq!(applied["written"], json!(["b"]), "{applied}");
            let mut missing = arguments;
            missing["path"] = json!("/missing");
            session.raw.call_error("apply", missing);
            // The sent directory is the base, and the text is merged with it.
            std::fs::write(place.join("b"), "one\n").unwrap();
            let requests = session.stub.take_requests();
            let sent = json!({"source": place, "destination": "/"});
            let sent = session.raw.call_ok("rsync", sent)["directory_state_id"].clone();
            let run = json!({
                "image": "tag:base", "command": "make", "directory_state_id": sent,
                "disposable": false,
            });
            let image = session.raw.call_ok("run", run)["result_image_uuid"].clone();
            session.stub.take_requests();
            session.stub.restore_requests(requests);
            std::fs::write(place.join("b"), "ours\n").unwrap();
            let arguments = json!({
                "image": image, "path": "/", "destination": place, "merge": true,
            });
            let stopped = session.raw.call_ok("apply", arguments.clone());
            assert_eq!(stopped["conflicts"][0]["path"], "b", "{stopped}");
            session.extend();
            session.raw.call_error("apply", arguments);
            vec![]
        }
        "list_files" => vec![json!({"image": "tag:base"})],
        "read_file" => vec![json!({"image": "tag:base", "path": "/text"})],
        "grep" => vec![json!({"image": "tag:base", "pattern": "t"})],
        "list_images" => vec![json!({"tagged": true, "tag_prefix": "base/"})],
        "import_image" => {
            let reference = |url: &str| json!({"registry_url": url, consent: true});
            session.raw.call_ok("import_image", reference("docker://x"));
            session.cancel_call("import_image", reference("docker://slow"));
            vec![]
        }
        "registry_token_obtain" => vec![json!({"registry_url": "ghcr.io"})],
        "registry_auth" => {
            let registry = session.registry();
            vec![json!({"registry_url": registry, "username": "u", "token": "t"})]
        }
        "get_image" => vec![json!({"image": "tag:base"}), json!({"image": IMAGE})],
        "set_tag" => vec![
            json!({"image_uuid": IMAGE, "tag": "x"}),
            json!({"image": "tag:base", "tag": "y"}),
            json!({"image_uuid": IMAGE}),
        ],
        "log" => {
            session.add_result();
            session.raw.call_ok("log", json!({"image": RESULT}));
            session.raw.call_ok("log", json!({"image": "tag:base"}));
            session.extend();
            vec![json!({"image": RESULT})]
        }
        "diff" => {
            session.add_result();
            let arguments = json!({"image": RESULT, "path": "/b", "patch": true});
            let found = session.raw.call_ok("diff", arguments.clone());
            assert_eq!(found["changes"][0]["change"], "modified", "{found}");
            let base = json!({"image": RESULT, "base": "tag:base", "path": "/b"});
            session.raw.call_ok("diff", base);
            session.extend();
            vec![arguments]
        }
        "push_image" => {
            // Without the extension, the client reads the archive and pushes it itself.
            let arguments = json!({"image": IMAGE, "registry_url": "127.0.0.1:1/a:1"});
            let refused = session.raw.call_error("push_image", arguments.clone());
            assert!(refused.contains("cannot reach 127.0.0.1:1"), "{refused}");
            session.extend();
            let started =
                json!({"image": "tag:base", "registry_url": "127.0.0.1:1/a:1", "wait": false});
            session.raw.call_ok("push_image", started);
            let slow = json!({"image": "tag:base", "registry_url": "127.0.0.1:1/slow:1"});
            session.cancel_call("push_image", slow);
            vec![arguments]
        }
        "delete_image" => {
            let refused = session
                .raw
                .call_error("delete_image", json!({"image": IMAGE}));
            assert!(
                refused.contains("this service cannot delete images"),
                "{refused}"
            );
            session.extend();
            vec![json!({"image": "tag:base", "force": true})]
        }
        "exec" => {
            let id = running(session);
            let hello = json!({"operation_id": id, "command": "hello"});
            let ended = session.raw.call_ok("exec", hello.clone());
            assert_eq!(ended["exit_code"], 0, "{ended}");
            assert_eq!(ended["stdout"], "output\n", "{ended}");
            session.extend();
            session.raw.call_ok("exec", hello);
            let sleep = json!({"operation_id": id, "command": "sleep"});
            let call = session
                .raw
                .send("tools/call", json!({"name": "exec", "arguments": sleep}));
            let is_start = |request: &(String, String)| {
                request.0 == "POST" && request.1.ends_with("/subprocesses")
            };
            while session.stub.requests().into_iter().filter(is_start).count() < 3 {
                std::thread::sleep(Duration::from_millis(5));
            }
            session
                .raw
                .notify("notifications/cancelled", json!({"requestId": call}));
            vec![]
        }
        "interact" => {
            let id = running(session);
            let talk =
                json!({"operation_id": id, "process_id": 2, "input": "x\n", "signal": "INT"});
            let said = session.raw.call_ok("interact", talk.clone());
            assert_eq!(said["stdout"], "output\n", "{said}");
            let said = session.raw.call_ok("interact", talk.clone());
            assert_eq!(said["stdout"], "", "only what is new: {said}");
            session.extend();
            vec![talk]
        }
        "snapshot" => {
            let arguments = json!({"operation_id": running(session)});
            let refused = session.raw.call_error("snapshot", arguments.clone());
            assert!(
                refused.contains("this service cannot make an image of a running sandbox"),
                "{refused}"
            );
            session.extend();
            vec![arguments]
        }
        "list_operations" | "whoami" => vec![json!({})],
        "cancel_operation" => vec![json!({"operation_id": running(session)})],
        "get_operation" => {
            session.extend();
            let id = running(session);
            vec![
                json!({"operation_id": id}),
                json!({"operation_id": id, "tail": 100}),
            ]
        }
        "wait_operations" => {
            session.extend();
            let wait = json!({"operation_ids": [running(session)], "timeout": 0});
            let waited = session.raw.call_ok("wait_operations", wait);
            assert_eq!(waited["timed_out"], true, "{waited}");
            let over = json!(
                session
                    .stub
                    .add_operation(json!({"metadata": {"command": "hello"}}))
            );
            vec![json!({"operation_ids": [over, running(session)], "mode": "any"})]
        }
        "get_guide" => vec![json!({"section": "state"})],
        other => panic!("add the calls of {other} here"),
    };
    for arguments in calls {
        session.raw.call_ok(tool, arguments);
    }
}

/// Each tool has its own server and service, since some requests follow a call's answer.
#[test]
fn each_tool_calls_what_the_manifest_says() {
    let api = Api::load();
    for tool in &contree::tools::TOOLS {
        let used: BTreeSet<String> = tool.uses.iter().map(ToString::to_string).collect();
        let mut session = Session::new();
        use_tool(tool.name, &mut session);
        assert_eq!(
            session.all_called(&api, &used),
            used,
            "`uses` of {} in tools.yaml against what it called",
            tool.name
        );
        let authorizations = session.stub.authorizations();
        assert!(
            authorizations
                .iter()
                .all(|value| value.as_deref() == Some("Bearer a-secret-token"))
        );
        assert!(!session.raw.stderr().contains("a-secret-token"));
    }
}

#[test]
fn results_match_their_schemas() {
    let mut session = Session::new();
    let listed = session.raw.request("tools/list", json!({}));
    let schemas: BTreeMap<String, Value> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| {
            (
                tool["name"].as_str().unwrap().to_owned(),
                tool["outputSchema"].clone(),
            )
        })
        .collect();
    session.stub.extend();
    let saved = session.home.path().join("saved");
    let sleeping = session.sleeping();
    let over = session.raw.call_ok(
        "run",
        json!({"image": "tag:base", "command": "hi", "wait": false}),
    )["operation_id"]
        .clone();
    let tree = session.home.path().join("tree");
    std::fs::create_dir_all(tree.join("empty")).unwrap();
    let place = session.home.path().join("place");
    std::fs::create_dir(&place).unwrap();
    std::fs::write(tree.join("file"), "x").unwrap();
    let registry = session.registry();
    let consent = "i_accept_that_anonymous_access_might_be_rate_limited";
    let mut seen = BTreeSet::new();
    for (tool, arguments) in [
        ("rsync", json!({"source": tree, "destination": "/tree"})),
        ("grep", json!({"image": IMAGE, "pattern": "t"})),
        (
            "import_image",
            json!({"registry_url": "docker://x", "tag": "x", consent: true}),
        ),
        (
            "import_image",
            json!({"registry_url": "docker://x", "wait": false, consent: true}),
        ),
        (
            "registry_token_obtain",
            json!({"registry_url": "docker.io"}),
        ),
        (
            "registry_auth",
            json!({"registry_url": registry, "username": "u", "token": "t"}),
        ),
        ("run", json!({"image": "tag:base", "command": "hello"})),
        (
            "run",
            json!({"image": "tag:base", "command": "big", "disposable": false}),
        ),
        (
            "run",
            json!({"image": "tag:base", "command": "exit 0", "wait": false}),
        ),
        ("upload", json!({"content": ""})),
        ("upload", json!({"content_base64": "/wA="})),
        (
            "download",
            json!({"image": IMAGE, "path": "/binary", "destination": saved, "executable": true}),
        ),
        ("list_files", json!({"image": IMAGE, "path": "/"})),
        (
            "list_files",
            json!({"image": IMAGE, "path": "/", "limit": 1}),
        ),
        ("read_file", json!({"image": IMAGE, "path": "/text"})),
        ("read_file", json!({"image": IMAGE, "path": "/binary"})),
        ("read_file", json!({"image": IMAGE, "path": "/long"})),
        ("list_images", json!({})),
        ("list_images", json!({"limit": 2})),
        ("list_images", json!({"offset": 50})),
        ("get_image", json!({"image": IMAGE})),
        ("set_tag", json!({"image_uuid": IMAGE, "tag": "tag:x"})),
        ("set_tag", json!({"image_uuid": IMAGE, "tag": null})),
        ("get_operation", json!({"operation_id": sleeping})),
        ("get_operation", json!({"operation_id": over})),
        ("list_operations", json!({"limit": 5})),
        (
            "wait_operations",
            json!({"operation_ids": [sleeping], "timeout": 0}),
        ),
        (
            "wait_operations",
            json!({"operation_ids": [over, "nonsense"]}),
        ),
        (
            "wait_operations",
            json!({"operation_ids": [over, sleeping], "mode": "any"}),
        ),
        (
            "publish",
            json!({"operation_id": sleeping, "port": 80, "host_port": 40_000}),
        ),
        (
            "exec",
            json!({"operation_id": sleeping, "command": "hello"}),
        ),
        (
            "interact",
            json!({"operation_id": sleeping, "process_id": 2, "wait_seconds": 1}),
        ),
        ("snapshot", json!({"operation_id": sleeping})),
        ("cancel_operation", json!({"operation_id": sleeping})),
        ("log", json!({"image": IMAGE})),
        (
            "apply",
            json!({"image": IMAGE, "path": "/", "destination": place, "base": IMAGE, "dry_run": true}),
        ),
        ("diff", json!({"image": IMAGE, "patch": true})),
        (
            "push_image",
            json!({"image": IMAGE, "registry_url": "127.0.0.1:1/a:1"}),
        ),
        ("delete_image", json!({"image": IMAGE})),
        ("whoami", json!({})),
        ("get_guide", json!({"section": "async"})),
    ] {
        let result = session.raw.call(tool, arguments.clone());
        assert_ne!(result["isError"], true, "{tool} {arguments}: {result}");
        let structured = &result["structuredContent"];
        assert_eq!(
            problems(&schemas[tool], structured, tool),
            [""; 0],
            "{tool} {arguments}: {structured}"
        );
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(!text.is_empty());
        // The text must be enough for clients that show nothing else.
        for name in ["result_image_uuid", "operation_id", "next", "uuid"] {
            if let Some(value) = structured[name].as_str() {
                assert!(
                    text.contains(value),
                    "{tool}: the text lacks {name}: {text}"
                );
            }
        }
        seen.insert(tool);
    }
    assert_eq!(seen.len(), schemas.len(), "a tool was not called");
}

#[test]
fn partial_answers_name_the_next_call() {
    let mut session = Session::new();
    let files = session.raw.call_ok(
        "list_files",
        json!({"image": "tag:base", "path": "etc", "limit": 2}),
    );
    assert_eq!(
        (&files["count"], &files["path"]),
        (&json!(3), &json!("/etc")),
        "{files}"
    );
    assert_eq!(
        files["next"],
        r#"list_files(image="tag:base", path="/etc", offset=2, limit=2)"#
    );
    assert_eq!(
        files["files"][0],
        json!({"name": "a", "path": "/etc/a", "type": "directory", "size": 5, "mode": "0755"})
    );
    let rest = session.raw.call_ok(
        "list_files",
        json!({"image": "tag:base", "path": "/etc", "offset": 2, "limit": 2}),
    );
    assert_eq!(
        rest["files"],
        json!([{"name": "c", "path": "/etc/c", "type": "symlink", "size": 5, "mode": "0777", "target": "b"}])
    );
    assert!(rest.get("next").is_none());

    // The limit falls in the middle of a character of two bytes.
    let first = session.raw.call_ok(
        "read_file",
        json!({"image": IMAGE, "path": "/long", "limit": 65_535}),
    );
    assert_eq!(
        (
            first["bytes_size"].as_u64(),
            first["content"].as_str().unwrap().len()
        ),
        (Some(200_000), 65_534)
    );
    assert_eq!(
        first["next"],
        format!(r#"read_file(image="{IMAGE}", path="/long", offset=65534, limit=65535)"#)
    );
    let last = session.raw.call_ok(
        "read_file",
        json!({"image": IMAGE, "path": "/long", "offset": 199_998}),
    );
    assert_eq!((&last["content"], last.get("next")), (&json!("ä"), None));
    let beyond = session.raw.call_ok(
        "read_file",
        json!({"image": IMAGE, "path": "/long", "offset": 300_000}),
    );
    assert_eq!(
        (&beyond["content"], &beyond["bytes_size"]),
        (&json!(""), &json!(200_000))
    );

    let images = session.raw.call_ok(
        "list_images",
        json!({"limit": 2, "offset": 1, "tag_prefix": "base/"}),
    );
    assert_eq!(
        images["next"],
        r#"list_images(offset=3, limit=2, tag_prefix="base/")"#
    );
}

#[test]
fn failures_are_tool_errors_with_a_hint() {
    let mut session = Session::new();
    for (tool, arguments, expected) in [
        (
            "run",
            json!({"image": "tag:base", "command": "fail"}),
            "FAILED: the init process broke",
        ),
        ("run", json!({"image": "base", "command": "x"}), "tag:base"),
        (
            "run",
            json!({"image": "tag:base", "command": "x", "files": {"/a": "no uuid"}}),
            "call `upload`",
        ),
        (
            "read_file",
            json!({"image": IMAGE, "path": "/directory"}),
            "not a regular file",
        ),
        (
            "list_files",
            json!({"image": IMAGE, "path": "/nowhere"}),
            "no such path",
        ),
        (
            "get_operation",
            json!({"operation_id": RESULT}),
            "no such operation",
        ),
        (
            "cancel_operation",
            json!({"operation_id": RESULT}),
            "there is no operation",
        ),
        (
            "wait_operations",
            json!({"operation_ids": [RESULT]}),
            "no such operation",
        ),
        (
            "wait_operations",
            json!({"operation_ids": ["nonsense"]}),
            "not the UUID",
        ),
        (
            "upload",
            json!({"content": "a", "path": "/b"}),
            "exactly one",
        ),
        ("upload", json!({"path": "/no/such/file"}), "/no/such/file"),
        ("upload", json!({"content_base64": "%"}), "base64"),
        (
            "download",
            json!({"image": IMAGE, "path": "/text", "destination": "relative"}),
            "absolute",
        ),
        (
            "set_tag",
            json!({"image_uuid": RESULT, "tag": "x"}),
            "no such image",
        ),
    ] {
        let text = session.raw.call_error(tool, arguments.clone());
        assert!(text.contains(expected), "{tool} {arguments}: {text}");
    }
    session.stub.refuse_spawns(StatusCode::FORBIDDEN);
    let text = session
        .raw
        .call_error("run", json!({"image": "tag:base", "command": "x"}));
    assert!(text.contains("no more sandboxes"), "{text}");
    assert!(
        session
            .raw
            .request("tools/list", json!({}))
            .get("result")
            .is_some()
    );
}

#[test]
fn a_wait_that_times_out_cancels_nothing() {
    let mut session = Session::new();
    let sleeping = session.sleeping();
    let done = session.raw.call_ok(
        "run",
        json!({"image": "tag:base", "command": "done", "wait": false}),
    )["operation_id"]
        .clone();
    let waited = session.raw.call_ok(
        "wait_operations",
        json!({"operation_ids": [sleeping, done, RESULT, "x"], "timeout": 3}),
    );
    assert_eq!(
        (
            &waited["timed_out"],
            &waited["pending"],
            &waited["completed"]
        ),
        (&json!(true), &json!([sleeping]), &json!([done])),
        "{waited}"
    );
    assert_eq!(waited["cancelled"], json!([]));
    assert_eq!(waited["errors"].as_object().unwrap().len(), 2, "{waited}");
    session.wait_for(&[("EXECUTING", 1), ("SUCCESS", 1)]);
}

#[test]
fn waiting_is_bounded() {
    let mut session = Session::new();
    let done = session.raw.call_ok(
        "run",
        json!({"image": "tag:base", "command": "done", "wait": false}),
    )["operation_id"]
        .as_str()
        .unwrap()
        .to_owned();
    // One operation, given three times in different spellings, with a timeout beyond any clock.
    let ids = [done.clone(), format!(" {done}"), done.to_uppercase()];
    let waited = session.raw.call_ok(
        "wait_operations",
        json!({"operation_ids": ids, "timeout": 1e19}),
    );
    assert_eq!(waited["completed"], json!([done]), "{waited}");
    // The proposed next call has the same mode.
    let sleeping = session.sleeping();
    let waited = session.raw.call_ok(
        "wait_operations",
        json!({"operation_ids": [sleeping], "mode": "any", "timeout": 0}),
    );
    assert!(
        waited["next"].as_str().unwrap().contains(r#"mode="any""#),
        "{waited}"
    );
    let many: Vec<String> = (0..257)
        .map(|n| uuid::Uuid::from_u128(n).to_string())
        .collect();
    let error = session
        .raw
        .call_error("wait_operations", json!({"operation_ids": many}));
    assert!(error.contains("256"), "{error}");
}

#[test]
fn a_service_without_events_is_asked_for_the_status() {
    let mut session = Session::new();
    session.stub.without_events();
    let ended = session
        .raw
        .call_ok("run", json!({"image": "tag:base", "command": "exit 7"}));
    assert_eq!(
        (&ended["exit_code"], &ended["stdout"], &ended["status"]),
        (&json!(7), &json!("exit 7\n"), &json!("SUCCESS")),
        "{ended}"
    );
    let failed = session
        .raw
        .call_error("run", json!({"image": "tag:base", "command": "fail"}));
    assert!(failed.contains("the init process broke"), "{failed}");
    let imported = session.raw.call_ok(
        "import_image",
        json!({"registry_url": "docker://alpine", "i_accept_that_anonymous_access_might_be_rate_limited": true}),
    );
    assert_eq!(imported["status"], "SUCCESS", "{imported}");
    // A run that goes on is polled until it ends.
    let id = session.raw.send(
        "tools/call",
        json!({"name": "run", "arguments": {"image": "tag:base", "command": "sleep"}}),
    );
    while !session.stub.statuses().contains_key("EXECUTING") {
        std::thread::sleep(Duration::from_millis(5));
    }
    session.stub.cancel_all();
    let answer = session.raw.answer(id);
    assert_eq!(
        answer["result"]["structuredContent"]["status"], "CANCELLED",
        "{answer}"
    );
}

#[test]
fn a_killed_command_has_an_exit_code_too() {
    let mut session = Session::new();
    let arguments = json!({"image": "tag:base", "command": "signal 9"});
    let ended = session.raw.call_ok("run", arguments);
    let record = session
        .raw
        .call_ok("get_operation", json!({"operation_id": ended["uuid"]}));
    for answer in [ended, record] {
        assert_eq!(
            (&answer["status"], &answer["exit_code"], &answer["signal"]),
            (&json!("SUCCESS"), &json!(-1), &json!(9)),
            "{answer}"
        );
    }
}

#[test]
fn progress_shows_the_newest_line() {
    let mut session = Session::new();
    let id = session.raw.send(
        "tools/call",
        json!({"name": "run", "arguments": {"image": "tag:base", "command": "sleep"}, "_meta": {"progressToken": "mine"}}),
    );
    let mut last = (0.0, String::new());
    for _ in 0..3 {
        let message = session
            .raw
            .message(Duration::from_secs(20))
            .expect("progress");
        assert_eq!(
            (&message["method"], &message["params"]["progressToken"]),
            (&json!("notifications/progress"), &json!("mine"))
        );
        let line = message["params"]["message"].as_str().unwrap().to_owned();
        let progress = message["params"]["progress"].as_f64().unwrap();
        assert!(
            line.starts_with("line ") && line != last.1 && progress > last.0,
            "{message} after {last:?}"
        );
        last = (progress, line);
    }
    session
        .raw
        .notify("notifications/cancelled", json!({"requestId": id}));
    session.wait_for(&[("CANCELLED", 1)]);
}

#[test]
fn operations_of_a_service_outlive_the_session() {
    let mut session = Session::new();
    session.sleeping();
    session.raw.close_input();
    assert!(session.raw.exit(Duration::from_secs(5)).success());
    session.wait_for(&[("EXECUTING", 1)]);
}

#[test]
fn two_hundred_calls_at_once_are_served() {
    let mut session = Session::new();
    let ids: Vec<u64> = (0..200)
        .map(|n| session.raw.send("tools/call", json!({"name": "run", "arguments": {"image": "tag:base", "command": format!("n{n}")}})))
        .collect();
    for (n, id) in ids.into_iter().enumerate() {
        let answer = session.raw.answer(id);
        assert_eq!(
            answer["result"]["structuredContent"]["stdout"],
            format!("n{n}\n"),
            "{answer}"
        );
    }
}
