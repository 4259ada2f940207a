//! A stub of the Contree service: it runs nothing, answers as the API document says, and records
//! requests.
//!
//! The command selects the behaviour:
//!
//! - `sleep` runs until it is cancelled.
//! - `linger` is cancelled, but only a follower of its events learns that it has ended.
//! - `fail` cannot be started.
//! - `exit N` exits with that code.
//! - `signal N` is killed by that signal.
//! - `big` writes more than is recorded.
//! - Any other command is echoed.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

/// UUID of the image that always exists, with the tag `base`.
pub const IMAGE: &str = "11111111-1111-4111-8111-111111111111";
/// UUID of the result image of every run that is not disposable.
pub const RESULT: &str = "22222222-2222-4222-8222-222222222222";

#[derive(Default)]
struct Inner {
    requests: Vec<(String, String)>,
    authorization: Vec<Option<String>>,
    operations: BTreeMap<Uuid, Value>,
    lingering: BTreeSet<Uuid>,
    files: BTreeMap<String, Value>,
    spawned: Vec<Value>,
    refuse_spawns: Option<StatusCode>,
    checks_files: bool,
    has_no_events: bool,
    failing_upload: Option<usize>,
    uploads: usize,
    /// Whether the service has the extensions of the embedded engine.
    extended: bool,
    /// The command of the newest further process.
    process_command: String,
}

/// The stub service. It ends with its runtime.
#[derive(Clone, Default)]
pub struct Stub {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
}

impl Stub {
    /// Starts the service on a free loopback port and returns its URL.
    pub async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Returns method and path of each request so far.
    pub fn requests(&self) -> Vec<(String, String)> {
        self.lock().requests.clone()
    }

