//! Tests of the lines that explain a failure which the sandbox caused.

use serde_json::json;

use crate::support::{FinishedOperation, TestEngine};

/// The lines that the engine added to the standard error of a command.
fn added_lines(done: &FinishedOperation) -> Vec<&str> {
    let lines = done.stderr.lines();
    lines.filter(|line| line.starts_with("contree: ")).collect()
}

#[tokio::test]
async fn failures_that_the_sandbox_causes_are_explained() {
    let local = TestEngine::shared().await;
    for (command, part) in [
        (
            "echo \"fatal: renaming 'd' failed: Invalid cross-device link\" >&2; exit 128",
            "rename it with `mv`",
        ),
        // A script may go on after an error.
        (
            "echo 'Error: EXDEV: cross-device link not permitted, rename' >&2",
            "rename it with `mv`",
        ),
        (
            "echo 'fatal: hardlink different from source at x'; exit 128",
            "--no-hardlinks",
        ),
        (
            "echo 'sh: 1: ping: Operation not permitted' >&2; exit 126",
            "has capabilities that sandboxes lack",
        ),
        ("kill -BUS $$", "/dev/shm"),
        ("sh -c 'kill -SEGV $$'; exit $?", "32-bit"),
        (
            "echo 'bash: ./x: cannot execute binary file: Exec format error' >&2; exit 126",
            "program for another processor",
        ),
    ] {
        let done = local.run(command, json!({})).await;
        let lines = added_lines(&done);
        assert!(
            lines.len() == 1 && lines[0].contains(part),
            "{command}: {done:?}"
        );
    }
}

#[tokio::test]
async fn commands_that_do_not_need_an_explanation_get_none() {
    let local = TestEngine::shared().await;
    for command in [
        "true",
        "echo 'Invalid cross-device link'",
        "echo failed >&2; exit 1",
        "echo starting; kill -SEGV $$",
        "kill -TERM $$",
    ] {
        let done = local.run(command, json!({})).await;
        assert_eq!(added_lines(&done), [""; 0], "{command}: {done:?}");
    }
    let unrecorded = json!({"truncate_output_at": 0});
    let done = local.run("kill -BUS $$", unrecorded).await;
    assert_eq!(done.stderr, "", "{done:?}");
}

#[tokio::test]
async fn a_failure_after_much_output_is_explained() {
    let local = TestEngine::shared().await;
    let command = "seq 100000; echo 'fatal: hardlink different from source at x' >&2; exit 128";
    let done = local.run(command, json!({"truncate_output_at": 20})).await;
    let lines = added_lines(&done);
    assert!(
        lines.len() == 1 && lines[0].contains("--no-hardlinks"),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_explained() {
    let local = TestEngine::shared().await;
    let file = local.upload(&[0; 100]).await;
    let fields =
        json!({"shell": false, "files": {"/tool": {"uuid": file["uuid"], "mode": "0755"}}});
    let done = local.run("/tool", fields).await;
    assert_eq!(done.status, "FAILED", "{done:?}");
    assert!(
        done.error.contains("program for another processor"),
        "{done:?}"
    );
}

/// Whether the image of this machine's programs has Python, which makes system calls that no shell
/// has.
fn python() -> bool {
    let there = std::path::Path::new("/usr/bin/python3").exists();
    if !there {
        println!("not tried: python3 is not installed here");
    }
    there
}

#[tokio::test]
async fn the_kernels_own_refusals_are_explained() {
    if !python() {
        return;
    }
    let local = TestEngine::shared().await;
    let made = local
        .run("mkdir /d; echo x >/d/f", json!({"disposable": false}))
        .await;
    let rename = json!({"image": made.result});
    let done = local
        .run("python3 -c 'import os; os.rename(\"/d\", \"/e\")'", rename)
        .await;
    assert_eq!(done.exit_code, 1, "{done:?}");
    let lines = added_lines(&done);
    assert!(
        lines.len() == 1 && lines[0].contains("rename it with `mv`"),
        "{done:?}"
    );
    // What the hint advises works.
    let done = local
        .run("mv /d /e && cat /e/f", json!({"image": made.result}))
        .await;
    assert_eq!(done.stdout, "x\n", "{done:?}");
    // CAP_NET_RAW, permitted and effective, as `setcap` writes it (revision 2).
    let script = "cp /bin/true /tool; python3 -c 'import os, struct
os.setxattr(\"/tool\", \"security.capability\", struct.pack(\"<5I\", 0x02000001, 1 << 13, 0, 0, 0))'
/tool; echo $?; cp /tool /copy; /copy; echo $?; exit 126";
    let done = local.run(script, json!({})).await;
    assert_eq!(done.stdout, "126\n0\n", "{done:?}");
    let lines = added_lines(&done);
    assert!(
        lines.len() == 1 && lines[0].contains("has capabilities that sandboxes lack"),
        "{done:?}"
    );
}

#[tokio::test]
async fn a_refusal_for_lack_of_ids_is_explained_whatever_the_exit_code() {
    let local = TestEngine::shared().await;
    let command = "echo 'su: cannot set groups: Operation not permitted' >&2";
    let done = local.run(command, json!({})).await;
    let single = local.get("/whoami").await.text.contains("a single user id");
    let lines = added_lines(&done);
    assert_eq!(lines.len(), usize::from(single), "{done:?}");
    assert!(lines.iter().all(|line| line.contains("newuidmap")));
}
