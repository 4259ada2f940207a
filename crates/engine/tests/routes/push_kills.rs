//! Pushes to layouts and archives of processes that are killed: files are whole, no image is half,
//! and a repeat finishes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::push::{files, small_system};
use crate::registry::{Authentication, Image, Packing, Registry, digest};
use crate::support::{OtherEngine, TestEngine};

/// The size of the content of each layer. It takes a while to pack.
const LAYER_BYTES: usize = 6 << 20;
/// The prefix of the names of unfinished files.
const UNFINISHED: &str = ".contree-push-";

/// Not a test by itself: the process that the tests kill. It pushes an image.
#[tokio::test]
async fn driver() {
    let variable = |name: &str| std::env::var(format!("CONTREE_TEST_PUSH_{name}"));
    let Ok(data) = variable("DATA") else {
        return;
    };
    let engine = OtherEngine::on(data.as_ref()).await;
    let path = format!("/x/images/{}/push", variable("IMAGE").unwrap());
    let body = json!({"registry": {"url": variable("URL").unwrap()}});
    let answer = engine.post(&path, &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let done = engine.done(answer.json["uuid"].as_str().unwrap()).await;
    assert_eq!((done.status.as_str(), done.error.as_str()), ("SUCCESS", ""));
}

/// Content that does not compress.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let words = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    });
    let bytes = words.flat_map(u32::to_ne_bytes);
    bytes.take(LAYER_BYTES).collect()
}

/// An image of four layers. All but the lowest were made here, so each push packs them.
async fn layered_image(local: &TestEngine) -> String {
    let source = Registry::start(Authentication::Open).await;
    let system = Image::new(&[(small_system(), Packing::Gzip)], &["PATH=/usr/bin:/bin"]);
    source.push("system", &system);
    let mut image = local.import_image(&source.url("system")).await;
    for layer in 0..3 {
        let file = local.upload(&noise(layer)).await;
        let path = format!("/srv/noise{layer}");
        let fields =
            json!({"image": image, "disposable": false, "files": {path: {"uuid": file["uuid"]}}});
        image = local.run("touch /srv/made", fields).await.result.unwrap();
    }
    image
}

fn push(data: &Path, image: &str, url: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "push_kills::driver", "--nocapture"])
        .env("CONTREE_TEST_PUSH_DATA", data)
        .env("CONTREE_TEST_PUSH_IMAGE", image)
        .env("CONTREE_TEST_PUSH_URL", url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills a process once something has happened, or waits for its end. Returns whether it was
/// killed.
fn kill_when(mut child: Child, happened: impl Fn(u32) -> bool) -> bool {
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return false;
        }
        if happened(child.id()) {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        std::thread::yield_now();
    }
}

/// Whether a process has an open file below a directory whose name the kernel reports so.
fn has_open(process: u32, is_wanted: impl Fn(&str) -> bool) -> bool {
    let open = fs::read_dir(format!("/proc/{process}/fd"));
    open.into_iter().flatten().flatten().any(|entry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        is_wanted(&target.to_string_lossy())
    })
}

/// The names of complete blobs, each of which has its content.
fn whole_blobs(layout: &Path) -> Vec<String> {
    let blobs = layout.join("blobs/sha256");
    let all = fs::read_dir(&blobs).into_iter().flatten().flatten();
    let names = all.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names: Vec<String> = names.filter(|name| !name.starts_with(UNFINISHED)).collect();
    for name in &names {
        let content = fs::read(blobs.join(name)).unwrap();
        assert_eq!(digest(&content), format!("sha256:{name}"));
    }
    names
}

/// The images that the index of a layout names. All their blobs are there.
fn indexed(layout: &Path) -> usize {
    let Ok(index) = fs::read(layout.join("index.json")) else {
        return 0;
    };
    let blob = |descriptor: &Value| {
        let name = descriptor["digest"].as_str().unwrap().replace(':', "/");
        fs::read(layout.join("blobs").join(name)).unwrap()
    };
    let index: Value = serde_json::from_slice(&index).unwrap();
    let images = index["manifests"].as_array().unwrap();
    for image in images {
        let manifest: Value = serde_json::from_slice(&blob(image)).unwrap();
        blob(&manifest["config"]);
        for layer in manifest["layers"].as_array().unwrap() {
            blob(layer);
        }
    }
    images.len()
}

