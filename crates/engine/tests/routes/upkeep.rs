//! Tests of disk usage and pruning while an engine uses the store.

use contree_engine::{LocalConfig, LocalEngine, PruneOptions, Usage, prune, refresh_host, usage};
use serde_json::json;

use crate::registry::{Authentication, Image, Layer, Packing, Registry};
use crate::support::TestEngine;

fn config(local: &TestEngine) -> LocalConfig {
    LocalConfig::new(local.engine.data.path())
}

fn disk_usage(local: &TestEngine) -> Usage {
    usage(&config(local)).unwrap()
}

/// Prunes all unused data of any age.
fn prune_all(local: &TestEngine, dry_run: bool) -> contree_engine::Pruned {
    let mut options = PruneOptions::new(0);
    options.min_age = std::time::Duration::ZERO;
    options.dry_run = dry_run;
    prune(&config(local), options).unwrap()
}

fn layers(local: &TestEngine) -> usize {
    std::fs::read_dir(local.engine.data.path().join("layers"))
        .unwrap()
        .count()
}

async fn commit(local: &TestEngine, image: &str, script: &str) -> String {
    let done = local
        .run(script, json!({"image": image, "disposable": false}))
        .await;
    assert_eq!(done.status, "SUCCESS", "{done:?}");
    done.result.unwrap()
}

#[tokio::test]
async fn only_unused_data_is_pruned() {
    let local = TestEngine::new().await;
    let host = local.host().await;
    let below = commit(&local, &host, "echo below > /a").await;
    let tagged = commit(&local, &below, "echo tagged > /b").await;
    let untagged = commit(&local, &below, "head -c 1M /dev/zero > /c").await;
    let path = format!("/images/{tagged}/tag");
    assert_eq!(
        local.patch(&path, &json!({"tag": "kept"})).await.status,
        200
    );
    let file = local.upload(b"uploaded").await;
    // An earlier prune was interrupted before it removed this layer.
    let orphan = local.engine.data.path().join("layers/4711");
    std::fs::create_dir_all(orphan.join("d")).unwrap();
    let records = rusqlite::Connection::open(local.engine.data.path().join("store.db")).unwrap();
    records
        .execute(
            "INSERT INTO meta (key, value) VALUES ('removing_layers', '4711')",
            [],
        )
        .unwrap();
    drop(records);

    let used = disk_usage(&local);
    assert_eq!(
        (used.images.len(), used.layers.count, used.files.count),
        (4, 4, 1),
        "{used:?}"
    );
    let image_usage = |uuid: &str| {
        used.images
            .iter()
            .find(|image| image.uuid.to_string() == uuid)
            .unwrap()
    };
    assert_eq!(image_usage(&tagged).tags, ["kept"]);
    assert!(image_usage(&untagged).unique_bytes >= 1 << 20);
    assert!(image_usage(&tagged).bytes > image_usage(&tagged).unique_bytes);
    assert_eq!(used.layers.unused_bytes, 0);

    let planned = prune_all(&local, true);
    assert_eq!(
        (
            planned.images.len(),
            planned.layers,
            planned.files,
            planned.orphans
        ),
        (1, 1, 1, 1),
        "{planned:?}"
    );
    assert_eq!(layers(&local), 5);
    let pruned = prune_all(&local, false);
    assert_eq!(pruned.images, planned.images);
    assert_eq!(pruned.images[0].to_string(), untagged);
    assert!(
        pruned.problems.is_empty() && pruned.bytes >= 1 << 20,
        "{pruned:?}"
    );
    assert_eq!(layers(&local), 3);
    assert!(!orphan.exists());

    // The running engine sees the change.
    let refused = local
        .post("/instances", &json!({"command": "true", "image": untagged}))
        .await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(
        local
            .run("cat /a /b", json!({"image": tagged}))
            .await
            .stdout,
        "below\ntagged\n"
    );
    assert_eq!(
        local.run("cat /a", json!({"image": below})).await.stdout,
        "below\n"
    );
    let path = format!("/files/{}", file["sha256"].as_str().unwrap());
    assert_eq!(local.head(&path).await.status, 404);
    assert_eq!(prune_all(&local, false).layers, 0);
}

#[tokio::test]
async fn a_running_operation_keeps_its_image() {
    let local = TestEngine::new().await;
    let host = local.host().await;
    let image = commit(&local, &host, "echo used > /a").await;
    let operation = local
        .spawn(
            "until test -e /go; do sleep 0.05; done; cat /a",
            json!({"image": image, "timeout": 8}),
        )
        .await;
    let pruned = prune_all(&local, false);
    assert_eq!((pruned.images.len(), pruned.layers), (0, 0), "{pruned:?}");
    assert!(local.done(&operation).await.timed_out);
    let pruned = prune_all(&local, false);
    assert_eq!((pruned.images.len(), pruned.layers), (1, 1), "{pruned:?}");
    // The operation's record and log are removed too.
    assert_eq!(
        local.get(&format!("/operations/{operation}")).await.status,
        404
    );
}

