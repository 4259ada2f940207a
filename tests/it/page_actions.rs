//! The web page's actions and what it reads of an image, with both kinds of backend.

use crate::support::Home;
use crate::support::stub::{IMAGE, Stub};
use crate::support::web::{Reply, Web};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const TOKEN: &str = "0123456789-abcdefgh";
const UNKNOWN: &str = "99999999-9999-4999-8999-999999999999";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A server with the embedded engine.
struct Local {
    web: Web,
    _home: Home,
}

impl Local {
    fn new() -> Self {
        let home = Home::new();
        Self {
            web: Web::start(home.command()),
            _home: home,
        }
    }

    fn act(&self, path: &str, body: &Value) -> Reply {
        act(&self.web, path, body, &[])
    }

    /// Runs a command that leaves an image, and returns the image.
    fn image(&self, on: &str, command: &str) -> String {
        let run = json!({"image": on, "command": command, "disposable": false});
        let made = self.web.call_ok("run", run);
        made["result_image_uuid"].as_str().unwrap().to_owned()
    }

    fn read(&self, path: &str) -> Value {
        let reply = self.web.get(path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    }

    fn tags(&self, image: &str) -> Value {
        let log = self.read(&format!("/api/images/{image}/log?limit=1"));
        log["images"][0]["tags"].clone()
    }
}

fn act(web: &Web, path: &str, body: &Value, more: &[(&str, &str)]) -> Reply {
    let mut headers = vec![JSON];
    headers.extend_from_slice(more);
    web.ask("POST", path, &headers, body.to_string().as_bytes())
}

fn error(reply: &Reply) -> String {
    reply.json()["error"].as_str().unwrap().to_owned()
}

/// Every action, with a body that it takes.
fn actions() -> Vec<(String, Value)> {
    vec![
        (format!("/api/operations/{UNKNOWN}/cancel"), json!({})),
        (format!("/api/images/{IMAGE}/tag"), json!({"tag": "new"})),
        (format!("/api/images/{IMAGE}/untag"), json!({"tag": "new"})),
    ]
}

/// A server in front of a stub service, and the stub.
fn stubbed(token: bool) -> (Web, Stub, (Home, Runtime, tempfile::NamedTempFile)) {
    let runtime = Runtime::new().unwrap();
    let stub = Stub::default();
    let url = runtime.block_on(stub.start());
    let home = Home::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), TOKEN).unwrap();
    let mut command = home.command_for(&url);
    if token {
        command.arg("--http-token-file").arg(file.path());
    }
    (Web::start(command), stub, (home, runtime, file))
}

