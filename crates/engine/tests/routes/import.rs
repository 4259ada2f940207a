//! Tests of importing images: from a registry, from a faulty registry, and from local files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use contree_engine::LocalConfig;
use serde_json::{Value, json};
use tar::EntryType;

use crate::registry::{
    Authentication, Fault, Image, Layer, PASSWORD, Packing, Registry, USER, digest, gzip, program,
    zstd,
};
use crate::support::{Answer, FinishedOperation, OtherEngine, TestEngine, data_dir};

/// The operation of an accepted import.
fn operation_of(answer: Answer) -> String {
    assert_eq!(answer.status, 201, "{answer:?}");
    let uuid = answer.json["uuid"].as_str().unwrap().to_owned();
    assert_eq!(answer.location.unwrap(), format!("/v1/operations/{uuid}"));
    uuid
}

impl OtherEngine {
    async fn begin(&self, body: Value) -> String {
        operation_of(self.post("/images/import", &body).await)
    }
}

impl TestEngine {
    async fn begin(&self, body: Value) -> String {
        operation_of(self.post("/images/import", &body).await)
    }

    async fn import(&self, url: &str) -> FinishedOperation {
        let operation = self.begin(json!({"registry": {"url": url}})).await;
        self.done(&operation).await
    }

    /// The layers, run directories and temporary files of the data directory.
    fn files_in_data_directory(&self) -> BTreeSet<PathBuf> {
        files_in_data_directory(self.engine.data.path())
    }

