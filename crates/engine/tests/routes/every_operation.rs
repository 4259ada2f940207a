//! Calls every operation of the API document over HTTP on a real engine: status, headers, body and
//! effect, and each error answer that the document declares.
//!
//! Each answer is checked against the document. At the end every declared answer must have
//! occurred, or be in [`OUT_OF_REACH`] with a reason. So the test fails for a new operation or
//! answer of the document until it is called here.

mod api;
mod inspection;
mod processes;

use serde_json::json;

use api::{Api, Body, UNKNOWN};
use inspection::{imports, inspection};
use processes::{ports_and_terminals, processes};

use crate::support::data_dir;

/// Declared answers that a healthy engine does not give: operation (`*` for all), status, reason.
const OUT_OF_REACH: &[(&str, u16, &str)] = &[
    ("*", 403, "the engine's one token may do everything"),
    ("*", 502, "there is no proxy before the engine"),
    (
        "*",
        504,
        "there is no guest agent that could fail to answer",
    ),
    (
        "importImage",
        404,
        "an image that a registry does not have fails the operation, not the request",
    ),
    (
        "uploadFile",
        404,
        "an upload names nothing that could be missing",
    ),
    ("uploadFile", 400, "any bytes are a valid file"),
    (
        "getOperationEvents",
        410,
        "the engine finalises an operation too quickly for a request to meet that state",
    ),
    (
        "operationSubprocessStdin",
        501,
        "the engine supports standard input",
    ),
    (
        "*",
        413,
        "the limit is 64 MiB; errors.rs sends a larger body",
    ),
    (
        "*",
        429,
        "thousands of operations would have to wait; subprocesses.rs tests it for processes",
    ),
    ("*", 503, "only while the engine is being stopped"),
];

#[tokio::test]
async fn every_operation_gives_every_declared_answer() {
    let data = data_dir();
    let mut api = Api::start(data.path()).await;
    requests_without_the_token(&mut api).await;
    let host = account_and_images(&mut api).await;
    files(&mut api).await;
    let image = commands(&mut api, &host).await;
    processes(&mut api).await;
    ports_and_terminals(&mut api).await;
    inspection(&mut api, &image).await;
    extensions(&mut api, &host, &image).await;
    imports(&mut api, &image, data.path()).await;
    api.end().await;
}

async fn requests_without_the_token(api: &mut Api) {
    for (_, _, operation) in api.operations() {
        let id = operation["operationId"].as_str().unwrap();
        if operation["responses"].get("401").is_some() {
            api.call_as("wrong", id, &[UNKNOWN, "1"], "", Body::None, 401)
                .await;
        }
    }
}

