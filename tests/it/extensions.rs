//! A service without the extensions: the client does the work itself and gives the same answers, or
//! says that it cannot.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use contree::engine::{Listen, LocalConfig, ServeConfig, Server};
use contree::types::{ImageImportRequest, InstanceSpawnRequest, PushRequest, Registry};
use contree::{Backend, Client, DiffRequest, Error, ImageRef, LogRequest};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::push_registry::PushRegistry;
use crate::support::Home;
use crate::support::raw::RawClient;

/// An engine, and a stand-in for a service before it that hides the extensions.
struct Backends {
    engine: Client,
    service: Client,
    /// The addresses of the engine and of the service.
    addresses: [String; 2],
    stop: oneshot::Sender<()>,
    _data: tempfile::TempDir,
}

/// A stand-in for a service: it passes requests of the API on to an engine.
#[derive(Clone)]
struct StandIn {
    http: reqwest::Client,
    engine: Arc<str>,
}

async fn pass_on(State(stand_in): State<StandIn>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path.starts_with("/v1/x/") {
        return StatusCode::NOT_FOUND.into_response();
    }
    let target = request.uri().path_and_query().unwrap().to_string();
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut passed = stand_in
        .http
        .request(parts.method, format!("{}{target}", stand_in.engine))
        .body(body);
    for (name, value) in &parts.headers {
        if name != "host" && name != "content-length" {
            passed = passed.header(name, value);
        }
    }
    let answer = passed.send().await.unwrap();
    let status = answer.status();
    let headers = answer.headers().clone();
    let bytes = answer.bytes().await.unwrap();
    if path == "/v1/whoami" {
        let mut account: Value = serde_json::from_slice(&bytes).unwrap();
        account.as_object_mut().unwrap().remove("x-extensions");
        return axum::Json(account).into_response();
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    for (name, value) in &headers {
        if name != "content-length" && name != "transfer-encoding" {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

impl Backends {
    async fn start() -> Self {
        let parent =
            std::env::var_os("CONTREE_TEST_DIR").map_or_else(std::env::temp_dir, Into::into);
        let data = tempfile::tempdir_in(parent).unwrap();
        let config = LocalConfig::new(data.path());
        let mut serve = ServeConfig::new(Listen::Tcp("127.0.0.1:0".into()));
        serve.local_imports = true;
        let server = Server::start(&config, &serve).await.unwrap();
        let address = server.address().trim_end_matches('/').to_owned();
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            server.run(stopped).await.unwrap();
        });
        // Another test of this process may have installed the provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let stand_in = StandIn {
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .build()
                .unwrap(),
            engine: address.as_str().into(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(pass_on).with_state(stand_in);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            engine: Client::connect(Backend::new(&address).unwrap()).unwrap(),
            service: Client::connect(Backend::new(&service).unwrap()).unwrap(),
            addresses: [address, service],
            stop,
            _data: data,
        }
    }

    async fn commit(&self, image: ImageRef, command: &str) -> Uuid {
        let request = InstanceSpawnRequest::builder()
            .image(image)
            .command(command)
            .shell(true)
            .disposable(false);
        let outcome = self.engine.run(request.try_into().unwrap()).await.unwrap();
        outcome.result_image.unwrap()
    }
}

const FIRST: &str = "mkdir -p /s/old /s/e; cd /s; seq 50 > numbers; printf 'no end' > end; printf 'a\\0b' > bin; \
    echo moved > old/name; ln -s numbers link; echo twin > one; ln one two; mkfifo pipe; echo s > 'with space'; \
    seq 9 > gone; echo m > mode; echo t > type";
const SECOND: &str = "cd /s; seq 51 > numbers; printf 'no end now' > end; printf 'a\\0c' > bin; mkdir new; \
    mv old/name new/name; ln -sfn one link; echo more >> two; rm pipe gone; chmod 755 mode; rm type; mkdir type; \
    echo x > type/x; touch e; echo ä > 'ä'; chmod 700 e; printf '\\344' > latin";

#[tokio::test]
async fn a_service_without_extensions_gives_the_same_answers() {
    let backends = Backends::start().await;
    let base = backends.commit("tag:host".parse().unwrap(), FIRST).await;
    let image = backends.commit(base.into(), SECOND).await;
    assert!(backends.engine.has_extension("diff").await.unwrap());
    assert!(!backends.service.has_extension("diff").await.unwrap());
    for path in ["/s", "/", "/s/numbers", "/s/link", "/s/type", "/s/gone"] {
        for (base, limit, offset) in [(None, 1000, 0), (Some(base), 3, 0), (Some(base), 3, 2)] {
            // The archive of a whole image takes long in this profile.
            if path == "/" && base.is_some() {
                continue;
            }
            let request = DiffRequest {
                base,
                path: path.to_owned(),
                patch: true,
                limit,
                offset,
            };
            let engine = backends.engine.diff(image, &request).await.unwrap();
            let service = backends.service.diff(image, &request).await.unwrap();
            assert_eq!(engine, service, "{request:?}");
            assert!(engine.count > 0, "{request:?}");
        }
    }
    for (path, status) in [("/nowhere", 404), ("/s/link/x", 422)] {
        let request = DiffRequest {
            path: path.to_owned(),
            ..DiffRequest::default()
        };
        let engine = backends.engine.diff(image, &request).await.unwrap_err();
        let service = backends.service.diff(image, &request).await.unwrap_err();
        assert_eq!(engine.to_string(), service.to_string());
        assert_eq!(engine.status().unwrap().as_u16(), status);
    }
    let _ = backends.stop.send(());
}

#[tokio::test]
async fn a_service_without_extensions_has_the_same_log_but_for_what_it_does_not_count() {
    let backends = Backends::start().await;
    let base = backends
        .commit("tag:host".parse().unwrap(), "echo 1 > /one")
        .await;
    let image = backends.commit(base.into(), "echo 2 > /two; exit 4").await;
    let other = backends.commit(base.into(), "echo 3 > /three").await;
    for children in [false, true] {
        for (of, limit, offset) in [
            (image, 100, 0),
            (image, 1, 0),
            (image, 1, 1),
            (base, 100, 0),
        ] {
            let request = LogRequest {
                limit,
                offset,
                children,
            };
            let mut engine = backends.engine.log(of, request).await.unwrap();
            let mut service = backends.service.log(of, request).await.unwrap();
            for (entry, other) in engine.images.iter_mut().zip(&mut service.images) {
                let duration = |time: Option<f64>| time.unwrap_or_default();
                let difference = duration(entry.duration.take()) - duration(other.duration.take());
                assert!(difference.abs() < 0.1, "{entry:?} {other:?}");
                // A service does not say these.
                entry.changed_files = None;
                entry.changed_bytes = None;
                entry.client = None;
                entry.kind = entry.kind.take().filter(|kind| kind != "host");
            }
            assert_eq!(engine.images, service.images, "{request:?}");
            assert_eq!(engine.next, service.next, "{request:?}");
        }
    }
    let children = LogRequest {
        children: true,
        ..LogRequest::default()
    };
    let found = backends.service.log(base, children).await.unwrap();
    let uuids: Vec<Uuid> = found.images.iter().map(|image| image.uuid).collect();
    assert_eq!(uuids, [other, image]);

    let error = backends.service.delete_image_record(other, false).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(error.to_string().contains("set_tag"), "{error}");
    let deleted = backends.engine.delete_image_record(other, false).await;
    assert_eq!(deleted.unwrap().layers, 1);
    let _ = backends.stop.send(());
}

/// Imports an image with the engine, and returns it.
async fn import(client: &Client, url: &str) -> Uuid {
    let request = ImageImportRequest::builder()
        .registry(Registry::builder().url(url))
        .try_into();
    let request: ImageImportRequest = request.unwrap();
    let started = client.import_image().body(request).send().await.unwrap();
    let ended = client.wait(started.into_inner().uuid, None).await.unwrap();
    assert_eq!(ended.error, None);
    ended.result_image_uuid.unwrap()
}

fn push_to(url: &str) -> PushRequest {
    PushRequest::builder()
        .registry(Registry::builder().url(url))
        .try_into()
        .unwrap()
}

#[tokio::test]
async fn a_service_without_extensions_has_its_images_pushed_by_the_client() {
    let backends = Backends::start().await;
    let registry = PushRegistry::start().await;
    let folder = tempfile::tempdir().unwrap();
    let tarball = folder.path().join("root.tar");
    let mut archive = tar::Builder::new(std::fs::File::create(&tarball).unwrap());
    for (name, mode, content) in [("etc/motd", 0o644, "hello"), ("bin/tool", 0o4755, "x")] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(mode);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, name, content.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap();
    let image = import(&backends.engine, &format!("rootfs:{}", tarball.display())).await;
    let url = registry.url("copy:1");
    let pushed = backends.service.push(image, push_to(&url)).await.unwrap();
    assert_eq!((pushed.blobs_sent, pushed.blobs_present), (2, 0));
    let again = backends.service.push(image, push_to(&url)).await.unwrap();
    assert_eq!((again.blobs_sent, again.blobs_present), (0, 2));
    assert_eq!((again.digest, again.bytes_sent), (pushed.digest, 0));
    let copy = import(&backends.engine, &url).await;
    let request = DiffRequest {
        base: Some(image),
        ..DiffRequest::default()
    };
    assert_eq!(backends.engine.diff(copy, &request).await.unwrap().count, 0);
    // The engine's own push gives the same files.
    let own = registry.url("own:1");
    backends.engine.push(image, push_to(&own)).await.unwrap();
    let own = import(&backends.engine, &own).await;
    let request = DiffRequest {
        base: Some(own),
        ..DiffRequest::default()
    };
    assert_eq!(backends.engine.diff(copy, &request).await.unwrap().count, 0);
    let error = backends.service.push(image, push_to("oci-layout:/x")).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(error.to_string().contains("HOST/NAME:TAG"), "{error}");
    let failed = backends
        .engine
        .push(image, push_to("127.0.0.1:1/a:1"))
        .await;
    let failed = failed.unwrap_err().to_string();
    assert!(failed.contains("cannot reach 127.0.0.1:1"), "{failed}");
    let _ = backends.stop.send(());
}

/// The files of a download by path: type and permissions, time, target of a link, content, and the
/// path with which a file shares its content.
type Written = BTreeMap<String, (u32, i64, i64, Option<PathBuf>, Vec<u8>, String)>;

fn written(place: &Path) -> Written {
    let mut found = Written::new();
    let mut inodes = BTreeMap::new();
    let mut open = vec![place.to_owned()];
    while let Some(directory) = open.pop() {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        for path in paths {
            let about = path.symlink_metadata().unwrap();
            let name = path.strip_prefix(place).unwrap().display().to_string();
            let content = match about.is_file() {
                true => std::fs::read(&path).unwrap(),
                false => Vec::new(),
            };
            let first = inodes.entry(about.ino()).or_insert_with(|| name.clone());
            let entry = (
                about.mode(),
                about.mtime(),
                about.mtime_nsec(),
                std::fs::read_link(&path).ok(),
                content,
                first.clone(),
            );
            found.insert(name, entry);
            if about.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

const MANY_KINDS: &str = "mkdir -p /out/d/e /out/empty '/out/sp ace' /out/closed; cd /out; echo one > a; \
    echo two > d/b; printf 'a\\0b' > bin; head -c 300000 /dev/urandom > large; : > nothing; echo c > closed/c; \
    chmod 750 a; chmod 700 empty; chmod 4711 d/b; chmod 444 bin; chmod 1777 d/e; chmod 555 closed; \
    ln -s d/b link; ln -s none dangling; ln a hard; ln a d/hard; mkfifo pipe; \
    echo u > \"sp ace/ä\"; touch -h -d '2001-02-03 04:05:06.789Z' a link; touch -d '1999-12-31 00:00:00Z' empty d/e d; \
    seq 300 | while read n; do echo $n > d/e/file$n; done";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_extensions_downloads_the_same_files() {
    let backends = Backends::start().await;
    let image = backends
        .commit("tag:host".parse().unwrap(), MANY_KINDS)
        .await;
    let folder = tempfile::tempdir().unwrap();
    let (mut trees, mut answers) = (Vec::new(), Vec::new());
    for (client, address) in [&backends.engine, &backends.service]
        .into_iter()
        .zip(&backends.addresses)
    {
        let place = folder.path().join(format!("unpacked{}", trees.len()));
        client
            .image(image)
            .fs()
            .unpack("/out", &place)
            .await
            .unwrap();
        trees.push(written(&place));
        // The tool keeps times, links and modes too.
        let home = Home::new();
        let place = home.path().join("place");
        let answer = tokio::task::block_in_place(|| {
            let mut raw = RawClient::initialized(home.command_for(address), "2025-11-25");
            let arguments = json!({"image": image, "path": "/out", "destination": place});
            raw.call_ok("download", arguments)
        });
        let counts = ["files", "links", "directories", "bytes", "skipped"];
        answers.push(counts.map(|name| answer[name].clone()));
        trees.push(written(&place));
    }
    assert_eq!(answers[0], answers[1]);
    let [engine, tool, service, service_tool] = &trees[..] else {
        panic!("four trees");
    };
    assert!(engine == service, "the client unpacks another directory");
    assert!(tool == service_tool, "the tool writes another directory");
    assert_eq!(tool.len(), 316);
    assert!(!tool.contains_key("pipe") && tool.contains_key("empty"));
    assert_eq!(tool["d/hard"].5, tool["a"].5);
    let _ = backends.stop.send(());
}

#[tokio::test]
async fn a_service_without_extensions_applies_the_same_and_names_what_it_cannot_take() {
    let backends = Backends::start().await;
    let base = backends.commit("tag:host".parse().unwrap(), FIRST).await;
    let image = backends.commit(base.into(), SECOND).await;
    let folder = tempfile::tempdir().unwrap();
    let mut results = Vec::new();
    for client in [&backends.engine, &backends.service] {
        let directory = folder.path().join(results.len().to_string());
        client
            .image(base)
            .fs()
            .unpack("/s", &directory)
            .await
            .unwrap();
        std::fs::write(directory.join("numbers"), "ours").unwrap();
        let fs = client.image(image).fs();
        let stopped = fs.apply("/s", &directory).await.unwrap();
        assert_eq!(stopped.conflicts.len(), 1, "{stopped:?}");
        assert!(stopped.written.is_empty() && stopped.removed.is_empty());
        let applied = fs
            .apply("/s", &directory)
            .conflicts(contree::Conflicts::Skip)
            .await
            .unwrap();
        assert!(
            applied.written.contains(&"new/name".to_owned()),
            "{applied:?}"
        );
        assert!(applied.removed.contains(&"gone".to_owned()), "{applied:?}");
        results.push((stopped, applied));
    }
    assert_eq!(results[0], results[1]);

    let source = folder.path().join("source");
    std::fs::create_dir_all(source.join("empty")).unwrap();
    std::fs::write(source.join("file"), "x").unwrap();
    std::os::unix::fs::symlink("file", source.join("link")).unwrap();
    std::fs::create_dir(source.join("private")).unwrap();
    std::fs::write(source.join("private/key"), "x").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(source.join("private"), mode).unwrap();
    let sent = backends.engine.upload_dir(&source).await.unwrap();
    assert_eq!(sent.skipped_count(), 0, "{:?}", sent.skipped());
    let sent = backends.service.upload_dir(&source).await.unwrap();
    let skipped: Vec<&str> = sent
        .skipped()
        .iter()
        .map(|path| path.reason.as_str())
        .collect();
    let expected = ["empty directory", "symbolic link", "mode of a directory"];
    assert_eq!(skipped, expected);
    let listed = backends
        .service
        .image("tag:host")
        .shell("cd /src && find . | sort");
    let listed = listed.tree("/src", &sent).await.unwrap().ok().unwrap();
    assert_eq!(
        listed.stdout.text().unwrap(),
        ".\n./file\n./private\n./private/key\n"
    );

    let diff = backends.engine.image(image);
    let diff = diff.diff(&backends.engine.image(base)).await.unwrap();
    assert!(diff.count > 0 && diff.patch.is_some());
    let log = backends.service.image(image).log().await.unwrap();
    assert_eq!((log[0].uuid, log[1].uuid), (image, base));
    let _ = backends.stop.send(());
}
