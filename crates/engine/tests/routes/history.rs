//! The history of images, and deleting them.

use std::path::Path;

use contree_engine::{LocalConfig, PruneOptions, check_store, prune};
use serde_json::{Value, json};

use crate::support::{OtherEngine, TestEngine, data_dir};

async fn commit(engine: &TestEngine, image: &str, script: &str) -> String {
    let done = engine
        .run(script, json!({"image": image, "disposable": false}))
        .await;
    assert_eq!(done.status, "SUCCESS", "{done:?}");
    done.result.unwrap()
}

async fn log(engine: &TestEngine, image: &str, query: &str) -> Value {
    let answer = engine.get(&format!("/x/images/{image}/log?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json
}

fn uuids(log: &Value) -> Vec<&str> {
    let images = log["images"].as_array().unwrap();
    images
        .iter()
        .map(|image| image["uuid"].as_str().unwrap())
        .collect()
}

async fn delete(engine: &TestEngine, image: &str, query: &str, status: u16) -> Value {
    let answer = engine.delete(&format!("/x/images/{image}{query}")).await;
    assert_eq!(answer.status, status, "{}", answer.text);
    answer.json
}

#[tokio::test]
async fn the_log_has_the_chain_with_what_made_each_image() {
    let engine = TestEngine::new().await;
    let host = engine.host().await;
    let one = commit(
        &engine,
        "tag:host",
        "mkdir /l; echo 1 > /l/a; ln -s a /l/b; exit 3",
    )
    .await;
    let two = commit(&engine, &one, "rm /l/b; echo 22 > /l/a").await;
    let sibling = commit(&engine, &one, "echo s > /l/s").await;
    // A run that changes nothing makes no image.
    commit(&engine, &two, "true").await;
    engine
        .patch(&format!("/images/{two}/tag"), &json!({"tag": "log/two:1"}))
        .await;
    let found = log(&engine, &two, "").await;
    assert_eq!(uuids(&found), [&two, &one, &host]);
    let images = &found["images"];
    assert_eq!(images[0]["command"], "rm /l/b; echo 22 > /l/a");
    assert_eq!(images[0]["parent_uuid"], one.as_str());
    assert_eq!(images[0]["tags"], json!(["log/two:1"]));
    assert_eq!(images[0]["changed_files"], 2);
    assert_eq!(images[0]["exit_code"], 0);
    assert_eq!(images[1]["exit_code"], 3);
    assert_eq!(images[1]["changed_files"], 2);
    assert_eq!(images[1]["children"], 2);
    assert!(images[1]["changed_bytes"].as_u64().unwrap() > 0);
    assert!(images[1]["duration"].as_f64().unwrap() > 0.0);
    assert_eq!(images[2]["kind"], "host");
    assert_eq!(
        (&found["next"], &found["note"]),
        (&Value::Null, &Value::Null)
    );

    let page = log(&engine, &two, "limit=1&offset=1").await;
    assert_eq!(
        (uuids(&page), &page["next"]),
        (vec![one.as_str()], &json!(2))
    );
    let end = log(&engine, &two, "limit=1&offset=2").await;
    assert_eq!(
        (uuids(&end), &end["next"]),
        (vec![host.as_str()], &Value::Null)
    );
    let children = log(&engine, &one, "children=1").await;
    assert_eq!(uuids(&children), [&sibling, &two]);
    let page = log(&engine, &one, "children=1&limit=1").await;
    assert_eq!(
        (uuids(&page), &page["next"]),
        (vec![sibling.as_str()], &json!(1))
    );
}

#[tokio::test]
async fn the_log_says_what_is_no_longer_recorded() {
    let engine = TestEngine::new().await;
    let host = engine.host().await;
    let one = commit(&engine, "tag:host", "echo 1 > /one").await;
    let two = commit(&engine, &one, "echo 2 > /two").await;
    let three = commit(&engine, &two, "echo 3 > /three").await;
    // The records of operations are lost, as after a rebuild of the database.
    let records = rusqlite::Connection::open(engine.engine.data.path().join("store.db")).unwrap();
    records.execute("DELETE FROM operations", []).unwrap();
    let found = log(&engine, &three, "").await;
    assert_eq!(uuids(&found), [&three, &two, &one, &host]);
    assert_eq!(found["images"][0]["command"], "echo 3 > /three");
    assert!(
        found["note"]
            .as_str()
            .unwrap()
            .contains("3 of these images"),
        "{found}"
    );
    assert_eq!(found["images"][2]["children"], 1);
    let changed = engine.get(&format!("/x/images/{three}/diff")).await;
    assert_eq!(changed.json["base"], two.as_str(), "{}", changed.text);
    // Without the record of the image in the middle too.
    delete(&engine, &two, "?force=1", 200).await;
    let found = log(&engine, &three, "").await;
    assert_eq!(uuids(&found), [&three, &one, &host]);
}

#[tokio::test]
async fn only_an_image_that_nothing_needs_is_deleted_without_force() {
    let engine = TestEngine::new().await;
    let host = engine.host().await;
    let layers = || {
        let entries = std::fs::read_dir(engine.engine.data.path().join("layers")).unwrap();
        entries.count()
    };
    let before = layers();
    let one = commit(&engine, "tag:host", "echo 1 > /one").await;
    let two = commit(&engine, &one, "echo 2 > /two").await;
    let settings =
        json!({"image": two, "disposable": false, "env": {"A": "1"}, "preserve_env": true});
    let same_layer = engine.run("true", settings).await.result.unwrap();
    engine
        .patch(
            &format!("/images/{one}/tag"),
            &json!({"tag": "delete/one:1"}),
        )
        .await;
    for image in [&one, &two] {
        let refused = delete(&engine, image, "", 409).await;
        assert!(
            refused["error"]
                .as_str()
                .unwrap()
                .contains("based on the image"),
            "{refused}"
        );
    }
    let refused = delete(&engine, &host, "?force=1", 409).await;
    assert!(refused["error"].as_str().unwrap().contains("refresh-host"));
    // The image of settings alone shares its layer.
    let deleted = delete(&engine, &same_layer, "", 200).await;
    assert_eq!((&deleted["layers"], layers()), (&json!(0), before + 2));
    // A deleted image in the middle leaves its layer.
    let deleted = delete(&engine, &one, "?force=1", 200).await;
    assert_eq!(deleted["tags"], json!(["delete/one:1"]));
    assert_eq!((&deleted["layers"], layers()), (&json!(0), before + 2));
    delete(&engine, &one, "", 404).await;
    let read = engine.run("cat /one /two", json!({"image": two})).await;
    assert_eq!(read.stdout, "1\n2\n");
    let found = log(&engine, &two, "").await;
    assert_eq!(uuids(&found), [&two, &one, &host]);
    assert_eq!(found["images"][1]["removed"], true);
    // The last image takes all layers with it that only it needs.
    let deleted = delete(&engine, &two, "", 200).await;
    assert_eq!((&deleted["layers"], layers()), (&json!(2), before));
    assert!(deleted["bytes"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn an_image_on_which_an_operation_runs_is_not_deleted() {
    let engine = TestEngine::new().await;
    let image = commit(&engine, "tag:host", "echo 1 > /one").await;
    let fields =
        json!({"image": image, "stdin": {"value": "", "close": false}, "disposable": false});
    let running = engine.spawn("cat; echo 2 > /two", fields).await;
    for query in ["", "?force=1"] {
        let refused = delete(&engine, &image, query, 409).await;
        assert!(
            refused["error"]
                .as_str()
                .unwrap()
                .contains("an operation runs on"),
            "{refused}"
        );
    }
    engine.delete(&format!("/operations/{running}")).await;
    engine.done(&running).await;
    delete(&engine, &image, "", 200).await;
}

/// The number of files of each image that a killed engine deletes.
const FILES: usize = 300;

/// Not a test by itself: the process that [`a_killed_deletion_leaves_no_half_image`] kills.
#[tokio::test]
async fn driver() {
    let (Some(data), Ok(image)) = (
        std::env::var_os("CONTREE_TEST_DRIVER"),
        std::env::var("CONTREE_TEST_DELETE"),
    ) else {
        return;
    };
    let engine = OtherEngine::on(data.as_ref()).await;
    engine.delete(&format!("/x/images/{image}")).await;
}

/// How far the deletion has come on disk when the engine is killed.
#[derive(Clone, Copy, Debug)]
enum Progress {
    Started,
    RecordGone,
    LayerRetired,
    FilesGone(usize),
    LayerGone,
}

impl Progress {
    fn is_reached(self, data: &Path, image: &str) -> bool {
        let retired = || {
            let layers = data.join("layers").read_dir().unwrap();
            let mut names = layers.map(|entry| entry.unwrap().path());
            names.find(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with(".old-")
            })
        };
        let is_recorded = || {
            let records = rusqlite::Connection::open(data.join("store.db")).unwrap();
            let count = "SELECT count(*) FROM images WHERE uuid = ?1";
            records
                .query_row(count, [image], |row| row.get::<_, i64>(0))
                .is_ok_and(|count| count == 1)
        };
        match self {
            Self::Started => true,
            Self::RecordGone => !is_recorded(),
            Self::LayerRetired => retired().is_some(),
            Self::FilesGone(count) => retired().is_some_and(|layer| {
                let files = layer.join("d/many").read_dir();
                files.is_ok_and(|files| files.count() < FILES - count)
            }),
            Self::LayerGone => !is_recorded() && retired().is_none(),
        }
    }
}

#[tokio::test]
async fn a_killed_deletion_leaves_no_half_image() {
    let data = data_dir();
    let path = data.path();
    let config = LocalConfig::new(path);
    let layers = || path.join("layers").read_dir().unwrap().count();
    let engine = OtherEngine::on(path).await;
    engine.host().await;
    let before = layers();
    drop(engine);
    for progress in [
        Progress::Started,
        Progress::RecordGone,
        Progress::LayerRetired,
        Progress::FilesGone(1),
        Progress::FilesGone(FILES / 2),
        Progress::LayerGone,
    ] {
        let engine = OtherEngine::on(path).await;
        let script = format!("mkdir /many; cd /many; seq {FILES} | xargs touch");
        let made = engine.run(&script, json!({"disposable": false})).await;
        let image = made.result.unwrap();
        drop(engine);
        let mut driver = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "history::driver"])
            .env("CONTREE_TEST_DRIVER", path)
            .env("CONTREE_TEST_DELETE", &image)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // A fast deletion may be over before it is seen at this point.
        while !progress.is_reached(path, &image) && driver.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        driver.kill().unwrap();
        driver.wait().unwrap();

        let engine = OtherEngine::on(path).await;
        let found = engine
            .get(&format!("/inspect/{image}/list?path=/many"))
            .await;
        match found.status {
            200 => {
                let files = found.json["files"].as_array().unwrap().len();
                assert_eq!(files, FILES, "{progress:?}");
                let again = engine.delete(&format!("/x/images/{image}")).await;
                assert_eq!(again.status, 200, "{progress:?}: {}", again.text);
            }
            status => assert_eq!(status, 404, "{progress:?}: {}", found.text),
        }
        drop(engine);
        // The next upkeep finishes.
        prune(&config, PruneOptions::new(30)).unwrap();
        let check = check_store(&config, false).unwrap();
        assert!(
            check.unrecorded.is_empty() && check.missing.is_empty(),
            "{check:?}"
        );
        assert_eq!(layers(), before, "{progress:?}");
    }
}
