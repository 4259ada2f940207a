//! The files of images, and imports.

use serde_json::json;

use super::api::{Api, Body, UNKNOWN};

pub(super) async fn inspection(api: &mut Api, image: &str) {
    let list = api
        .call("inspectImageFile", &[image], "?path=/d", Body::None, 200)
        .await;
    assert_eq!(
        (list.text("/files/0/path"), list.text("/files/1/path")),
        ("f", "p")
    );
    let text = api
        .call(
            "inspectImageFile",
            &[image],
            "?path=/d&text",
            Body::None,
            200,
        )
        .await;
    assert!(text.header("content-type").starts_with("text/plain"));
    let file = api
        .call(
            "inspectImageDownload",
            &[image],
            "?path=/d/f",
            Body::None,
            200,
        )
        .await;
    assert_eq!(file.body, b"content\n");
    let head = api
        .call("checkImageFile", &[image], "?path=/d/f", Body::None, 200)
        .await;
    assert_eq!(head.header("content-length"), "8");
    let archive = api
        .call("inspectImageArchive", &[image], "?path=/d", Body::None, 200)
        .await;
    assert!(archive.body.len() > 2048 && archive.body.starts_with(b"d/\0"));
    let head = api
        .call("checkImageArchive", &[image], "?path=/d", Body::None, 200)
        .await;
    assert_eq!(
        head.header("content-disposition"),
        "attachment; filename=\"d.tar\""
    );
    let answer = api
        .call(
            "inspectImageGrep",
            &[image],
            "?pattern=^con&path=/d",
            Body::None,
            200,
        )
        .await;
    assert_eq!(
        (
            answer.text("/matches/0/path"),
            answer.text("/matches/0/line_text")
        ),
        ("/d/f", "content\n")
    );
    for (id, wrong) in [
        ("inspectImageFile", "/d/f"),
        ("inspectImageDownload", "/d"),
        ("checkImageFile", "/d/p"),
        ("inspectImageArchive", "/d/p"),
        ("checkImageArchive", "/d/p"),
    ] {
        api.call(id, &[image], &format!("?path={wrong}"), Body::None, 422)
            .await;
        api.call(id, &[image], "?path=/none", Body::None, 404).await;
        api.call(id, &[UNKNOWN], "?path=/", Body::None, 404).await;
        api.call(id, &[image], "", Body::None, 400).await;
    }
    api.call(
        "inspectImageGrep",
        &[image],
        "?pattern=x&path=/none",
        Body::None,
        404,
    )
    .await;
    api.call("inspectImageGrep", &[image], "?pattern=(", Body::None, 400)
        .await;
}

/// Imports an archive of an image as a new image.
pub(super) async fn imports(api: &mut Api, image: &str, directory: &std::path::Path) {
    let archive = api
        .call("inspectImageArchive", &[image], "?path=/d", Body::None, 200)
        .await;
    let tarball = directory.join("rootfs.tar");
    std::fs::write(&tarball, archive.body).unwrap();
    let body = json!({"registry": {"url": format!("rootfs:{}", tarball.display())}, "tag": "every/import:1"});
    let begun = api
        .call("importImage", &[], "", Body::Json(body), 201)
        .await;
    let operation = begun.text("/uuid").to_owned();
    assert_eq!(
        begun.header("location"),
        format!("/v1/operations/{operation}")
    );
    let events = api.events(&operation).await;
    assert_eq!(
        events.last().unwrap()["data"]["status"],
        "SUCCESS",
        "{events:?}"
    );
    api.call("getProcessOutput", &[&operation, "1"], "", Body::None, 409)
        .await;
    let answer = api
        .call(
            "inspectFindImageByTag",
            &[],
            "?tag=every/import:1",
            Body::None,
            302,
        )
        .await;
    let imported = answer
        .header("location")
        .split('/')
        .nth(3)
        .unwrap()
        .to_owned();
    let file = api
        .call(
            "inspectImageDownload",
            &[&imported],
            "?path=/d/f",
            Body::None,
            200,
        )
        .await;
    assert_eq!(file.body, b"content\n");
    api.call(
        "importImage",
        &[],
        "",
        Body::Json(json!({"registry": {}})),
        400,
    )
    .await;
}
