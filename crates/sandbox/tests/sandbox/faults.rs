//! Tests of killing the engine's process.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use contree_sandbox::{LayerStore, Sandbox, StoreOptions, View};

use crate::support::*;

const DRIVER: &str = "CONTREE_TEST_DRIVER";

/// The work of the driver process until it is killed. As a test by itself it does nothing.
#[test]
fn driver() {
    let Some(root) = std::env::var_os(DRIVER) else {
        return;
    };
    let store = LayerStore::open(root.as_ref(), StoreOptions::default()).unwrap();
    let run = store.create_run("driven").unwrap();
    let sandbox = Sandbox::start(&store, &run, &spec()).unwrap();
    let _view = View::open(&store, &[HOST]).unwrap();
    let script = "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & (sleep 1000 &) ; echo started; echo x >/x; sleep 1000";
    let process = sandbox.exec(&shell(script)).unwrap();
    let mut line = String::new();
    BufReader::new(fs::File::from(process.stdout))
        .read_line(&mut line)
        .unwrap();
    print!("\n{line}");
    std::io::stdout().flush().unwrap();
    let _ = process.exit.blocking_recv();
}

fn start_driver(store: &LayerStore) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "faults::driver", "--nocapture"])
        .env(DRIVER, store.root())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "started"));
    (child, lines)
}

/// Lists all descendants of a process by their pids outside of the sandbox.
fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // The process name, in parentheses, may contain any characters.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut pending = vec![root];
    while let Some(pid) = pending.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(&below);
        pending.extend(below);
    }
    found
}

fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

#[test]
fn a_killed_engine_leaves_no_process_and_no_mount() {
    let root = directory().join("faults");
    let store = LayerStore::open(&root, StoreOptions::default()).unwrap();
    store.stage_host_layer(HOST).unwrap();
    let (mut driver, _output) = start_driver(&store);
    let tree = descendants(driver.id());
    // The sandbox's first stage and pid 1, the command and its children, and the view's helper.
    assert!(tree.len() >= 6, "{tree:?}");
    assert!(store.run_is_live("driven").unwrap());
    driver.kill().unwrap();
    driver.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while tree.iter().any(|&pid| alive(pid)) {
        assert!(
            Instant::now() < deadline,
            "left: {:?}",
            tree.iter().filter(|&&pid| alive(pid)).collect::<Vec<_>>()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!store.run_is_live("driven").unwrap());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(root.to_str().unwrap()), "{mounts}");
    store.remove_run("driven").unwrap();
    store.remove_leftover_groups();
    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&root).unwrap());
    assert!(crate::limits::groups(&format!("-{inode:x}-driven")).is_empty());
    assert!(store.runs().unwrap().is_empty());
    // The store still works.
    let run = store.create_run("after").unwrap();
    let sandbox = Sandbox::start(&store, &run, &spec()).unwrap();
    assert_eq!(output(&sandbox, &shell("echo whole")).stdout, "whole\n");
    drop(sandbox);
    store.remove_run("after").unwrap();
    store.remove_layer(HOST).unwrap();
}