async fn account_and_images(api: &mut Api) -> String {
    let who = api.call("whoAmI", &[], "", Body::None, 200).await;
    assert_eq!(who.json["permissions"]["spawn"], true);
    assert_eq!(who.json["limits"]["instance_max_concurrency"], 1);

    let host = api
        .call("listImages", &[], "?tag=host", Body::None, 200)
        .await
        .text("/images/0/uuid")
        .to_owned();
    api.call("listImages", &[], "?since=never", Body::None, 400)
        .await;
    api.call("listImages", &[], "?limit=0", Body::None, 400)
        .await;
    let tagged = api
        .call(
            "updateImageTag",
            &[&host],
            "",
            Body::Json(json!({"tag": "every/one:1"})),
            200,
        )
        .await;
    assert_eq!(
        (tagged.text("/tag"), tagged.text("/uuid")),
        ("every/one:1", host.as_str())
    );
    api.call(
        "updateImageTag",
        &[&host],
        "",
        Body::Json(json!({"tag": "a//b"})),
        400,
    )
    .await;
    api.call(
        "updateImageTag",
        &[UNKNOWN],
        "",
        Body::Json(json!({"tag": "x"})),
        404,
    )
    .await;
    let answer = api
        .call(
            "inspectFindImageByTag",
            &[],
            "?tag=every/one:1",
            Body::None,
            302,
        )
        .await;
    assert_eq!(answer.header("location"), format!("/v1/inspect/{host}/"));
    api.call("inspectFindImageByTag", &[], "", Body::None, 400)
        .await;
    let removed = api
        .call(
            "deleteImageTag",
            &[&host],
            "?tag=every/one:1",
            Body::None,
            204,
        )
        .await;
    assert_eq!(removed.status, 204);
    api.call(
        "inspectFindImageByTag",
        &[],
        "?tag=every/one:1",
        Body::None,
        404,
    )
    .await;
    api.call("deleteImageTag", &["no-uuid"], "", Body::None, 400)
        .await;
    api.call("deleteImageTag", &[UNKNOWN], "", Body::None, 404)
        .await;

    let to = api
        .call("inspectRedirect", &[], "?tag=host", Body::None, 307)
        .await;
    assert_eq!(to.header("location"), "/v1/inspect/?tag=host");
    let to = api
        .call("inspectImageRedirect", &[&host], "", Body::None, 307)
        .await;
    assert_eq!(to.header("location"), format!("/v1/inspect/{host}/"));
    api.call("inspectImageRedirect", &["no-uuid"], "", Body::None, 400)
        .await;
    let image_with_tag = api
        .call("inspectImage", &[&host], "", Body::None, 200)
        .await;
    assert_eq!(
        (image_with_tag.text("/uuid"), image_with_tag.text("/tag")),
        (host.as_str(), "host")
    );
    api.call("inspectImage", &["no-uuid"], "", Body::None, 400)
        .await;
    api.call("inspectImage", &[UNKNOWN], "", Body::None, 404)
        .await;
    host
}

async fn extensions(api: &mut Api, host: &str, image: &str) {
    let who = api.call("whoAmI", &[], "", Body::None, 200).await;
    assert_eq!(
        who.json["x-extensions"],
        json!([
            "codes", "delete", "diff", "files", "limits", "live", "log", "network", "output",
            "ports", "push", "snapshot", "terminal"
        ])
    );
    let log = api.call("getImageLog", &[image], "", Body::None, 200).await;
    assert_eq!(log.text("/images/1/uuid"), host);
    api.call("getImageLog", &[image], "?limit=0", Body::None, 400)
        .await;
    api.call("getImageLog", &[UNKNOWN], "", Body::None, 404)
        .await;
    let diff = api
        .call("getImageDiff", &[image], "?patch", Body::None, 200)
        .await;
    assert_eq!(diff.text("/changes/0/path"), "/d");
    assert!(diff.text("/patch").contains("+++ b/d/f\n"));
    api.call("getImageDiff", &[image], "?limit=0", Body::None, 400)
        .await;
    api.call("getImageDiff", &[UNKNOWN], "", Body::None, 404)
        .await;
    api.call("getImageDiff", &[host], "", Body::None, 422).await;
    let folder = tempfile::tempdir().unwrap();
    let target = format!("oci-layout:{}", folder.path().join("layout").display());
    let push = json!({"registry": {"url": target}});
    let pushed = api
        .call("pushImage", &[image], "", Body::Json(push.clone()), 201)
        .await
        .text("/uuid")
        .to_owned();
    api.events(&pushed).await;
    let record = api
        .call("getOperationStatus", &[&pushed], "", Body::None, 200)
        .await;
    assert!(record.text("/x-push/digest").starts_with("sha256:"));
    api.call("pushImage", &[UNKNOWN], "", Body::Json(push), 404)
        .await;
    let nowhere = json!({"registry": {"url": ""}});
    api.call("pushImage", &[image], "", Body::Json(nowhere), 400)
        .await;
    api.call("deleteImage", &[host], "", Body::None, 409).await;
    api.call("deleteImage", &[UNKNOWN], "", Body::None, 404)
        .await;
    api.call("deleteImage", &["no-uuid"], "", Body::None, 400)
        .await;
    let spawned =
        json!({"command": "echo x >/x", "shell": true, "image": image, "disposable": false});
    let operation = api
        .call("spawnInstance", &[], "", Body::Json(spawned), 201)
        .await
        .text("/uuid")
        .to_owned();
    api.events(&operation).await;
    let done = api
        .call("getOperationStatus", &[&operation], "", Body::None, 200)
        .await;
    let made = done.text("/result_image_uuid").to_owned();
    let deleted = api
        .call("deleteImage", &[&made], "?force=0", Body::None, 200)
        .await;
    assert_eq!(
        (deleted.text("/uuid"), &deleted.json["layers"]),
        (made.as_str(), &json!(1))
    );
}

