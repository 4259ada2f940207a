//! Tests of pushing images: to a registry, to layouts and to archives, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tar::EntryType;

use crate::push_registry::PushRegistry;
use crate::registry::{
    Authentication, Image, Layer, PASSWORD, Packing, Registry, USER, digest, program,
};
use crate::support::{FinishedOperation, TestEngine};

/// The result of a push that succeeds.
#[derive(Debug, PartialEq)]
pub(crate) struct PushSummary {
    pub(crate) digest: String,
    sent: u64,
    present: u64,
    bytes: u64,
}

impl TestEngine {
    pub(crate) async fn begin_push(&self, image: &str, url: &str, fields: Value) -> String {
        let mut body = json!({"registry": {"url": url}});
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        let answer = self.post(&format!("/x/images/{image}/push"), &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let uuid = answer.json["uuid"].as_str().unwrap().to_owned();
        assert_eq!(answer.location.unwrap(), format!("/v1/operations/{uuid}"));
        uuid
    }

    pub(crate) async fn push_with(&self, image: &str, url: &str, fields: Value) -> PushSummary {
        let operation = self.begin_push(image, url, fields).await;
        let done = self.done(&operation).await;
        assert_eq!((done.status.as_str(), done.error.as_str()), ("SUCCESS", ""));
        let record = self.get(&format!("/operations/{operation}")).await.json;
        assert_eq!(record["kind"], "image_push", "{record}");
        let result = &record["x-push"];
        let number = |name: &str| result[name].as_u64().unwrap();
        PushSummary {
            digest: result["digest"].as_str().unwrap().to_owned(),
            sent: number("blobs_sent"),
            present: number("blobs_present"),
            bytes: number("bytes_sent"),
        }
    }

    pub(crate) async fn push(&self, image: &str, url: &str) -> PushSummary {
        self.push_with(image, url, json!({})).await
    }

    async fn failed_push(&self, image: &str, url: &str) -> String {
        let operation = self.begin_push(image, url, json!({})).await;
        let done = self.done(&operation).await;
        assert_eq!(done.status, "FAILED");
        done.error
    }

    pub(crate) async fn import_image(&self, url: &str) -> String {
        let body = json!({"registry": {"url": url}});
        let answer = self.post("/images/import", &body).await;
        let done = self.done(answer.json["uuid"].as_str().unwrap()).await;
        assert_eq!((done.status.as_str(), done.error.as_str()), ("SUCCESS", ""));
        done.result.unwrap()
    }

    /// The files of an image by path, as its archive describes them.
    pub(crate) async fn content(&self, image: &str) -> BTreeMap<String, String> {
        let path = format!("/inspect/{image}/archive?path=/");
        let response = self.fetch(http::Method::GET, &path, &[]).await;
        let bytes = response.bytes().await.unwrap();
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_ref()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let header = entry.header();
            let link = header.link_name_bytes().unwrap_or_default().into_owned();
            let what = format!(
                "{:?} {:o} {}:{} {} {}",
                header.entry_type(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.mtime().unwrap(),
                String::from_utf8_lossy(&link),
            );
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(name, format!("{what} {}", digest(&content)));
        }
        files
    }
}

fn base() -> Image {
    let lower = Layer::new()
        .add("bin/", EntryType::Directory, "", b"")
        .add("dev/", EntryType::Directory, "", b"")
        .add("etc/", EntryType::Directory, "", b"")
        .add("proc/", EntryType::Directory, "", b"")
        .add("sys/", EntryType::Directory, "", b"")
        .file("bin/greet", program())
        .file("etc/motd", "from below\n")
        .file("etc/gone", "")
        .bytes();
    let upper = Layer::new()
        .file("etc/motd", "from above\n")
        .file("etc/.wh.gone", "")
        .bytes();
    Image::new(
        &[(lower, Packing::Gzip), (upper, Packing::Zstd)],
        &["GREETING=hello", "PATH=/bin"],
    )
}

/// A layer of a few programs of this machine and their libraries. It is much smaller than
/// `tag:host`.
pub(crate) fn small_system() -> Vec<u8> {
    let mut paths = BTreeSet::new();
    for name in [
        "sh", "mkdir", "rm", "seq", "ln", "mkfifo", "chmod", "touch", "cat",
    ] {
        let program = ["/bin", "/usr/bin"].map(|directory| format!("{directory}/{name}"));
        let program = program.iter().find(|path| Path::new(path).exists());
        let program = program.unwrap_or_else(|| panic!("this machine has no {name}"));
        let libraries = Command::new("ldd").arg(program).output().unwrap();
        let libraries = String::from_utf8(libraries.stdout).unwrap();
        let libraries = libraries.split_whitespace();
        let libraries = libraries.filter(|word| word.starts_with('/'));
        paths.extend(libraries.map(str::to_owned));
        paths.insert(program.clone());
    }
    let directories: BTreeSet<&Path> = paths
        .iter()
        .flat_map(|path| Path::new(path).ancestors().skip(1))
        .chain(["/dev", "/etc", "/proc", "/srv", "/sys"].map(Path::new))
        .filter(|path| *path != Path::new("/"))
        .collect();
    let name = |path: &str| path.trim_start_matches('/').to_owned();
    let layer = directories.iter().fold(Layer::new(), |layer, path| {
        let name = name(&format!("{}/", path.display()));
        layer.add(&name, EntryType::Directory, "", b"")
    });
    let layer = paths.iter().fold(layer, |layer, path| {
        layer.file(&name(path), std::fs::read(path).unwrap())
    });
    layer.bytes()
}

/// An image with every kind of change.
pub(crate) async fn changed_image(local: &TestEngine) -> String {
    let source = Registry::start(Authentication::Open).await;
    let system = Image::new(&[(small_system(), Packing::Gzip)], &["PATH=/usr/bin:/bin"]);
    source.push("system", &system);
    let system = local.import_image(&source.url("system")).await;
    let first = local
        .run(
            "mkdir -p /srv/kept /srv/replaced/in /srv/gone; \
             echo one > /srv/kept/file; echo two > /srv/replaced/in/old; echo x > /srv/gone/x; \
             echo secret > /srv/removed; printf 'b%.0s' $(seq 1 3000) > /srv/large",
            json!({"image": system, "disposable": false}),
        )
        .await;
    let image = first.result.unwrap();
    let second = local
        .run(
            "cd /srv; rm removed; rm -r gone; rm -r replaced; mkdir replaced; echo new > replaced/new; \
             ln kept/file kept/hard; ln -s ../kept/file kept/soft; mkfifo pipe; mkdir empty; \
             chmod 2750 kept; chmod 4755 large; touch -d @1000000000 kept/file; \
             mkdir \"sp ace\"; echo u > \"sp ace/caf\u{e9}\"; touch 'a\nb'",
            json!({"image": image, "disposable": false, "preserve_env": true, "env": {"MADE": "here"}, "cwd": "/srv", "preserve_cwd": true}),
        )
        .await;
    assert_eq!(
        (second.exit_code, second.error.as_str()),
        (0, ""),
        "{}",
        second.stderr
    );
    second.result.unwrap()
}

#[tokio::test]
async fn an_image_goes_to_a_registry_and_back_and_only_new_blobs_travel() {
    let (here, there) = (TestEngine::new().await, TestEngine::new().await);
    let source = Registry::start(Authentication::Open).await;
    let registry = PushRegistry::start().await;
    let image = base();
    source.push("base", &image);
    let imported = here.import_image(&source.url("base")).await;
    // An image that never changed has the digest and the blobs that it had at its source.
    let first = here.push(&imported, &registry.url("team/base:1")).await;
    assert_eq!(first.digest, digest(image.manifest.to_string().as_bytes()));
    assert_eq!((first.sent, first.present), (3, 0));
    for layer in 0..2 {
        assert_eq!(
            registry.blob("team/base", &json!(image.blob(layer))),
            image.blobs[layer]
        );
    }
    let again = here.push(&imported, &registry.url("team/base:2")).await;
    assert_eq!((again.sent, again.present, again.bytes), (0, 3, 0));
    assert_eq!(again.digest, first.digest);
    // Only the layer that was made here is new.
    let run = here
        .run(
            "/bin/greet",
            json!({"image": imported, "shell": false, "disposable": false}),
        )
        .await;
    let made = run.result.unwrap();
    assert_ne!(made, imported);
    let pushed = here.push(&made, &registry.url("team/base:3")).await;
    assert_eq!((pushed.sent, pushed.present), (2, 2));
    // Another engine finds the same blobs and pushes the same image.
    let copy = there.import_image(&registry.url("team/base:3")).await;
    let returned = there.push(&copy, &registry.url("team/base:4")).await;
    assert_eq!((returned.sent, returned.present, returned.bytes), (0, 4, 0));
    assert_eq!(returned.digest, pushed.digest);
    // Another repository of the same registry mounts them.
    let mounted = there.push(&copy, &registry.url("team/other:1")).await;
    assert_eq!(
        (mounted.digest.as_str(), mounted.sent),
        (pushed.digest.as_str(), 1)
    );
    assert_eq!(registry.stored().mounted, 3);
    assert_eq!(here.content(&made).await, there.content(&copy).await);
    // The image that was pushed from here is here already.
    assert_eq!(here.import_image(&registry.url("team/base:4")).await, made);
    // A change made there shares the layers that are here.
    let run = there
        .run(
            "/bin/greet",
            json!({"image": copy, "shell": false, "disposable": false, "env": {"GREETING": "hi"}}),
        )
        .await;
    let further = run.result.unwrap();
    there.push(&further, &registry.url("team/base:5")).await;
    let downloads = registry.stored().downloads;
    let back = here.import_image(&registry.url("team/base:5")).await;
    // The configuration and the one new layer.
    let new = if further == copy { 0 } else { 2 };
    assert_eq!(registry.stored().downloads - downloads, new);
    assert_eq!(here.content(&back).await, there.content(&further).await);
}

#[tokio::test]
async fn credentials_of_one_registry_never_go_to_another() {
    let here = TestEngine::new().await;
    let source = Registry::start(Authentication::Basic).await;
    let registry = PushRegistry::start().await;
    source.push("base", &base());
    let credentials = json!({"username": USER, "password": PASSWORD});
    let body = json!({"registry": {"url": source.url("base"), "credentials": credentials}});
    let answer = here.post("/images/import", &body).await;
    let done = here.done(answer.json["uuid"].as_str().unwrap()).await;
    assert_eq!((done.status.as_str(), done.error.as_str()), ("SUCCESS", ""));
    assert!(!source.take_requests().is_empty());
    // The source would accept them, but here they are those of the other registry.
    let url = registry.url("team/base:1");
    let fields = json!({"registry": {"url": url, "credentials": credentials}});
    here.push_with(&done.result.unwrap(), &url, fields).await;
    assert!(source.take_requests().is_empty());
}

#[tokio::test]
async fn every_kind_of_change_survives_a_push_and_an_import() {
    let (here, there) = (TestEngine::new().await, TestEngine::new().await);
    let registry = PushRegistry::start().await;
    let image = changed_image(&here).await;
    let wanted = here.content(&image).await;
    assert!(
        wanted.keys().any(|name| name.contains("sp ace")),
        "{wanted:?}"
    );
    for (tag, fields) in [
        ("plain", json!({})),
        ("zstd", json!({"compression": "zstd"})),
        ("squashed", json!({"squash": true})),
    ] {
        let url = registry.url(&format!("made:{tag}"));
        let pushed = here.push_with(&image, &url, fields.clone()).await;
        assert_eq!(
            here.push_with(&image, &url, fields.clone()).await.digest,
            pushed.digest
        );
        let copy = there.import_image(&url).await;
        let found = there.content(&copy).await;
        for (name, what) in &wanted {
            assert_eq!(found.get(name), Some(what), "{tag}: {name}");
        }
        assert_eq!(found.len(), wanted.len(), "{tag}");
        let ran = there
            .run(
                "pwd; echo $MADE; cat /srv/kept/hard",
                json!({"image": copy, "disposable": true}),
            )
            .await;
        assert_eq!(ran.stdout, "/srv\nhere\none\n", "{}", ran.stderr);
        let (manifest, _) = registry.manifest("made", tag);
        let layers = manifest["layers"].as_array().unwrap().len();
        assert_eq!(layers, if tag == "squashed" { 1 } else { 3 });
        assert_eq!(manifest["annotations"]["dev.contree.image"], image);
        let config = registry.blob("made", &manifest["config"]["digest"]);
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["config"]["WorkingDir"], "/srv");
        assert_eq!(config["history"].as_array().unwrap().len(), layers);
        // A tag is a part of the manifest, and of nothing else.
        let body = json!({"tag": format!("after-{tag}")});
        here.patch(&format!("/images/{image}/tag"), &body).await;
        let tagged = here.push_with(&image, &url, fields).await;
        assert_ne!(tagged.digest, pushed.digest);
        assert_eq!((tagged.sent, tagged.bytes), (0, 0), "{tagged:?}");
        let (retagged, _) = registry.manifest("made", tag);
        assert_eq!(retagged["layers"], manifest["layers"]);
        assert_eq!(retagged["config"], manifest["config"]);
        assert_eq!(
            retagged["annotations"]["dev.contree.tag"],
            format!("after-{tag}")
        );
        let by = config["history"][layers - 1]["created_by"]
            .as_str()
            .unwrap();
        assert!(by.contains("mkfifo"), "{by}");
    }
}

