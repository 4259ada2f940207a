//! Tests of the free space that sandboxes and imports leave, on a small file system in memory.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use contree_sandbox::{
    Error, LayerStore, RunDir, Sandbox, SandboxSpec, StoreOptions, UnpackLimits,
};

use crate::support::*;

const PROBE: &str = "CONTREE_TEST_DISK_PROBE";
const MIB: u64 = 1 << 20;

/// The program that runs on the small file system. As a test by itself it does nothing.
#[test]
fn probe() {
    let Some(root) = std::env::var_os(PROBE).map(PathBuf::from) else {
        return;
    };
    let store = LayerStore::open(&root.join("store"), StoreOptions::default()).unwrap();
    store.stage_host_layer(HOST).unwrap();
    let mut started = 0;
    let mut start = || {
        started += 1;
        let run = store.create_run(&format!("run-{started}")).unwrap();
        let spec = SandboxSpec {
            max_layer_bytes: Some(12 << 30),
            ..spec()
        };
        let sandbox = Sandbox::start(&store, &run, &spec);
        (run, sandbox)
    };
    let remove = |run: &RunDir| store.remove_run(run.name()).unwrap();
    let (run, sandbox) = start();
    let sandbox = match sandbox {
        Ok(sandbox) => sandbox,
        Err(Error::Unavailable(reason)) => {
            println!("not tried: {reason}");
            return;
        }
        Err(error) => panic!("{error:?}"),
    };
    // A file without a name, which other processes hold too.
    let hog = sandbox
        .exec(&shell(
            "exec 5>/gone; rm /gone; head -c 2G /dev/zero >&5; sleep 60",
        ))
        .unwrap();
    // It never ends by itself.
    assert!(hog.exit.blocking_recv().is_err());
    match sandbox.finish(true) {
        Err(Error::DiskNearlyFull { floor, unit, .. }) => {
            assert_eq!(unit, "bytes");
            assert!((25 * MIB..100 * MIB).contains(&floor), "{floor}");
        }
        other => panic!("{other:?}"),
    }
    remove(&run);
    let spare = store.spare_bytes().unwrap();
    assert!(spare > 100 * MIB, "{spare}");

    // Something else fills the disk beyond the floor. Sandboxes that write little still run.
    let mut filler = std::fs::File::create(root.join("filler")).unwrap();
    for _ in 0..spare / MIB + 4 {
        filler.write_all(&vec![0; MIB as usize]).unwrap();
    }
    assert_eq!(store.spare_bytes().unwrap(), 0);
    let (run, sandbox) = start();
    let sandbox = sandbox.unwrap();
    let done = output(&sandbox, &shell("echo x > /small; echo fine"));
    assert_eq!(done.stdout, "fine\n");
    sandbox.finish(true).unwrap();
    remove(&run);
    let run = store.create_run("unpack").unwrap();
    let limits = UnpackLimits {
        entries: 10,
        bytes: 1 << 30,
    };
    let (unpacking, stream) = store.unpack(&run, &[], limits).unwrap();
    let mut archive = tar::Builder::new(stream);
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    let _ = archive.append_data(&mut header, "a", &b"x"[..]);
    drop(archive);
    let refused = unpacking.wait().unwrap_err().to_string();
    assert!(refused.contains("imports leave"), "{refused}");
    remove(&run);
    println!("tried");
}

#[test]
fn sandboxes_and_imports_leave_free_space() {
    let place = directory().join("small-disk");
    std::fs::create_dir_all(&place).unwrap();
    let mut command = Command::new("unshare");
    // Root has the necessary rights; an ordinary user gets them in a namespace.
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let output = command
        .args([
            "--mount",
            "sh",
            "-ec",
            "mount -t tmpfs -o size=600m,mode=711 none \"$PLACE\"\nexec \"$0\" --exact disk::probe --nocapture",
        ])
        .arg(std::env::current_exe().unwrap())
        .env("PLACE", &place)
        .env(PROBE, &place)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("tried"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    println!("{text}");
}