#[tokio::test]
async fn the_image_of_this_machines_programs_is_refreshed() {
    let local = TestEngine::new().await;
    let before = local.host().await;
    let child = commit(&local, &before, "echo child > /a").await;
    let config = config(&local);
    let refreshed = tokio::task::spawn_blocking(move || refresh_host(&config))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(refreshed.previous.unwrap().to_string(), before);
    assert!(refreshed.files > 50 && refreshed.bytes > 1 << 20);
    let after = local.host().await;
    assert_eq!(after, refreshed.image.to_string());
    assert_eq!(
        local.run("cat /a", json!({"image": child})).await.stdout,
        "child\n"
    );
    assert_eq!(
        local.run("echo new", json!({"image": after})).await.stdout,
        "new\n"
    );
    assert_eq!(layers(&local), 3);
    prune_all(&local, false);
    assert_eq!(layers(&local), 1);
    assert_eq!(
        local
            .run("echo new", json!({"image": "tag:host"}))
            .await
            .stdout,
        "new\n"
    );
}

#[tokio::test]
async fn importing_an_image_again_counts_as_use() {
    let local = TestEngine::new().await;
    let registry = Registry::start(Authentication::Open).await;
    let mut images = Vec::new();
    for name in ["again", "once"] {
        let layer = Layer::new().file("name", name).bytes();
        registry.push(name, &Image::new(&[(layer, Packing::Plain)], &[]));
        images.push(imported(&local, &registry.url(name)).await);
    }
    let records = rusqlite::Connection::open(local.engine.data.path().join("store.db")).unwrap();
    let forty_days = 40_i64 * 24 * 3600 * 1_000_000;
    for table in ["images", "operations"] {
        let update = format!("UPDATE {table} SET created_at = created_at - ?1");
        records.execute(&update, [forty_days]).unwrap();
    }
    assert_eq!(imported(&local, &registry.url("again")).await, images[0]);
    let pruned = prune(&config(&local), PruneOptions::new(30)).unwrap();
    let pruned: Vec<String> = pruned.images.iter().map(ToString::to_string).collect();
    assert_eq!(pruned, [images[1].clone()]);
}

async fn imported(local: &TestEngine, url: &str) -> String {
    let body = json!({"registry": {"url": url}});
    let answer = local.post("/images/import", &body).await;
    let done = local.done(answer.json["uuid"].as_str().unwrap()).await;
    assert_eq!(done.status, "SUCCESS", "{done:?}");
    done.result.unwrap()
}

#[tokio::test]
async fn an_engine_removes_unused_data_in_the_background() {
    let local = TestEngine::new().await;
    let host = local.host().await;
    let image = commit(&local, &host, "echo old > /a").await;
    let young = commit(&local, &host, "echo young > /a").await;
    let records = rusqlite::Connection::open(local.engine.data.path().join("store.db")).unwrap();
    let forty_days = 40_i64 * 24 * 3600 * 1_000_000;
    records
        .execute(
            "UPDATE images SET created_at = created_at - ?1 WHERE uuid = ?2",
            (forty_days, &image),
        )
        .unwrap();
    records
        .execute(
            "UPDATE operations SET created_at = created_at - ?1 WHERE ?2 IN (image, result_image)",
            (forty_days, &image),
        )
        .unwrap();
    records
        .execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES ('retention_at', '0')",
            [],
        )
        .unwrap();
    let is_recorded = |uuid: &str| -> bool {
        let count = "SELECT count(*) FROM images WHERE uuid = ?1";
        records
            .query_row(count, [uuid], |row| row.get::<_, u32>(0))
            .unwrap()
            > 0
    };
    // With 0 days, data is never removed.
    let mut config = config(&local);
    config.retention_days = Some(0);
    // Stopping an engine waits for the removal that begins with the engine.
    drop(LocalEngine::start(config.clone()).await.unwrap());
    assert!(is_recorded(&image));
    config.retention_days = Some(30);
    drop(LocalEngine::start(config).await.unwrap());
    assert!(!is_recorded(&image) && is_recorded(&young) && is_recorded(&host));
}

#[tokio::test]
async fn new_data_is_kept_for_a_minute_and_a_dry_run_names_what_goes() {
    let local = TestEngine::new().await;
    let image = commit(&local, "tag:host", "echo 1 > /one").await;
    let uploaded = local.upload(b"uploaded").await;
    let mut options = PruneOptions::new(0);
    let pruned = prune(&config(&local), options).unwrap();
    assert_eq!(
        (pruned.images.len(), pruned.files, pruned.operations),
        (0, 0, 0),
        "{pruned:?}"
    );
    options.min_age = std::time::Duration::ZERO;
    options.dry_run = true;
    let planned = prune(&config(&local), options).unwrap();
    let names: Vec<String> = planned.images.iter().map(ToString::to_string).collect();
    assert_eq!(names, [image]);
    assert_eq!(
        planned.removed_files,
        [uploaded["sha256"].as_str().unwrap()]
    );
    assert_eq!(planned.removed_layers.len(), 1);
    assert_eq!(planned.removed_operations.len(), 1);
    assert_eq!(
        local.get("/images").await.json["images"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}