#[tokio::test]
async fn a_layer_has_the_marks_of_oci() {
    let here = TestEngine::new().await;
    let registry = PushRegistry::start().await;
    let image = changed_image(&here).await;
    here.push(&image, &registry.url("made:1")).await;
    let (manifest, _) = registry.manifest("made", "1");
    let names = |layer: usize| {
        let blob = registry.blob("made", &manifest["layers"][layer]["digest"]);
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(blob.as_ref())
            .read_to_end(&mut bytes)
            .unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                assert_eq!(entry.header().username_bytes(), Some(&b""[..]));
                entry.path().unwrap().to_string_lossy().into_owned()
            })
            .collect::<Vec<_>>()
    };
    let top = names(2);
    for name in [
        "srv/.wh.removed",
        "srv/.wh.gone",
        "srv/replaced/.wh..wh..opq",
        "srv/replaced/new",
        "srv/kept/hard",
    ] {
        assert!(top.iter().any(|found| found == name), "{name}: {top:?}");
    }
    let mut sorted: Vec<&String> = top
        .iter()
        .filter(|name| name.starts_with("srv/kept/"))
        .collect();
    sorted.sort();
    let kept: Vec<&String> = top
        .iter()
        .filter(|name| name.starts_with("srv/kept/"))
        .collect();
    assert_eq!(kept, sorted);
    // A layer that removes nothing has no marks.
    assert!(
        !names(1).iter().any(|name| name.contains(".wh.")),
        "{:?}",
        names(1)
    );
}

