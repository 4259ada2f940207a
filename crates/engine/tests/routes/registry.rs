//! A registry in this process that can be set to misbehave, and images to push to it.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// The authentication that a registry requires.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authentication {
    Open,
    Basic,
    Bearer,
}

/// A fault of a registry when it serves a blob.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Ends the connection after this number of bytes, this number of times.
    Break(usize, usize),
    /// Sends other bytes of the same length.
    Wrong,
    /// Sends half of the blob, then nothing.
    Hang,
    /// Sends nothing until the fault is removed.
    Wait,
    /// Answers 500 a number of times.
    Fail(usize),
    /// Redirects to the server on this port of the loopback interface.
    RedirectToPort(u16),
}

#[derive(Clone)]
pub(crate) struct Registry {
    state: Arc<Stub>,
    pub(crate) address: String,
}

/// The contents and settings of a registry.
struct Stub {
    authentication: Authentication,
    address: OnceLock<String>,
    blobs: Mutex<HashMap<String, Bytes>>,
    manifests: Mutex<HashMap<String, Bytes>>,
    faults: Mutex<HashMap<String, Fault>>,
    /// The digests of requested blobs in order, each with the first requested byte.
    requests: Mutex<Vec<(String, u64)>>,
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex: String = ring::digest::digest(&ring::digest::SHA256, bytes)
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

impl Registry {
    pub(crate) async fn start(authentication: Authentication) -> Self {
        let state = Arc::new(Stub {
            authentication,
            address: OnceLock::new(),
            blobs: Mutex::default(),
            manifests: Mutex::default(),
            faults: Mutex::default(),
            requests: Mutex::default(),
        });
        let router = Router::new()
            .route("/token", get(token))
            .route("/v2/team/app/manifests/{reference}", get(manifest))
            .route("/v2/team/app/blobs/{digest}", get(blob))
            .route("/v2/team/app/blobs/uploads/", post(upload))
            .with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        state.address.set(address.clone()).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { state, address }
    }

    /// The reference of the image that was pushed under a tag.
    pub(crate) fn url(&self, tag: &str) -> String {
        format!("docker://{}/team/app:{tag}", self.address)
    }

    pub(crate) fn push_blob(&self, bytes: Vec<u8>) -> (String, usize) {
        let (name, length) = (digest(&bytes), bytes.len());
        self.state
            .blobs
            .lock()
            .unwrap()
            .insert(name.clone(), bytes.into());
        (name, length)
    }

    /// Pushes an image and returns its digest.
    pub(crate) fn push(&self, tag: &str, image: &Image) -> String {
        let blobs = image.blobs.iter().chain([&image.config]);
        for bytes in blobs {
            self.push_blob(bytes.clone());
        }
        self.push_manifest(tag, &image.manifest)
    }

    pub(crate) fn push_manifest(&self, tag: &str, manifest: &Value) -> String {
        let bytes = Bytes::from(manifest.to_string());
        let name = digest(&bytes);
        let mut manifests = self.state.manifests.lock().unwrap();
        manifests.insert(tag.to_owned(), bytes.clone());
        manifests.insert(name.clone(), bytes);
        name
    }

    pub(crate) fn fault(&self, blob: &str, fault: Fault) {
        self.state
            .faults
            .lock()
            .unwrap()
            .insert(blob.to_owned(), fault);
    }

    pub(crate) fn remove_faults(&self) {
        self.state.faults.lock().unwrap().clear();
    }

    /// The blobs that were requested since the last call, each with the first requested byte.
    pub(crate) fn take_requests(&self) -> Vec<(String, u64)> {
        std::mem::take(&mut *self.state.requests.lock().unwrap())
    }
}

impl Stub {
    /// The answer to a request without valid credentials. `None` if the request has them.
    fn refusal(&self, headers: &HeaderMap) -> Option<Response> {
        let authorization = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let address = self.address.get().unwrap();
        let challenge = match self.authentication {
            Authentication::Open => return None,
            Authentication::Basic if authorization == Some(&basic()) => return None,
            Authentication::Bearer if authorization == Some("Bearer the-token") => return None,
            Authentication::Basic => "Basic realm=\"test\"".to_owned(),
            Authentication::Bearer => {
                format!("Bearer realm=\"http://{address}/token\",service=\"test\"")
            }
        };
        let body =
            json!({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]});
        Some(
            (
                StatusCode::UNAUTHORIZED,
                [(header::WWW_AUTHENTICATE, challenge)],
                body.to_string(),
            )
                .into_response(),
        )
    }
}

fn basic() -> String {
    use base64::Engine as _;
    let text = format!("{USER}:{PASSWORD}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(text)
    )
}

async fn token(headers: HeaderMap, Query(query): Query<HashMap<String, String>>) -> Response {
    let authorization = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if authorization != Some(&basic()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    assert_eq!(
        query.get("scope").map(String::as_str),
        Some("repository:team/app:pull")
    );
    // An empty field counts as absent.
    axum::Json(json!({"token": "", "access_token": "the-token"})).into_response()
}

async fn manifest(
    State(stub): State<Arc<Stub>>,
    Path(reference): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = stub.refusal(&headers) {
        return refusal;
    }
    match stub.manifests.lock().unwrap().get(&reference) {
        Some(bytes) => bytes.clone().into_response(),
        None => {
            let body =
                json!({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]});
            (StatusCode::NOT_FOUND, body.to_string()).into_response()
        }
    }
}

