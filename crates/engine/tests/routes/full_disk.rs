//! Tests of a data directory on a full disk: a small file system of its own, in a mount namespace.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use contree_engine::{LocalConfig, PruneOptions, prune, usage};
use serde_json::json;

use crate::support::{OtherEngine, data_dir};

/// Names the data directory and the test that [`driver`] performs.
const DISK: &str = "CONTREE_TEST_DISK";
const TEST: &str = "CONTREE_TEST_ON_DISK";

/// Runs a part of [`driver`] on a small file system. It holds this machine's programs, and little
/// more.
fn on_a_small_disk(test: &str) {
    let directory = data_dir();
    let mut command = Command::new("unshare");
    // Root may mount; an ordinary user may do so in a namespace.
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let output = command
        .args(["--mount", "sh", "-ec"])
        .arg(format!(
            "mount -t tmpfs -o size=400m,nr_inodes=20000,mode=755 none \"${DISK}\"
             exec \"$0\" --exact full_disk::driver --nocapture"
        ))
        .arg(std::env::current_exe().unwrap())
        .env(DISK, directory.path())
        .env(TEST, test)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Not a test by itself: the process that [`on_a_small_disk`] starts.
#[tokio::test]
async fn driver() {
    let Some(disk) = std::env::var_os(DISK).map(PathBuf::from) else {
        return;
    };
    match std::env::var(TEST).unwrap().as_str() {
        "ways out" => ways_out(&disk).await,
        "commits" => failing_commits(&disk).await,
        other => panic!("{other}"),
    }
}

/// Takes all free blocks and all free inodes of a file system.
fn fill(disk: &Path) {
    let filler = disk.join("filler");
    fs::create_dir_all(&filler).unwrap();
    for name in 0.. {
        if File::create(filler.join(name.to_string())).is_err() {
            break;
        }
    }
    let mut blocks = fs::OpenOptions::new()
        .append(true)
        .open(filler.join("0"))
        .unwrap();
    for size in [1 << 20, 4096, 1] {
        let bytes = vec![1_u8; size];
        while blocks.write_all(&bytes).is_ok() {}
    }
    let stat = rustix::fs::statvfs(disk).unwrap();
    assert_eq!((stat.f_bavail, stat.f_favail), (0, 0));
}

#[test]
fn a_full_disk_leaves_reading_and_pruning() {
    on_a_small_disk("ways out");
}

async fn ways_out(disk: &Path) {
    let data = disk.join("data");
    let config = LocalConfig::new(&data);
    let engine = OtherEngine::on(&data).await;
    let kept = json!({"disposable": false});
    let done = engine.run("head -c 20M /dev/zero >/big", kept).await;
    let image = done.result.unwrap();
    drop(engine);
    fill(disk);

    let used = usage(&config).unwrap();
    assert_eq!(used.images.len(), 2, "{used:?}");
    let mut options = PruneOptions::new(0);
    options.min_age = std::time::Duration::ZERO;
    options.dry_run = true;
    let planned = prune(&config, options).unwrap();
    assert_eq!(planned.images.len(), 1, "{planned:?}");
    let engine = OtherEngine::on(&data).await;
    for path in ["/whoami", "/images", "/operations", "/files"] {
        let answer = engine.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let path = format!("/inspect/{image}/list?path=/");
    let listed = engine.get(&path).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    drop(engine);
    // The reserve is there again for the next command.
    options.dry_run = false;
    let pruned = prune(&config, options).unwrap();
    assert_eq!(pruned.images, planned.images);
    assert!(pruned.problems.is_empty(), "{pruned:?}");
    let free = rustix::fs::statvfs(disk).unwrap();
    assert!(free.f_bavail * free.f_frsize >= 20 << 20);
    fs::remove_dir_all(disk.join("filler")).unwrap();
    let engine = OtherEngine::on(&data).await;
    assert_eq!(engine.run("echo again", json!({})).await.stdout, "again\n");
}

#[test]
fn a_commit_that_fails_on_a_full_disk_leaves_nothing() {
    on_a_small_disk("commits");
}

async fn failing_commits(disk: &Path) {
    let engine = OtherEngine::on(disk).await;
    let host = engine.host().await;
    let layers = || fs::read_dir(disk.join("layers")).unwrap().count();
    assert_eq!(layers(), 1);
    let commands = [
        // The blocks, and then the inodes.
        "cat /dev/zero >/blocks; echo over",
        "mkdir /d; cd /d; i=0; while : >\"$i\"; do i=$((i+1)); done 2>/dev/null; echo over",
    ];
    for command in commands {
        let body = json!({"image": host, "disposable": false, "timeout": 60});
        let done = engine.run(command, body).await;
        assert_eq!(done.status, "FAILED", "{done:?}");
        let path = format!("/operations/{}", done.operation);
        loop {
            let record = engine.get(&path).await;
            assert_eq!(record.status, 200, "{record:?}");
            let record = record.json;
            assert_eq!(record["status"], "FAILED");
            assert_eq!(record["error"], done.error.as_str(), "{record}");
            assert!(!done.error.contains("ended before"), "{done:?}");
            let remaining = fs::read_dir(disk.join("run")).unwrap().count();
            if remaining == 0 && layers() == 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
        // There is room for the next command, without a restart.
        let next = engine.run("echo next", json!({"image": host})).await;
        assert_eq!(
            (next.status.as_str(), next.stdout.as_str()),
            ("SUCCESS", "next\n")
        );
    }
}