#[tokio::test]
async fn an_upload_that_breaks_off_continues_and_a_repeat_sends_only_the_rest() {
    let here = TestEngine::new().await;
    let registry = PushRegistry::start().await;
    let source = Registry::start(Authentication::Open).await;
    // Random bytes, which no compression makes small.
    let mut noise = vec![0; 3_000_000];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut noise).unwrap();
    let layer = Layer::new().file("noise", &noise).bytes();
    source.push("big", &Image::new(&[(layer, Packing::Gzip)], &[]));
    let image = here.import_image(&source.url("big")).await;
    registry.stored().cuts = vec![1_000_000, 1_000_000];
    let pushed = here.push(&image, &registry.url("big:1")).await;
    assert_eq!(registry.stored().broken, 2);
    // Nothing was sent twice.
    let received = registry.stored().received as u64;
    assert!(received < pushed.bytes + 500_000, "{received} {pushed:?}");
    // A registry that stays broken fails the push, and leaves no image.
    let fresh = PushRegistry::start().await;
    fresh.stored().is_broken = true;
    let error = here.failed_push(&image, &fresh.url("big:1")).await;
    assert!(
        error.contains("502") && error.contains("push again"),
        "{error}"
    );
    assert!(fresh.stored().manifests.is_empty());
    fresh.stored().is_broken = false;
    assert_eq!(
        here.push(&image, &fresh.url("big:1")).await.digest,
        pushed.digest
    );
}