#[test]
fn actions_are_refused_to_pages_of_other_origins_and_to_forms() {
    let (web, stub, _kept) = stubbed(false);
    let own = format!("http://{}", web.address);
    for (path, body) in actions() {
        let text = body.to_string();
        let status = |method: &str, headers: &[(&str, &str)]| {
            web.ask(method, &path, headers, text.as_bytes()).status
        };
        for origin in ["https://evil.example", "http://localhost:1", "null"] {
            assert_eq!(status("POST", &[JSON, ("origin", origin)]), 403, "{origin}");
        }
        let cross_site = ("sec-fetch-site", "cross-site");
        assert_eq!(status("POST", &[JSON, cross_site]), 403);
        let navigation = [
            cross_site,
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert_eq!(status("POST", &navigation), 403);
        assert_eq!(status("POST", &[JSON, ("host", "evil.example")]), 403);
        // The types that a form can send, also from the own page.
        for form in [
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "text/plain",
            "text/plain; application/json",
        ] {
            let headers = [("content-type", form), ("origin", own.as_str())];
            assert_eq!(status("POST", &headers), 415, "{form}");
        }
        assert_eq!(status("POST", &[]), 415);
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            assert_eq!(status(method, &[JSON]), 405, "{method} {path}");
        }
        // A script of another origin asks first, and gets no permission.
        let question = [
            ("origin", "https://evil.example"),
            ("access-control-request-method", "POST"),
        ];
        let reply = web.ask("OPTIONS", &path, &question, b"");
        assert_eq!(reply.status, 403);
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
    assert_eq!(stub.take_requests(), [], "nothing may reach the backend");
    // The own page may act.
    let (path, body) = &actions()[1];
    let reply = act(&web, path, body, &[("origin", &own)]);
    assert_eq!((reply.status, &reply.json()["tag"]), (200, &json!("new")));
}

#[test]
fn actions_need_the_token_if_one_is_set() {
    let (web, stub, _kept) = stubbed(true);
    for (path, body) in actions() {
        assert_eq!(act(&web, &path, &body, &[]).status, 401, "{path}");
        let wrong = ("authorization", "Bearer 0123456789-abcdefgi");
        assert_eq!(act(&web, &path, &body, &[wrong]).status, 401, "{path}");
    }
    assert_eq!(stub.take_requests(), []);
    let bearer = format!("Bearer {TOKEN}");
    let bearer = ("authorization", bearer.as_str());
    for (path, body) in actions().iter().skip(1) {
        assert_eq!(act(&web, path, body, &[bearer]).status, 200, "{path}");
    }
    // The token does not replace the check of the origin.
    let (path, body) = &actions()[1];
    let elsewhere = ("origin", "https://evil.example");
    assert_eq!(act(&web, path, body, &[bearer, elsewhere]).status, 403);
}

#[test]
fn a_server_that_only_reads_refuses_every_action() {
    let home = Home::new();
    let mut command = home.command();
    command.arg("--read-only");
    let web = Web::start(command);
    for (path, body) in actions() {
        let reply = act(&web, &path, &body, &[]);
        assert_eq!(reply.status, 403, "{path}");
        assert!(error(&reply).contains("without the tool"), "{path}");
    }
}

#[test]
fn invalid_requests_and_unknown_ids_are_explained() {
    let local = Local::new();
    let image = local.image("tag:host", "echo one > /one");
    for (path, body, status, part) in [
        (
            "operations/x/cancel",
            json!({}),
            400,
            "UUID of an operation",
        ),
        ("images/x/tag", json!({"tag": "a"}), 400, "UUID of an image"),
        (
            &*format!("operations/{UNKNOWN}/cancel"),
            json!({}),
            404,
            UNKNOWN,
        ),
        (
            &*format!("images/{UNKNOWN}/tag"),
            json!({"tag": "a"}),
            404,
            UNKNOWN,
        ),
        (
            &*format!("images/{UNKNOWN}/untag"),
            json!({"tag": "a"}),
            404,
            UNKNOWN,
        ),
        (
            &*format!("images/{image}/untag"),
            json!({"tag": "a"}),
            404,
            "`a`",
        ),
        (
            &*format!("images/{image}/tag"),
            json!({"tag": " tag: "}),
            400,
            "empty",
        ),
        (
            &*format!("images/{image}/tag"),
            json!({"tag": "<b>"}),
            400,
            "tag",
        ),
        (
            &*format!("images/{image}/tag"),
            json!({"other": 1}),
            400,
            "needs a tag",
        ),
        (
            &*format!("images/{image}/tag"),
            json!([]),
            400,
            "needs a tag",
        ),
    ] {
        let reply = local.act(&format!("/api/{path}"), &body);
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.text());
        let why = error(&reply);
        assert!(why.contains(part), "{path} {body}: {why}");
    }
    let long = json!({"tag": "a".repeat(100_000)});
    let reply = local.act(&format!("/api/images/{image}/tag"), &long);
    assert_eq!(reply.status, 413);
    for (path, status, part) in [
        (format!("images/{UNKNOWN}/log"), 404, UNKNOWN),
        (format!("images/{UNKNOWN}/files"), 404, UNKNOWN),
        (format!("operations/{UNKNOWN}"), 404, UNKNOWN),
        (
            format!("images/{image}/files?path=/nowhere"),
            404,
            "/nowhere",
        ),
        (
            format!("images/{image}/text?path=/nowhere"),
            404,
            "/nowhere",
        ),
        (format!("images/{image}/diff?base=x"), 400, "base"),
        ("images/x/text".to_owned(), 400, "UUID of an image"),
    ] {
        let reply = local.web.get(&format!("/api/{path}"));
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        assert!(error(&reply).contains(part), "{path}: {}", error(&reply));
    }
}

