//! Bounds that a run is held to.

use serde_json::json;

use crate::support::Local;

#[tokio::test]
async fn a_run_that_writes_more_than_it_may_fails_and_leaves_nothing() {
    let local = Local::new().await;
    let before = local.get("/images").await.json;
    for (disposable, script) in [
        (false, "head -c 500M /dev/zero > /large; sleep 60"),
        (true, "head -c 500M /dev/zero > /large; sleep 60"),
        // Over before anybody could look.
        (true, "head -c 30M /dev/zero > /large"),
        (false, "head -c 30M /dev/zero > /large"),
    ] {
        let limits =
            json!({"disposable": disposable, "resources_limits": {"max_layer_bytes": 20 << 20}});
        let done = local.run(script, limits).await;
        assert_eq!(done.status, "FAILED", "{done:?}");
        assert!(done.error.contains("max_layer_bytes"), "{}", done.error);
        assert!(done.error.contains("20971520"), "{}", done.error);
        assert_eq!(done.result, None);
        let cap = done.events.iter().find(|event| event["type"] == "size_cap");
        let cap = &cap.unwrap()["data"];
        assert_eq!(cap["limit_bytes"], 20 << 20);
        assert!(cap["file_size"].as_u64().unwrap() > 20 << 20, "{cap}");
    }
    assert_eq!(local.get("/images").await.json, before);
    let layers = std::fs::read_dir(local.engine.data.path().join("layers"));
    assert_eq!(layers.unwrap().count(), 1);
    // As soon as its operation is over, but for the removal.
    let runs = local.engine.data.path().join("run");
    for _ in 0..500 {
        if std::fs::read_dir(&runs).unwrap().count() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(std::fs::read_dir(&runs).unwrap().count(), 0);
    let whoami = local.get("/whoami").await.json;
    assert!(whoami["limits"]["instance_max_layer_bytes"].as_u64() > Some(12 << 30));
}

#[tokio::test]
async fn a_run_that_keeps_to_its_limit_is_kept() {
    let local = Local::shared().await;
    let limits = json!({"disposable": false, "resources_limits": {"max_layer_bytes": 1000}});
    let done = local.run("ln -s x /small; echo kept", limits).await;
    assert_eq!(
        (done.status.as_str(), done.stdout.as_str()),
        ("SUCCESS", "kept\n"),
        "{done:?}"
    );
    assert!(done.result.is_some());
}