#[tokio::test]
async fn a_cancelled_push_ends_at_once_and_leaves_no_image() {
    let here = TestEngine::new().await;
    let registry = PushRegistry::start().await;
    registry.stored().waits = true;
    let image = changed_image(&here).await;
    let operation = here
        .begin_push(&image, &registry.url("made:1"), json!({}))
        .await;
    while !registry.stored().is_waiting {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // The image cannot be deleted meanwhile.
    assert_eq!(
        here.delete(&format!("/x/images/{image}?force"))
            .await
            .status,
        409
    );
    assert_eq!(
        here.delete(&format!("/operations/{operation}"))
            .await
            .status,
        202
    );
    let done: FinishedOperation = here.done(&operation).await;
    assert_eq!(done.status, "CANCELLED");
    registry.stored().waits = false;
    assert!(registry.stored().manifests.is_empty());
    here.push(&image, &registry.url("made:1")).await;
}

pub(crate) fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_image_goes_to_a_layout_and_to_an_archive_and_back() {
    let (here, there) = (TestEngine::new().await, TestEngine::new().await);
    let folder = tempfile::tempdir().unwrap();
    let image = changed_image(&here).await;
    let wanted = here.content(&image).await;
    let layout = folder.path().join("layout");
    let url = format!("oci-layout:{}:app:1", layout.display());
    let pushed = here.push(&image, &url).await;
    assert_eq!((pushed.sent, pushed.present), (4, 0));
    assert_eq!(files(&layout), ["blobs", "index.json", "oci-layout"]);
    let again = here.push(&image, &url).await;
    assert_eq!((again.sent, again.present, again.bytes), (0, 4, 0));
    assert_eq!(again.digest, pushed.digest);
    let copy = there.import_image(&url).await;
    assert_eq!(there.content(&copy).await, wanted);
    // From the layout, the blobs go on as they are.
    let registry = PushRegistry::start().await;
    let onward = there.push(&copy, &registry.url("made:1")).await;
    assert_eq!((onward.digest, onward.sent), (pushed.digest.clone(), 4));
    // Without the layout, the layers are packed anew.
    std::fs::remove_dir_all(&layout).unwrap();
    let fresh = PushRegistry::start().await;
    let anew = there.push(&copy, &fresh.url("made:1")).await;
    assert_eq!(anew.sent, 4);
    let third = TestEngine::new().await;
    let packed = third.import_image(&fresh.url("made:1")).await;
    assert_eq!(third.content(&packed).await, wanted);

    let archive = folder.path().join("image.tar");
    let url = format!("docker-archive:{}:app:1", archive.display());
    here.push(&image, &url).await;
    assert_eq!(files(folder.path()), ["image.tar"]);
    let copy = third
        .import_image(&format!("docker-archive:{}", archive.display()))
        .await;
    assert_eq!(third.content(&copy).await, wanted);
    let before = std::fs::read(&archive).unwrap();
    // The same image again finds its archive, as after a push that was killed at its end.
    here.push(&image, &url).await;
    let error = here.failed_push(&here.host().await, &url).await;
    assert!(error.contains("exists; remove it"), "{error}");
    assert_eq!(std::fs::read(&archive).unwrap(), before);
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let here = TestEngine::shared().await;
    let host = here.host().await;
    for (body, word) in [
        (json!({"registry": {"url": ""}}), "`registry.url`"),
        (json!({"registry": {"url": "rootfs:/a"}}), "oci-layout:DIR"),
        (json!({"registry": {"url": "oci-layout:a"}}), "absolute"),
        (
            json!({"registry": {"url": "u:hunter2@ghcr.io/a"}}),
            "credentials",
        ),
        (
            json!({"registry": {"url": "a"}, "compression": "xz"}),
            "gzip or zstd",
        ),
        (json!({"registry": {"url": "a"}, "timeout": 0}), "`timeout`"),
        (
            json!({"registry": {"url": "a", "credentials": {"username": "u"}}}),
            "both",
        ),
    ] {
        let answer = here.post(&format!("/x/images/{host}/push"), &body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(
            answer.text.contains(word) && !answer.text.contains("hunter2"),
            "{answer:?}"
        );
    }
    let missing = "/x/images/00000000-0000-4000-8000-000000000000/push";
    let body = json!({"registry": {"url": "a"}});
    assert_eq!(here.post(missing, &body).await.status, 404);
    let closed = TestEngine::with_settings(|config| config.local_imports = false).await;
    let path = format!("/x/images/{}/push", closed.host().await);
    let answer = closed
        .post(&path, &json!({"registry": {"url": "oci-layout:/tmp/x"}}))
        .await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(answer.text.contains("--allow-local-imports"), "{answer:?}");
}

#[tokio::test]
async fn a_registry_without_the_repository_or_the_rights_is_explained() {
    let here = TestEngine::shared().await;
    let host = here.host().await;
    let locked = Registry::start(Authentication::Basic).await;
    let error = here.failed_push(&host, &locked.url("1")).await;
    assert!(
        error.contains("requires credentials") && error.contains("may push"),
        "{error}"
    );
}
