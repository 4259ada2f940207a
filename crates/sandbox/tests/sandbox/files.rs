//! Tests of directories and files that are put into an image before anything of it runs.

use std::fs;
use std::path::PathBuf;

use contree_sandbox::{Error, FileCopy, NewDirectory, Sandbox, SandboxSpec};

use crate::support::*;

/// Makes a file in the store with this content.
fn source(content: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let relative = PathBuf::from(format!("files/{}", fresh()));
    let path = store().root().join(&relative);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    relative
}

fn file_copy(path: &str, content: &str) -> FileCopy {
    FileCopy {
        source: source(content),
        path: path.into(),
        mode: 0o640,
        uid: 0,
        gid: 0,
    }
}

fn refusal(spec: SandboxSpec) -> String {
    let run = run();
    match Sandbox::start(store(), &run, &spec) {
        Err(error @ Error::Placement { .. }) => error.to_string(),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was placed"),
    }
}

#[test]
fn files_are_there_with_their_owner_and_mode() {
    let single = store().id_map().is_single();
    let other = if single { 0 } else { 1000 };
    let mut executable = file_copy("/new/deep/tool", "#!/bin/sh\necho placed\n");
    executable.mode = 0o4755;
    let mut owned = file_copy("/etc/passwd", "nobody here\n");
    (owned.uid, owned.gid) = (other, other);
    let spec = SandboxSpec {
        directories: vec![
            NewDirectory {
                path: "/work/here".into(),
                uid: other,
                gid: other,
            },
            NewDirectory {
                path: "/etc".into(),
                uid: other,
                gid: other,
            },
        ],
        files: vec![executable, owned, file_copy("/relative/../../up", "up\n")],
        ..spec()
    };
    let (_run, sandbox) = start_with(&spec);
    let done = output(
        &sandbox,
        &shell(
            "/new/deep/tool; cat /etc/passwd /up; stat -c '%a %u %n' /new /new/deep /new/deep/tool /etc/passwd /work /work/here /etc",
        ),
    );
    let expected = format!(
        "placed\nnobody here\nup\n755 0 /new\n755 0 /new/deep\n4755 0 /new/deep/tool\n640 {other} /etc/passwd\n755 0 /work\n755 {other} /work/here\n755 0 /etc\n"
    );
    assert_eq!(done.stdout, expected, "{done:?}");
    assert_eq!(sandbox.finish(true).unwrap().changed, Some(true));
}

#[test]
fn links_of_an_image_do_not_lead_copied_files_outside() {
    let outside = directory().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    let outside_shown = outside.display();
    let script = format!(
        "mkdir -p {outside_shown}; ln -s {outside_shown} /away; ln -s {outside_shown}/file /link; ln -s ../../../../../../../../../..{outside_shown} /up; ln -s /proc /p; ln -s /dev/null /n; \
         ln -s /proc/self/root/etc /magic; mkfifo /fifo; ln -s nowhere /dangling; ln -s loop /loop; echo old >/hard; ln /hard /hard2; mkdir /dir; echo f >/file"
    );
    let (_, layer) = commit(&[HOST], &script);
    let with = |files: Vec<FileCopy>| SandboxSpec {
        layers: vec![layer.unwrap(), HOST],
        files,
        ..spec()
    };
    // Links in parents lead to places inside; a link at the path itself is replaced.
    let (_run, sandbox) = start_with(&with(vec![
        file_copy("/away/file", "inside\n"),
        file_copy("/link", "replaced\n"),
        file_copy("/up/other", "inside\n"),
        file_copy("/fifo", "no fifo\n"),
        file_copy("/n", "no device\n"),
        file_copy("/hard", "new\n"),
    ]));
    let done = output(
        &sandbox,
        &shell("cat /away/file /link /up/other /fifo /n /hard /hard2; test -L /link || echo plain"),
    );
    assert_eq!(
        done.stdout, "inside\nreplaced\ninside\nno fifo\nno device\nnew\nold\nplain\n",
        "{done:?}"
    );
    assert_eq!(
        fs::read_to_string(outside.join("file")).unwrap(),
        "untouched"
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);

    for path in ["/p/x", "/p/sys/x", "/magic/x"] {
        assert!(
            refusal(with(vec![file_copy(path, "x")])).contains("/proc, /sys or /dev"),
            "{path}"
        );
    }
    assert!(refusal(with(vec![file_copy("/dangling/x", "x")])).contains("has no target"));
    assert!(refusal(with(vec![file_copy("/file/x", "x")])).contains("not a directory"));
    assert!(refusal(with(vec![file_copy("/dir", "x")])).contains("a directory is already there"));
    refusal(with(vec![file_copy("/loop/x", "x")]));
}

#[test]
fn the_kernels_own_directories_are_refused() {
    for path in [
        "/proc/x",
        "/sys/x",
        "/dev/shm/x",
        "/dev",
        "/x/../dev/null",
        "relative",
        "/",
    ] {
        refusal(SandboxSpec {
            files: vec![file_copy(path, "x")],
            ..spec()
        });
    }
    refusal(SandboxSpec {
        directories: vec![NewDirectory {
            path: "/proc/x".into(),
            uid: 0,
            gid: 0,
        }],
        ..spec()
    });
}

#[test]
fn only_plain_files_of_the_store_are_sources() {
    let link = PathBuf::from(format!("files/{}", fresh()));
    std::os::unix::fs::symlink("/etc/passwd", store().root().join(&link)).unwrap();
    for source in [
        link,
        "../../../../../../etc/passwd".into(),
        "/etc/passwd".into(),
        "files".into(),
    ] {
        let spec = SandboxSpec {
            files: vec![FileCopy {
                source: source.clone(),
                ..file_copy("/x", "")
            }],
            ..spec()
        };
        let run = run();
        assert!(
            Sandbox::start(store(), &run, &spec).is_err(),
            "{}",
            source.display()
        );
    }
}