/// Nothing can be pushed here. A client without credentials learns that it needs some.
async fn upload(State(stub): State<Arc<Stub>>, headers: HeaderMap) -> Response {
    let refusal = stub.refusal(&headers);
    refusal.unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

async fn blob(
    State(stub): State<Arc<Stub>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Some(refusal) = stub.refusal(&headers) {
        return refusal;
    }
    let Some(mut bytes) = stub.blobs.lock().unwrap().get(&name).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let range = headers
        .get(header::RANGE)
        .map(|value| value.to_str().unwrap().to_owned());
    let from: u64 = range.as_deref().map_or(0, |range| {
        range
            .trim_start_matches("bytes=")
            .trim_end_matches('-')
            .parse()
            .unwrap()
    });
    stub.requests.lock().unwrap().push((name.clone(), from));
    let length = bytes.len();
    let bytes_left = bytes.split_off(usize::try_from(from).unwrap());
    let fault = stub.faults.lock().unwrap().get(&name).copied();
    let body = match fault {
        Some(Fault::Fail(times)) if times > 0 => {
            stub.faults
                .lock()
                .unwrap()
                .insert(name, Fault::Fail(times - 1));
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        Some(Fault::RedirectToPort(port)) => {
            let location = format!("http://127.0.0.1:{port}/elsewhere");
            return (
                StatusCode::TEMPORARY_REDIRECT,
                [(header::LOCATION, location)],
            )
                .into_response();
        }
        Some(Fault::Break(after, times)) if times > 0 => {
            stub.faults
                .lock()
                .unwrap()
                .insert(name, Fault::Break(after, times - 1));
            let part = Ok(bytes_left.slice(..after.min(bytes_left.len())));
            // With a delay, so that the client reads the bytes before the connection ends.
            let end = async {
                tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                Err(std::io::Error::other("broken on purpose"))
            };
            Body::from_stream(
                futures_util::stream::iter([part]).chain(futures_util::stream::once(end)),
            )
        }
        Some(Fault::Wait) => {
            while stub.faults.lock().unwrap().contains_key(&name) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            Body::from(bytes_left)
        }
        Some(Fault::Wrong) => Body::from(vec![0x77; bytes_left.len()]),
        Some(Fault::Hang) => {
            let part: Result<_, std::io::Error> = Ok(bytes_left.slice(..bytes_left.len() / 2));
            Body::from_stream(
                futures_util::stream::iter([part]).chain(futures_util::stream::pending()),
            )
        }
        _ => Body::from(bytes_left),
    };
    if range.is_some() {
        let range = format!("bytes {from}-{}/{length}", length - 1);
        return (
            StatusCode::PARTIAL_CONTENT,
            [(header::CONTENT_RANGE, range)],
            body,
        )
            .into_response();
    }
    body.into_response()
}

/// The compression of a layer.
#[derive(Clone, Copy)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    /// Gzip with two members, padded with zeros.
    Gzips,
    Zstd,
}

/// An image to push.
pub(crate) struct Image {
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Value,
    pub(crate) blobs: Vec<Vec<u8>>,
    pub(crate) diffs: Vec<Vec<u8>>,
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Image {
    /// An image with these layers, the bottom one first.
    pub(crate) fn new(layers: &[(Vec<u8>, Packing)], env: &[&str]) -> Self {
        let mut entries = Vec::new();
        let mut blobs = Vec::new();
        for (layer, packing) in layers {
            let (suffix, blob) = match packing {
                Packing::Plain => ("", layer.clone()),
                Packing::Gzip => ("+gzip", gzip(layer)),
                Packing::Gzips => {
                    let (one, two) = layer.split_at(layer.len() / 2);
                    ("+gzip", [gzip(one), gzip(two), vec![0; 512]].concat())
                }
                Packing::Zstd => ("+zstd", zstd(layer)),
            };
            let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
            entries.push(
                json!({"mediaType": media_type, "digest": digest(&blob), "size": blob.len()}),
            );
            blobs.push(blob);
        }
        let diffs: Vec<Vec<u8>> = layers.iter().map(|(layer, _)| layer.clone()).collect();
        let ids: Vec<String> = diffs.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": architecture(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids},
            "config": {"Env": env, "Cmd": ["/dropped"], "WorkingDir": "/dropped"},
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
            "layers": entries,
        });
        Self {
            config,
            manifest,
            blobs,
            diffs,
        }
    }

    /// The digest of a compressed layer.
    pub(crate) fn blob(&self, layer: usize) -> String {
        digest(&self.blobs[layer])
    }
}

/// The tar archive of a layer.
pub(crate) struct Layer(Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(crate) fn add(mut self, path: &str, kind: EntryType, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        // Written directly, because the crate's setters refuse invalid values.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.add(path, EntryType::Regular, "", content.as_ref())
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A static program that needs only the kernel. It prints a variable and a file, and writes another
/// file.
pub(crate) fn program() -> Vec<u8> {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let (source, program) = (folder.path().join("p.c"), folder.path().join("p"));
            let text = r#"
                #include <stdio.h>
                #include <stdlib.h>
                int main(void) {
                    char line[100] = "";
                    FILE *motd = fopen("/etc/motd", "r");
                    if (!motd || !fgets(line, sizeof line, motd)) return 3;
                    printf("%s %s", getenv("GREETING") ? getenv("GREETING") : "-", line);
                    return fclose(fopen("/written", "w"));
                }"#;
            std::fs::write(&source, text).unwrap();
            let done = std::process::Command::new("cc")
                .args(["-static", "-O1", "-o"])
                .args([&program, &source])
                .status()
                .unwrap();
            assert!(done.success());
            std::fs::read(program).unwrap()
        })
        .clone()
}
