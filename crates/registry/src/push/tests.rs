//! Tests of pushing to a registry in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::{Request, State};
use axum::response::Response as Answer;
use futures_util::StreamExt as _;

use super::*;
use crate::{HttpClients, Login};

/// A registry in this process, for pushes.
#[derive(Default)]
struct Registry {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, Vec<u8>>,
    upload: Option<Vec<u8>>,
    /// The requests so far, as `METHOD PATH`, with the range of a chunk.
    requests: Vec<String>,
    /// The number of bytes after which each of the next uploads breaks off.
    cuts: Vec<usize>,
    /// The largest body that it accepts, in bytes.
    limit: Option<usize>,
    /// True if it asks for a password.
    locked: bool,
    /// True if it forgets an upload after a broken connection.
    forgets: bool,
    /// True if it does not say how much of an upload it has.
    hides_range: bool,
    /// The address of another server for uploads.
    elsewhere: Option<String>,
    /// The values of the header `Authorization`.
    seen: Vec<Option<String>>,
}

type Shared = Arc<Mutex<Registry>>;

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Registry> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(status: StatusCode, headers: &[(&str, String)]) -> Answer {
    let mut builder = Answer::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, value);
    }
    builder.body(AxumBody::empty()).unwrap()
}

async fn serve(State(shared): State<Shared>, request: Request) -> Answer {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let headers = request.headers().clone();
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let (range, authorization) = (text("content-range"), text("authorization"));
    {
        let mut registry = lock(&shared);
        let mut line = format!("{method} {path}");
        if let Some(range) = &range {
            line.push_str(&format!(" {range}"));
        }
        registry.requests.push(line);
        registry.seen.push(authorization.clone());
        if registry.locked && authorization.is_none() {
            let challenge = ("www-authenticate", "Basic realm=\"x\"".to_owned());
            return answer(StatusCode::UNAUTHORIZED, &[challenge]);
        }
    }
    if let Some((_, name)) = path.split_once("/manifests/") {
        let body = axum::body::to_bytes(request.into_body(), 1 << 20)
            .await
            .unwrap();
        let digest = Digest::of(&body).to_string();
        lock(&shared)
            .manifests
            .insert(name.to_owned(), body.to_vec());
        return answer(StatusCode::CREATED, &[("docker-content-digest", digest)]);
    }
    if path.ends_with("/blobs/uploads/") {
        let mut registry = lock(&shared);
        if let Some(mount) = query.strip_prefix("mount=") {
            let digest = mount.split('&').next().unwrap().replace("%3A", ":");
            if registry.blobs.contains_key(&format!("other {digest}")) {
                return answer(StatusCode::CREATED, &[]);
            }
        }
        registry.upload = Some(Vec::new());
        let base = registry.elsewhere.clone().unwrap_or_default();
        return answer(
            StatusCode::ACCEPTED,
            &[("location", format!("{base}/upload?state=1"))],
        );
    }
    if path == "/upload" {
        return serve_upload(&shared, &method, &query, range, request).await;
    }
    if let Some((_, digest)) = path.split_once("/blobs/") {
        return match lock(&shared).blobs.get(digest) {
            Some(blob) => answer(
                StatusCode::OK,
                &[("content-length", blob.len().to_string())],
            ),
            None => answer(StatusCode::NOT_FOUND, &[]),
        };
    }
    answer(StatusCode::NOT_FOUND, &[])
}

