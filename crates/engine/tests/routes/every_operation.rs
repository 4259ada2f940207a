//! Calls every operation of the API document over HTTP on a real engine: status, headers, body and
//! effect, and each error answer that the document declares.
//!
//! Each answer is checked against the document. At the end every declared answer must have
//! occurred, or be in [`OUT_OF_REACH`] with a reason. So the test fails for a new operation or
//! answer of the document until it is called here.

use std::collections::BTreeSet;

use contree_engine::{Listen, LocalConfig, ServeConfig, Server};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::data_dir;

const TOKEN: &str = "every-operation";
const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

/// Declared answers that a healthy engine does not give: operation (`*` for all), status, reason.
const OUT_OF_REACH: &[(&str, u16, &str)] = &[
    ("*", 403, "the engine's one token may do everything"),
    ("*", 502, "there is no proxy before the engine"),
    (
        "*",
        504,
        "there is no guest agent that could fail to answer",
    ),
    (
        "importImage",
        404,
        "an image that a registry does not have fails the operation, not the request",
    ),
    (
        "uploadFile",
        404,
        "an upload names nothing that could be missing",
    ),
    ("uploadFile", 400, "any bytes are a valid file"),
    (
        "getOperationEvents",
        410,
        "the engine finalises an operation too quickly for a request to meet that state",
    ),
    (
        "operationSubprocessStdin",
        501,
        "the engine supports standard input",
    ),
    (
        "*",
        413,
        "the limit is 64 MiB; errors.rs sends a larger body",
    ),
    (
        "*",
        429,
        "thousands of operations would have to wait; subprocesses.rs tests it for processes",
    ),
    ("*", 503, "only while the engine is being stopped"),
];

/// An answer.
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
    json: Value,
}

