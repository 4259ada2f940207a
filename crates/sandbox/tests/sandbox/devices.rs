//! Tests of /dev.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;

use contree_sandbox::{Process, Sandbox};

use crate::support::{command, output, shell, start};

const NODES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

/// Device and inode of files in a sandbox.
fn inodes(sandbox: &Sandbox, paths: &str) -> BTreeSet<String> {
    let done = output(sandbox, &shell(&format!("stat -c %d:%i {paths}")));
    assert_eq!(done.exit.code, Some(0), "{done:?}");
    done.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn the_device_nodes_work() {
    let (_run, sandbox) = start();
    let script = "echo lost >/dev/null; head -c 3 /dev/zero | od -An -tx1; \
                  head -c 5 /dev/urandom | wc -c; head -c 5 /dev/random | wc -c; \
                  (echo x >/dev/full) 2>/dev/null || echo full; \
                  for name in full null random tty urandom zero; do test -c /dev/$name || echo $name; done";
    let done = output(&sandbox, &shell(script));
    assert_eq!(done.stdout, " 00 00 00\n5\n5\nfull\n", "{done:?}");
    for uid in [0, 1000] {
        let mut refused = shell("rm -f /dev/null || chmod 600 /dev/null || echo held");
        refused.uid = uid;
        if let Ok(process) = sandbox.exec(&refused) {
            let done = crate::support::collect(process, Vec::new());
            assert_eq!(done.stdout, "held\n", "{uid} {done:?}");
        }
    }
    sandbox.finish(false).unwrap();
}

#[test]
fn a_lock_on_a_device_concerns_one_sandbox_alone() {
    if !rustix::process::geteuid().is_root() {
        // Only this machine's root may make device nodes.
        return;
    }
    let (_one, first) = start();
    let (_two, second) = start();
    // What /proc hides is behind the same node.
    let mut paths = NODES.map(|name| format!("/dev/{name}")).join(" ");
    if std::path::Path::new("/proc/kcore").exists() {
        paths.push_str(" /proc/kcore");
    }
    let (seen, others) = (inodes(&first, &paths), inodes(&second, &paths));
    assert_eq!((seen.len(), others.len()), (6, 6));
    assert!(seen.is_disjoint(&others), "{seen:?} {others:?}");
    for name in NODES {
        let node = std::fs::metadata(format!("/dev/{name}")).unwrap();
        let machine = format!("{}:{}", node.dev(), node.ino());
        assert!(!seen.contains(&machine), "{name}");
    }
    // A lock that the first sandbox holds does not stop the second.
    let hold = "import fcntl, sys\n\
                node = open('/dev/null')\n\
                fcntl.flock(node, fcntl.LOCK_EX | fcntl.LOCK_NB)\n\
                print('locked', flush=True)\n\
                sys.stdin.read()";
    let Process {
        stdin,
        stdout,
        exit,
        ..
    } = first.exec(&command("python3", &["-c", hold])).unwrap();
    let mut line = String::new();
    BufReader::new(File::from(stdout))
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "locked\n");
    let take = "import fcntl\n\
                fcntl.flock(open('/dev/null'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n\
                print('mine')";
    let done = output(&second, &command("python3", &["-c", take]));
    assert_eq!(done.stdout, "mine\n", "{done:?}");
    drop(stdin);
    assert_eq!(exit.blocking_recv().unwrap().code, Some(0));
    first.finish(false).unwrap();
    second.finish(false).unwrap();
}
