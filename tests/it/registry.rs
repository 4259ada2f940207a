//! Logins to registries with the real program: challenges, stored credentials, and secrets that
//! never show.
#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::Home;
use crate::support::raw::RawClient;
use crate::support::stub::Stub;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const SECRET: &str = "hunter2-the-secret";

/// A secret that is longer than the 4,096 bytes of a terminal's line.
fn long_secret() -> String {
    SECRET.repeat(400)
}

/// The authentication that a registry requires.
#[derive(Clone, Copy, PartialEq)]
enum RegistryAuth {
    Basic,
    Bearer,
    /// The token server answers with a redirect.
    Redirecting,
    /// The token server is on another host and unencrypted.
    Elsewhere,
    Open,
}

#[derive(Clone)]
struct TestRegistry {
    auth: RegistryAuth,
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl TestRegistry {
    fn start(runtime: &Runtime, auth: RegistryAuth) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let registry = Self {
            auth,
            address: listener.local_addr().unwrap().to_string(),
            seen: Arc::default(),
        };
        let router = Router::new()
            .route("/v2/", get(version))
            .route("/token", get(token))
            .route("/stolen", get(stolen))
            .with_state(registry.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        registry
    }
}

fn has_valid_credentials(headers: &HeaderMap) -> bool {
    let basic = |secret: &str| format!("Basic {}", STANDARD.encode(format!("user:{secret}")));
    headers
        .get("authorization")
        .is_some_and(|value| *value == basic(SECRET) || *value == basic(&long_secret()))
}

async fn version(State(registry): State<TestRegistry>, headers: HeaderMap) -> Response {
    let allowed = match registry.auth {
        RegistryAuth::Open => true,
        RegistryAuth::Basic => has_valid_credentials(&headers),
        _ => headers
            .get("authorization")
            .is_some_and(|value| value == "Bearer a-token"),
    };
    if allowed {
        return "{}".into_response();
    }
    let challenge = match registry.auth {
        RegistryAuth::Basic => r#"Basic realm="Registry""#.to_owned(),
        RegistryAuth::Elsewhere => {
            r#"Bearer realm="http://tokens.example/token",service="r""#.to_owned()
        }
        _ => format!(
            r#"Negotiate, Bearer realm="http://{}/token",service="the \"registry\"""#,
            registry.address
        ),
    };
    (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response()
}

async fn token(State(registry): State<TestRegistry>, request: Request) -> Response {
    registry
        .seen
        .lock()
        .unwrap()
        .push(request.uri().query().unwrap_or_default().to_owned());
    if registry.auth == RegistryAuth::Redirecting {
        return (StatusCode::FOUND, [("location", "/stolen")]).into_response();
    }
    if !has_valid_credentials(request.headers()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    axum::Json(json!({"token": "a-token", "expires_in": 60})).into_response()
}

async fn stolen(State(registry): State<TestRegistry>) -> Response {
    registry.seen.lock().unwrap().push("stolen".into());
    axum::Json(json!({"token": "a-token"})).into_response()
}

struct TestSetup {
    runtime: Runtime,
    stub: Stub,
    url: String,
    home: Home,
}

impl TestSetup {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let stub = Stub::default();
        let url = runtime.block_on(stub.start());
        Self {
            runtime,
            stub,
            url,
            home: Home::new(),
        }
    }

    fn call(&self, arguments: &[&str]) -> Output {
        let mut command = self.home.command_for(&self.url);
        command.arg("call").args(arguments);
        self.output(command)
    }

    fn output(&self, mut command: Command) -> Output {
        let output = command.output().unwrap();
        for text in [&output.stdout, &output.stderr] {
            assert!(
                !String::from_utf8_lossy(text).contains(SECRET),
                "{output:?}"
            );
        }
        output
    }

    fn auth(&self, registry: &TestRegistry, secret: &str) -> Output {
        let file = self.home.path().join("secret");
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        let token = format!("token=@{}", file.display());
        let url = format!("registry_url={}", registry.address);
        self.call(&["registry_auth", &url, "username=user", &token])
    }

    /// Writes a shell script called `name`, and returns a `PATH` on which it comes first.
    fn program(&self, name: &str, text: &str) -> String {
        let folder = self.home.path().join("bin");
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())
    }

    /// The last import request that the backend received.
    fn imported(&self) -> Value {
        self.stub.spawned().last().cloned().unwrap_or_default()
    }
}

#[test]
fn credentials_are_checked_stored_and_used() {
    let setting = TestSetup::new();
    for kind in [RegistryAuth::Basic, RegistryAuth::Bearer] {
        let registry = TestRegistry::start(&setting.runtime, kind);
        let image = format!("registry_url=docker://{}/a/b:1", registry.address);
        let refused = setting.call(&["import_image", &image]);
        assert!(!refused.status.success());
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            why.contains("registry_auth") && why.contains("rate_limited=true"),
            "{why}"
        );

        let wrong = setting.auth(&registry, "wrong");
        assert!(!wrong.status.success());
        assert!(String::from_utf8_lossy(&wrong.stderr).contains("Nothing was stored"));
        assert!(!setting.call(&["import_image", &image]).status.success());

        let stored = setting.auth(&registry, SECRET);
        assert!(stored.status.success(), "{stored:?}");
        let done = setting.call(&["import_image", &image, "tag=x"]);
        assert!(done.status.success(), "{done:?}");
        assert_eq!(
            setting.imported()["registry"]["credentials"],
            json!({"username": "user", "password": SECRET})
        );
        if kind == RegistryAuth::Bearer {
            let asked = registry.seen.lock().unwrap()[0].clone();
            assert!(asked.contains("service=the+%22registry%22"), "{asked}");
        }
    }
    let store = setting.home.path().join("state/store.db");
    assert_eq!(
        std::fs::metadata(store).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn credentials_are_sent_only_to_their_registry() {
    let setting = TestSetup::new();
    for (kind, word) in [
        (RegistryAuth::Redirecting, "redirect"),
        (RegistryAuth::Elsewhere, "https"),
    ] {
        let registry = TestRegistry::start(&setting.runtime, kind);
        let output = setting.auth(&registry, SECRET);
        assert!(!output.status.success());
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(word),
            "{output:?}"
        );
        assert!(!registry.seen.lock().unwrap().contains(&"stolen".to_owned()));
    }
    let open = TestRegistry::start(&setting.runtime, RegistryAuth::Open);
    let output = setting.auth(&open, SECRET);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("could not be checked"),
        "{output:?}"
    );
}