    /// Waits until the data directory has only these files. A run directory is removed shortly
    /// after the operation's end is visible.
    async fn wait_until_cleaned_up(&self, before: &BTreeSet<PathBuf>) {
        let started = std::time::Instant::now();
        while self.files_in_data_directory() != *before {
            assert!(
                started.elapsed().as_secs() < 60,
                "{:?}",
                self.files_in_data_directory()
            );
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    async fn status(&self, operation: &str) -> Value {
        self.get(&format!("/operations/{operation}")).await.json
    }
}

fn files_in_data_directory(data: &Path) -> BTreeSet<PathBuf> {
    ["layers", "l", "run"]
        .into_iter()
        .flat_map(|name| std::fs::read_dir(data.join(name)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn base_layer() -> Vec<u8> {
    Layer::new()
        .add("bin/", EntryType::Directory, "", b"")
        .file("bin/greet", program())
        .file("etc/motd", "from below\n")
        .file("etc/gone", "")
        .bytes()
}

fn greeting_image() -> Image {
    let upper = Layer::new()
        .file("etc/motd", "from above\n")
        .file("etc/.wh.gone", "")
        .bytes();
    let top = Layer::new()
        .add("bin/hello", EntryType::Link, "bin/greet", b"")
        .bytes();
    Image::new(
        &[
            (base_layer(), Packing::Gzips),
            (upper, Packing::Zstd),
            (top, Packing::Plain),
        ],
        &["GREETING=hello", "PATH=/bin"],
    )
}

#[tokio::test]
async fn an_image_of_a_registry_runs_and_is_imported_once() {
    let local = TestEngine::new().await;
    let registry = Registry::start(Authentication::Open).await;
    let image = greeting_image();
    let manifest = registry.push("one", &image);
    let index = json!({"schemaVersion": 2, "manifests": [
        {"digest": digest(b"other"), "size": 5, "platform": {"os": "linux", "architecture": "strange"}},
        {"digest": manifest, "size": 5, "platform": {"os": "linux", "architecture": crate::registry::architecture()}},
    ]});
    registry.push_manifest("many", &index);
    let operation = local
        .begin(json!({"registry": {"url": registry.url("many")}, "tag": "team/app:1"}))
        .await;
    let done = local.done(&operation).await;
    assert_eq!((done.status.as_str(), done.error.as_str()), ("SUCCESS", ""));
    assert_eq!(done.kinds(), ["stdout", "completion"]);
    let told: String = done
        .events
        .iter()
        .filter(|event| event["type"] == "stdout" && event["spid"] == 0)
        .map(|event| event["data"]["value"].as_str().unwrap())
        .collect();
    assert!(
        told.contains("3 layers") && told.contains("unpacked layer"),
        "{told}"
    );
    let uuid = done.result.clone().unwrap();
    let status = local.status(&operation).await;
    assert_eq!(status["kind"], "image_import");
    assert_eq!(
        status["result"],
        json!({"image": uuid, "tag": "team/app:1"})
    );
    assert_eq!(status["metadata"]["registry"]["url"], registry.url("many"));
    assert!(status["image_size"].as_u64().unwrap() > 100_000, "{status}");
    let shown = local.get(&format!("/images?uuid={uuid}")).await.json;
    assert_eq!(shown["images"][0]["tag"], "team/app:1");
    assert_eq!(shown["images"][0]["operation_uuid"], operation);
    // The run uses the image's program, environment and files. Deleted files are missing.
    let fields = json!({"image": "tag:team/app:1", "shell": false, "disposable": false, "env": {"GREETING": "good day"}});
    let ran = local.run("/bin/hello", fields).await;
    assert_eq!(
        (ran.stdout.as_str(), ran.exit_code, ran.error.as_str()),
        ("good day from above\n", 0, "")
    );
    let result = ran.result.unwrap();
    let names = local
        .get(&format!("/inspect/{result}/list?path=/"))
        .await
        .text;
    assert!(names.contains("written"), "{names}");
    let names = local
        .get(&format!("/inspect/{uuid}/list?path=/etc"))
        .await
        .json;
    assert_eq!(names["files"].as_array().unwrap().len(), 1, "{names}");
    // Again under another name: no layer is requested.
    registry.take_requests();
    let again = local
        .import(&format!("{}/team/app@{manifest}", registry.address))
        .await;
    assert_eq!(again.result, Some(uuid.clone()));
    let config = digest(&image.config);
    assert!(
        registry
            .take_requests()
            .iter()
            .all(|(blob, _)| *blob == config)
    );
    // Another image on the same layer: only its own layer is requested.
    let other = Image::new(
        &[
            (base_layer(), Packing::Gzips),
            (Layer::new().file("x", "x").bytes(), Packing::Gzip),
        ],
        &[],
    );
    registry.push("two", &other);
    let two = local.import(&registry.url("two")).await;
    assert_ne!(two.result, Some(uuid));
    let requested: BTreeSet<String> = registry
        .take_requests()
        .into_iter()
        .map(|(blob, _)| blob)
        .collect();
    assert_eq!(
        requested,
        BTreeSet::from([digest(&other.config), other.blob(1)])
    );
}

#[tokio::test]
async fn private_registries_need_a_login_which_stays_secret() {
    let local = TestEngine::new().await;
    for access in [Authentication::Basic, Authentication::Bearer] {
        let registry = Registry::start(access).await;
        registry.push("one", &greeting_image());
        let url = registry.url("one");
        let anonymous = local.import(&url).await;
        assert!(
            anonymous.error.contains("requires credentials"),
            "{}",
            anonymous.error
        );
        let with = async |password: &str| {
            let credentials = json!({"username": USER, "password": password});
            let operation = local
                .begin(json!({"registry": {"url": url, "credentials": credentials}}))
                .await;
            (local.done(&operation).await, local.status(&operation).await)
        };
        let (wrong, _) = with("hunter2").await;
        assert!(
            wrong.status == "FAILED" && wrong.error.contains("did not accept"),
            "{}",
            wrong.error
        );
        let (right, status) = with(PASSWORD).await;
        assert_eq!(
            (right.status.as_str(), right.error.as_str()),
            ("SUCCESS", "")
        );
        assert_eq!(
            status["metadata"]["registry"]["credentials"],
            json!({"username": "***", "password": "***"})
        );
    }
    // Neither the records nor the logs contain the secrets.
    let data = local.engine.data.path();
    let mut files: Vec<PathBuf> = std::fs::read_dir(data.join("events"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.extend(["store.db", "store.db-wal"].map(|name| data.join(name)));
    for path in files {
        let bytes = std::fs::read(&path).unwrap_or_default();
        for secret in [PASSWORD, "hunter2", USER, "the-token"] {
            let found = bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} in {}", path.display());
        }
    }
}

/// A registry may redirect downloads of layers to another server.
#[tokio::test]
async fn a_server_to_which_a_registry_redirects_gets_no_password() {
    use axum::http::{HeaderMap, StatusCode, Uri};
    use std::sync::{Arc, Mutex};
    let seen: Arc<Mutex<Vec<(String, bool)>>> = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requested = seen.clone();
    let answer = async move |uri: Uri, headers: HeaderMap| {
        let has_password = headers.contains_key("authorization");
        requested
            .lock()
            .unwrap()
            .push((uri.path().to_owned(), has_password));
        let challenge = format!(r#"Bearer realm="http://127.0.0.1:{port}/token",service="x""#);
        (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)])
    };
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let local = TestEngine::new().await;
    let registry = Registry::start(Authentication::Open).await;
    let image = greeting_image();
    registry.push("one", &image);
    registry.fault(&image.blob(0), Fault::RedirectToPort(port));
    // The registry itself needs no login, so the first 401 comes from the other server.
    let credentials = json!({"username": USER, "password": PASSWORD});
    let url = registry.url("one");
    let operation = local
        .begin(json!({"registry": {"url": url, "credentials": credentials}}))
        .await;
    let done = local.done(&operation).await;
    assert_eq!(done.status, "FAILED", "{done:?}");
    let seen = seen.lock().unwrap().clone();
    assert!(!seen.is_empty());
    for (path, has_password) in seen {
        assert_eq!((path.as_str(), has_password), ("/elsewhere", false));
    }
}

#[tokio::test]
async fn broken_downloads_are_resumed_and_wrong_ones_leave_nothing() {
    let local = TestEngine::new().await;
    let registry = Registry::start(Authentication::Open).await;
    let noise: Vec<u8> = (0..300_000_u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let image = Image::new(
        &[(Layer::new().file("noise", noise).bytes(), Packing::Plain)],
        &[],
    );
    registry.push("one", &image);
    registry.fault(&image.blob(0), Fault::Wrong);
    let before = local.files_in_data_directory();
    let wrong = local.import(&registry.url("one")).await;
    assert_eq!(wrong.status, "FAILED");
    assert!(
        wrong
            .error
            .contains("does not match the digest of the layer"),
        "{}",
        wrong.error
    );
    local.wait_until_cleaned_up(&before).await;
    registry.take_requests();
    registry.fault(&image.blob(0), Fault::Break(500_000, 2));
    let done = local.import(&registry.url("one")).await;
    assert_eq!((done.status.as_str(), done.error.as_str()), ("SUCCESS", ""));
    let requested: Vec<u64> = registry
        .take_requests()
        .into_iter()
        .filter(|(blob, _)| *blob == image.blob(0))
        .map(|(_, from)| from)
        .collect();
    assert_eq!(requested, [0, 500_000, 1_000_000]);
    // A layer whose digest differs from the one in the configuration.
    let mut lying = greeting_image();
    let config = String::from_utf8(lying.config)
        .unwrap()
        .replace(&digest(&base_layer()), &digest(b"other"));
    lying.config = config.into_bytes();
    lying.manifest["config"]["digest"] = json!(digest(&lying.config));
    registry.push("lying", &lying);
    registry.fault(&lying.blob(0), Fault::Fail(1));
    let before = local.files_in_data_directory();
    let lied = local.import(&registry.url("lying")).await;
    assert!(
        lied.error.contains("configuration states"),
        "{}",
        lied.error
    );
    let missing = local.import(&registry.url("none")).await;
    assert!(
        missing.error.contains("manifest unknown"),
        "{}",
        missing.error
    );
    let unreachable = local.import("docker://127.0.0.1:1/x").await;
    assert!(
        unreachable.error.contains("cannot reach 127.0.0.1:1"),
        "{}",
        unreachable.error
    );
    local.wait_until_cleaned_up(&before).await;
}

#[tokio::test]
async fn cancelled_and_slow_imports_leave_nothing_and_others_wait() {
    let local = TestEngine::with_settings(|config| config.max_imports = 1).await;
    let registry = Registry::start(Authentication::Open).await;
    let image = greeting_image();
    registry.push("one", &image);
    registry.fault(&image.blob(1), Fault::Hang);
    let before = local.files_in_data_directory();
    let slow = local
        .begin(json!({"registry": {"url": registry.url("one")}}))
        .await;
    let unpacked = async || {
        while !local
            .events(&slow, "", None)
            .await
            .iter()
            .any(|event| event.to_string().contains("unpacked layer"))
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    unpacked().await;
    let waiting = local
        .begin(json!({"registry": {"url": registry.url("one")}, "timeout": 1}))
        .await;
    assert_eq!(local.status(&slow).await["status"], "EXECUTING");
    assert_eq!(local.status(&waiting).await["status"], "PENDING");
    assert_eq!(
        local.delete(&format!("/operations/{slow}")).await.status,
        202
    );
    let done = local.done(&slow).await;
    assert_eq!((done.status.as_str(), done.result), ("CANCELLED", None));
    // The waiting import starts now, and its time-out is short.
    let late = local.done(&waiting).await;
    assert!(
        late.status == "FAILED" && late.error.contains("`timeout` of 1 s"),
        "{}",
        late.error
    );
    local.wait_until_cleaned_up(&before).await;
    let listed = local.get("/images").await.json;
    assert_eq!(listed["images"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn layers_that_an_import_uses_are_not_pruned() {
    let local = TestEngine::new().await;
    local.host().await;
    let registry = Registry::start(Authentication::Open).await;
    let image = |name: &str| {
        let upper = Layer::new().file("name", name).bytes();
        Image::new(
            &[(base_layer(), Packing::Gzips), (upper, Packing::Gzip)],
            &[],
        )
    };
    let (one, two) = (image("one"), image("two"));
    registry.push("one", &one);
    registry.push("two", &two);
    let first = local.import(&registry.url("one")).await.result.unwrap();
    registry.fault(&two.blob(1), Fault::Wait);
    registry.take_requests();
    let operation = local
        .begin(json!({"registry": {"url": registry.url("two")}}))
        .await;
    // By now the import has decided which layers it does not download.
    while !registry
        .take_requests()
        .iter()
        .any(|(blob, _)| *blob == two.blob(1))
    {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut options = contree_engine::PruneOptions::new(0);
    options.min_age = std::time::Duration::ZERO;
    let config = LocalConfig::new(local.engine.data.path());
    let pruned = contree_engine::prune(&config, options).unwrap();
    let pruned: Vec<String> = pruned.images.iter().map(ToString::to_string).collect();
    assert_eq!(pruned, [first]);
    registry.remove_faults();
    let done = local.done(&operation).await;
    assert_eq!((done.status.as_str(), done.error.as_str()), ("SUCCESS", ""));
    let ran = local
        .run("/bin/greet", json!({"image": done.result, "shell": false}))
        .await;
    assert_eq!((ran.exit_code, ran.error.as_str()), (0, ""));
    // Only the new image and this machine's image are left, and no record of the earlier image.
    let records = rusqlite::Connection::open(local.engine.data.path().join("store.db")).unwrap();
    let count = |what: &str| -> u32 {
        let query = format!("SELECT count(*) FROM layers WHERE {what}");
        records.query_row(&query, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("ready = 1"), count("ready = 0")), (3, 0));
    let again = local.import(&registry.url("two")).await;
    assert_eq!((again.result, count("1")), (done.result, 3));
}

#[tokio::test]
async fn two_imports_of_one_image_make_one() {
    let local = TestEngine::new().await;
    let other = local.other_engine().await;
    let registry = Registry::start(Authentication::Open).await;
    registry.push("one", &greeting_image());
    let body = json!({"registry": {"url": registry.url("one")}});
    let import = async || {
        let operation = local.begin(body.clone()).await;
        local.done(&operation).await.result
    };
    let elsewhere = async || {
        let operation = other.begin(body.clone()).await;
        other.done(&operation).await.result
    };
    let (one, two, three) = tokio::join!(import(), import(), elsewhere());
    assert!(
        one.is_some() && one == two && two == three,
        "{one:?} {two:?} {three:?}"
    );
    // Imports do not make `tag:host`, so all layers are the image's. Those of the slower import are
    // removed.
    let layers = local.engine.data.path().join("layers");
    let started = std::time::Instant::now();
    while std::fs::read_dir(&layers).unwrap().count() != 3 {
        assert!(started.elapsed().as_secs() < 60);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_entries_of_all_layers_count_together() {
    let local = TestEngine::with_settings(|config| config.import_entries = 500).await;
    let registry = Registry::start(Authentication::Open).await;
    let layer = |from: usize, to: usize| {
        let files = (from..to).fold(Layer::new(), |layer, n| layer.file(&n.to_string(), ""));
        (files.bytes(), Packing::Gzip)
    };
    registry.push("fits", &Image::new(&[layer(0, 300), layer(300, 500)], &[]));
    let done = local.import(&registry.url("fits")).await;
    assert_eq!(done.status, "SUCCESS", "{}", done.error);
    registry.push("many", &Image::new(&[layer(1, 301), layer(301, 502)], &[]));
    let done = local.import(&registry.url("many")).await;
    assert_eq!(done.status, "FAILED");
    assert!(
        done.error.contains("more than 200 members"),
        "{}",
        done.error
    );
    // Directories that only the paths of members name are made too.
    let deep = (0..30).fold(Layer::new(), |layer, n| {
        layer.file(&format!("{n}/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/file"), "")
    });
    registry.push("deep", &Image::new(&[(deep.bytes(), Packing::Gzip)], &[]));
    let done = local.import(&registry.url("deep")).await;
    assert_eq!(done.status, "FAILED");
    assert!(
        done.error.contains("more than 500 members"),
        "{}",
        done.error
    );
}

#[tokio::test]
async fn malicious_layers_fail_and_leave_nothing() {
    let local = TestEngine::with_settings(|config| {
        config.import_entries = 500;
        config.import_bytes = 10 << 20;
    })
    .await;
    let registry = Registry::start(Authentication::Open).await;
    let before = local.files_in_data_directory();
    let many = (0..501).fold(Layer::new(), |layer, n| layer.file(&n.to_string(), ""));
    let mut huge = Layer::new().file("huge", "").bytes();
    huge[124..136].copy_from_slice(b"77777777777\0");
    huge[148..156].copy_from_slice(b"        ");
    let sum: u32 = huge[..512].iter().map(|byte| u32::from(*byte)).sum();
    huge[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let link = |to| {
        Layer::new()
            .add("link", EntryType::Symlink, to, b"")
            .file("link/escaped", "x")
            .bytes()
    };
    for (name, layer, word) in [
        ("up", Layer::new().file("../escaped", "x").bytes(), ".."),
        ("link", link("/tmp"), "symbolic link"),
        ("relative", link("../../../../../../tmp"), "symbolic link"),
        (
            "hard",
            Layer::new()
                .add("x", EntryType::Link, "../../../etc/passwd", b"")
                .bytes(),
            "out of the image",
        ),
        ("many", many.bytes(), "more than 500 members"),
        ("huge", huge, "bound on its size"),
        (
            "big",
            Layer::new().file("zeros", vec![0; 11 << 20]).bytes(),
            "bound on its size",
        ),
        ("none", b"this is no archive".repeat(100), "no valid header"),
    ] {
        registry.push(name, &Image::new(&[(layer, Packing::Gzip)], &[]));
        let done = local.import(&registry.url(name)).await;
        assert_eq!(done.status, "FAILED", "{name}");
        assert!(
            done.error.contains(word) && done.result.is_none(),
            "{name}: {}",
            done.error
        );
    }
    let mut boasting = Image::new(
        &[
            (base_layer(), Packing::Gzip),
            (base_layer(), Packing::Plain),
        ],
        &[],
    );
    for layer in [0, 1] {
        boasting.manifest["layers"][layer]["size"] = json!(u64::MAX);
    }
    registry.push("boasting", &boasting);
    let done = local.import(&registry.url("boasting")).await;
    assert!(
        done.error.contains("size limit of an image"),
        "{}",
        done.error
    );
    // Truncated within the compressed data.
    let mut cut = gzip(&Layer::new().file("a", "b".repeat(5000)).bytes());
    cut.truncate(cut.len() - 10);
    let image = Image::new(&[(cut, Packing::Plain)], &[]);
    registry.push("cut", &image);
    let done = local.import(&registry.url("cut")).await;
    assert!(done.error.contains("too early"), "{}", done.error);
    // Other bytes than zeros follow the compressed data.
    let garbage = [gzip(&base_layer()), b"garbage".to_vec()].concat();
    registry.push("garbage", &Image::new(&[(garbage, Packing::Plain)], &[]));
    let done = local.import(&registry.url("garbage")).await;
    assert!(done.error.contains("follow the end"), "{}", done.error);
    assert!(!Path::new("/tmp/escaped").exists());
    local.wait_until_cleaned_up(&before).await;
}

#[tokio::test]
async fn images_are_imported_from_local_files() {
    let local = TestEngine::new().await;
    let image = greeting_image();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    // An OCI layout.
    let blobs = folder.path().join("layout/blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let manifest = image.manifest.to_string().into_bytes();
    for bytes in image.blobs.iter().chain([&image.config, &manifest]) {
        std::fs::write(blobs.join(&digest(bytes)[7..]), bytes).unwrap();
    }
    let entry = |name: &str, digest: &str| json!({"digest": digest, "size": 1, "annotations": {"org.opencontainers.image.ref.name": name}});
    let index = json!({"schemaVersion": 2, "manifests": [entry("1.0", &digest(&manifest)), entry("2.0", &digest(b"none"))]});
    std::fs::write(folder.path().join("layout/index.json"), index.to_string()).unwrap();
    let layout = local
        .import(&format!("oci-layout:{}:1.0", at("layout")))
        .await;
    assert_eq!(
        (layout.status.as_str(), layout.error.as_str()),
        ("SUCCESS", "")
    );
    let which = local.import(&format!("oci-layout:{}", at("layout"))).await;
    assert!(which.error.contains("1.0, 2.0"), "{}", which.error);
    // An archive of `docker save`, compressed or not, is the same image.
    let saved = json!([{"Config": "config.json", "RepoTags": ["team/app:1"], "Layers": ["0/layer.tar", "1/layer.tar", "2/layer.tar"]}]);
    let mut archive = Layer::new()
        .file("manifest.json", saved.to_string())
        .file("config.json", &image.config);
    for (number, layer) in image.diffs.iter().enumerate() {
        archive = match number {
            1 => archive
                .add("1/layer.tar", EntryType::Symlink, "../other/layer.tar", b"")
                .file("other/layer.tar", layer),
            _ => archive.file(&format!("{number}/layer.tar"), layer),
        };
    }
    let archive = archive.bytes();
    std::fs::write(at("saved.tar"), &archive).unwrap();
    std::fs::write(at("saved.tar.gz"), gzip(&archive)).unwrap();
    for url in [
        format!("docker-archive:{}:team/app:1", at("saved.tar")),
        format!("docker-archive:{}", at("saved.tar.gz")),
    ] {
        let done = local.import(&url).await;
        assert_eq!(
            (done.error.as_str(), &done.result),
            ("", &layout.result),
            "{url}"
        );
    }
    // A plain archive of files.
    std::fs::write(at("files.tar.zst"), zstd(&base_layer())).unwrap();
    let files = local
        .import(&format!("rootfs:{}", at("files.tar.zst")))
        .await;
    let fields = json!({"image": files.result, "shell": false});
    let ran = local.run("/bin/greet", fields).await;
    assert_eq!(
        (ran.stdout.as_str(), ran.error.as_str()),
        ("- from below\n", "")
    );
    let again = local
        .import(&format!("rootfs:{}", at("files.tar.zst")))
        .await;
    assert_eq!(again.result, files.result);
    for (url, word) in [
        (format!("rootfs:{}", at("missing")), "No such file"),
        (format!("rootfs:{}", at("layout")), "not a regular file"),
        ("rootfs:/dev/zero".to_owned(), "not a regular file"),
        (
            format!("docker-archive:{}", at("files.tar.zst")),
            "manifest.json",
        ),
        (format!("oci-layout:{}", at("missing")), "not an OCI layout"),
    ] {
        let done = local.import(&url).await;
        assert!(
            done.status == "FAILED" && done.error.contains(word),
            "{}",
            done.error
        );
    }
}

#[tokio::test]
async fn invalid_imports_are_refused_at_once() {
    let local = TestEngine::with_settings(|config| config.local_imports = false).await;
    for (body, status, word) in [
        (
            json!({"registry": {"url": "docker://UPPER"}}),
            400,
            "lower-case",
        ),
        (
            json!({"registry": {"url": "docker://u:hunter2@ghcr.io/a"}}),
            400,
            "credentials",
        ),
        (json!({"registry": {"url": "ftp://x"}}), 400, "docker://"),
        (json!({"registry": {}}), 400, "url"),
        (json!({}), 400, "registry"),
        (
            json!({"registry": {"url": "alpine"}, "tag": "no tag"}),
            400,
            "tag",
        ),
        (
            json!({"registry": {"url": "alpine"}, "timeout": -1}),
            400,
            "-1",
        ),
        (
            json!({"registry": {"url": "rootfs:/etc/passwd"}}),
            403,
            "its own machine",
        ),
    ] {
        let answer = local.post("/images/import", &body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(
            answer.text.contains(word) && !answer.text.contains("hunter2"),
            "{answer:?}"
        );
    }
    assert_eq!(local.get("/operations").await.json, json!([]));
}

/// Not a test by itself: the process that [`a_killed_import_leaves_nothing`] kills.
#[tokio::test]
async fn driver() {
    let (Some(data), Ok(url)) = (
        std::env::var_os("CONTREE_TEST_DRIVER"),
        std::env::var("CONTREE_TEST_IMPORT"),
    ) else {
        return;
    };
    let engine = OtherEngine::on(data.as_ref()).await;
    let operation = engine.begin(json!({"registry": {"url": url}})).await;
    engine.done(&operation).await;
}

#[tokio::test]
async fn a_killed_import_leaves_nothing() {
    let registry = Registry::start(Authentication::Open).await;
    let image = greeting_image();
    registry.push("one", &image);
    registry.fault(&image.blob(1), Fault::Hang);
    let data = data_dir();
    let mut driver = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "import::driver"])
        .env("CONTREE_TEST_DRIVER", data.path())
        .env("CONTREE_TEST_IMPORT", registry.url("one"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The first layer is unpacked, and the second is being downloaded.
    while !data
        .path()
        .join("layers")
        .read_dir()
        .is_ok_and(|mut layers| layers.next().is_some())
    {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    driver.kill().unwrap();
    driver.wait().unwrap();
    let engine = OtherEngine::on(data.path()).await;
    while !files_in_data_directory(data.path()).is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let operations = engine.get("/operations").await.json;
    assert_eq!(operations[0]["status"], "FAILED");
    registry.remove_faults();
    let operation = engine
        .begin(json!({"registry": {"url": registry.url("one")}}))
        .await;
    let done = engine.done(&operation).await;
    assert_eq!((done.status.as_str(), done.error.as_str()), ("SUCCESS", ""));
}
