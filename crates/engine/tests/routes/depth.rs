//! Tests of images with long chains of layers.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::TestEngine;

/// A chain longer than an overlay mount could hold: its layers are squashed while it grows.
#[tokio::test]
async fn a_long_chain_is_squashed_and_shows_the_same_files() {
    let local = TestEngine::new().await;
    let mut image = local.host().await;
    let mut at_40 = String::new();
    for step in 0..80 {
        let script = format!(
            "mkdir -p /work/{0} && echo {step} > /work/{0}/{step} && echo {step} >> /log && rm -rf /work/{1}",
            step % 7,
            (step + 3) % 7
        );
        let done = local
            .run(&script, json!({"image": image, "disposable": false}))
            .await;
        assert_eq!(
            (done.status.as_str(), done.exit_code),
            ("SUCCESS", 0),
            "{done:?}"
        );
        image = done.result.unwrap();
        if step == 40 {
            at_40.clone_from(&image);
        }
    }
    let records = rusqlite::Connection::open(local.engine.data.path().join("store.db")).unwrap();
    let squashed = || -> u32 {
        let count = "SELECT count(*) FROM layers WHERE stands_for IS NOT NULL AND ready = 1";
        records.query_row(count, [], |row| row.get(0)).unwrap()
    };
    for _ in 0..1000 {
        if squashed() >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(squashed() >= 2);
    let listing = local
        .run(
            "grep -c '' /log; tail -1 /log; ls /work; ls /work/* | wc -l",
            json!({"image": image}),
        )
        .await;
    let lines: Vec<&str> = listing.stdout.lines().collect();
    assert_eq!(&lines[..2], ["80", "79"], "{listing:?}");
    let earlier = local
        .run("grep -c '' /log; tail -1 /log", json!({"image": at_40}))
        .await;
    assert_eq!(earlier.stdout, "41\n40\n");
    // The same steps in an ordinary directory must leave the same files.
    let script = "cd /tmp; i=0; while [ $i -lt 80 ]; do mkdir -p w/$((i % 7)); echo $i > w/$((i % 7))/$i; rm -rf w/$(((i + 3) % 7)); i=$((i+1)); done; find w -type f | sort | cut -d/ -f2- > /tmp/expected; cd /work; find * -type f | sort | diff - /tmp/expected && echo same";
    let same = local.run(script, json!({"image": image})).await;
    assert_eq!(same.stdout, "same\n", "{same:?}");
    // A view of a squashed layer is opened again when its helper has been killed.
    let top: String = records
        .query_row(
            "SELECT i.uuid FROM images i JOIN layers l ON l.stands_for = i.layer WHERE l.ready = 1",
            [],
            |row| row.get(0),
        )
        .unwrap();
    for _ in 0..2 {
        let listed = local.get(&format!("/inspect/{top}/list?path=/work")).await;
        assert_eq!(listed.status, 200, "{listed:?}");
        // An ordinary user cannot see the directory of a helper.
        if rustix::process::geteuid().is_root() {
            assert!(kill_helpers(local.engine.data.path()) > 0);
        }
    }
}

/// Kills the helpers and sandboxes of a data directory. Returns their number.
fn kill_helpers(data: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let helpers = processes.filter(|process| {
        std::fs::read_link(process.path().join("cwd")).is_ok_and(|directory| directory == data)
            && std::fs::read(process.path().join("cmdline"))
                .is_ok_and(|line| line.starts_with(b"contree-sandbox-init"))
    });
    helpers
        .map(|helper| {
            let pid: i32 = helper.file_name().to_str().unwrap().parse().unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)
        })
        .filter(Result::is_ok)
        .count()
}
