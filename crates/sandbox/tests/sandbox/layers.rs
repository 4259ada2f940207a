//! Tests of the limit on the writable layer, for every way of writing.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use contree_sandbox::{Error, Sandbox, SandboxSpec};

use crate::support::{Output, output, run, shell, spec, store};

pub(crate) const MIB: u64 = 1 << 20;

/// The most bytes that may be written beyond the limit before the sandbox is killed.
pub(crate) const OVERSHOOT: u64 = 64 * MIB;

pub(crate) fn disk(path: &Path) -> u64 {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    let inner = if metadata.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| disk(&entry.path())).sum()
    } else {
        0
    };
    metadata.blocks() * 512 + inner
}

/// Runs a script that may write `limit` bytes. Returns the error or the script's output, and the
/// bytes on disk.
pub(crate) fn limited(limit: u64, script: &str) -> (Result<Output, Error>, u64) {
    let run = run();
    let spec = SandboxSpec {
        max_layer_bytes: Some(limit),
        ..spec()
    };
    let sandbox = Sandbox::start(store(), &run, &spec).unwrap();
    let process = sandbox.exec(&shell(script)).unwrap();
    let (out, err) = (process.stdout, process.stderr);
    drop(process.stdin);
    let exit = process.exit.blocking_recv();
    let (stdout, stderr) = (crate::support::read(out), crate::support::read(err));
    let result = sandbox.finish(true).map(|_| Output {
        exit: exit.unwrap(),
        stdout,
        stderr,
    });
    let bytes = disk(&run.path().join("L/d"));
    store().remove_run(run.name()).unwrap();
    (result, bytes)
}

#[track_caller]
pub(crate) fn is_ended(limit: u64, script: &str) {
    // Try several times: a busy machine may leave the watcher no time now and then.
    let bounded = (0..3)
        .map(|_| {
            let (result, bytes) = limited(limit, script);
            match result {
                Err(
                    Error::LayerTooLarge {
                        limit: reported, ..
                    }
                    | Error::LayerNotMeasurable {
                        limit: reported, ..
                    },
                ) => assert_eq!(reported, limit),
                other => panic!("{script}: {other:?}"),
            }
            bytes.saturating_sub(limit)
        })
        .find(|beyond| *beyond <= OVERSHOOT);
    assert!(
        bounded.is_some(),
        "{script}: more than {} MiB beyond the limit, three times",
        OVERSHOOT / MIB
    );
}

pub(crate) fn python() -> bool {
    let there = Path::new("/usr/bin/python3").exists();
    if !there {
        println!("not tried: python3 is not installed here");
    }
    there
}

#[test]
fn files_within_the_limit_are_kept() {
    let (result, _) = limited(
        40 * MIB,
        "head -c 30M /dev/zero > /a; rm /a; head -c 30M /dev/zero > /b; echo done",
    );
    assert_eq!(result.unwrap().stdout, "done\n");
}

#[test]
fn a_large_file_ends_the_sandbox() {
    is_ended(
        20 * MIB,
        "dd if=/dev/zero of=/large bs=1M count=2000; sleep 30",
    );
}

#[test]
fn a_command_that_ends_at_once_is_measured_too() {
    is_ended(MIB / 4, "head -c 1M /dev/zero > /a");
}

#[test]
fn several_writers_and_small_files_count_together() {
    is_ended(
        20 * MIB,
        "for n in 1 2 3 4; do (i=0; mkdir /$n; while :; do head -c 20000 /dev/zero > /$n/$i; i=$((i+1)); done) & done; wait",
    );
}

#[test]
fn a_deleted_file_that_is_open_counts() {
    is_ended(
        20 * MIB,
        "exec 5>/gone; rm /gone; head -c 60M /dev/zero >&5; sleep 30",
    );
}

#[test]
fn holes_do_not_count() {
    let (result, bytes) = limited(
        10 * MIB,
        "truncate -s 10G /sparse; printf x >> /sparse; echo $?",
    );
    assert_eq!(result.unwrap().stdout, "0\n");
    assert!(bytes < 10 * MIB, "{bytes}");
}

#[test]
fn a_mapped_file_counts() {
    if python() {
        let script = "python3 -c 'import mmap, os
f = os.open(\"/m\", os.O_CREAT | os.O_RDWR); os.ftruncate(f, 4 << 30); m = mmap.mmap(f, 4 << 30)
for at in range(0, 4 << 30, 4096): m[at] = 1'; sleep 30";
        is_ended(20 * MIB, script);
    }
}

#[test]
fn a_small_run_under_a_limit_leaves_its_output() {
    let sandbox_limit = SandboxSpec {
        max_layer_bytes: Some(MIB),
        ..spec()
    };
    let (_run, sandbox) = crate::support::start_with(&sandbox_limit);
    assert_eq!(output(&sandbox, &shell("echo ok")).stdout, "ok\n");
    sandbox.finish(false).unwrap();
}