    /// Returns method and path of each request so far, and clears the list.
    pub fn take_requests(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.lock().requests)
    }

    /// Replaces the list of requests.
    pub fn restore_requests(&self, requests: Vec<(String, String)>) {
        self.lock().requests = requests;
    }

    /// Returns the bodies of requests for runs and imports so far.
    pub fn spawned(&self) -> Vec<Value> {
        self.lock().spawned.clone()
    }

    /// Returns the `Authorization` header of each request so far.
    pub fn authorizations(&self) -> Vec<Option<String>> {
        self.lock().authorization.clone()
    }

    /// From now on, the service has the extensions of the embedded engine.
    pub fn extend(&self) {
        self.lock().extended = true;
    }

    /// Refuses all runs from now on, with this status.
    pub fn refuse_spawns(&self, status: StatusCode) {
        self.lock().refuse_spawns = Some(status);
    }

    /// From now on, refuses runs with unknown uploads.
    pub fn check_files(&self) {
        self.lock().checks_files = true;
    }

    /// Deletes the uploads for which `keep` returns false, as services do after a while. Returns
    /// their number.
    pub fn lose_files(&self, keep: impl Fn(usize) -> bool) -> usize {
        let mut inner = self.lock();
        let (before, mut at) = (inner.files.len(), 0);
        inner.files.retain(|_, _| {
            at += 1;
            keep(at - 1)
        });
        before - inner.files.len()
    }

    /// From now on, has no route for events, as older services.
    pub fn without_events(&self) {
        self.lock().has_no_events = true;
    }

    /// Answers one upload with status 500; `number` counts from 0, starting now.
    pub fn fail_upload(&self, number: usize) {
        let mut inner = self.lock();
        inner.uploads = 0;
        inner.failing_upload = Some(number);
    }

    /// Adds an operation of another client. `record` holds the fields that differ from a successful
    /// run.
    pub fn add_operation(&self, record: Value) -> Uuid {
        let id = Uuid::new_v4();
        let mut operation = json!({
            "uuid": id, "kind": "instance", "status": "SUCCESS", "created_at": "2026-01-02T03:04:05Z", "duration": 0.25,
            "error": null, "image_uuid": null, "result_image_uuid": null, "metadata": null,
        });
        operation
            .as_object_mut()
            .unwrap()
            .extend(record.as_object().unwrap().clone());
        self.lock().operations.insert(id, operation);
        id
    }

    /// Cancels all running operations, as another client would.
    pub fn cancel_all(&self) {
        for operation in self.lock().operations.values_mut() {
            if operation["status"] == "EXECUTING" {
                operation["status"] = json!("CANCELLED");
            }
        }
        self.changed.notify_waiters();
    }

    /// Returns the number of operations by status.
    pub fn statuses(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for operation in self.lock().operations.values() {
            *counts
                .entry(operation["status"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
        counts
    }

    fn router(&self) -> Router {
        let v1 = Router::new()
            .route("/whoami", get(whoami))
            .route("/images", get(images))
            .route("/images/{image}/tag", patch(tag).delete(untag))
            .route("/images/import", post(import))
            .route("/inspect/{image}/grep", get(grep))
            .route("/inspect/", get(by_tag))
            .route("/inspect/{image}/", get(image))
            .route("/inspect/{image}/list", get(list))
            .route("/inspect/{image}/download", get(download))
            .route("/inspect/{image}/archive", get(archive))
            .route("/x/images/{image}", delete(delete_image))
            .route("/x/images/{image}/log", get(image_log))
            .route("/x/images/{image}/diff", get(image_diff))
            .route("/x/images/{image}/push", post(image_push))
            .route("/x/operations/{id}/ports", post(publish))
            .route("/files", post(upload))
            .route("/files/{sha256}", get(file))
            .route("/instances", post(spawn))
            .route("/operations", get(operations))
            .route("/operations/{id}", get(operation).delete(cancel))
            .route("/operations/{id}/events", get(events))
            .route("/operations/{id}/subprocesses", post(start_process))
            .route(
                "/operations/{id}/subprocesses/{spid}",
                get(process).delete(accept_input),
            )
            .route(
                "/operations/{id}/subprocesses/{spid}/stdin",
                post(accept_input),
            )
            .route(
                "/x/operations/{id}/processes/{spid}/output",
                get(process_output),
            )
            .route("/x/operations/{id}/snapshot", post(snapshot))
            .fallback(|| async { error(StatusCode::NOT_FOUND, "no such path") });
        Router::new()
            .nest("/v1", v1)
            .layer(from_fn_with_state(self.clone(), record))
            .with_state(self.clone())
    }
}

async fn record(State(stub): State<Stub>, request: Request, next: Next) -> Response {
    {
        let mut inner = stub.lock();
        // The target of a redirect counts as part of the redirected request.
        if request.uri().query() != Some("redirected") {
            inner.requests.push((
                request.method().to_string(),
                request.uri().path().to_owned(),
            ));
        }
        let header = request.headers().get("authorization");
        inner
            .authorization
            .push(header.map(|value| value.to_str().unwrap().to_owned()));
    }
    next.run(request).await
}

fn error(status: StatusCode, message: &str) -> Response {
    (
        status,
        Json(json!({"error": message, "status": status.as_u16()})),
    )
        .into_response()
}

fn image_json(uuid: &str, tag: Option<&str>) -> Value {
    json!({"uuid": uuid, "tag": tag, "created_at": "2026-01-02T03:04:05Z", "operation_uuid": null})
}

async fn whoami(State(stub): State<Stub>) -> Json<Value> {
    let mut account = json!({
        "token_uuid": "44444444-4444-4444-8444-444444444444",
        "token_expiration": null,
        "permissions": {"spawn": true, "import": false},
        "limits": {"instance_max_timeout": 3600},
        "operations_stat": {"SUCCESS": 1},
    });
    if stub.lock().extended {
        account["x-extensions"] = json!([
            "delete", "diff", "files", "limits", "live", "log", "network", "output", "ports",
            "push", "snapshot", "terminal"
        ]);
    }
    Json(account)
}

/// Returns an archive of the file `/b`, whose content differs between images.
async fn archive(Path(uuid): Path<String>) -> Response {
    let content = if uuid == IMAGE { "one\n" } else { "two\n" };
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_data(&mut header, "b", content.as_bytes())
        .unwrap();
    archive.into_inner().unwrap().into_response()
}

async fn delete_image(Path(uuid): Path<String>) -> Json<Value> {
    Json(json!({"uuid": uuid, "tags": ["base"], "layers": 1, "bytes": 4096}))
}

async fn publish(Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    (StatusCode::CREATED, Json(published(&body["port"])))
}

fn published(port: &Value) -> Value {
    json!({"port": port, "host_port": 40_000, "url": "http://127.0.0.1:40000"})
}

async fn image_log(Path(uuid): Path<String>) -> Json<Value> {
    let image = json!({
        "uuid": uuid, "parent_uuid": IMAGE, "operation_uuid": IMAGE, "kind": "instance", "command": "make",
        "created_at": "2026-01-02T03:04:05Z", "duration": 0.5, "exit_code": 1, "tags": ["base"], "client": "c/1",
        "changed_files": 3, "changed_bytes": 4096, "children": 2, "removed": false,
    });
    let base =
        json!({"uuid": IMAGE, "kind": "image_import", "tags": [], "children": 1, "removed": true});
    Json(json!({"images": [image, base], "next": 2, "note": "a record is gone"}))
}

/// Starts a push, which has ended at once unless its URL has the word `slow`.
async fn image_push(
    State(stub): State<Stub>,
    Path(_): Path<String>,
    Json(request): Json<Value>,
) -> Response {
    let is_slow = request["registry"]["url"]
        .as_str()
        .unwrap()
        .contains("slow");
    let (command, status) = match is_slow {
        true => ("sleep", "EXECUTING"),
        false => ("push", "SUCCESS"),
    };
    let uuid = stub.add_operation(json!({
        "kind": "image_push", "status": status, "metadata": {"command": command},
        "x-push": {"digest": "sha256:0", "blobs_sent": 1, "blobs_present": 2, "bytes_sent": 3},
    }));
    (StatusCode::CREATED, Json(json!({"uuid": uuid}))).into_response()
}

async fn image_diff(Path(uuid): Path<String>) -> Json<Value> {
    let changes = json!([
        {"path": "/a", "change": "added", "kind": "file", "size_after": 3},
        {"path": "/b", "change": "renamed", "kind": "file", "from": "/c", "size_before": 1, "size_after": 1,
            "mode_before": "0644", "mode_after": "0755", "owner_before": "0:0", "owner_after": "1:1"},
        {"path": "/d", "change": "type", "kind": "symlink", "kind_before": "file", "size_before": 1},
    ]);
    Json(json!({
        "image": uuid, "base": IMAGE, "changes": changes, "count": 9, "next": 3,
        "patch": "diff --git a/a b/a\nnew file mode 100644\n",
    }))
}

async fn images(Query(query): Query<BTreeMap<String, String>>) -> Json<Value> {
    let limit: usize = query
        .get("limit")
        .map_or(100, |limit| limit.parse().unwrap());
    let offset: usize = query
        .get("offset")
        .map_or(0, |offset| offset.parse().unwrap());
    let all: Vec<Value> = (0..5)
        .map(|n| image_json(IMAGE, Some(&format!("base/{n}"))))
        .collect();
    Json(json!({"images": all.iter().skip(offset).take(limit).collect::<Vec<_>>()}))
}

async fn tag(Path(uuid): Path<String>, Json(body): Json<Value>) -> Response {
    if uuid != IMAGE {
        return error(StatusCode::NOT_FOUND, "no such image");
    }
    Json(image_json(&uuid, body["tag"].as_str())).into_response()
}

async fn untag() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn by_tag(Query(query): Query<BTreeMap<String, String>>) -> Response {
    match query.get("tag").map(String::as_str) {
        Some("base") => (
            StatusCode::FOUND,
            [("location", format!("/v1/inspect/{IMAGE}/?redirected"))],
        )
            .into_response(),
        _ => error(StatusCode::NOT_FOUND, "no such tag"),
    }
}

async fn image(State(stub): State<Stub>, Path(uuid): Path<String>) -> Response {
    if uuid == IMAGE {
        return Json(image_json(IMAGE, Some("base"))).into_response();
    }
    let inner = stub.lock();
    let made = inner.operations.values().find(|operation| {
        operation["result_image_uuid"] == uuid.as_str() && operation["image_uuid"] != uuid.as_str()
    });
    match made {
        Some(operation) => {
            let mut image = image_json(&uuid, None);
            image["operation_uuid"] = operation["uuid"].clone();
            Json(image).into_response()
        }
        None => error(StatusCode::NOT_FOUND, "no such image"),
    }
}

async fn list(Query(query): Query<BTreeMap<String, String>>) -> Response {
    let path = query.get("path").cloned().unwrap_or_default();
    if path == "/nowhere" {
        return error(StatusCode::NOT_FOUND, "no such path");
    }
    let entry = |name: &str, mode: u32, link: &str| {
        json!({
            "path": name, "size": 5, "owner": "root", "group": 0, "uid": 0, "gid": 0, "mode": mode, "mtime": 0, "nlink": 1,
            "is_dir": mode & 0o170_000 == 0o040_000, "is_regular": mode & 0o170_000 == 0o100_000,
            "is_symlink": !link.is_empty(), "is_socket": false, "is_fifo": false, "symlink_to": link,
        })
    };
    let files = match path.as_str() {
        "/modes" => vec![
            entry("secret", 0o100_600, ""),
            entry("read-only", 0o100_400, ""),
            entry("script", 0o104_755, ""),
            entry("group", 0o100_640, ""),
            entry("link", 0o120_777, "secret"),
            entry("far", 0o120_777, "/modes/link"),
            entry("loop", 0o120_777, "loop"),
        ],
        _ => vec![
            entry("b", 0o100_755, ""),
            entry("a", 0o040_755, ""),
            entry("c", 0o120_777, "b"),
        ],
    };
    Json(json!({"path": path, "files": files})).into_response()
}

/// Returns a file: `/text` has three lines, `/binary` is not UTF-8, `/long` has 100,000 characters
/// of two bytes. Those in `/modes` have the permissions that its listing says.
async fn download(Query(query): Query<BTreeMap<String, String>>) -> Response {
    let bytes = match query.get("path").map(String::as_str) {
        Some("/b") => b"one\n".to_vec(),
        Some("/text") => b"one\ntwo\nthree\n".to_vec(),
        Some("/binary") => vec![0xff, 0x00, 0x01],
        Some("/long") => "ä".repeat(100_000).into_bytes(),
        Some(path) if path.starts_with("/modes/") => path.as_bytes().to_vec(),
        Some("/directory") => return error(StatusCode::UNPROCESSABLE_ENTITY, "not a regular file"),
        _ => return error(StatusCode::NOT_FOUND, "no such file"),
    };
    bytes.into_response()
}

async fn grep(request: Request) -> Json<Value> {
    let matched = json!({
        "path": "/text", "line_number": 2, "line_text": "two", "line_bytes": 3, "absolute_offset": 4,
        "submatches": [{"start": 0, "end": 1, "text": "t"}], "type": "match",
    });
    assert!(request.uri().query().unwrap().contains("pattern=t"));
    Json(json!({"path": "/", "patterns": ["t"], "truncated": false, "matches": [matched]}))
}

async fn import(State(stub): State<Stub>, Json(request): Json<Value>) -> Response {
    let id = Uuid::new_v4();
    let url = request["registry"]["url"].as_str().unwrap();
    let (command, status) = if url.contains("slow") {
        ("sleep", "EXECUTING")
    } else {
        ("import", "SUCCESS")
    };
    let mut inner = stub.lock();
    inner.spawned.push(request.clone());
    let operation = json!({
        "uuid": id, "kind": "image_import", "status": status, "created_at": "2026-01-02T03:04:05Z", "duration": 1.5,
        "result_image_uuid": IMAGE, "result": {"image": IMAGE, "tag": request["tag"]},
        "metadata": {"command": command, "registry": {"url": url}, "tag": request["tag"]},
    });
    inner.operations.insert(id, operation);
    (StatusCode::CREATED, Json(json!({"uuid": id}))).into_response()
}

async fn upload(State(stub): State<Stub>, body: Bytes) -> Response {
    {
        let mut inner = stub.lock();
        inner.uploads += 1;
        if inner.failing_upload == Some(inner.uploads - 1) {
            return error(StatusCode::INTERNAL_SERVER_ERROR, "try again");
        }
    }
    let sha256: String = ring::digest::digest(&ring::digest::SHA256, &body)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let file = json!({"uuid": Uuid::new_v4(), "sha256": sha256, "size": body.len(), "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z"});
    stub.lock().files.insert(sha256, file.clone());
    (StatusCode::CREATED, Json(file)).into_response()
}

async fn file(State(stub): State<Stub>, Path(sha256): Path<String>) -> Response {
    match stub.lock().files.get(&sha256) {
        Some(file) => Json(file.clone()).into_response(),
        None => error(StatusCode::NOT_FOUND, "no such file"),
    }
}

async fn spawn(State(stub): State<Stub>, Json(request): Json<Value>) -> Response {
    let mut inner = stub.lock();
    inner.spawned.push(request.clone());
    if let Some(status) = inner.refuse_spawns {
        return error(status, "no more sandboxes");
    }
    if inner.checks_files {
        let there: Vec<&Value> = inner.files.values().map(|file| &file["uuid"]).collect();
        for (path, file) in request["files"].as_object().into_iter().flatten() {
            if !there.contains(&&file["uuid"]) {
                let message = format!("no uploaded file {} for {path}", file["uuid"]);
                return error(StatusCode::BAD_REQUEST, &message);
            }
        }
    }
    if ![IMAGE, RESULT, "tag:base"]
        .iter()
        .any(|known| request["image"] == **known)
    {
        return error(StatusCode::NOT_FOUND, "no such image");
    }
    let id = Uuid::new_v4();
    let command = request["command"].as_str().unwrap();
    let status = match command {
        "sleep" | "linger" => "EXECUTING",
        "fail" => "FAILED",
        _ => "SUCCESS",
    };
    let kept = request["disposable"] == false;
    let operation = json!({
        "uuid": id, "kind": "instance", "status": status, "created_at": "2026-01-02T03:04:05Z", "duration": 0.25,
        "error": (status == "FAILED").then_some("the init process broke"),
        "image_uuid": IMAGE, "result_image_uuid": kept.then_some(RESULT),
        "metadata": {"command": command, "image": IMAGE, "result": {
            "state": {"exit_code": exit_code(command), "signal": killed_by(command), "timed_out": false},
            "stdout": {"value": format!("{command}\n"), "encoding": "ascii"},
            "stderr": {"value": "", "encoding": "ascii"},
        }},
    });
    inner.operations.insert(id, operation);
    let mut answer = request;
    answer["uuid"] = json!(id);
    answer["image"] = json!(IMAGE);
    if let Some(ports) = answer["x-ports"].as_array() {
        answer["x-ports"] = ports.iter().map(published).collect();
    }
    (StatusCode::CREATED, Json(answer)).into_response()
}

fn exit_code(command: &str) -> i64 {
    if killed_by(command) > 0 {
        return -1;
    }
    command
        .strip_prefix("exit ")
        .map_or(0, |code| code.parse().unwrap())
}

fn killed_by(command: &str) -> i64 {
    command
        .strip_prefix("signal ")
        .map_or(-1, |signal| signal.parse().unwrap())
}

async fn operations(State(stub): State<Stub>) -> Json<Value> {
    Json(Value::Array(
        stub.lock()
            .operations
            .values()
            .map(|operation| {
                let mut summary = operation.clone();
                summary.as_object_mut().unwrap().remove("metadata");
                summary
            })
            .collect(),
    ))
}

async fn operation(State(stub): State<Stub>, Path(id): Path<Uuid>) -> Response {
    match stub.lock().operations.get(&id) {
        Some(operation) => Json(operation.clone()).into_response(),
        None => error(StatusCode::NOT_FOUND, "no such operation"),
    }
}

async fn start_process(State(stub): State<Stub>, Json(request): Json<Value>) -> Response {
    stub.lock().process_command = request["command"].as_str().unwrap().to_owned();
    (StatusCode::CREATED, Json(json!({"spid": 2}))).into_response()
}

/// A further process never ends if its command is `sleep`. All others have ended.
fn process_runs(stub: &Stub) -> bool {
    stub.lock().process_command == "sleep"
}

async fn process(State(stub): State<Stub>) -> Json<Value> {
    let exit_code = if process_runs(&stub) { -1 } else { 0 };
    Json(json!({
        "state": {"exit_code": exit_code, "signal": -1},
        "stdout": {"value": "output\n", "encoding": "ascii", "truncated": false},
        "stderr": {"value": "", "encoding": "ascii", "truncated": false},
    }))
}

async fn accept_input() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn process_output(
    State(stub): State<Stub>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    let text = "output\n";
    let skip = query
        .get("stdout")
        .map_or(0, |skip| skip.parse::<usize>().unwrap());
    let skip = skip.min(text.len());
    let running = process_runs(&stub);
    let mut answer = json!({
        "stdout": {"offset": skip, "value": text[skip..], "encoding": "ascii", "total": text.len()},
        "stderr": {"offset": 0, "value": "", "encoding": "ascii", "total": 0},
        "running": running,
    });
    if !running {
        answer["exit_code"] = json!(0);
    }
    Json(answer)
}

async fn snapshot() -> Response {
    let made =
        json!({"image_uuid": RESULT, "changed_files": 1, "bytes": 4096, "note": "no processes"});
    (StatusCode::CREATED, Json(made)).into_response()
}

async fn cancel(State(stub): State<Stub>, Path(id): Path<Uuid>) -> Response {
    let mut inner = stub.lock();
    let Some(operation) = inner.operations.get_mut(&id) else {
        return error(StatusCode::NOT_FOUND, "no such operation");
    };
    if operation["status"] != "EXECUTING" {
        return error(StatusCode::CONFLICT, "the operation is over");
    }
    if operation["metadata"]["command"] == "linger" {
        inner.lingering.insert(id);
    } else {
        operation["status"] = json!("CANCELLED");
    }
    drop(inner);
    stub.changed.notify_waiters();
    (StatusCode::ACCEPTED, Json(json!({}))).into_response()
}

async fn events(State(stub): State<Stub>, Path(id): Path<Uuid>) -> Response {
    let operation = {
        let mut inner = stub.lock();
        if inner.has_no_events {
            return error(StatusCode::NOT_FOUND, "no such path");
        }
        let has_ended = inner.lingering.contains(&id);
        let Some(operation) = inner.operations.get_mut(&id) else {
            return error(StatusCode::NOT_FOUND, "no such operation");
        };
        if has_ended {
            operation["status"] = json!("CANCELLED");
        }
        operation.clone()
    };
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<String, Infallible>>(64);
    tokio::spawn(async move {
        let mut number = 0;
        let mut send = async |spid: u64, kind: &str, data: Value| {
            number += 1;
            let event = json!({"id": number, "ts": "2026-01-02T03:04:05Z", "spid": spid, "type": kind, "data": data});
            let _ = sender
                .send(Ok(format!(
                    "id: {number}\nevent: {kind}\ndata: {event}\n\n"
                )))
                .await;
        };
        let command = operation["metadata"]["command"]
            .as_str()
            .unwrap()
            .to_owned();
        let text = |value: &str| json!({"value": value, "encoding": "ascii"});
        match command.as_str() {
            "fail" => {}
            "sleep" | "linger" => {
                for line in 0.. {
                    send(1, "stdout", text(&format!("line {line}\n"))).await;
                    let status = stub.lock().operations[&id]["status"].clone();
                    if status == "CANCELLED" {
                        break;
                    }
                    tokio::select! {
                        () = stub.changed.notified() => {}
                        () = tokio::time::sleep(Duration::from_millis(20)) => {}
                    }
                }
            }
            "big" => {
                send(1, "stdout", text(&"x".repeat(8000))).await;
                send(
                    1,
                    "truncated",
                    json!({"stream": "stdout", "bytes_emitted": 8000, "bytes_dropped": 12000}),
                )
                .await;
            }
            command => send(1, "stdout", text(&format!("{command}\n"))).await,
        }
        let status = stub.lock().operations[&id]["status"].clone();
        if status == "SUCCESS" {
            let resources: Value = [
                "user_time_us",
                "sys_time_us",
                "max_rss_kb",
                "shared_memory",
                "unshared_memory",
                "swaps",
                "minor_faults",
                "major_faults",
                "voluntary_ctx_switches",
                "involuntary_ctx_switches",
                "block_input_ops",
                "block_output_ops",
                "ipc_msgs_sent",
                "ipc_msgs_received",
                "signals_received",
            ]
            .iter()
            .map(|name| ((*name).to_owned(), json!(0)))
            .collect::<serde_json::Map<_, _>>()
            .into();
            send(1, "exit", json!({
                "pid": 2, "code": exit_code(&command), "signal": killed_by(&command), "timed_out": false, "duration_ms": 5, "resources": resources,
            })).await;
        }
        send(0, "completion", json!({
            "status": status, "duration_ms": 250, "error": operation["error"], "result_image_uuid": operation["result_image_uuid"],
        })).await;
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
        Some((receiver.recv().await?, receiver))
    });
    (
        [("content-type", "text/event-stream")],
        Body::from_stream(stream),
    )
        .into_response()
}
