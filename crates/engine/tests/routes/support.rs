//! Test support: an engine on its own data directory, with an HTTP client.

use std::path::Path;
use std::sync::{Arc, Weak};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use contree_engine::{LocalConfig, LocalEngine};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// A running engine with a plain HTTP client on its socket.
pub(crate) struct TestEngine {
    pub(crate) engine: Arc<EngineWithData>,
    http: reqwest::Client,
}

/// An engine with its data directory, which is removed when this is dropped.
pub(crate) struct EngineWithData {
    pub(crate) local: LocalEngine,
    pub(crate) data: TempDir,
}

/// The engine that independent tests share. It is stopped when the last of them ends.
static SHARED: Mutex<Weak<EngineWithData>> = Mutex::const_new(Weak::new());

/// An answer: status, some headers, and the JSON body (null if the body is not JSON).
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) allow: Option<String>,
    pub(crate) text: String,
    pub(crate) json: Value,
}

/// A finished operation.
#[derive(Debug)]
pub(crate) struct FinishedOperation {
    pub(crate) operation: String,
    pub(crate) status: String,
    pub(crate) error: String,
    pub(crate) exit_code: i64,
    pub(crate) signal: i64,
    pub(crate) timed_out: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) result: Option<String>,
    pub(crate) events: Vec<Value>,
}

impl FinishedOperation {
    /// The types of the events in order, without repetitions in a row.
    pub(crate) fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = self
            .events
            .iter()
            .filter_map(|event| event["type"].as_str())
            .collect();
        kinds.dedup();
        kinds
    }
}

/// Creates a data directory for a test.
///
/// It is below `CONTREE_TEST_DIR`, if that is set. It must be set if the file system of temporary
/// files cannot hold an overlay's upper directory.
pub(crate) fn data_dir() -> TempDir {
    let parent = std::env::var_os("CONTREE_TEST_DIR").map_or_else(std::env::temp_dir, Into::into);
    tempfile::Builder::new()
        .prefix("contree-test-")
        .tempdir_in(parent)
        .unwrap()
}

impl TestEngine {
    /// Starts an engine for one test.
    pub(crate) async fn new() -> Self {
        Self::of(Arc::new(EngineWithData::start().await))
    }

    /// Starts an engine for one test, with changed settings.
    pub(crate) async fn with_settings(change: impl FnOnce(&mut LocalConfig)) -> Self {
        let data = data_dir();
        let mut config = LocalConfig::new(data.path());
        change(&mut config);
        Self::with(config, data).await
    }

    /// Starts an engine with settings, on a data directory.
    pub(crate) async fn with(config: LocalConfig, data: TempDir) -> Self {
        let local = LocalEngine::start(config).await.unwrap();
        Self::of(Arc::new(EngineWithData { local, data }))
    }

    /// The engine that several tests use. Its listings have the operations and images of them all.
    pub(crate) async fn shared() -> Self {
        let mut shared = SHARED.lock().await;
        let engine = match shared.upgrade() {
            Some(engine) => engine,
            None => Arc::new(EngineWithData::start().await),
        };
        *shared = Arc::downgrade(&engine);
        Self::of(engine)
    }

    fn of(engine: Arc<EngineWithData>) -> Self {
        let http = http(&engine.local);
        Self { engine, http }
    }

    /// Starts a second engine on the same data directory.
    pub(crate) async fn other_engine(&self) -> OtherEngine {
        OtherEngine::on(self.engine.data.path()).await
    }

    /// The UUID of `tag:host`.
    pub(crate) async fn host(&self) -> String {
        let answer = self.get("/images?tag=host").await.json;
        answer["images"][0]["uuid"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.http.get(url(path))).await
    }

