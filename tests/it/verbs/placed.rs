//! Files and directories of this machine that runs place: owners, modes, and what is gone.

use std::os::unix::fs::PermissionsExt as _;

use super::{Shell, stderr};

/// A home with a directory `src`, which has files in and below it.
fn home() -> Shell {
    let shell = Shell::new();
    let src = shell.0.path().join("src");
    std::fs::create_dir_all(src.join("deep/empty")).unwrap();
    std::fs::write(src.join("a"), "a\n").unwrap();
    std::fs::write(src.join("deep/b"), "b\n").unwrap();
    std::os::unix::fs::symlink("a", src.join("link")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(src.join("a"), mode).unwrap();
    shell
}

/// Owner, mode and path of everything at and below a path.
fn listed(path: &str) -> String {
    format!("find {path} -printf '%U:%G %m %p\\n' | sort -k3")
}

#[test]
fn the_owner_and_the_mode_of_a_directory_hold_for_its_entries() {
    let shell = home();
    let plain = shell.ok(&["run", "-D", "-F", "src:/app", "-s", &listed("/app")]);
    let expected = "0:0 755 /app\n0:0 700 /app/a\n0:0 755 /app/deep\n0:0 644 /app/deep/b\n\
                    0:0 755 /app/deep/empty\n0:0 777 /app/link\n";
    assert_eq!(plain, expected);
    let owned = shell.ok(&[
        "run",
        "-D",
        "-F",
        "src:/srv/app:u7:g8:m0640",
        "-s",
        &listed("/srv"),
    ]);
    let (above, below) = owned.split_once('\n').unwrap();
    assert!(above.starts_with("0:0 "), "{owned}");
    let expected = "7:8 755 /srv/app\n7:8 640 /srv/app/a\n7:8 755 /srv/app/deep\n\
                    7:8 640 /srv/app/deep/b\n7:8 755 /srv/app/deep/empty\n7:8 777 /srv/app/link\n";
    assert_eq!(below, expected);
    // A directory that the image has keeps its owner.
    shell.ok(&["run", "-s", "mkdir -p /old/deep"]);
    let words = [
        "run",
        "-D",
        "-F",
        "src:/old:u7",
        "-s",
        "stat -c '%u %n' /old /old/deep /old/a",
    ];
    assert_eq!(shell.ok(&words), "0 /old\n0 /old/deep\n7 /old/a\n");
}

#[test]
fn a_changed_mode_is_not_brought_home() {
    let shell = home();
    shell.ok(&["run", "-F", "src:/app:m0600", "-s", "echo more >> /app/a"]);
    shell.ok(&["apply", "@", "/app", "src"]);
    let file = shell.0.path().join("src/a");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a\nmore\n");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn what_is_gone_from_a_directory_is_removed_by_the_next_run() {
    let shell = home();
    let src = |name: &str| shell.0.path().join("src").join(name);
    shell.ok(&["run", "-F", "src:/app", "-s", "echo made > /app/deep/made"]);
    std::fs::remove_file(src("a")).unwrap();
    std::fs::remove_file(src("deep/b")).unwrap();
    std::fs::remove_dir(src("deep/empty")).unwrap();
    let list = ["run", "-F", "src:/app", "-s", "cd /app; find . | sort"];
    let output = shell.run(&list);
    let left = "./deep\n./deep/made\n./link\n";
    assert_eq!(super::stdout(&output), format!(".\n{left}"));
    let said = stderr(&output);
    assert!(
        said.contains("removed /app/a, /app/deep/b, /app/deep/empty, gone from"),
        "{said}"
    );
    // The changes home are those after what the run placed and removed.
    shell.ok(&["run", "-s", "echo new > /app/new"]);
    shell.ok(&["apply", "@", "/app", "src"]);
    assert_eq!(std::fs::read_to_string(src("new")).unwrap(), "new\n");
    assert!(!src("a").exists());
    // Nothing else is gone, and a single file of that name stays.
    let again = shell.run(&list);
    assert!(!stderr(&again).contains("removed"), "{}", stderr(&again));
    std::fs::remove_file(src("link")).unwrap();
    let file = format!("{}:/app/link", src("../other").display());
    std::fs::write(src("../other"), "other\n").unwrap();
    let both = [
        "run",
        "-F",
        "src:/app",
        "-F",
        &file,
        "--",
        "cat",
        "/app/link",
    ];
    assert_eq!(shell.ok(&both), "other\n");
}

#[test]
fn another_directory_removes_nothing() {
    let shell = home();
    std::fs::create_dir(shell.0.path().join("other")).unwrap();
    std::fs::write(shell.0.path().join("other/c"), "c\n").unwrap();
    shell.ok(&["run", "-F", "src:/app", "--", "true"]);
    let list = ["run", "-F", "other:/app", "--", "ls", "/app"];
    assert_eq!(shell.ok(&list), "a\nc\ndeep\nlink\n");
    // Nor does a run on an image without the files.
    std::fs::remove_file(shell.0.path().join("src/a")).unwrap();
    shell.ok(&["use", "host"]);
    let output = shell.run(&["run", "-D", "-F", "src:/app", "--", "true"]);
    assert_eq!(stderr(&output), "");
}
