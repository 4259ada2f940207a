use serde_json::json;

use crate::support::TestEngine;

#[tokio::test]
async fn images_are_listed_and_read_without_running_a_command() {
    let local = TestEngine::new().await;
    let command = "mkdir -p /d/sub; echo content >/d/file; chmod 640 /d/file; ln -s file /d/link; mkfifo /d/pipe; \
                   ln -s /etc/shadow /d/out; ln -s ../../../../../../etc/hostname /d/up; ln -s /d/loop /d/loop";
    let image = local
        .run(command, json!({"disposable": false}))
        .await
        .result
        .unwrap();
    let operations = local
        .get("/operations")
        .await
        .json
        .as_array()
        .unwrap()
        .len();
    let listing = local
        .get(&format!("/inspect/{image}/list?path=/d"))
        .await
        .json;
    assert_eq!(listing["path"], "/d");
    let files = listing["files"].as_array().unwrap();
    let named = |name: &str| {
        files
            .iter()
            .find(|file| file["path"] == name)
            .unwrap_or_else(|| panic!("no {name}"))
    };
    assert_eq!(named("file")["mode"].as_u64().unwrap(), 0o100_640);
    assert_eq!(
        (
            named("file")["size"].as_u64(),
            named("file")["uid"].as_u64()
        ),
        (Some(8), Some(0))
    );
    assert_eq!(named("file")["owner"], "root");
    assert_eq!(
        (&named("link")["symlink_to"], &named("link")["is_symlink"]),
        (&json!("file"), &json!(true))
    );
    assert_eq!(
        (&named("sub")["is_dir"], &named("pipe")["is_fifo"]),
        (&json!(true), &json!(true))
    );
    let read = |path: &'static str| {
        let (local, image) = (&local, image.clone());
        async move {
            local
                .get(&format!("/inspect/{image}/download?path={path}"))
                .await
        }
    };
    assert_eq!(read("/d/file").await.text, "content\n");
    assert_eq!(read("/d/link").await.text, "content\n");
    assert_eq!(read("d/file").await.text, "content\n");
    assert_eq!(read("/d/../../../d/file").await.text, "content\n");
    assert_eq!(read("/d/pipe").await.status, 422);
    assert_eq!(read("/d").await.status, 422);
    assert_eq!(read("/d/loop").await.status, 422);
    assert_eq!(read("/none").await.status, 404);
    // Links that point outside the image are resolved inside it, where no such file exists.
    assert_eq!(read("/d/out").await.status, 404);
    assert_eq!(
        read("/d/up").await.status,
        local
            .get(&format!("/inspect/{image}/download?path=/etc/hostname"))
            .await
            .status
    );
    assert_eq!(
        local
            .get(&format!("/inspect/{image}/list?path=/d/file"))
            .await
            .status,
        422
    );
    assert_eq!(
        local
            .get(&format!("/inspect/{image}/list?path=/none"))
            .await
            .status,
        404
    );
    assert_eq!(
        local.get(&format!("/inspect/{image}/list")).await.status,
        400
    );
    assert_eq!(
        local
            .head(&format!("/inspect/{image}/download?path=/d/file"))
            .await
            .status,
        200
    );
    assert_eq!(
        local
            .head(&format!("/inspect/{image}/download?path=/none"))
            .await
            .status,
        404
    );
    let text = local
        .get(&format!("/inspect/{image}/list?path=/d&text"))
        .await
        .text;
    assert!(
        text.lines()
            .any(|line| line.starts_with("-rw-r-----") && line.ends_with(" file")),
        "{text}"
    );
    assert!(text.contains("link -> file"), "{text}");
    assert_eq!(
        local
            .get("/operations")
            .await
            .json
            .as_array()
            .unwrap()
            .len(),
        operations
    );
}

#[tokio::test]
async fn unreadable_files_are_read_and_deleted_ones_are_missing() {
    let local = TestEngine::shared().await;
    let image = local
        .run("mkdir /locked; echo s >/locked/secret; chmod 0 /locked/secret /locked; rm /etc/services", json!({"disposable": false}))
        .await
        .result
        .unwrap();
    assert_eq!(
        local
            .get(&format!("/inspect/{image}/download?path=/locked/secret"))
            .await
            .text,
        "s\n"
    );
    assert_eq!(
        local
            .get(&format!("/inspect/{image}/download?path=/etc/services"))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn redirects_lead_to_the_canonical_path() {
    let local = TestEngine::shared().await;
    let image = local.host().await;
    let answer = local.get(&format!("/inspect/{image}")).await;
    assert_eq!(
        (answer.status, answer.location),
        (307, Some(format!("/v1/inspect/{image}/")))
    );
    assert_eq!(
        local.get("/inspect?tag=host").await.location.as_deref(),
        Some("/v1/inspect/?tag=host")
    );
    assert_eq!(local.get("/inspect/?tag=none").await.status, 404);
    assert_eq!(local.get("/inspect/?tag=a//b").await.status, 400);
}
