//! Tests of a data directory whose database was lost, or replaced by an older copy.

use std::fs;
use std::path::Path;

use contree_engine::{LocalConfig, PruneOptions, Pruned, check_store, prune};
use serde_json::json;

use crate::support::{OtherEngine, data_dir};

/// Prunes all unused data of any age.
fn prune_all(data: &Path, unrecorded_layers: bool) -> Pruned {
    let mut options = PruneOptions::new(0);
    options.min_age = std::time::Duration::ZERO;
    options.unrecorded_layers = unrecorded_layers;
    prune(&LocalConfig::new(data), options).unwrap()
}

fn layers(data: &Path) -> usize {
    let entries = fs::read_dir(data.join("layers")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| !name.to_string_lossy().starts_with('.'))
        .count()
}

async fn commit(engine: &OtherEngine, image: &str, command: &str) -> String {
    let body = json!({"image": image, "disposable": false});
    let done = engine.run(command, body).await;
    assert_eq!(done.status, "SUCCESS", "{done:?}");
    done.result.unwrap()
}

/// Stops an engine. With it, SQLite's other files go.
fn stop(engine: OtherEngine, data: &Path) {
    drop(engine);
    assert!(!data.join("store.db-wal").exists());
}

async fn notes(engine: &OtherEngine) -> String {
    engine.get("/whoami").await.json["x-engine"]["notes"].to_string()
}

#[tokio::test]
async fn the_layers_of_a_lost_database_are_kept_and_recorded_again() {
    let data = data_dir();
    let data = data.path();
    let config = LocalConfig::new(data);
    let engine = OtherEngine::on(data).await;
    assert!(check_store(&config, false).unwrap().unrecorded.is_empty());
    let host = engine.host().await;
    let one = commit(&engine, &host, "echo one >/one").await;
    let path = format!("/images/{one}/tag");
    for tag in ["old", "kept"] {
        engine.patch(&path, &json!({"tag": tag})).await;
    }
    engine.delete(&format!("{path}?tag=old")).await;
    let two = commit(&engine, &one, "echo two >/two").await;
    let body = json!({
        "image": two, "disposable": false, "preserve_env": true, "env": {"THREE": "3"},
    });
    let three = engine.run("true", body).await.result.unwrap();
    let uploaded = engine.upload(b"uploaded").await;
    let file = format!("/files/{}", uploaded["sha256"].as_str().unwrap());
    stop(engine, data);
    let before = layers(data);
    assert_eq!(before, 3);
    fs::remove_file(data.join("store.db")).unwrap();

    let pruned = prune_all(data, false);
    assert_eq!(pruned.unrecorded_layers.len(), before, "{pruned:?}");
    assert_eq!((pruned.orphans, layers(data)), (0, before));
    // A new engine works, says that records are lost, and takes no number of an old layer.
    let engine = OtherEngine::on(data).await;
    assert!(notes(&engine).await.contains("3 layers have no record"));
    let new_host = engine.host().await;
    let new = commit(&engine, &new_host, "echo new >/new").await;
    let missing = engine.get(&format!("/inspect/{one}/")).await;
    assert_eq!(missing.status, 404);

    let checked = check_store(&config, false).unwrap();
    assert_eq!(checked.unrecorded.len(), before, "{checked:?}");
    let layer = &checked.unrecorded[1];
    assert_eq!(layer.images[0].uuid.to_string(), one);
    assert_eq!(layer.images[0].tags, ["kept"]);
    assert_eq!(layer.images[0].command.as_deref(), Some("echo one >/one"));

    let checked = check_store(&config, true).unwrap();
    assert!(checked.unrecorded.is_empty(), "{checked:?}");
    let rebuilt = checked.rebuilt.unwrap();
    assert_eq!((rebuilt.layers, rebuilt.images.len()), (3, 4));
    assert_eq!((rebuilt.tags, rebuilt.files), (vec!["kept".to_owned()], 1));
    assert!(rebuilt.problems.is_empty(), "{:?}", rebuilt.problems);
    let command = "cat /one /two; echo $THREE";
    let done = engine.run(command, json!({"image": three})).await;
    assert_eq!(done.stdout, "one\ntwo\n3\n");
    let done = engine.run("cat /new", json!({"image": new})).await;
    assert_eq!(done.stdout, "new\n");
    let tagged = engine.get("/images?tag=kept").await.json;
    assert_eq!(tagged["images"][0]["uuid"], one.as_str());
    assert_eq!(
        engine.get("/images?tag=old").await.json["images"],
        json!([])
    );
    assert_eq!(engine.get(&file).await.status, 200);
    stop(engine, data);
    let engine = OtherEngine::on(data).await;
    assert!(!notes(&engine).await.contains("no record"));
    // What was recorded again is not old, whenever it was made.
    let pruned = prune(&config, PruneOptions::new(1)).unwrap();
    assert!(pruned.images.is_empty(), "{pruned:?}");
}

#[tokio::test]
async fn an_older_copy_of_the_database_goes_on_working() {
    let data = data_dir();
    let data = data.path();
    let config = LocalConfig::new(data);
    let (records, copy) = (data.join("store.db"), data.join("copy.db"));
    let engine = OtherEngine::on(data).await;
    let host = engine.host().await;
    let early = commit(&engine, &host, "echo early >/early").await;
    stop(engine, data);
    fs::copy(&records, &copy).unwrap();
    let engine = OtherEngine::on(data).await;
    let mut late = early.clone();
    for number in 0..3 {
        late = commit(&engine, &late, &format!("echo {number} >>/late")).await;
    }
    stop(engine, data);
    fs::rename(&copy, &records).unwrap();

    let engine = OtherEngine::on(data).await;
    assert!(notes(&engine).await.contains("3 layers have no record"));
    for number in 0..4 {
        let image = commit(&engine, &early, &format!("echo {number} >/new")).await;
        let done = engine.run("cat /early /new", json!({"image": image})).await;
        assert_eq!(done.stdout, format!("early\n{number}\n"));
    }
    let rebuilt = check_store(&config, true).unwrap().rebuilt.unwrap();
    assert_eq!((rebuilt.layers, rebuilt.images.len()), (3, 3));
    let done = engine.run("cat /late", json!({"image": late})).await;
    assert_eq!(done.stdout, "0\n1\n2\n");
}

