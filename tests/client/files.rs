//! Uploads: sent once and completely, and repeated after a failure.

use std::{fs, path::PathBuf};

use contree::{Error, types};
use serde_json::json;

use crate::support::*;

/// SHA-256 of "hello\n".
const HELLO: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
/// SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, content).unwrap();
    (directory, path)
}

fn record(sha256: &str, size: usize) -> serde_json::Value {
    json!({"uuid": IMAGE, "sha256": sha256, "size": size})
}

#[tokio::test]
async fn a_new_file_is_looked_up_and_sent_with_its_size() {
    for content in [&b"hello\n"[..], b""] {
        let sha256 = if content.is_empty() { EMPTY } else { HELLO };
        let stub = Stub::tcp(move |_, seen| match seen.method.as_str() {
            "GET" => refusal(404, "no such file"),
            _ => answer(201, record(sha256, seen.body.len())),
        })
        .await;
        let (_directory, path) = file(content);
        let sent: types::FileResponse = stub.client().upload_path(&path).await.unwrap();
        assert_eq!(
            (sent.uuid, sent.size),
            (IMAGE, i64::try_from(content.len()).unwrap())
        );
        let seen = stub.seen();
        assert_eq!(seen[0].target, format!("/v1/files/{sha256}"));
        assert_eq!(seen[1].body, content);
        assert_eq!(
            seen[1].header("content-length"),
            Some(content.len().to_string().as_str())
        );
        assert_eq!(
            seen[1].header("content-type"),
            Some("application/octet-stream")
        );
        assert_eq!(seen.len(), 2);
    }
}

#[tokio::test]
async fn content_that_the_backend_has_is_not_sent() {
    let stub = Stub::tcp(|_, _| {
        let mut record = record(HELLO, 6);
        record["created_at"] = json!("2026-01-01T00:00:00");
        record["updated_at"] = json!("yesterday");
        answer(200, record)
    })
    .await;
    let (_directory, path) = file(b"hello\n");
    assert_eq!(
        stub.client().upload_path(&path).await.unwrap().sha256,
        HELLO
    );
    let bytes = bytes::Bytes::from_static(b"hello\n");
    assert_eq!(stub.client().upload_bytes(bytes).await.unwrap().uuid, IMAGE);
    assert_eq!(stub.count(), 2);
}

#[tokio::test]
async fn a_failed_upload_is_sent_again_from_its_start() {
    let content: Vec<u8> = (0..3_000_000u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    let stub = Stub::tcp(|number, seen| match (seen.method.as_str(), number) {
        ("GET", _) => refusal(404, "no such file"),
        (_, 1) => with_retry_after(refusal(503, "busy"), "0"),
        (_, 3) => with_retry_after(refusal(429, "busy"), "0"),
        // The look-up request contains the hash.
        _ => answer(201, record("", seen.body.len())),
    })
    .await;
    let (_directory, path) = file(&content);
    let error = stub.client().upload_path(&path).await.unwrap_err();
    assert!(
        matches!(error, Error::Protocol(_)),
        "a wrong hash is not accepted: {error}"
    );
    let posts: Vec<_> = stub
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "POST")
        .collect();
    assert_eq!(posts.len(), 3);
    assert!(posts.iter().all(|post| post.body == content));
}

#[tokio::test]
async fn an_upload_whose_connection_drops_is_sent_again() {
    let server = RawServer::new(|number, head| {
        if head.starts_with("GET") {
            return raw("404 Not Found", &json!({"error": "no such file"}));
        }
        // The first upload is the second request.
        (number > 1).then(|| raw("201 Created", &record(HELLO, 6)))?
    })
    .await;
    let (_directory, path) = file(b"hello\n");
    let sent = server.client().upload_path(&path).await.unwrap();
    assert_eq!(sent.sha256, HELLO);
    assert_eq!(server.count(), 4);
}

#[tokio::test]
async fn a_file_that_changes_is_not_stored() {
    let (_directory, path) = file(b"hello\n");
    let changing = path.clone();
    let stub = Stub::tcp(move |_, seen| match seen.method.as_str() {
        "GET" => {
            fs::write(&changing, b"jello\n").unwrap();
            refusal(404, "no such file")
        }
        _ => answer(201, record(HELLO, seen.body.len())),
    })
    .await;
    let error = stub.client().upload_path(&path).await.unwrap_err();
    assert!(matches!(error, Error::FileChanged { .. }), "{error}");
    // The same for one that shrinks.
    let changing = path.clone();
    let stub = Stub::tcp(move |_, seen| match seen.method.as_str() {
        "GET" => {
            fs::write(&changing, b"j").unwrap();
            refusal(404, "no such file")
        }
        _ => answer(201, record(HELLO, seen.body.len())),
    })
    .await;
    let error = stub.client().upload_path(&path).await.unwrap_err();
    assert!(matches!(error, Error::FileChanged { .. }), "{error}");
    assert!(stub.seen().iter().all(|seen| seen.body.is_empty()));
}

#[tokio::test]
async fn only_regular_files_are_sent() {
    let stub = Stub::tcp(|_, _| refusal(500, "unused")).await;
    let directory = tempfile::tempdir().unwrap();
    let error = stub
        .client()
        .upload_path(directory.path())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
    let error = stub
        .client()
        .upload_path(&directory.path().join("none"))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if path.ends_with("none")),
        "{error}"
    );
    assert_eq!(stub.count(), 0);
}