#[test]
fn an_operation_is_cancelled_and_an_image_is_tagged() {
    let local = Local::new();
    let run = json!({"image": "tag:host", "command": "echo begun; exec sleep 600", "wait": false});
    let started = local.web.call_ok("run", run);
    let id = started["operation_id"].as_str().unwrap();
    let mut stream = local.web.connect();
    stream.send("GET", &format!("/api/operations/{id}/output"), &[], b"");
    assert_eq!(stream.head().status, 200);
    stream.until("begun");
    let running = local.read(&format!("/api/operations/{id}"));
    assert_eq!(running["status"], "EXECUTING", "{running}");
    assert!(running["command"].as_str().unwrap().contains("begun"));
    let reply = local.act(&format!("/api/operations/{id}/cancel"), &json!({}));
    assert_eq!(reply.json(), json!({"cancelled": true}));
    stream.until("event: end");
    let ended = local.read(&format!("/api/operations/{id}"));
    assert_eq!(ended["status"], "CANCELLED", "{ended}");
    let reply = local.act(&format!("/api/operations/{id}/cancel"), &json!({}));
    assert_eq!(reply.json(), json!({"cancelled": false}));

    let image = local.image("tag:host", "echo one > /one");
    for tag in ["team/a", "tag:team/b"] {
        let reply = local.act(&format!("/api/images/{image}/tag"), &json!({"tag": tag}));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(local.tags(&image), json!(["team/a", "team/b"]));
    let untag = format!("/api/images/{image}/untag");
    assert_eq!(local.act(&untag, &json!({"tag": "team/a"})).status, 200);
    assert_eq!(local.tags(&image), json!(["team/b"]));
}

#[test]
fn files_changes_and_history_of_an_image_are_shown_within_bounds() {
    let local = Local::new();
    let base = local.image("tag:host", "mkdir -p /srv/d && echo one > /srv/text");
    let hostile = "mkdir '/srv/<img src=x>' && echo two > /srv/text && printf 'a\\0' > /srv/binary \
        && head -c 400000 /dev/zero | tr '\\0' a > /srv/long && ln -s /srv/text /srv/link";
    let image = local.image(&base, hostile);
    let directory = local.read(&format!("/api/images/{image}/files?path=/srv"));
    let names: Vec<_> = directory["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (&entry["name"], &entry["kind"]))
        .collect();
    let expected = [
        ("<img src=x>", "directory"),
        ("d", "directory"),
        ("binary", "file"),
        ("link", "link"),
        ("long", "file"),
        ("text", "file"),
    ];
    let expected = expected.map(|(name, kind)| (json!(name), json!(kind)));
    let expected: Vec<_> = expected.iter().map(|(name, kind)| (name, kind)).collect();
    assert_eq!(names, expected, "{directory}");
    let text = |path: &str| local.read(&format!("/api/images/{image}/text?path=/srv/{path}"));
    assert_eq!(
        text("text"),
        json!({"text": "two\n", "size": 4, "cut": false})
    );
    assert_eq!(text("link")["text"], "two\n");
    assert_eq!(text("binary")["text"], Value::Null);
    let long = text("long");
    assert_eq!(
        (&long["cut"], &long["size"]),
        (&json!(true), &json!(400_000))
    );
    assert_eq!(long["text"].as_str().unwrap().len(), 256 * 1024);

    let diff = local.read(&format!("/api/images/{image}/diff"));
    assert_eq!(diff["base"], base.as_str(), "{diff}");
    let changed = diff["changes"].as_array().unwrap();
    assert!(
        changed
            .iter()
            .any(|one| one["path"] == "/srv/text" && one["change"] == "modified")
    );
    let patch = local.read(&format!(
        "/api/images/{image}/diff?path=/srv/text&patch=true"
    ));
    assert!(patch["patch"].as_str().unwrap().contains("+two"), "{patch}");

    let log = local.read(&format!("/api/images/{image}/log"));
    assert_eq!(log["images"][1]["uuid"], base.as_str(), "{log}");
    let children = local.read(&format!("/api/images/{base}/log?children=true"));
    assert_eq!(children["images"][0]["uuid"], image.as_str(), "{children}");

    let disk = local.read("/api/disk");
    assert!(disk["total"].as_u64().unwrap() > 0, "{disk}");
    assert!(
        disk["images"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["uuid"] == image.as_str())
    );
}

#[test]
fn the_reference_has_a_page_of_its_own() {
    let (web, stub, _kept) = stubbed(false);
    let reference = web.get("/docs");
    assert_eq!(reference.status, 200);
    let html = reference.text();
    assert!(html.contains("id=\"tool-run\"") && html.contains("id=\"guide-workflow\""));
    assert!(
        !html.contains("id=\"drawer\""),
        "the reference has no live part"
    );
    assert_eq!(html.matches("<h1").count(), 1);
    assert_eq!(web.get("/docs/").status, 200);
    assert_eq!(web.get("/").text().matches("<h1").count(), 1);
    assert!(
        reference
            .header("content-security-policy")
            .unwrap()
            .contains("script-src 'self'")
    );
    assert_eq!(
        web.ask("GET", "/docs", &[("host", "evil.example")], b"")
            .status,
        403
    );
    assert_eq!(
        web.get("/api/disk").status,
        404,
        "a service measures no disk"
    );
    assert_eq!(stub.take_requests(), []);
}
