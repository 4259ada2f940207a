//! Tests of layouts that pushes write.

use super::*;

#[tokio::test]
async fn an_index_keeps_other_images_and_replaces_one_of_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layout");
    for (content, name) in [("a", Some("one")), ("b", Some("two")), ("c", Some("one"))] {
        let layout = Layout::open(&path).await.unwrap();
        assert!(layout.store_bytes(content.as_bytes()).unwrap());
        assert!(!layout.store_bytes(content.as_bytes()).unwrap());
        layout
            .add_to_index(content.as_bytes(), "application/json", name)
            .unwrap();
    }
    let index: Value = serde_json::from_slice(&fs::read(path.join("index.json")).unwrap()).unwrap();
    let digests: Vec<&str> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap())
        .collect();
    assert_eq!(
        digests,
        [Digest::of(b"b").to_string(), Digest::of(b"c").to_string()]
    );
}

#[tokio::test]
async fn a_push_that_waits_for_one_that_fails_makes_the_layout_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layout");
    let failing = Layout::open(&path).await.unwrap();
    let waiting = Layout::open(&path);
    tokio::pin!(waiting);
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop(failing);
    assert!(!path.exists());
    let layout = waiting.await.unwrap();
    layout.store_bytes(b"a").unwrap();
    layout.add_to_index(b"a", "application/json", None).unwrap();
    drop(layout);
    assert!(path.join("index.json").exists());
}

#[tokio::test]
async fn a_directory_with_other_files_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes"), "mine").unwrap();
    let error = Layout::open(folder.path()).await.err().unwrap().to_string();
    assert!(error.contains("is not an OCI layout"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let broken = tempfile::tempdir().unwrap();
    fs::write(
        broken.path().join("oci-layout"),
        "{\"imageLayoutVersion\":\"1.0.0\"}",
    )
    .unwrap();
    fs::write(broken.path().join("index.json"), "{").unwrap();
    assert!(Layout::open(broken.path()).await.is_err());
    assert_eq!(fs::read(broken.path().join("index.json")).unwrap(), b"{");
}

#[tokio::test]
async fn a_directory_for_blobs_that_leads_elsewhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (layout, other) = (folder.path().join("layout"), folder.path().join("other"));
    fs::create_dir_all(layout.join("blobs")).unwrap();
    fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink(&other, layout.join("blobs/sha256")).unwrap();
    let error = Layout::open(&layout).await.err().unwrap().to_string();
    assert!(error.contains("symbolic link"), "{error}");
}

#[tokio::test]
async fn a_push_that_ends_early_leaves_the_directory_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let layout = Layout::open(&path).await.unwrap();
    assert!(layout.store_bytes(b"a blob").unwrap());
    drop(layout);
    assert!(!path.exists());

    let layout = Layout::open(&path).await.unwrap();
    layout.store_bytes(b"kept").unwrap();
    layout
        .add_to_index(b"kept", "application/json", Some("one"))
        .unwrap();
    drop(layout);
    let layout = Layout::open(&path).await.unwrap();
    assert!(!layout.store_bytes(b"kept").unwrap());
    assert!(layout.store_bytes(b"cut off").unwrap());
    drop(layout);
    let blobs = fs::read_dir(path.join("blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 1);
    assert!(path.join("index.json").exists());
}

#[tokio::test]
async fn unfinished_files_of_killed_pushes_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::open(folder.path()).await.unwrap();
    layout.add_to_index(b"a", "application/json", None).unwrap();
    drop(layout);
    let rest = folder.path().join("blobs/sha256/.contree-push-abc");
    fs::write(&rest, "half").unwrap();
    let layout = Layout::open(folder.path()).await.unwrap();
    assert!(!rest.exists());
    drop(layout);
}
