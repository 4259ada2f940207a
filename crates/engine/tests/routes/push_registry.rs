//! A registry in this process that takes pushes, and counts what travels.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use serde_json::Value;

fn digest(bytes: &[u8]) -> String {
    let hex: String = ring::digest::digest(&ring::digest::SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// A registry in this process that takes pushes.
#[derive(Clone)]
pub(crate) struct PushRegistry {
    pub(crate) address: String,
    state: Arc<Mutex<RegistryContents>>,
}

/// The contents of a registry, and the numbers of its requests.
#[derive(Default)]
pub(crate) struct RegistryContents {
    /// The blobs by repository and digest.
    pub(crate) blobs: BTreeMap<(String, String), Bytes>,
    /// The manifests by repository and tag or digest, with their types.
    pub(crate) manifests: BTreeMap<(String, String), (String, Bytes)>,
    uploads: HashMap<String, Vec<u8>>,
    /// The bytes of uploads that arrived.
    pub(crate) received: usize,
    pub(crate) mounted: usize,
    pub(crate) downloads: usize,
    /// The number of bytes after which the next uploads break off.
    pub(crate) cuts: Vec<usize>,
    /// The number of breaks so far.
    pub(crate) broken: usize,
    /// True if no upload can continue.
    pub(crate) is_broken: bool,
    /// True if an upload waits until this is false again.
    pub(crate) waits: bool,
    /// True while an upload waits.
    pub(crate) is_waiting: bool,
}

impl PushRegistry {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(Mutex::new(RegistryContents::default()));
        let router = Router::new().fallback(serve).with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, state }
    }

    pub(crate) fn stored(&self) -> MutexGuard<'_, RegistryContents> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address)
    }

    /// The manifest of an image, and its digest.
    pub(crate) fn manifest(&self, repository: &str, tag: &str) -> (Value, String) {
        let stored = self.stored();
        let key = (repository.to_owned(), tag.to_owned());
        let bytes = &stored.manifests[&key].1;
        (serde_json::from_slice(bytes).unwrap(), digest(bytes))
    }

    pub(crate) fn blob(&self, repository: &str, name: &Value) -> Bytes {
        let name = name.as_str().unwrap().to_owned();
        self.stored().blobs[&(repository.to_owned(), name)].clone()
    }
}

async fn serve(
    State(state): State<Arc<Mutex<RegistryContents>>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_start_matches("/v2/").to_owned();
    if path.is_empty() {
        return StatusCode::OK.into_response();
    }
    if let Some((repository, name)) = path.split_once("/manifests/") {
        let key = (repository.to_owned(), name.to_owned());
        return manifest(&state, &parts.method, key, &parts.headers, body).await;
    }
    let Some((repository, rest)) = path.split_once("/blobs/") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match rest.strip_prefix("uploads/") {
        Some("") => begin(&state, repository, &query),
        Some(upload) => {
            let place = (repository.to_owned(), upload.to_owned());
            continue_upload(&state, &parts.method, place, &query, &parts.headers, body).await
        }
        None => blob(&state, &parts.method, repository, rest, &parts.headers),
    }
}

