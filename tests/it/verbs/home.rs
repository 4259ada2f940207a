//! Work comes home: applying changes, pushing and saving images.

use std::path::{Path, PathBuf};

use super::{Shell, stderr, stdout};
use crate::push_registry::PushRegistry;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// A directory with two files, and a session whose last run got it as `/app`.
fn project(shell: &Shell, script: &str) -> PathBuf {
    let project = shell.0.path().join("project");
    std::fs::create_dir(&project).unwrap();
    for (name, text) in [("a.txt", "1\n2\n3\n4\n5\n6\n7\n8\n9\n"), ("b.txt", "b\n")] {
        std::fs::write(project.join(name), text).unwrap();
    }
    shell.ok(&["use", "host"]);
    shell.ok(&["run", "-F", "project:/app", "-C", "/app", "-s", script]);
    project
}

/// Whether a table has a row with these first cells.
fn has_row(table: &str, change: &str, path: &str) -> bool {
    table.lines().any(|line| {
        let mut cells = line.split_whitespace();
        (cells.next(), cells.next()) == (Some(change), Some(path))
    })
}

#[test]
fn changes_of_a_run_come_home() {
    let shell = Shell::new();
    let script = "echo two > a.txt; rm b.txt; echo new > c.txt";
    let project = project(&shell, script);
    let shown = shell.run(&["apply", "@", "/app", "project", "-n"]);
    let table = stdout(&shown);
    for (change, path) in [
        ("written", "a.txt"),
        ("written", "c.txt"),
        ("removed", "b.txt"),
    ] {
        assert!(has_row(&table, change, path), "{table}{}", stderr(&shown));
    }
    let said = stderr(&shown);
    assert!(said.contains("2 written, 1 removed"), "{said}");
    assert!(project.join("b.txt").exists() && !project.join("c.txt").exists());
    // Without a path, it is the one to which the run sent the directory.
    let mut command = shell.0.contree();
    let session = shell.0.path().display().to_string();
    let output = command
        .args(["-S", &session, "apply", "@"])
        .current_dir(&project)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(read(&project.join("a.txt")), "two\n");
    assert_eq!(read(&project.join("c.txt")), "new\n");
    assert!(!project.join("b.txt").exists());
    let again = shell.run(&["apply", "@", "/app", "project"]);
    assert!(again.status.success());
    assert!(stderr(&again).contains("nothing to write"));
}

#[test]
fn conflicts_stop_unless_they_are_settled() {
    let shell = Shell::new();
    let project = project(&shell, "sed -i s/9/nine/ a.txt; echo theirs > b.txt");
    let mine = read(&project.join("a.txt")).replace('1', "one");
    std::fs::write(project.join("a.txt"), &mine).unwrap();
    let apply = ["apply", "@", "/app", "project"];
    let with = |more: &[&'static str]| [&apply[..], more].concat();
    let stopped = shell.run(&apply);
    assert_eq!(stopped.status.code(), Some(1));
    let table = stdout(&stopped);
    assert!(has_row(&table, "conflict", "a.txt"), "{table}");
    let said = stderr(&stopped);
    assert!(said.contains("nothing was written"), "{said}");
    assert_eq!(read(&project.join("b.txt")), "b\n");
    let skipped = shell.run(&with(&["--conflicts", "skip"]));
    assert_eq!(skipped.status.code(), Some(1));
    assert_eq!(read(&project.join("a.txt")), mine);
    assert_eq!(read(&project.join("b.txt")), "theirs\n");
    shell.ok(&with(&["--merge"]));
    let merged = "one\n2\n3\n4\n5\n6\n7\n8\nnine\n";
    assert_eq!(read(&project.join("a.txt")), merged);
    std::fs::write(project.join("a.txt"), "other\n").unwrap();
    shell.ok(&with(&["--conflicts", "theirs"]));
    assert!(read(&project.join("a.txt")).starts_with("1\n2\n"));
    let based = shell.run(&with(&["--base", "@"]));
    assert!(stderr(&based).contains("nothing to write"));
    let missing = shell.fails(1, &["apply", "@", "/app", "nowhere"]);
    assert!(missing.contains("nowhere"), "{missing}");
}

#[test]
fn images_are_saved_to_files_and_layouts() {
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo 1 > /app"]);
    shell.ok(&["tag", "app:1"]);
    let saved = shell.ok(&["save", "app:1", "layout/"]);
    assert!(saved.starts_with("layout/ sha256:"), "{saved}");
    shell.ok(&["images", "import", "./layout", "--tag", "copy:1"]);
    assert_eq!(shell.ok(&["cat", "copy:1:/app"]), "1\n");
    shell.ok(&["save", "@", "app.tar", "--squash"]);
    shell.ok(&["images", "import", "app.tar", "--tag", "copy:2"]);
    assert_eq!(shell.ok(&["cat", "copy:2:/app"]), "1\n");
    let packed = shell.fails(2, &["save", "app:1", "app.tar.gz"]);
    assert!(packed.contains("without compression"), "{packed}");
    shell.ok(&["push", "app:1", "oci-layout:pushed"]);
    let index = std::fs::read_to_string(shell.0.path().join("pushed/index.json")).unwrap();
    assert!(index.contains("\"app:1\""), "{index}");
    shell.ok(&["images", "import", "oci-layout:pushed", "--tag", "copy:3"]);
    assert_eq!(shell.ok(&["cat", "copy:3:/app"]), "1\n");
    let files = shell.fails(2, &["push", "app:1", "rootfs:/tmp/x"]);
    assert!(files.contains("`contree save"), "{files}");
}

#[test]
fn an_image_is_pushed_and_only_what_is_new_travels() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = runtime.block_on(PushRegistry::start());
    let shell = Shell::new();
    shell.ok(&["run", "-s", "echo 1 > /app"]);
    shell.ok(&["tag", "app:1"]);
    let url = registry.url("app:1");
    let reference = url.strip_prefix("docker://").unwrap();
    let first = shell.ok(&["--json", "push", "app:1", reference]);
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert!(first["blobs_sent"].as_u64() > Some(0), "{first}");
    let again = shell.run(&["push", "app:1", reference]);
    assert!(stdout(&again).contains(first["digest"].as_str().unwrap()));
    assert!(
        stderr(&again).contains("sent 0 blobs"),
        "{}",
        stderr(&again)
    );
    shell.ok(&["push", "app:1", &registry.url("flat:1"), "--squash"]);
    let (manifest, _) = registry.manifest("flat", "1");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    let refused = shell.fails(1, &["push", "app:1", "127.0.0.1:1/app:1"]);
    assert!(refused.contains("`contree login REGISTRY`"), "{refused}");
}