async fn serve_upload(
    shared: &Shared,
    method: &Method,
    query: &str,
    range: Option<String>,
    request: Request,
) -> Answer {
    let state = |bytes: usize| {
        vec![
            ("location", "/upload?state=1".to_owned()),
            ("range", format!("0-{}", bytes.saturating_sub(1))),
        ]
    };
    let Some(mut stored) = lock(shared).upload.clone() else {
        return answer(StatusCode::NOT_FOUND, &[]);
    };
    if *method == Method::GET {
        let mut headers = state(stored.len());
        if lock(shared).hides_range {
            headers.retain(|(name, _)| *name != "range");
        }
        return answer(StatusCode::NO_CONTENT, &headers);
    }
    if *method == Method::PUT {
        let wanted = query.split("digest=").nth(1).unwrap().replace("%3A", ":");
        assert!(query.contains("state=1"), "{query}");
        if Digest::of(&stored).to_string() != wanted {
            return answer(StatusCode::BAD_REQUEST, &[]);
        }
        let mut registry = lock(shared);
        registry.blobs.insert(wanted, stored);
        registry.upload = None;
        return answer(StatusCode::CREATED, &[]);
    }
    let start = range.map_or(0, |range| range.split('-').next().unwrap().parse().unwrap());
    if start != stored.len() {
        return answer(StatusCode::RANGE_NOT_SATISFIABLE, &[]);
    }
    let stated: usize = request.headers()["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    if lock(shared).limit.is_some_and(|limit| stated > limit) {
        let mut body = request.into_body().into_data_stream();
        while body.next().await.is_some() {}
        return answer(StatusCode::PAYLOAD_TOO_LARGE, &[]);
    }
    let cut = lock(shared).cuts.pop();
    let mut body = request.into_body().into_data_stream();
    while let Some(chunk) = body.next().await {
        stored.extend_from_slice(&chunk.unwrap());
        if let Some(cut) = cut
            && stored.len() - start >= cut
        {
            stored.truncate(start + cut);
            let mut registry = lock(shared);
            registry.upload = Some(stored).filter(|_| !registry.forgets);
            drop(registry);
            // The connection ends in the middle of the request, like that of a killed server.
            return answer(
                StatusCode::BAD_GATEWAY,
                &[("connection", "close".to_owned())],
            );
        }
    }
    lock(shared).upload = Some(stored.clone());
    answer(StatusCode::ACCEPTED, &state(stored.len()))
}

async fn start(registry: Registry) -> (String, Shared) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let shared = Arc::new(Mutex::new(registry));
    let router = Router::new()
        .fallback(serve)
        .with_state(Arc::clone(&shared));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, shared)
}

fn repository<'a>(http: &'a HttpClients, address: &str, login: Option<Login>) -> Repository<'a> {
    let reference = format!("{address}/app:1").parse().unwrap();
    let mut repository = Repository::for_push(http, reference, login, vec!["other".into()]);
    repository.first_wait = Duration::from_millis(1);
    repository
}

/// A file whose parts differ, so that a part in the wrong position changes the digest.
fn content(size: usize) -> (tempfile::NamedTempFile, Digest) {
    let bytes: Vec<u8> = (0..size).map(|at| (at / 251 % 256) as u8).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    (file, Digest::of(&bytes))
}

const SIZE: usize = 3_000_000;

async fn push(registry: Registry) -> (Shared, Result<(), RegistryError>) {
    push_blob(registry, SIZE).await
}

async fn push_blob(registry: Registry, size: usize) -> (Shared, Result<(), RegistryError>) {
    let (address, shared) = start(registry).await;
    let http = HttpClients::default();
    let (file, digest) = content(size);
    let blob = LocalBlob {
        digest: &digest,
        size: size as u64,
        path: file.path(),
    };
    let repository = repository(&http, &address, Some(Login::password("u", "p")));
    let result = repository.upload(blob, None, |_| {}).await;
    if result.is_ok() && lock(&shared).elsewhere.is_none() {
        assert!(lock(&shared).blobs.contains_key(&digest.to_string()));
    }
    (shared, result)
}

fn uploads(shared: &Shared) -> Vec<String> {
    let registry = lock(shared);
    let is_upload = |line: &&String| line.contains("/upload");
    registry
        .requests
        .iter()
        .filter(is_upload)
        .cloned()
        .collect()
}

#[tokio::test]
async fn a_blob_is_one_request() {
    let (shared, result) = push(Registry::default()).await;
    result.unwrap();
    assert_eq!(
        uploads(&shared),
        [
            "POST /v2/app/blobs/uploads/",
            "PATCH /upload",
            "PUT /upload"
        ]
    );
}

#[tokio::test]
async fn an_upload_that_breaks_off_continues_where_it_stopped() {
    let (shared, result) = push(Registry {
        cuts: vec![500_000, 1_000_000],
        ..Registry::default()
    })
    .await;
    result.unwrap();
    assert_eq!(
        uploads(&shared),
        [
            "POST /v2/app/blobs/uploads/",
            "PATCH /upload",
            "GET /upload",
            "PATCH /upload 1000000-2999999",
            "GET /upload",
            "PATCH /upload 1500000-2999999",
            "PUT /upload",
        ]
    );
}