#[test]
fn invalid_credentials_are_not_used() {
    let setting = TestSetup::new();
    let registry = TestRegistry::start(&setting.runtime, RegistryAuth::Basic);
    let docker = setting.home.path().join(".docker");
    std::fs::create_dir(&docker).unwrap();
    let config = |secret: &str| {
        let auth = STANDARD.encode(format!("user:{secret}"));
        let config = json!({"auths": {&registry.address: {"auth": auth}}});
        std::fs::write(docker.join("config.json"), config.to_string()).unwrap();
    };
    let image = format!("registry_url={}/a", registry.address);
    config("old");
    let output = setting.call(&["import_image", &image]);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("did not accept"),
        "{output:?}"
    );
    config(SECRET);
    assert!(setting.call(&["import_image", &image]).status.success());
    assert_eq!(
        setting.imported()["registry"]["credentials"]["password"],
        SECRET
    );

    // The backend takes a name without a host for an image of Docker Hub, and this is not its
    // password.
    let bare = format!("registry_url={}", registry.address);
    let output = setting.call(&["import_image", &bare]);
    assert!(!output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("docker.io"),
        "{output:?}"
    );

    // A helper program takes precedence over the file.
    let answer = json!({"ServerURL": "", "Username": "user", "Secret": SECRET});
    let helper = format!("read server\necho '{answer}'");
    let path = setting.program("docker-credential-mine", &helper);
    let config = json!({"credHelpers": {&registry.address: "mine"}});
    std::fs::write(docker.join("config.json"), config.to_string()).unwrap();
    let mut command = setting.home.command_for(&setting.url);
    command
        .env("PATH", path)
        .args(["call", "import_image", &image]);
    assert!(setting.output(command).status.success());
}