#[tokio::test]
async fn a_killed_push_to_a_layout_leaves_whole_blobs_and_a_repeat_finishes() {
    let (here, there) = (TestEngine::new().await, TestEngine::new().await);
    let folder = tempfile::tempdir().unwrap();
    let image = layered_image(&here).await;
    let wanted = here.content(&image).await;
    let count = |layout: &Path| {
        let names = fs::read_dir(layout.join("blobs/sha256"));
        let names = names.into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with(UNFINISHED)).count()
    };
    let mut kills = 0;
    let mut digests = Vec::new();
    // Steps: the new directory, its marker, unfinished files, each blob, and the index.
    for step in 0..9 {
        let layout = folder.path().join(format!("layout{step}"));
        let url = format!("oci-layout:{}:app:1", layout.display());
        let has_unfinished = |directory: PathBuf| {
            let names = fs::read_dir(directory).into_iter().flatten().flatten();
            let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
            names.any(|name| name.starts_with(UNFINISHED))
        };
        let child = push(here.engine.data.path(), &image, &url);
        let watched = layout.clone();
        let killed = tokio::task::spawn_blocking(move || {
            kill_when(child, |_| match step {
                0 => watched.exists(),
                1 => watched.join("oci-layout").exists(),
                2 => has_unfinished(watched.join("blobs/sha256")),
                3..7 => count(&watched) >= step - 2,
                7 => has_unfinished(watched.clone()) && count(&watched) >= 4,
                _ => watched.join("index.json").exists(),
            })
        });
        kills += usize::from(killed.await.unwrap());
        let blobs = whole_blobs(&layout);
        let images = indexed(&layout);
        assert!(images == 0 || blobs.len() == 6, "{step}: {blobs:?}");
        let pushed = here.push(&image, &url).await;
        assert_eq!(indexed(&layout), 1, "{step}");
        assert_eq!(
            files(&layout),
            ["blobs", "index.json", "oci-layout"],
            "{step}"
        );
        let all = whole_blobs(&layout).len();
        assert_eq!(files(&layout.join("blobs/sha256")).len(), all, "{step}");
        digests.push(pushed.digest);
        let copy = there.import_image(&url).await;
        assert_eq!(there.content(&copy).await, wanted, "{step}");
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
    assert!(kills >= 6, "only {kills} pushes were killed in time");
}

#[tokio::test]
async fn a_killed_push_to_an_archive_leaves_nothing_or_all_and_a_repeat_finishes() {
    let (here, there) = (TestEngine::new().await, TestEngine::new().await);
    let folder = tempfile::tempdir().unwrap();
    let image = layered_image(&here).await;
    let wanted = here.content(&image).await;
    let mut kills = 0;
    // Steps: packing the layers, the unnamed archive at several sizes, and the named one.
    for step in 0..6_u64 {
        let directory = folder.path().join(format!("step{step}"));
        fs::create_dir(&directory).unwrap();
        let archive = directory.join("image.tar");
        let url = format!("docker-archive:{}:app:1", archive.display());
        let child = push(here.engine.data.path(), &image, &url);
        let (below, watched) = (format!("{}/", directory.display()), archive.clone());
        let scratch = here
            .engine
            .data
            .path()
            .join("scratch")
            .display()
            .to_string();
        let killed = tokio::task::spawn_blocking(move || {
            let unnamed = |process: u32, bytes: u64| {
                let open = fs::read_dir(format!("/proc/{process}/fd"));
                open.into_iter().flatten().flatten().any(|entry| {
                    let target = fs::read_link(entry.path()).unwrap_or_default();
                    let is_archive = target.to_string_lossy().starts_with(&below);
                    is_archive && fs::metadata(entry.path()).is_ok_and(|file| file.len() >= bytes)
                })
            };
            kill_when(child, |process| match step {
                0 => has_open(process, |path| path.starts_with(&scratch)),
                1..5 => unnamed(process, (step - 1) * LAYER_BYTES as u64),
                _ => watched.exists(),
            })
        });
        kills += usize::from(killed.await.unwrap());
        let left = files(&directory);
        assert!(left.is_empty() || left == ["image.tar"], "{step}: {left:?}");
        let import = format!("docker-archive:{}", archive.display());
        if !left.is_empty() {
            let copy = there.import_image(&import).await;
            assert_eq!(there.content(&copy).await, wanted, "{step}");
        }
        here.push(&image, &url).await;
        assert_eq!(files(&directory), ["image.tar"], "{step}");
        let copy = there.import_image(&import).await;
        assert_eq!(there.content(&copy).await, wanted, "{step}");
    }
    assert!(kills >= 3, "only {kills} pushes were killed in time");
}
