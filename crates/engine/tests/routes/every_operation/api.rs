//! The API document, and a running server whose answers are checked against it.

use std::collections::BTreeSet;

use contree_engine::{Listen, LocalConfig, ServeConfig, Server};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::OUT_OF_REACH;

const TOKEN: &str = "every-operation";
pub(super) const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) json: Value,
}

impl Answer {
    pub(super) fn text(&self, path: &str) -> &str {
        self.json
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no {path} in {}", self.json))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

pub(super) enum Body<'a> {
    None,
    Json(Value),
    Bytes(&'a [u8]),
}

/// The API document, a running server, and the answers that have occurred so far.
pub(super) struct Api {
    pub(super) document: Value,
    pub(super) http: reqwest::Client,
    pub(super) url: String,
    pub(super) had: BTreeSet<(String, u16)>,
    pub(super) stop: oneshot::Sender<()>,
    pub(super) serving: tokio::task::JoinHandle<()>,
}

/// The API document with its extensions.
pub(super) fn document() -> Value {
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
    pub(super) async fn start(data: &std::path::Path) -> Self {
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
    pub(super) fn operations(&self) -> Vec<(String, String, Value)> {
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

    pub(super) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
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
    pub(super) async fn call(
        &mut self,
        id: &str,
        parts: &[&str],
        query: &str,
        body: Body<'_>,
        status: u16,
    ) -> Answer {
        self.call_as(TOKEN, id, parts, query, body, status).await
    }

    pub(super) async fn call_as(
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
    pub(super) async fn waiting(&mut self) -> String {
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
    pub(super) async fn events(&mut self, operation: &str) -> Vec<Value> {
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

    pub(super) async fn end(self) {
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
