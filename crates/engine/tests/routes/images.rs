use serde_json::{Value, json};

use crate::support::TestEngine;

fn tags(answer: &Value) -> Vec<&str> {
    answer["images"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|image| image["tag"].as_str())
        .collect()
}

#[tokio::test]
async fn tags_are_set_moved_and_removed() {
    let local = TestEngine::new().await;
    let host = local.get("/images?tag=host").await.json["images"][0]["uuid"]
        .as_str()
        .unwrap()
        .to_owned();
    let made = local
        .run("echo x >/x", json!({"disposable": false}))
        .await
        .result
        .unwrap();
    let path = format!("/images/{made}/tag");
    let answer = local.patch(&path, &json!({"tag": "work/app:1.0"})).await;
    assert_eq!(
        (answer.status, answer.json["tag"].as_str()),
        (200, Some("work/app:1.0"))
    );
    assert_eq!(
        local
            .run("cat /x", json!({"image": "tag:work/app:1.0"}))
            .await
            .stdout,
        "x\n"
    );
    let found = local.get("/inspect/?tag=work/app:1.0").await;
    assert_eq!(
        (found.status, found.location.as_deref()),
        (302, Some(format!("/v1/inspect/{made}/").as_str()))
    );
    // The tag is moved to another image.
    assert_eq!(
        local
            .patch(
                &format!("/images/{host}/tag"),
                &json!({"tag": "work/app:1.0"})
            )
            .await
            .status,
        200
    );
    assert_eq!(
        local.get(&format!("/inspect/{made}/")).await.json["tag"],
        Value::Null
    );
    local.patch(&path, &json!({"tag": "a"})).await;
    local.patch(&path, &json!({"tag": "b"})).await;
    assert_eq!(local.delete(&format!("{path}?tag=a")).await.status, 204);
    assert_eq!(local.delete(&format!("{path}?tag=a")).await.status, 404);
    let gone = local.delete(&path).await;
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    assert_eq!(
        tags(&local.get("/images?tagged").await.json),
        ["host", "work/app:1.0"]
    );
}

#[tokio::test]
async fn listings_are_filtered() {
    let local = TestEngine::new().await;
    let mut made = Vec::new();
    for n in 0..3 {
        let image = local
            .run(
                Box::leak(format!("echo {n} >/n").into_boxed_str()),
                json!({"disposable": false}),
            )
            .await;
        made.push(image.result.unwrap());
    }
    local
        .patch(
            &format!("/images/{}/tag", made[0]),
            &json!({"tag": "list/one"}),
        )
        .await;
    let count = |answer: Value| answer["images"].as_array().unwrap().len();
    assert_eq!(count(local.get("/images").await.json), 4);
    assert_eq!(count(local.get("/images?tagged=0").await.json), 4);
    assert_eq!(count(local.get("/images?tagged=1").await.json), 2);
    assert_eq!(
        tags(&local.get("/images?tag=list").await.json),
        ["list/one"]
    );
    assert_eq!(count(local.get("/images?limit=1&offset=3").await.json), 1);
    assert_eq!(count(local.get("/images?since=1h").await.json), 4);
    assert_eq!(count(local.get("/images?until=1h").await.json), 0);
    let one = local.get(&format!("/images?uuid={}", made[1])).await.json;
    assert_eq!(one["images"][0]["uuid"], made[1].as_str());
    for bad in [
        "limit=0",
        "limit=1001",
        "offset=-1",
        "tag=list/",
        "since=yesterday",
        "uuid=x",
        "tagged=7",
    ] {
        assert_eq!(
            local.get(&format!("/images?{bad}")).await.status,
            400,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn an_image_names_the_operation_that_made_it() {
    let local = TestEngine::new().await;
    let done = local.run("echo x >/x", json!({"disposable": false})).await;
    let image = local
        .get(&format!("/inspect/{}/", done.result.clone().unwrap()))
        .await
        .json;
    assert_eq!(image["operation_uuid"], done.operation.as_str());
    let operation = local
        .get(&format!("/operations/{}", done.operation))
        .await
        .json;
    assert_eq!(operation["result_image_uuid"], image["uuid"]);
    assert_eq!(operation["result"]["image"], image["uuid"]);
    let parent = operation["image_uuid"].as_str().unwrap();
    assert_eq!(
        local.get(&format!("/inspect/{parent}/")).await.json["operation_uuid"],
        Value::Null
    );
    assert!(operation["image_size"].as_u64().unwrap() > 1000);
}

#[tokio::test]
async fn tag_host_is_made_again_and_can_be_moved() {
    let local = TestEngine::new().await;
    let host = local.host().await;
    assert_eq!(
        local.delete(&format!("/images/{host}/tag")).await.status,
        204
    );
    assert_eq!(local.run("echo there", json!({})).await.stdout, "there\n");
    assert_eq!(local.host().await, host);
    let other = local
        .run("echo x >/x", json!({"disposable": false}))
        .await
        .result
        .unwrap();
    local
        .patch(&format!("/images/{other}/tag"), &json!({"tag": "host"}))
        .await;
    assert_eq!(local.run("cat /x", json!({})).await.stdout, "x\n");
}
