use serde_json::json;

use crate::support::{Answer, TestEngine};

/// Checks an error answer: it is the API's `Error` and repeats the status.
fn assert_refused(answer: &Answer, status: u16, word: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json["status"], status, "{answer:?}");
    let error = answer.json["error"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer:?}"));
    assert!(error.contains(word), "{error}");
}

#[tokio::test]
async fn errors_of_spawning_name_the_invalid_field() {
    let local = TestEngine::new().await;
    let unknown = "00000000-0000-4000-8000-000000000000";
    for (body, word) in [
        (json!({}), "command"),
        (json!({"command": "x"}), "image"),
        (json!({"command": "x", "image": "ubuntu"}), "tag:NAME"),
        (json!({"command": "x", "image": "tag:none"}), "none"),
        (json!({"command": "x", "image": unknown}), unknown),
        (
            json!({"command": "x", "image": "tag:host", "timeout": -1}),
            "timeout",
        ),
        (
            json!({"command": "x", "image": "tag:host", "files": {"/a": {"uuid": unknown}}}),
            unknown,
        ),
        (
            json!({"command": "x", "image": "tag:host", "resources_limits": {"max_layer_bytes": 0}}),
            "max_layer_bytes",
        ),
    ] {
        assert_refused(&local.post("/instances", &body).await, 400, word);
    }
    assert_eq!(local.get("/operations").await.json, json!([]));
}

#[tokio::test]
async fn invalid_bodies_and_queries_are_refused() {
    let local = TestEngine::shared().await;
    for body in [
        &b""[..],
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"{\"command\": 1, \"image\": \"tag:host\"}",
    ] {
        let answer = local.post_bytes("/instances", body.to_vec()).await;
        assert_refused(&answer, 400, "");
    }
    let large = vec![b' '; 64 * 1024 * 1024 + 1];
    assert_refused(&local.post_bytes("/instances", large).await, 413, "");
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "offset=-1",
        "since=soon",
        "until=5y",
        "kind=",
        "status=",
    ] {
        assert_refused(&local.get(&format!("/operations?{query}")).await, 400, "");
    }
    for query in [
        "limit=0",
        "offset=x",
        "since=soon",
        "until=x",
        "uuid=x",
        "tagged=2",
        "tag=a:",
    ] {
        assert_refused(&local.get(&format!("/images?{query}")).await, 400, "");
    }
    // Unknown parameters are ignored.
    assert_eq!(local.get("/operations?unknown=1&limit=1").await.status, 200);
    let put = local.put("/instances").await;
    assert_refused(&put, 405, "PUT");
    assert_eq!(put.allow.as_deref(), Some("POST"));
}

#[tokio::test]
async fn unknown_paths_methods_and_ids_are_refused() {
    let local = TestEngine::shared().await;
    let unknown = "00000000-0000-4000-8000-000000000000";
    assert_refused(&local.get("/nothing").await, 404, "/v1/nothing");
    assert_refused(&local.delete("/whoami").await, 405, "DELETE");
    assert_refused(&local.get("/operations/x").await, 400, "");
    assert_refused(
        &local.get(&format!("/operations/{unknown}")).await,
        404,
        unknown,
    );
    assert_refused(
        &local.delete(&format!("/operations/{unknown}")).await,
        404,
        unknown,
    );
    assert_refused(
        &local.get(&format!("/inspect/{unknown}/")).await,
        404,
        unknown,
    );
    assert_refused(
        &local
            .patch(&format!("/images/{unknown}/tag"), &json!({"tag": "x"}))
            .await,
        404,
        unknown,
    );
    assert_refused(
        &local
            .patch(&format!("/images/{unknown}/tag"), &json!({"tag": "a b"}))
            .await,
        400,
        "a b",
    );
    assert_refused(&local.get("/files/abc").await, 400, "abc");
    assert_refused(
        &local.get(&format!("/files/{}", "0".repeat(64))).await,
        404,
        "000",
    );
    assert_refused(&local.get("/operations?status=DONE").await, 400, "DONE");
    assert_refused(&local.get("/operations?kind=x").await, 400, "kind");
}

#[tokio::test]
async fn whoami_describes_this_engine() {
    let local = TestEngine::new().await;
    local.run("true", json!({})).await;
    let who = local.get("/whoami").await.json;
    assert_eq!(who["permissions"]["spawn"], true);
    assert_eq!(who["permissions"]["import"], true);
    assert_eq!(who["operations_stat"]["SUCCESS"], 1);
    assert_eq!(who["x-engine"]["network"], "proxy");
    assert_eq!(who["token_expiration"], serde_json::Value::Null);
}