    /// Sends a request with headers and returns the unread response. For bodies that are not text.
    pub(crate) async fn fetch(
        &self,
        method: http::Method,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> reqwest::Response {
        let mut request = self.http.request(method, url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    pub(crate) async fn head(&self, path: &str) -> Answer {
        answer(self.http.head(url(path))).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        answer(self.http.delete(url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.http.post(url(path)).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        answer(self.http.patch(url(path)).json(body)).await
    }

    pub(crate) async fn upload(&self, content: &[u8]) -> Value {
        upload(&self.http, content).await
    }

    /// Spawns `command` in `tag:host` through a shell. `fields` override the fields of the request.
    pub(crate) async fn spawn(&self, command: &str, fields: Value) -> String {
        spawn(&self.http, command, fields).await
    }

    /// Spawns a command and waits for its end.
    pub(crate) async fn run(&self, command: &str, fields: Value) -> FinishedOperation {
        let operation = self.spawn(command, fields).await;
        self.done(&operation).await
    }

    /// Follows an operation's events until its end.
    pub(crate) async fn done(&self, operation: &str) -> FinishedOperation {
        done(&self.http, operation).await
    }

    /// Posts a body unchanged.
    pub(crate) async fn post_bytes(&self, path: &str, body: Vec<u8>) -> Answer {
        answer(self.http.post(url(path)).body(body)).await
    }

    pub(crate) async fn put(&self, path: &str) -> Answer {
        answer(self.http.put(url(path))).await
    }

    /// Reads at least `bytes` bytes of the event stream after `last`, or all of it, and then drops
    /// the connection.
    pub(crate) async fn read_some_events(
        &self,
        operation: &str,
        last: u64,
        bytes: usize,
    ) -> String {
        let mut response = self
            .http
            .get(url(&format!("/operations/{operation}/events?follow=1")))
            .header("Last-Event-Id", last)
            .send()
            .await
            .unwrap();
        let mut some = Vec::new();
        while some.len() < bytes {
            match response.chunk().await.unwrap() {
                Some(chunk) => some.extend_from_slice(&chunk),
                None => break,
            }
        }
        String::from_utf8(some).unwrap()
    }

    pub(crate) async fn events(
        &self,
        operation: &str,
        query: &str,
        last: Option<u64>,
    ) -> Vec<Value> {
        loop {
            let path = url(&format!("/operations/{operation}/events?{query}"));
            let mut request = self.http.get(path);
            if let Some(last) = last {
                request = request.header("Last-Event-Id", last);
            }
            let response = request.send().await.unwrap();
            if response.status() != 425 {
                return frames(&response.text().await.unwrap());
            }
        }
    }
}

/// Another engine on the data directory of a [`TestEngine`].
pub(crate) struct OtherEngine {
    pub(crate) local: LocalEngine,
    http: reqwest::Client,
}

impl OtherEngine {
    /// Starts an engine on a data directory that the caller owns.
    pub(crate) async fn on(data: &Path) -> Self {
        let local = LocalEngine::start(LocalConfig::new(data)).await.unwrap();
        let http = http(&local);
        Self { local, http }
    }

    /// The UUID of `tag:host`.
    pub(crate) async fn host(&self) -> String {
        let answer = self.get("/images?tag=host").await.json;
        answer["images"][0]["uuid"].as_str().unwrap().to_owned()
    }

    /// Spawns as [`TestEngine::spawn`] does.
    pub(crate) async fn spawn(&self, command: &str, fields: Value) -> String {
        spawn(&self.http, command, fields).await
    }

    pub(crate) async fn run(&self, command: &str, fields: Value) -> FinishedOperation {
        let operation = spawn(&self.http, command, fields).await;
        done(&self.http, &operation).await
    }

    pub(crate) async fn done(&self, operation: &str) -> FinishedOperation {
        done(&self.http, operation).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        answer(self.http.delete(url(path))).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        answer(self.http.get(url(path))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.http.post(url(path)).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        answer(self.http.patch(url(path)).json(body)).await
    }

    pub(crate) async fn upload(&self, content: &[u8]) -> Value {
        upload(&self.http, content).await
    }
}

impl EngineWithData {
    async fn start() -> Self {
        let data = data_dir();
        let local = LocalEngine::start(LocalConfig::new(data.path())).await;
        Self {
            local: local.unwrap(),
            data,
        }
    }
}

fn http(engine: &LocalEngine) -> reqwest::Client {
    // Another test of this process may have installed the provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .unix_socket(engine.socket())
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap()
}

fn url(path: &str) -> String {
    format!("http://localhost/v1{path}")
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let header = |name: &str| {
        let value = response.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let (location, retry_after, allow) =
        (header("location"), header("retry-after"), header("allow"));
    let text = response.text().await.unwrap();
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer {
        status,
        location,
        retry_after,
        allow,
        text,
        json,
    }
}

async fn upload(http: &reqwest::Client, content: &[u8]) -> Value {
    let answer = answer(http.post(url("/files")).body(content.to_vec())).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json
}

async fn spawn(http: &reqwest::Client, command: &str, fields: Value) -> String {
    let mut body =
        json!({"command": command, "shell": true, "image": "tag:host", "disposable": true});
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let answer = answer(http.post(url("/instances")).json(&body)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let uuid = answer.json["uuid"].as_str().unwrap().to_owned();
    assert_eq!(answer.location.unwrap(), format!("/v1/operations/{uuid}"));
    uuid
}

async fn done(http: &reqwest::Client, operation: &str) -> FinishedOperation {
    let response = loop {
        let path = url(&format!("/operations/{operation}/events?follow=1"));
        let response = http.get(path).send().await.unwrap();
        // 425: the operation still waits in the queue, as on a slow machine.
        if response.status() != 425 {
            break response;
        }
    };
    let events = frames(&response.text().await.unwrap());
    let last = events.last().expect("a completion");
    assert_eq!(last["type"], "completion", "{events:?}");
    let text = |kind: &str| {
        let bytes: Vec<u8> = events
            .iter()
            .filter(|e| e["type"] == kind && (e["spid"] == 1 || e["spid"] == 0))
            .flat_map(|e| bytes(&e["data"]))
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let exit = events
        .iter()
        .find(|event| event["type"] == "exit" && event["spid"] == 1)
        .map_or(Value::Null, |event| event["data"].clone());
    FinishedOperation {
        operation: operation.to_owned(),
        status: last["data"]["status"].as_str().unwrap().to_owned(),
        error: last["data"]["error"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        exit_code: exit["code"].as_i64().unwrap_or(i64::MIN),
        signal: exit["signal"].as_i64().unwrap_or(i64::MIN),
        timed_out: exit["timed_out"].as_bool().unwrap_or_default(),
        stdout: text("stdout"),
        stderr: text("stderr"),
        result: last["data"]["result_image_uuid"]
            .as_str()
            .map(str::to_owned),
        events,
    }
}

/// Decodes the bytes of a `StreamRepr`.
pub(crate) fn bytes(data: &Value) -> Vec<u8> {
    let value = data["value"].as_str().unwrap();
    if data["encoding"] == "base64" {
        STANDARD.decode(value).unwrap()
    } else {
        value.as_bytes().to_vec()
    }
}

/// The events of a stream. The id and type of each are checked against its frame.
pub(crate) fn frames(text: &str) -> Vec<Value> {
    let mut events = Vec::new();
    for frame in text
        .split("\n\n")
        .filter(|frame| !frame.is_empty() && !frame.starts_with(':'))
    {
        let field = |name: &str| {
            frame
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let event: Value =
            serde_json::from_str(field("data:").unwrap_or_else(|| panic!("no data: {frame}")))
                .unwrap();
        assert_eq!(event["id"].to_string(), field("id:").unwrap());
        assert_eq!(event["type"], field("event:").unwrap());
        events.push(event);
    }
    events
}