fn lock(state: &Mutex<RegistryContents>) -> MutexGuard<'_, RegistryContents> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn manifest(
    state: &Mutex<RegistryContents>,
    method: &Method,
    key: (String, String),
    headers: &HeaderMap,
    body: Body,
) -> Response {
    if *method == Method::PUT {
        let bytes = axum::body::to_bytes(body, 4 << 20).await.unwrap();
        let kind = headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        let mut stored = lock(state);
        // A registry refuses a manifest whose blobs it lacks.
        let layers = value["layers"].as_array().unwrap();
        for part in layers.iter().chain([&value["config"]]) {
            let blob = (key.0.clone(), part["digest"].as_str().unwrap().to_owned());
            let found = stored.blobs.get(&blob).map(|bytes| bytes.len() as u64);
            if found != part["size"].as_u64() {
                return StatusCode::BAD_REQUEST.into_response();
            }
        }
        let name = digest(&bytes);
        stored
            .manifests
            .insert((key.0.clone(), name.clone()), (kind.clone(), bytes.clone()));
        stored.manifests.insert(key, (kind, bytes));
        return (StatusCode::CREATED, [("docker-content-digest", name)]).into_response();
    }
    match lock(state).manifests.get(&key) {
        Some((kind, bytes)) => {
            ([(header::CONTENT_TYPE, kind.clone())], bytes.clone()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn blob(
    state: &Mutex<RegistryContents>,
    method: &Method,
    repository: &str,
    name: &str,
    headers: &HeaderMap,
) -> Response {
    let mut stored = lock(state);
    let key = (repository.to_owned(), name.to_owned());
    let Some(bytes) = stored.blobs.get(&key).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if *method == Method::HEAD {
        return [(header::CONTENT_LENGTH, bytes.len().to_string())].into_response();
    }
    assert!(!headers.contains_key(header::RANGE));
    stored.downloads += 1;
    bytes.into_response()
}

fn begin(
    state: &Mutex<RegistryContents>,
    repository: &str,
    query: &HashMap<String, String>,
) -> Response {
    let mut stored = lock(state);
    if let (Some(name), Some(from)) = (query.get("mount"), query.get("from"))
        && let Some(bytes) = stored.blobs.get(&(from.clone(), name.clone())).cloned()
    {
        stored.mounted += 1;
        let key = (repository.to_owned(), name.clone());
        stored.blobs.insert(key, bytes);
        return StatusCode::CREATED.into_response();
    }
    let upload = format!("u{}", stored.uploads.len());
    stored.uploads.insert(upload.clone(), Vec::new());
    let location = format!("/v2/{repository}/blobs/uploads/{upload}?_state=x");
    (StatusCode::ACCEPTED, [(header::LOCATION, location)]).into_response()
}

async fn continue_upload(
    state: &Mutex<RegistryContents>,
    method: &Method,
    (repository, upload): (String, String),
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let location = format!("/v2/{repository}/blobs/uploads/{upload}?_state=x");
    let answer = |status: StatusCode, length: usize| {
        let range = format!("0-{}", length.saturating_sub(1));
        (status, [("location", location.clone()), ("range", range)]).into_response()
    };
    let Some(mut bytes) = lock(state).uploads.get(&upload).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    if *method == Method::GET {
        return answer(StatusCode::NO_CONTENT, bytes.len());
    }
    if *method == Method::PUT {
        let name = query["digest"].clone();
        if digest(&bytes) != name {
            return StatusCode::BAD_REQUEST.into_response();
        }
        let mut stored = lock(state);
        stored.blobs.insert((repository, name), bytes.into());
        return StatusCode::CREATED.into_response();
    }
    let start: usize = headers.get(header::CONTENT_RANGE).map_or(0, |range| {
        let range = range.to_str().unwrap();
        range.split('-').next().unwrap().parse().unwrap()
    });
    if start != bytes.len() {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let cut = lock(state).cuts.pop();
    let is_broken = lock(state).is_broken;
    let mut body = body.into_data_stream();
    while let Some(Ok(chunk)) = body.next().await {
        if is_broken {
            continue;
        }
        bytes.extend_from_slice(&chunk);
        lock(state).received += chunk.len();
        while {
            let mut stored = lock(state);
            stored.is_waiting = stored.waits;
            stored.waits
        } {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        if cut.is_some_and(|cut| bytes.len() - start >= cut) {
            let mut stored = lock(state);
            stored.broken += 1;
            stored.uploads.insert(upload, bytes);
            return StatusCode::BAD_GATEWAY.into_response();
        }
    }
    if is_broken {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let length = bytes.len();
    lock(state).uploads.insert(upload, bytes);
    answer(StatusCode::ACCEPTED, length)
}