impl Answer {
    fn text(&self, path: &str) -> &str {
        self.json
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no {path} in {}", self.json))
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

enum Body<'a> {
    None,
    Json(Value),
    Bytes(&'a [u8]),
}

/// The API document, a running server, and the answers that have occurred so far.
struct Api {
    document: Value,
    http: reqwest::Client,
    url: String,
    had: BTreeSet<(String, u16)>,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

/// The API document with its extensions.
fn document() -> Value {
    let read = |name: &str| -> Value {
        let path = format!("{}/../../openapi/{name}", env!("CARGO_MANIFEST_DIR"));
        serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let (mut document, extensions) = (read("contree.yaml"), read("extensions.yaml"));
    for (path, item) in extensions["paths"].as_object().unwrap() {
        document["paths"][path] = item.clone();
    }
    for (name, schema) in extensions["components"]["schemas"].as_object().unwrap() {
        let schemas = &mut document["components"]["schemas"];
        if schemas[name].is_null() {
            schemas[name] = schema.clone();
        }
    }
    document
}

impl Api {
    async fn start(data: &std::path::Path) -> Self {
        let mut config = LocalConfig::new(data);
        config.max_concurrency = 1;
        config.publish = true;
        let mut serve = ServeConfig::new(Listen::Tcp("127.0.0.1:0".into()));
        serve.token = Some(TOKEN.into());
        serve.local_imports = true;
        let server = Server::start(&config, &serve).await.unwrap();
        let url = format!("{}/v1", server.address().trim_end_matches('/'));
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            server.run(stopped).await.unwrap();
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self {
            document: document(),
            http,
            url,
            had: BTreeSet::new(),
            stop,
            serving,
        }
    }

    /// The path, method and description of an operation.
    fn operations(&self) -> Vec<(String, String, Value)> {
        let mut all = Vec::new();
        for (path, methods) in self.document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                if operation.get("operationId").is_some() {
                    all.push((path.clone(), method.to_uppercase(), operation.clone()));
                }
            }
        }
        all
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self
                .document
                .pointer(reference.trim_start_matches('#'))
                .unwrap(),
            None => value,
        }
    }

    /// Calls an operation with `parts` as the parameters of its path, and checks the answer against
    /// the document.
    async fn call(
        &mut self,
        id: &str,
        parts: &[&str],
        query: &str,
        body: Body<'_>,
        status: u16,
    ) -> Answer {
        self.call_as(TOKEN, id, parts, query, body, status).await
    }

    async fn call_as(
        &mut self,
        token: &str,
        id: &str,
        parts: &[&str],
        query: &str,
        body: Body<'_>,
        status: u16,
    ) -> Answer {
        let (path, method, operation) = self
            .operations()
            .into_iter()
            .find(|(_, _, operation)| operation["operationId"] == id)
            .unwrap_or_else(|| panic!("the document has no {id}"));
        let mut parts = parts.iter();
        let path: Vec<&str> = path
            .split('/')
            .map(|part| {
                if part.starts_with('{') {
                    parts.next().unwrap()
                } else {
                    part
                }
            })
            .collect();
        let url = format!("{}{}{query}", self.url, path.join("/"));
        let mut request = self
            .http
            .request(method.parse().unwrap(), &url)
            .header("authorization", format!("Bearer {token}"));
        request = match body {
            Body::None => request,
            Body::Json(value) => request.json(&value),
            Body::Bytes(bytes) => request
                .header("content-type", "application/octet-stream")
                .body(bytes.to_vec()),
        };
        let answer = request.send().await.unwrap();
        let got = answer.status().as_u16();
        let headers = answer.headers().clone();
        let body = answer.bytes().await.unwrap().to_vec();
        let text = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(got, status, "{id} {url}: {text}");
        let declared = operation["responses"]
            .get(status.to_string())
            .unwrap_or_else(|| panic!("{id} does not declare {status}: {text}"));
        let declared = self.resolve(declared);
        for name in declared["headers"]
            .as_object()
            .into_iter()
            .flat_map(|headers| headers.keys())
        {
            let optional = id == "getOperationStatus" && name == "Retry-After";
            assert!(
                optional || headers.contains_key(name),
                "{id} {status} lacks {name}"
            );
        }
        let kinds: Vec<&String> = declared["content"]
            .as_object()
            .into_iter()
            .flat_map(|content| content.keys())
            .collect();
        let kind = headers
            .get("content-type")
            .map(|kind| kind.to_str().unwrap().split(';').next().unwrap().to_owned());
        if method == "HEAD" || kinds.is_empty() {
            assert!(body.is_empty(), "{id} {status} has a body: {text}");
        } else {
            assert!(
                kind.as_ref().is_some_and(|kind| kinds.contains(&kind)),
                "{id} {status} comes as {kind:?}, not {kinds:?}"
            );
        }
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status >= 400 && method != "HEAD" {
            assert_eq!(json["status"], status, "{id}: {text}");
            assert!(
                json["error"]
                    .as_str()
                    .is_some_and(|error| !error.is_empty()),
                "{id}: {text}"
            );
        }
        self.had.insert((id.to_owned(), status));
        Answer {
            status,
            headers,
            body,
            json,
        }
    }

    /// Starts a command that runs until its standard input ends, and waits until it has started.
    async fn waiting(&mut self) -> String {
        let body = json!({"command": "echo begun; cat", "shell": true, "image": "tag:host", "disposable": true, "stdin": {"value": "", "close": false}});
        let operation = self
            .call("spawnInstance", &[], "", Body::Json(body), 201)
            .await
            .text("/uuid")
            .to_owned();
        while self
            .call("getOperationStatus", &[&operation], "", Body::None, 200)
            .await
            .text("/status")
            != "EXECUTING"
        {}
        operation
    }

    /// Follows an operation until its end.
    async fn events(&mut self, operation: &str) -> Vec<Value> {
        let answer = self
            .call(
                "getOperationEvents",
                &[operation],
                "?follow=1",
                Body::None,
                200,
            )
            .await;
        String::from_utf8(answer.body)
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    async fn end(self) {
        let missing: Vec<(String, u16)> = self
            .operations()
            .iter()
            .flat_map(|(_, _, operation)| {
                let id = operation["operationId"].as_str().unwrap().to_owned();
                let statuses: Vec<String> = operation["responses"]
                    .as_object()
                    .unwrap()
                    .keys()
                    .cloned()
                    .collect();
                statuses
                    .into_iter()
                    .map(move |status| (id.clone(), status.parse().unwrap()))
            })
            .filter(|(id, status)| {
                let excused = OUT_OF_REACH
                    .iter()
                    .any(|(whose, which, _)| (whose == id || *whose == "*") && which == status);
                !excused && !self.had.contains(&(id.clone(), *status))
            })
            .collect();
        let _ = self.stop.send(());
        self.serving.await.unwrap();
        assert!(missing.is_empty(), "declared and never had: {missing:?}");
    }
}

#[tokio::test]
async fn every_operation_gives_every_declared_answer() {
    let data = data_dir();
    let mut api = Api::start(data.path()).await;
    requests_without_the_token(&mut api).await;
    let host = account_and_images(&mut api).await;
    files(&mut api).await;
    let image = commands(&mut api, &host).await;
    processes(&mut api).await;
    ports_and_terminals(&mut api).await;
    inspection(&mut api, &image).await;
    extensions(&mut api, &host, &image).await;
    imports(&mut api, &image, data.path()).await;
    api.end().await;
}

async fn requests_without_the_token(api: &mut Api) {
    for (_, _, operation) in api.operations() {
        let id = operation["operationId"].as_str().unwrap();
        if operation["responses"].get("401").is_some() {
            api.call_as("wrong", id, &[UNKNOWN, "1"], "", Body::None, 401)
                .await;
        }
    }
}

async fn account_and_images(api: &mut Api) -> String {
    let who = api.call("whoAmI", &[], "", Body::None, 200).await;
    assert_eq!(who.json["permissions"]["spawn"], true);
    assert_eq!(who.json["limits"]["instance_max_concurrency"], 1);

    let host = api
        .call("listImages", &[], "?tag=host", Body::None, 200)
        .await
        .text("/images/0/uuid")
        .to_owned();
    api.call("listImages", &[], "?since=never", Body::None, 400)
        .await;
    api.call("listImages", &[], "?limit=0", Body::None, 400)
        .await;
    let tagged = api
        .call(
            "updateImageTag",
            &[&host],
            "",
            Body::Json(json!({"tag": "every/one:1"})),
            200,
        )
        .await;
    assert_eq!(
        (tagged.text("/tag"), tagged.text("/uuid")),
        ("every/one:1", host.as_str())
    );
    api.call(
        "updateImageTag",
        &[&host],
        "",
        Body::Json(json!({"tag": "a//b"})),
        400,
    )
    .await;
    api.call(
        "updateImageTag",
        &[UNKNOWN],
        "",
        Body::Json(json!({"tag": "x"})),
        404,
    )
    .await;
    let answer = api
        .call(
            "inspectFindImageByTag",
            &[],
            "?tag=every/one:1",
            Body::None,
            302,
        )
        .await;
    assert_eq!(answer.header("location"), format!("/v1/inspect/{host}/"));
    api.call("inspectFindImageByTag", &[], "", Body::None, 400)
        .await;
    let removed = api
        .call(
            "deleteImageTag",
            &[&host],
            "?tag=every/one:1",
            Body::None,
            204,
        )
        .await;
    assert_eq!(removed.status, 204);
    api.call(
        "inspectFindImageByTag",
        &[],
        "?tag=every/one:1",
        Body::None,
        404,
    )
    .await;
    api.call("deleteImageTag", &["no-uuid"], "", Body::None, 400)
        .await;
    api.call("deleteImageTag", &[UNKNOWN], "", Body::None, 404)
        .await;

    let to = api
        .call("inspectRedirect", &[], "?tag=host", Body::None, 307)
        .await;
    assert_eq!(to.header("location"), "/v1/inspect/?tag=host");
    let to = api
        .call("inspectImageRedirect", &[&host], "", Body::None, 307)
        .await;
    assert_eq!(to.header("location"), format!("/v1/inspect/{host}/"));
    api.call("inspectImageRedirect", &["no-uuid"], "", Body::None, 400)
        .await;
    let image_with_tag = api
        .call("inspectImage", &[&host], "", Body::None, 200)
        .await;
    assert_eq!(
        (image_with_tag.text("/uuid"), image_with_tag.text("/tag")),
        (host.as_str(), "host")
    );
    api.call("inspectImage", &["no-uuid"], "", Body::None, 400)
        .await;
    api.call("inspectImage", &[UNKNOWN], "", Body::None, 404)
        .await;
    host
}

async fn extensions(api: &mut Api, host: &str, image: &str) {
    let who = api.call("whoAmI", &[], "", Body::None, 200).await;
    assert_eq!(
        who.json["x-extensions"],
        json!([
            "codes", "delete", "diff", "files", "limits", "live", "log", "network", "output",
            "ports", "push", "snapshot", "terminal"
        ])
    );
    let log = api.call("getImageLog", &[image], "", Body::None, 200).await;
    assert_eq!(log.text("/images/1/uuid"), host);
    api.call("getImageLog", &[image], "?limit=0", Body::None, 400)
        .await;
    api.call("getImageLog", &[UNKNOWN], "", Body::None, 404)
        .await;
    let diff = api
        .call("getImageDiff", &[image], "?patch", Body::None, 200)
        .await;
    assert_eq!(diff.text("/changes/0/path"), "/d");
    assert!(diff.text("/patch").contains("+++ b/d/f\n"));
    api.call("getImageDiff", &[image], "?limit=0", Body::None, 400)
        .await;
    api.call("getImageDiff", &[UNKNOWN], "", Body::None, 404)
        .await;
    api.call("getImageDiff", &[host], "", Body::None, 422).await;
    let folder = tempfile::tempdir().unwrap();
    let target = format!("oci-layout:{}", folder.path().join("layout").display());
    let push = json!({"registry": {"url": target}});
    let pushed = api
        .call("pushImage", &[image], "", Body::Json(push.clone()), 201)
        .await
        .text("/uuid")
        .to_owned();
    api.events(&pushed).await;
    let record = api
        .call("getOperationStatus", &[&pushed], "", Body::None, 200)
        .await;
    assert!(record.text("/x-push/digest").starts_with("sha256:"));
    api.call("pushImage", &[UNKNOWN], "", Body::Json(push), 404)
        .await;
    let nowhere = json!({"registry": {"url": ""}});
    api.call("pushImage", &[image], "", Body::Json(nowhere), 400)
        .await;
    api.call("deleteImage", &[host], "", Body::None, 409).await;
    api.call("deleteImage", &[UNKNOWN], "", Body::None, 404)
        .await;
    api.call("deleteImage", &["no-uuid"], "", Body::None, 400)
        .await;
    let spawned =
        json!({"command": "echo x >/x", "shell": true, "image": image, "disposable": false});
    let operation = api
        .call("spawnInstance", &[], "", Body::Json(spawned), 201)
        .await
        .text("/uuid")
        .to_owned();
    api.events(&operation).await;
    let done = api
        .call("getOperationStatus", &[&operation], "", Body::None, 200)
        .await;
    let made = done.text("/result_image_uuid").to_owned();
    let deleted = api
        .call("deleteImage", &[&made], "?force=0", Body::None, 200)
        .await;
    assert_eq!(
        (deleted.text("/uuid"), &deleted.json["layers"]),
        (made.as_str(), &json!(1))
    );
}

async fn files(api: &mut Api) {
    let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    api.call("checkFileExists", &[sha], "", Body::None, 404)
        .await;
    api.call("getFile", &[sha], "", Body::None, 404).await;
    let first = api
        .call("uploadFile", &[], "", Body::Bytes(b"abc"), 201)
        .await;
    assert_eq!(
        (first.text("/sha256"), &first.json["size"]),
        (sha, &json!(3))
    );
    let again = api
        .call("uploadFile", &[], "", Body::Bytes(b"abc"), 201)
        .await;
    assert_eq!(again.text("/uuid"), first.text("/uuid"));
    api.call("checkFileExists", &[sha], "", Body::None, 200)
        .await;
    assert_eq!(
        api.call("getFile", &[sha], "", Body::None, 200)
            .await
            .text("/uuid"),
        first.text("/uuid")
    );
    for id in ["checkFileExists", "getFile"] {
        api.call(id, &["abc"], "", Body::None, 400).await;
    }
    let listed = api.call("listFiles", &[], "", Body::None, 200).await;
    assert_eq!(listed.text("/files/0/sha256"), sha);
    api.call("listFiles", &[], "?limit=1001", Body::None, 400)
        .await;
}

/// Makes an image with a file of each kind.
async fn commands(api: &mut Api, host: &str) -> String {
    let script = "mkdir /d; echo content >/d/f; mkfifo /d/p; echo out; exit 3";
    let spawned = api
        .call(
            "spawnInstance",
            &[],
            "",
            Body::Json(
                json!({"command": script, "shell": true, "image": host, "disposable": false}),
            ),
            201,
        )
        .await;
    let operation = spawned.text("/uuid").to_owned();
    assert_eq!(
        spawned.header("location"),
        format!("/v1/operations/{operation}")
    );
    assert_eq!(spawned.text("/command"), script);
    let events = api.events(&operation).await;
    let last = events.last().unwrap();
    assert_eq!(
        (&last["type"], &last["data"]["status"]),
        (&json!("completion"), &json!("SUCCESS"))
    );
    let done = api
        .call("getOperationStatus", &[&operation], "", Body::None, 200)
        .await;
    assert_eq!(done.json["metadata"]["result"]["state"]["exit_code"], 3);
    assert_eq!(done.text("/metadata/result/stdout/value"), "out\n");
    let image = done.text("/result_image_uuid").to_owned();
    assert_ne!(image, host);
    let created = api
        .call("inspectImage", &[&image], "", Body::None, 200)
        .await;
    assert_eq!(created.text("/operation_uuid"), operation);

    api.call(
        "spawnInstance",
        &[],
        "",
        Body::Json(json!({"image": host})),
        400,
    )
    .await;
    api.call(
        "spawnInstance",
        &[],
        "",
        Body::Json(json!({"image": "tag:none", "command": "x"})),
        400,
    )
    .await;
    let listed = api
        .call(
            "listOperations",
            &[],
            "?status=SUCCESS&kind=instance",
            Body::None,
            200,
        )
        .await;
    assert_eq!(listed.text("/0/uuid"), operation);
    api.call("listOperations", &[], "?status=DONE", Body::None, 400)
        .await;
    for id in [
        "getOperationStatus",
        "cancelOperation",
        "getOperationEvents",
    ] {
        api.call(id, &["no-uuid"], "", Body::None, 400).await;
        api.call(id, &[UNKNOWN], "", Body::None, 404).await;
    }
    api.call("cancelOperation", &[&operation], "", Body::None, 409)
        .await;
    image
}

async fn processes(api: &mut Api) {
    let first = api.waiting().await;
    // The engine runs one command at once, and one is running.
    let body = json!({"command": "true", "shell": true, "image": "tag:host", "disposable": true});
    let second = api
        .call("spawnInstance", &[], "", Body::Json(body), 201)
        .await
        .text("/uuid")
        .to_owned();
    let pending = api
        .call("getOperationStatus", &[&second], "", Body::None, 200)
        .await;
    assert_eq!(pending.text("/status"), "PENDING");
    let command = || {
        Body::Json(
            json!({"command": "cat; exit 4", "shell": true, "stdin": {"value": "", "close": false}}),
        )
    };
    let input = |text: &str, close: bool| Body::Json(json!({"value": text, "close": close}));
    api.call(
        "getOperationEvents",
        &[&second],
        "?follow=1",
        Body::None,
        425,
    )
    .await;
    api.call("operationSubprocessCreate", &[&second], "", command(), 425)
        .await;
    api.call("operationSubprocess", &[&second, "1"], "", Body::None, 425)
        .await;
    api.call("getProcessOutput", &[&second, "1"], "", Body::None, 425)
        .await;
    api.call("snapshotOperation", &[&second], "", Body::None, 425)
        .await;
    api.call(
        "operationSubprocessKill",
        &[&second, "1"],
        "",
        Body::None,
        425,
    )
    .await;
    api.call(
        "operationSubprocessStdin",
        &[&second, "1"],
        "",
        input("", true),
        425,
    )
    .await;

    let created = api
        .call("operationSubprocessCreate", &[&first], "", command(), 201)
        .await;
    let spid = created.json["spid"].to_string();
    assert_eq!(
        created.header("location"),
        format!("/v1/operations/{first}/subprocesses/{spid}")
    );
    api.call(
        "operationSubprocessStdin",
        &[&first, &spid],
        "",
        input("fed", true),
        204,
    )
    .await;
    let ended = loop {
        let process = api
            .call("operationSubprocess", &[&first, &spid], "", Body::None, 200)
            .await;
        if process.json["state"]["exit_code"] != -1 {
            break process;
        }
    };
    assert_eq!(
        (
            &ended.json["state"]["exit_code"],
            ended.text("/stdout/value")
        ),
        (&json!(4), "fed")
    );
    api.call(
        "operationSubprocessStdin",
        &[&first, &spid],
        "",
        input("late", true),
        404,
    )
    .await;
    let sleeper = Body::Json(json!({"command": "sleep", "args": ["600"], "shell": false}));
    let created = api
        .call("operationSubprocessCreate", &[&first], "", sleeper, 201)
        .await;
    let spid = created.json["spid"].to_string();
    api.call(
        "operationSubprocessStdin",
        &[&first, &spid],
        "",
        input("late", true),
        409,
    )
    .await;
    api.call(
        "operationSubprocessKill",
        &[&first, &spid],
        "?signal=TERM",
        Body::None,
        204,
    )
    .await;
    while api
        .call("operationSubprocess", &[&first, &spid], "", Body::None, 200)
        .await
        .json["state"]["signal"]
        != 15
    {}
    for (id, body) in [
        ("operationSubprocess", None),
        ("operationSubprocessKill", None),
        ("operationSubprocessStdin", Some(json!({"value": ""}))),
    ] {
        for (parts, status) in [
            ([UNKNOWN, "1"], 404),
            ([first.as_str(), "99"], 404),
            ([first.as_str(), "x"], 400),
        ] {
            let body = body.clone().map_or(Body::None, Body::Json);
            api.call(id, &parts, "", body, status).await;
        }
    }
    api.call(
        "operationSubprocessKill",
        &[&first, "1"],
        "?signal=NONE",
        Body::None,
        400,
    )
    .await;
    api.call(
        "operationSubprocessCreate",
        &[&first],
        "",
        Body::Json(json!({})),
        400,
    )
    .await;
    api.call("operationSubprocessCreate", &[UNKNOWN], "", command(), 404)
        .await;

    let read = api
        .call(
            "getProcessOutput",
            &[&first, "1"],
            "?tail=9",
            Body::None,
            200,
        )
        .await;
    assert_eq!(read.json["running"], true);
    let wrong = "?max_bytes=0";
    api.call("getProcessOutput", &[&first, "1"], wrong, Body::None, 400)
        .await;
    api.call("getProcessOutput", &[UNKNOWN, "1"], "", Body::None, 404)
        .await;
    let taken = api
        .call("snapshotOperation", &[&first], "", Body::None, 201)
        .await;
    api.call(
        "inspectImage",
        &[taken.text("/image_uuid")],
        "",
        Body::None,
        200,
    )
    .await;
    api.call("snapshotOperation", &["no-uuid"], "", Body::None, 400)
        .await;
    api.call("snapshotOperation", &[UNKNOWN], "", Body::None, 404)
        .await;
    api.call("cancelOperation", &[&first], "", Body::None, 202)
        .await;
    let events = api.events(&first).await;
    assert_eq!(events.last().unwrap()["data"]["status"], "CANCELLED");
    api.call(
        "operationSubprocessStdin",
        &[&first, "1"],
        "",
        input("late", true),
        410,
    )
    .await;
    api.call(
        "operationSubprocessKill",
        &[&first, "1"],
        "",
        Body::None,
        409,
    )
    .await;
    api.call("operationSubprocessCreate", &[&first], "", command(), 409)
        .await;
    api.call("snapshotOperation", &[&first], "", Body::None, 409)
        .await;
    assert_eq!(
        api.events(&second).await.last().unwrap()["data"]["status"],
        "SUCCESS",
        "the waiting operation has started"
    );
}

async fn ports_and_terminals(api: &mut Api) {
    let first = api.waiting().await;
    let body = json!({"command": "true", "image": "tag:host", "disposable": true});
    let second = api
        .call("spawnInstance", &[], "", Body::Json(body), 201)
        .await
        .text("/uuid")
        .to_owned();
    let port = |port: u64| Body::Json(json!({"port": port}));
    let size = |rows: u64| Body::Json(json!({"columns": 80, "rows": rows}));
    api.call("listPorts", &[&second], "", Body::None, 425).await;
    api.call("publishPort", &[&second], "", port(80), 425).await;
    let spid = [second.as_str(), "1"];
    api.call("getTerminalOutput", &spid, "", Body::None, 425)
        .await;
    api.call("resizeTerminal", &spid, "", size(24), 425).await;

    let published = api.call("publishPort", &[&first], "", port(80), 201).await;
    let listed = api.call("listPorts", &[&first], "", Body::None, 200).await;
    assert_eq!(listed.json["ports"], json!([published.json]));
    api.call("publishPort", &[&first], "", port(0), 400).await;
    api.call("publishPort", &[UNKNOWN], "", port(80), 404).await;
    api.call("listPorts", &["x"], "", Body::None, 400).await;
    api.call("listPorts", &[UNKNOWN], "", Body::None, 404).await;

    let on_terminal = json!({
        "command": "stty size", "shell": true, "x-terminal": {"columns": 80, "rows": 24},
        "stdin": {"value": "", "close": false},
    });
    let body = Body::Json(on_terminal);
    let created = api
        .call("operationSubprocessCreate", &[&first], "", body, 201)
        .await;
    let spid = created.json["spid"].to_string();
    let body = Body::Json(json!({
        "command": "cat", "x-terminal": {"columns": 80, "rows": 24},
        "stdin": {"value": "", "close": false},
    }));
    let created = api
        .call("operationSubprocessCreate", &[&first], "", body, 201)
        .await;
    let held = created.json["spid"].to_string();
    api.call("resizeTerminal", &[&first, &held], "", size(30), 204)
        .await;
    api.call("resizeTerminal", &[&first, &held], "", size(0), 400)
        .await;
    let input = json!({"value": "typed\n", "close": true});
    api.call(
        "operationSubprocessStdin",
        &[&first, &held],
        "",
        Body::Json(input),
        204,
    )
    .await;
    let shown = api
        .call("getTerminalOutput", &[&first, &held], "", Body::None, 200)
        .await;
    let frames = String::from_utf8(shown.body).unwrap();
    assert!(
        frames.contains("event: output") && frames.contains("event: end"),
        "{frames}"
    );
    while api
        .call("operationSubprocess", &[&first, &spid], "", Body::None, 200)
        .await
        .json["state"]["exit_code"]
        != 0
    {}
    for (parts, status) in [
        ([UNKNOWN, "1"], 404),
        ([first.as_str(), "99"], 404),
        ([first.as_str(), "0"], 400),
        // The main process has pipes.
        ([first.as_str(), "1"], 409),
    ] {
        api.call("getTerminalOutput", &parts, "", Body::None, status)
            .await;
        api.call("resizeTerminal", &parts, "", size(24), status)
            .await;
    }
    api.call("cancelOperation", &[&first], "", Body::None, 202)
        .await;
    api.events(&first).await;
    api.call("publishPort", &[&first], "", port(80), 409).await;
    api.call("listPorts", &[&first], "", Body::None, 409).await;
    api.events(&second).await;
}

async fn inspection(api: &mut Api, image: &str) {
    let list = api
        .call("inspectImageFile", &[image], "?path=/d", Body::None, 200)
        .await;
    assert_eq!(
        (list.text("/files/0/path"), list.text("/files/1/path")),
        ("f", "p")
    );
    let text = api
        .call(
            "inspectImageFile",
            &[image],
            "?path=/d&text",
            Body::None,
            200,
        )
        .await;
    assert!(text.header("content-type").starts_with("text/plain"));
    let file = api
        .call(
            "inspectImageDownload",
            &[image],
            "?path=/d/f",
            Body::None,
            200,
        )
        .await;
    assert_eq!(file.body, b"content\n");
    let head = api
        .call("checkImageFile", &[image], "?path=/d/f", Body::None, 200)
        .await;
    assert_eq!(head.header("content-length"), "8");
    let archive = api
        .call("inspectImageArchive", &[image], "?path=/d", Body::None, 200)
        .await;
    assert!(archive.body.len() > 2048 && archive.body.starts_with(b"d/\0"));
    let head = api
        .call("checkImageArchive", &[image], "?path=/d", Body::None, 200)
        .await;
    assert_eq!(
        head.header("content-disposition"),
        "attachment; filename=\"d.tar\""
    );
    let answer = api
        .call(
            "inspectImageGrep",
            &[image],
            "?pattern=^con&path=/d",
            Body::None,
            200,
        )
        .await;
    assert_eq!(
        (
            answer.text("/matches/0/path"),
            answer.text("/matches/0/line_text")
        ),
        ("/d/f", "content\n")
    );
    for (id, wrong) in [
        ("inspectImageFile", "/d/f"),
        ("inspectImageDownload", "/d"),
        ("checkImageFile", "/d/p"),
        ("inspectImageArchive", "/d/p"),
        ("checkImageArchive", "/d/p"),
    ] {
        api.call(id, &[image], &format!("?path={wrong}"), Body::None, 422)
            .await;
        api.call(id, &[image], "?path=/none", Body::None, 404).await;
        api.call(id, &[UNKNOWN], "?path=/", Body::None, 404).await;
        api.call(id, &[image], "", Body::None, 400).await;
    }
    api.call(
        "inspectImageGrep",
        &[image],
        "?pattern=x&path=/none",
        Body::None,
        404,
    )
    .await;
    api.call("inspectImageGrep", &[image], "?pattern=(", Body::None, 400)
        .await;
}

/// Imports an archive of an image as a new image.
async fn imports(api: &mut Api, image: &str, directory: &std::path::Path) {
    let archive = api
        .call("inspectImageArchive", &[image], "?path=/d", Body::None, 200)
        .await;
    let tarball = directory.join("rootfs.tar");
    std::fs::write(&tarball, archive.body).unwrap();
    let body = json!({"registry": {"url": format!("rootfs:{}", tarball.display())}, "tag": "every/import:1"});
    let begun = api
        .call("importImage", &[], "", Body::Json(body), 201)
        .await;
    let operation = begun.text("/uuid").to_owned();
    assert_eq!(
        begun.header("location"),
        format!("/v1/operations/{operation}")
    );
    let events = api.events(&operation).await;
    assert_eq!(
        events.last().unwrap()["data"]["status"],
        "SUCCESS",
        "{events:?}"
    );
    api.call("getProcessOutput", &[&operation, "1"], "", Body::None, 409)
        .await;
    let answer = api
        .call(
            "inspectFindImageByTag",
            &[],
            "?tag=every/import:1",
            Body::None,
            302,
        )
        .await;
    let imported = answer
        .header("location")
        .split('/')
        .nth(3)
        .unwrap()
        .to_owned();
    let file = api
        .call(
            "inspectImageDownload",
            &[&imported],
            "?path=/d/f",
            Body::None,
            200,
        )
        .await;
    assert_eq!(file.body, b"content\n");
    api.call(
        "importImage",
        &[],
        "",
        Body::Json(json!({"registry": {}})),
        400,
    )
    .await;
}