#[test]
fn the_token_page_is_shown_in_the_way_that_the_client_supports() {
    let setting = TestSetup::new();
    let obtain = json!({"name": "registry_token_obtain", "arguments": {"registry_url": "docker://ghcr.io/a/b"}});

    // The client supports no way to show it: the link is in the answer.
    let mut raw = RawClient::initialized(setting.home.command_for(&setting.url), "2025-11-25");
    let answer = raw.call_ok(
        "registry_token_obtain",
        json!({"registry_url": "docker://ghcr.io/a/b"}),
    );
    assert_eq!(
        (&answer["registry"], &answer["status"]),
        (&json!("ghcr.io"), &json!("success"))
    );
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("https://github.com/")
    );
    let error = raw.call_error(
        "registry_token_obtain",
        json!({"registry_url": "r.example"}),
    );
    assert!(
        error.contains("registry_auth(registry_url=\"r.example\""),
        "{error}"
    );

    // Up to 2025-11-25, the server sends the client a request.
    let mut raw = RawClient::start(setting.home.command_for(&setting.url));
    raw.request(
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {"url": {}}},
               "clientInfo": {"name": "raw", "version": "1"}}),
    );
    raw.notify("notifications/initialized", json!({}));
    let id = raw.send("tools/call", obtain.clone());
    let asked = raw.message(crate::support::raw::ANSWER_TIMEOUT).unwrap();
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    assert_eq!(asked["params"]["mode"], "url");
    raw.line(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}}));
    let answer = raw.answer(id);
    let message = answer["result"]["structuredContent"]["message"]
        .as_str()
        .unwrap();
    assert!(message.starts_with("The page was opened"), "{message}");

    // From 2026-07-28 on, the client repeats the call with the user's answer.
    let mut raw = RawClient::start(setting.home.command_for(&setting.url));
    let mut call = obtain;
    call["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}},
        "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    });
    let asked = raw.request("tools/call", call.clone());
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    assert_eq!(
        asked["result"]["inputRequests"]["page"]["params"]["mode"],
        "url"
    );
    call["inputResponses"] = json!({"page": {"action": "accept"}});
    let answer = raw.request("tools/call", call.clone());
    let message = answer["result"]["structuredContent"]["message"]
        .as_str()
        .unwrap();
    assert!(message.starts_with("The page was opened"), "{message}");
    call["inputResponses"] = json!({"page": {"action": "decline"}});
    assert_eq!(raw.request("tools/call", call)["result"]["isError"], true);
}

