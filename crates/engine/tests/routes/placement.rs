//! Links, directories and removals in `files` of a request.

use serde_json::{Value, json};

use crate::support::TestEngine;

#[tokio::test]
async fn removals_come_first_and_links_and_directories_before_files() {
    let local = TestEngine::shared().await;
    let file = local.upload(b"placed\n").await["uuid"].clone();
    let make = "mkdir -p /p/old/deep /p/full /p/empty /real; touch /p/empty/gone /p/old/deep/file /p/full/kept /p/a /p/b /p/c; \
        ln -s /real /p/to-real";
    let done = local.run(make, json!({"disposable": false})).await;
    let files = json!({
        "/p/old": {"x-kind": "absent"},
        "/p/old/deep": {"x-kind": "absent"},
        "/p/old/deep/file": {"x-kind": "absent"},
        "/p/full": {"x-kind": "absent"},
        "/p/missing/x": {"x-kind": "absent"},
        "/p/a": {"x-kind": "directory", "mode": "0750"},
        "/p/a/inside": {"uuid": file},
        "/p/b": {"x-kind": "symlink", "x-target": "a/inside"},
        "/p/empty": {"uuid": file, "mode": "4711"},
        "/p/empty/gone": {"x-kind": "absent"},
        "/p/new/empty": {"x-kind": "directory", "mode": "1777"},
        "/p/to-real": {"x-kind": "directory", "mode": "0700"},
        "/p/c": {"x-kind": "file", "uuid": file},
    });
    let list = "cd /p; find . -mindepth 1 -printf '%p %M %l\\n' | LC_ALL=C sort; cat b c; stat -c %a /real";
    let placed = json!({"image": done.result, "files": files});
    let shown = local.run(list, placed).await;
    assert_eq!(
        shown.stdout,
        "./a drwxr-x--- \n./a/inside -rw-r--r-- \n./b lrwxrwxrwx a/inside\n./c -rw-r--r-- \n./empty -rws--x--x \n\
         ./full drwxr-xr-x \n./full/kept -rw-r--r-- \n./new drwxr-xr-x \n./new/empty drwxrwxrwt \n\
         ./to-real lrwxrwxrwx /real\nplaced\nplaced\n755\n",
        "{shown:?}"
    );
}

#[tokio::test]
async fn nothing_is_placed_or_removed_outside_of_the_image() {
    let local = TestEngine::shared().await;
    let done = local
        .run(
            "ln -s ../../../.. /up; mkdir /d; touch /d/x; ln -s /d /l",
            json!({"disposable": false}),
        )
        .await;
    let files = json!({
        "/up/in-root": {"x-kind": "directory"},
        "/l/x": {"x-kind": "absent"},
    });
    let shown = local
        .run(
            "test -d /in-root && ls /d",
            json!({"image": done.result, "files": files}),
        )
        .await;
    assert_eq!(
        (shown.exit_code, shown.stdout.as_str()),
        (0, ""),
        "{shown:?}"
    );
    // A directory with content is in the way of a file or a link.
    for entry in [
        json!({"x-kind": "symlink", "x-target": "x"}),
        json!({"uuid": local.upload(b"x").await["uuid"]}),
    ] {
        let failed = local
            .run(
                "true",
                json!({"image": done.result, "files": {"/d": entry}}),
            )
            .await;
        assert_eq!(failed.status, "FAILED", "{failed:?}");
        assert!(
            failed.error.contains("a directory is already there"),
            "{failed:?}"
        );
    }
}

#[tokio::test]
async fn fields_that_do_not_belong_together_are_refused() {
    let local = TestEngine::shared().await;
    let uuid = local.upload(b"x").await["uuid"].clone();
    for (entry, why) in [
        (json!({}), "has no `uuid`"),
        (json!({"x-kind": "file"}), "has no `uuid`"),
        (json!({"x-kind": "symlink"}), "needs a target"),
        (
            json!({"x-kind": "symlink", "x-target": ""}),
            "needs a target",
        ),
        (
            json!({"x-kind": "symlink", "x-target": "a\0b"}),
            "needs a target",
        ),
        (
            json!({"x-kind": "symlink", "x-target": "x".repeat(5000)}),
            "needs a target",
        ),
        (
            json!({"x-kind": "directory", "uuid": uuid}),
            "do not belong together",
        ),
        (
            json!({"uuid": uuid, "x-target": "x"}),
            "do not belong together",
        ),
        (json!({"x-kind": "directory", "mode": "9"}), "octal"),
        (json!({"x-kind": "device"}), "x-kind"),
    ] {
        let body: Value = json!({
            "command": "true", "image": "tag:host", "files": {"/x": entry},
        });
        let answer = local.post("/instances", &body).await;
        assert_eq!(answer.status, 400, "{entry}: {}", answer.text);
        assert!(answer.text.contains(why), "{entry}: {}", answer.text);
    }
}