#[tokio::test]
async fn a_layer_that_a_copy_knows_as_unfinished_is_kept() {
    let data = data_dir();
    let data = data.path();
    let engine = OtherEngine::on(data).await;
    let host = engine.host().await;
    let image = commit(&engine, &host, "echo kept >/kept").await;
    let last = commit(&engine, &image, "echo last >/last").await;
    stop(engine, data);
    // The copy was made while the last but one was being committed.
    let records = rusqlite::Connection::open(data.join("store.db")).unwrap();
    for statement in [
        "DELETE FROM images WHERE layer > 1",
        "DELETE FROM layers WHERE id > 2",
        "UPDATE layers SET ready = 0, run = '00000000-0000-0000-0000-000000000001' WHERE id = 2",
        "UPDATE sqlite_sequence SET seq = 2 WHERE name = 'layers'",
    ] {
        records.execute(statement, []).unwrap();
    }
    drop(records);
    let engine = OtherEngine::on(data).await;
    assert!(notes(&engine).await.contains("2 layers have no record"));
    stop(engine, data);
    let checked = check_store(&LocalConfig::new(data), true).unwrap();
    assert!(checked.unrecorded.is_empty(), "{checked:?}");
    let engine = OtherEngine::on(data).await;
    let done = engine.run("cat /kept /last", json!({"image": last})).await;
    assert_eq!(done.stdout, "kept\nlast\n");
}

#[tokio::test]
async fn layers_without_a_record_are_removed_when_a_person_says_so() {
    let data = data_dir();
    let data = data.path();
    let engine = OtherEngine::on(data).await;
    let host = engine.host().await;
    commit(&engine, &host, "echo one >/one").await;
    stop(engine, data);
    fs::remove_file(data.join("store.db")).unwrap();
    assert_eq!(prune_all(data, false).orphans, 0);
    assert_eq!(layers(data), 2);
    let pruned = prune_all(data, true);
    assert_eq!((pruned.orphans, layers(data)), (2, 0), "{pruned:?}");
    assert!(pruned.unrecorded_layers.is_empty());
}

#[tokio::test]
async fn the_layers_of_an_earlier_release_get_notes() {
    let data = data_dir();
    let data = data.path();
    let engine = OtherEngine::on(data).await;
    let host = engine.host().await;
    let image = commit(&engine, &host, "echo kept >/kept").await;
    stop(engine, data);
    let notes = || -> Vec<_> {
        let entries = fs::read_dir(data.join("layers")).unwrap();
        let layers = entries.map(|entry| entry.unwrap().path().join("about.jsonl"));
        layers.filter(|note| note.exists()).collect()
    };
    // Earlier releases wrote none.
    for note in notes() {
        fs::remove_file(note).unwrap();
    }
    let records = rusqlite::Connection::open(data.join("store.db")).unwrap();
    let told = "DELETE FROM meta WHERE key = 'layers_have_notes'";
    records.execute(told, []).unwrap();
    drop(records);
    let engine = OtherEngine::on(data).await;
    while notes().len() < 2 {
        tokio::task::yield_now().await;
    }
    stop(engine, data);
    fs::remove_file(data.join("store.db")).unwrap();
    let checked = check_store(&LocalConfig::new(data), true).unwrap();
    assert!(checked.unrecorded.is_empty(), "{checked:?}");
    let engine = OtherEngine::on(data).await;
    let done = engine.run("cat /kept", json!({"image": image})).await;
    assert_eq!(done.stdout, "kept\n");
}

#[tokio::test]
async fn an_image_without_its_layers_is_reported_and_marked_as_lost() {
    let data = data_dir();
    let data = data.path();
    let config = LocalConfig::new(data);
    let engine = OtherEngine::on(data).await;
    let host = engine.host().await;
    let below = commit(&engine, &host, "echo below >/below").await;
    let above = commit(&engine, &below, "echo above >/above").await;
    stop(engine, data);
    let copy = data.join("copy.db");
    fs::copy(data.join("store.db"), &copy).unwrap();
    assert_eq!(prune_all(data, false).layers, 2);
    fs::rename(&copy, data.join("store.db")).unwrap();
    let checked = check_store(&config, false).unwrap();
    assert_eq!(checked.missing.len(), 2, "{checked:?}");
    assert_eq!(checked.missing[0].images.len(), 2, "{checked:?}");
    let rebuilt = check_store(&config, true).unwrap();
    let mut lost: Vec<String> = rebuilt
        .rebuilt
        .unwrap()
        .lost
        .iter()
        .map(ToString::to_string)
        .collect();
    lost.sort();
    let mut expected = [below.clone(), above];
    expected.sort();
    assert_eq!(lost, expected);
    assert!(rebuilt.missing.iter().all(|layer| layer.images.is_empty()));
    let engine = OtherEngine::on(data).await;
    let refused = engine
        .post("/instances", &json!({"command": "true", "image": below}))
        .await;
    assert!(refused.text.contains("lost"), "{refused:?}");
}