/// Runs a shell command on a terminal, with the program as `$0`. The child's output is the screen,
/// its input the keyboard.
fn on_terminal(setting: &TestSetup, command: &str) -> Child {
    let program = env!("CARGO_BIN_EXE_contree-mcp");
    let whole = format!("exec sh -c '{command}' '{program}'");
    // The tests may run where SIGINT is ignored, and the program keeps ignoring it.
    let mut script = Command::new("/usr/bin/env");
    script.args(["--default-signal=INT,HUP", "script"]);
    script.env_clear();
    for (name, value) in setting.home.command_for(&setting.url).get_envs() {
        script.env(name, value.unwrap_or_default());
    }
    script
        .args(["-q", "-e", "-c", &whole, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads the screen up to the prompt for the secret.
fn read_until_prompt(screen: &mut ChildStdout) -> Vec<u8> {
    let mut shown = Vec::new();
    while !shown.ends_with(b"token: ") {
        let mut byte = [0];
        assert!(
            screen.read(&mut byte).unwrap() == 1,
            "{}",
            String::from_utf8_lossy(&shown)
        );
        shown.push(byte[0]);
    }
    shown
}

#[test]
fn a_terminal_echoes_again_after_an_interrupted_prompt() {
    let setting = TestSetup::new();
    let mut child = on_terminal(
        &setting,
        "trap : INT; \"$0\" call registry_auth registry_url=localhost username=user; echo status $?; stty -a",
    );
    let mut screen = child.stdout.take().unwrap();
    read_until_prompt(&mut screen);
    let mut keyboard = child.stdin.take().unwrap();
    keyboard.write_all(b"\x03").unwrap();
    let mut shown = String::new();
    screen.read_to_string(&mut shown).unwrap();
    child.wait().unwrap();
    assert!(shown.contains("status 130"), "{shown}");
    assert!(
        shown.split_whitespace().any(|word| word == "echo"),
        "{shown}"
    );
}

#[test]
fn other_mistakes_are_reported_before_the_prompt_for_a_secret() {
    let setting = TestSetup::new();
    let mut child = on_terminal(
        &setting,
        "exec \"$0\" call registry_auth registry_ulr=localhost username=user",
    );
    let mut shown = String::new();
    let mut screen = child.stdout.take().unwrap();
    screen.read_to_string(&mut shown).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(shown.contains("did you mean `registry_url`?"), "{shown}");
    assert!(!shown.contains("token: "), "{shown}");
}

#[test]
fn no_log_and_no_error_shows_a_secret() {
    let setting = TestSetup::new();
    let registry = TestRegistry::start(&setting.runtime, RegistryAuth::Basic);
    let mut command = setting.home.command_for(&setting.url);
    command.args(["--log-level", "trace"]);
    let mut raw = RawClient::initialized(command, "2025-11-25");
    let auth = |token: Value| json!({"registry_url": registry.address, "username": "user", "token": token});
    raw.call_ok("registry_auth", auth(json!(SECRET)));
    for odd in [json!([SECRET]), json!({SECRET: 1})] {
        let error = raw.call_error("registry_auth", auth(odd));
        assert!(error.contains("`token` must be of type string"), "{error}");
        assert!(!error.contains(SECRET), "{error}");
    }
    raw.call_ok(
        "run",
        json!({"image": "tag:base", "command": "x", "env": {"KEY": SECRET}, "stdin": SECRET}),
    );
    raw.close_input();
    assert!(raw.exit(Duration::from_secs(30)).success());
    let log = raw.stderr();
    assert!(log.contains("INFO"), "{log}");
    assert!(!log.contains(SECRET), "{log}");
    // A command line whose key or closing brace was forgotten.
    for argument in [SECRET.to_owned(), format!("{{\"token\": \"{SECRET}\"")] {
        let refused = setting.call(&[
            "registry_auth",
            "registry_url=localhost",
            "username=u",
            &argument,
        ]);
        assert!(!refused.status.success());
    }
}

#[test]
fn the_answer_of_a_helper_that_reads_no_input_is_used() {
    let setting = TestSetup::new();
    let registry = TestRegistry::start(&setting.runtime, RegistryAuth::Basic);
    let answer = json!({"ServerURL": "", "Username": "user", "Secret": SECRET});
    let helper = format!("exec <&-\nsleep 0.2\necho '{answer}'");
    let path = setting.program("docker-credential-noinput", &helper);
    let docker = setting.home.path().join(".docker");
    std::fs::create_dir(&docker).unwrap();
    let config = json!({"credHelpers": {&registry.address: "noinput"}});
    std::fs::write(docker.join("config.json"), config.to_string()).unwrap();
    let mut command = setting.home.command_for(&setting.url);
    let image = format!("registry_url=docker://{}/a/b:1", registry.address);
    command
        .env("PATH", path)
        .args(["call", "import_image", &image]);
    let done = setting.output(command);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(
        setting.imported()["registry"]["credentials"]["password"],
        SECRET
    );
}

#[test]
fn the_prompt_for_a_secret_does_not_show_it() {
    let setting = TestSetup::new();
    let registry = TestRegistry::start(&setting.runtime, RegistryAuth::Basic);
    let call = format!(
        "registry_auth registry_url={} username=user",
        registry.address
    );
    let image = format!("registry_url=docker://{}/a/b:1", registry.address);
    for secret in [SECRET.to_owned(), long_secret()] {
        let mut child = on_terminal(&setting, &format!("exec \"$0\" call {call}"));
        let mut screen = child.stdout.take().unwrap();
        let mut shown = read_until_prompt(&mut screen);
        let mut keyboard = child.stdin.take().unwrap();
        keyboard
            .write_all(format!("{secret}\n").as_bytes())
            .unwrap();
        screen.read_to_end(&mut shown).unwrap();
        let shown = String::from_utf8_lossy(&shown);
        assert!(child.wait().unwrap().success(), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(shown.contains("accepts the credentials"), "{shown}");
        assert!(setting.call(&["import_image", &image]).status.success());
        assert_eq!(
            setting.imported()["registry"]["credentials"]["password"],
            secret
        );
    }
}

#[test]
fn on_a_desktop_the_browser_shows_the_page() {
    let setting = TestSetup::new();
    let opened = setting.home.path().join("opened");
    // Written under another name and renamed, so that the test never reads a partial link.
    let browser = format!(
        "echo \"$1\" > '{0}.new'\nmv '{0}.new' '{0}'",
        opened.display()
    );
    let path = setting.program("xdg-open", &browser);

    let call = |display: Option<&str>| {
        let mut command = setting.home.command_for(&setting.url);
        command.env("PATH", &path);
        if let Some(display) = display {
            command.env("DISPLAY", display);
        }
        command.args(["call", "registry_token_obtain", "registry_url=ghcr.io"]);
        let output = setting.output(command);
        assert!(output.status.success(), "{output:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let message = answer["message"].as_str().unwrap().to_owned();
        (message, answer["url"].as_str().unwrap().to_owned())
    };
    let (message, _) = call(None);
    assert!(message.contains("must open https://"), "{message}");
    let (message, url) = call(Some(":99"));
    assert!(message.starts_with("The page was opened"), "{message}");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !opened.exists() {
        assert!(Instant::now() < deadline, "no browser was started");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(std::fs::read_to_string(&opened).unwrap().trim(), url);
}