#[tokio::test]
async fn an_upload_that_the_registry_forgets_begins_anew() {
    let (shared, result) = push(Registry {
        cuts: vec![1_000_000],
        forgets: true,
        ..Registry::default()
    })
    .await;
    result.unwrap();
    let posts = |line: &&String| line.starts_with("POST");
    assert_eq!(uploads(&shared).iter().filter(posts).count(), 2);
}

#[tokio::test]
async fn an_upload_whose_registry_does_not_say_where_it_stopped_begins_anew() {
    let (shared, result) = push(Registry {
        cuts: vec![1_000_000],
        hides_range: true,
        ..Registry::default()
    })
    .await;
    result.unwrap();
    assert_eq!(
        uploads(&shared),
        [
            "POST /v2/app/blobs/uploads/",
            "PATCH /upload",
            "GET /upload",
            "POST /v2/app/blobs/uploads/",
            "PATCH /upload",
            "PUT /upload",
        ]
    );
}

#[tokio::test]
async fn a_registry_that_breaks_off_every_time_is_given_up() {
    let (_, result) = push(Registry {
        cuts: vec![0; 100],
        ..Registry::default()
    })
    .await;
    let error = result.unwrap_err();
    assert!(
        matches!(error, RegistryError::Unreachable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_registry_with_a_limit_gets_smaller_requests() {
    let (shared, result) = push(Registry {
        limit: Some(1_600_000),
        ..Registry::default()
    })
    .await;
    result.unwrap();
    let patches: Vec<String> = uploads(&shared)
        .into_iter()
        .filter(|line| line.starts_with("PATCH"))
        .collect();
    assert_eq!(
        patches,
        [
            "PATCH /upload",
            "PATCH /upload 0-1499999",
            "PATCH /upload 1500000-2999999"
        ]
    );
}

#[tokio::test]
async fn a_small_limit_is_found_in_more_steps_than_a_request_has_retries() {
    let registry = Registry {
        limit: Some(1_200_000),
        ..Registry::default()
    };
    let (_, result) = push_blob(registry, 33 << 20).await;
    result.unwrap();
}

#[tokio::test]
async fn blobs_that_exist_are_found_and_others_mounted() {
    let digest = Digest::of(b"x");
    let (address, shared) = start(Registry {
        blobs: BTreeMap::from([
            (digest.to_string(), b"x".to_vec()),
            (format!("other {digest}"), b"x".to_vec()),
        ]),
        ..Registry::default()
    })
    .await;
    let http = HttpClients::default();
    let repository = repository(&http, &address, None);
    assert!(repository.has_blob(&digest, 1).await.unwrap());
    assert!(!repository.has_blob(&Digest::of(b"y"), 1).await.unwrap());
    let mounted = repository.mount(&digest, "other").await.unwrap();
    assert!(matches!(mounted, MountOutcome::Mounted));
    let refused = repository.mount(&Digest::of(b"y"), "other").await.unwrap();
    assert!(matches!(refused, MountOutcome::Refused(Some(_))));
    let stored = repository
        .put_manifest("application/vnd.oci.image.manifest.v1+json", b"{}")
        .await
        .unwrap();
    assert_eq!(stored, Digest::of(b"{}"));
    assert_eq!(lock(&shared).manifests["1"], b"{}");
}

#[tokio::test]
async fn credentials_go_to_the_registry_alone() {
    let (elsewhere, other) = start(Registry {
        upload: Some(Vec::new()),
        ..Registry::default()
    })
    .await;
    let (shared, result) = push(Registry {
        locked: true,
        elsewhere: Some(format!("http://{elsewhere}")),
        ..Registry::default()
    })
    .await;
    // The other server completes the upload.
    let error = result.err();
    assert!(error.is_none(), "{error:?}");
    assert!(lock(&shared).seen.iter().flatten().count() > 0);
    let other = lock(&other);
    assert!(other.seen.len() >= 2 && other.seen.iter().all(Option::is_none));
}

#[tokio::test]
async fn a_registry_that_wants_a_login_says_so() {
    let (address, _) = start(Registry {
        locked: true,
        ..Registry::default()
    })
    .await;
    let http = HttpClients::default();
    let error = repository(&http, &address, None)
        .has_blob(&Digest::of(b""), 0)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::LoginNeeded { .. }),
        "{error}"
    );
}