async fn files(api: &mut Api) {
    let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    api.call("checkFileExists", &[sha], "", Body::None, 404)
        .await;
    api.call("getFile", &[sha], "", Body::None, 404).await;
    let first = api
        .call("uploadFile", &[], "", Body::Bytes(b"abc"), 201)
        .await;
    assert_eq!(
        (first.text("/sha256"), &first.json["size"]),
        (sha, &json!(3))
    );
    let again = api
        .call("uploadFile", &[], "", Body::Bytes(b"abc"), 201)
        .await;
    assert_eq!(again.text("/uuid"), first.text("/uuid"));
    api.call("checkFileExists", &[sha], "", Body::None, 200)
        .await;
    assert_eq!(
        api.call("getFile", &[sha], "", Body::None, 200)
            .await
            .text("/uuid"),
        first.text("/uuid")
    );
    for id in ["checkFileExists", "getFile"] {
        api.call(id, &["abc"], "", Body::None, 400).await;
    }
    let listed = api.call("listFiles", &[], "", Body::None, 200).await;
    assert_eq!(listed.text("/files/0/sha256"), sha);
    api.call("listFiles", &[], "?limit=1001", Body::None, 400)
        .await;
}

/// Makes an image with a file of each kind.
async fn commands(api: &mut Api, host: &str) -> String {
    let script = "mkdir /d; echo content >/d/f; mkfifo /d/p; echo out; exit 3";
    let spawned = api
        .call(
            "spawnInstance",
            &[],
            "",
            Body::Json(
                json!({"command": script, "shell": true, "image": host, "disposable": false}),
            ),
            201,
        )
        .await;
    let operation = spawned.text("/uuid").to_owned();
    assert_eq!(
        spawned.header("location"),
        format!("/v1/operations/{operation}")
    );
    assert_eq!(spawned.text("/command"), script);
    let events = api.events(&operation).await;
    let last = events.last().unwrap();
    assert_eq!(
        (&last["type"], &last["data"]["status"]),
        (&json!("completion"), &json!("SUCCESS"))
    );
    let done = api
        .call("getOperationStatus", &[&operation], "", Body::None, 200)
        .await;
    assert_eq!(done.json["metadata"]["result"]["state"]["exit_code"], 3);
    assert_eq!(done.text("/metadata/result/stdout/value"), "out\n");
    let image = done.text("/result_image_uuid").to_owned();
    assert_ne!(image, host);
    let created = api
        .call("inspectImage", &[&image], "", Body::None, 200)
        .await;
    assert_eq!(created.text("/operation_uuid"), operation);

    api.call(
        "spawnInstance",
        &[],
        "",
        Body::Json(json!({"image": host})),
        400,
    )
    .await;
    api.call(
        "spawnInstance",
        &[],
        "",
        Body::Json(json!({"image": "tag:none", "command": "x"})),
        400,
    )
    .await;
    let listed = api
        .call(
            "listOperations",
            &[],
            "?status=SUCCESS&kind=instance",
            Body::None,
            200,
        )
        .await;
    assert_eq!(listed.text("/0/uuid"), operation);
    api.call("listOperations", &[], "?status=DONE", Body::None, 400)
        .await;
    for id in [
        "getOperationStatus",
        "cancelOperation",
        "getOperationEvents",
    ] {
        api.call(id, &["no-uuid"], "", Body::None, 400).await;
        api.call(id, &[UNKNOWN], "", Body::None, 404).await;
    }
    api.call("cancelOperation", &[&operation], "", Body::None, 409)
        .await;
    image
}
