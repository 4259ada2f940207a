//! Tests of machines that cannot run sandboxes, simulated by namespaces of this one.

use std::path::{Path, PathBuf};
use std::process::Command;

use contree_sandbox::{
    CheckState, Error, LayerId, LayerStore, Sandbox, SandboxSpec, StoreOptions, View, diagnose,
};

use crate::support::*;

const PROBE: &str = "CONTREE_TEST_PROBE";

/// The program that runs on such a machine. It prints the results of starting a sandbox and of the
/// diagnosis. As a test by itself it does nothing.
#[test]
fn probe() {
    let Some(root) = std::env::var_os(PROBE).map(PathBuf::from) else {
        return;
    };
    let mut options = StoreOptions::default();
    options.directory_setting = Some("STORE_SETTING".into());
    for check in diagnose(&root, &options) {
        println!("\nCHECK {check:?}");
        if check.state == CheckState::Missing {
            println!(
                "\nMISSING {}; {}",
                check.detail,
                check.remedy.unwrap_or_default()
            );
        }
    }
    let store = LayerStore::open(&root, options).unwrap();
    let base = store.create_run("base").unwrap();
    for name in ["proc", "sys", "dev"] {
        std::fs::create_dir(base.path().join("L/d").join(name)).unwrap();
    }
    store.commit(&base, LayerId(1)).unwrap();
    store.remove_run("base").unwrap();
    let run = store.create_run("run").unwrap();
    let spec = SandboxSpec {
        layers: vec![LayerId(1)],
        ..spec()
    };
    match Sandbox::start(&store, &run, &spec) {
        Ok(_) => println!("\nSTART fine"),
        Err(Error::Unavailable(reported)) => println!("\nSTART {reported}"),
        Err(error) => println!("\nSTART other {error:?}"),
    }
    match View::open(&store, &[LayerId(1)]) {
        Ok(_) => println!("\nVIEW fine"),
        Err(Error::Unavailable(reported)) => println!("\nVIEW {reported}"),
        Err(error) => println!("\nVIEW other {error:?}"),
    }
}

/// Prepares a simulated machine with a script and runs the probe on it.
fn on_a_machine(name: &str, namespaces: &[&str], script: &str) -> String {
    let data = directory().join(format!("machine-{name}"));
    std::fs::create_dir_all(&data).unwrap();
    let mut command = Command::new("unshare");
    // Root has the necessary rights; an ordinary user gets them in a namespace.
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let output = command
        .args(namespaces)
        .args([
            "sh",
            "-ec",
            &format!("{script}\nexec \"$0\" --exact unavailable::probe --nocapture"),
        ])
        .arg(std::env::current_exe().unwrap())
        .env(PROBE, data.join("data"))
        .env("MACHINE", &data)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn reported<'a>(text: &'a str, what: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(what)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no {what} in {text}"))
}

/// Checks that the diagnosis and the failing call report the same message, with these parts.
fn expect(text: &str, parts: &[&str]) {
    let start = reported(text, "START");
    assert_eq!(reported(text, "MISSING"), start, "{text}");
    for part in parts {
        assert!(start.contains(part), "`{part}` is not in: {start}");
    }
}

#[test]
fn no_user_namespaces() {
    let namespaces: &[&str] = if rustix::process::geteuid().is_root() {
        &["--user", "--map-root-user"]
    } else {
        &[]
    };
    let text = on_a_machine(
        "users",
        namespaces,
        "echo 0 >/proc/sys/user/max_user_namespaces",
    );
    expect(
        &text,
        &[
            "user.max_user_namespaces is 0",
            "sysctl -w user.max_user_namespaces=",
        ],
    );
    assert_eq!(reported(&text, "VIEW"), reported(&text, "START"));
}

#[test]
fn a_proc_with_covering_mounts() {
    // A further procfs, as of somebody's chroot, would permit the mount.
    let script = "awk '$3 == \"proc\" && $2 != \"/proc\" { print $2 }' /proc/mounts | \
        while read -r path; do umount -l \"$path\" || :; done\n\
        mount -t tmpfs none /proc/bus";
    let text = on_a_machine("proc", &["--mount"], script);
    expect(
        &text,
        &["procfs cannot be mounted", "systempaths=unconfined"],
    );
    // A view needs no procfs.
    assert_eq!(reported(&text, "VIEW"), "fine");
}

#[test]
fn a_data_directory_on_overlayfs() {
    let script = "cd $MACHINE; mkdir lower upper work data; mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr data";
    let text = on_a_machine("overlay", &["--mount"], script);
    expect(
        &text,
        &["is on overlayfs", "set STORE_SETTING to a directory on"],
    );
}

#[test]
fn no_programs_in_memory() {
    // Kernels before 6.3 do not have the setting, and only root may change it.
    let setting = Path::new("/proc/sys/vm/memfd_noexec");
    if !setting.exists() || !rustix::process::geteuid().is_root() {
        return;
    }
    let text = on_a_machine(
        "memfd",
        &["--pid", "--fork", "--mount-proc"],
        "echo 2 >/proc/sys/vm/memfd_noexec",
    );
    expect(&text, &["vm.memfd_noexec=2", "sysctl -w vm.memfd_noexec=1"]);
}

#[test]
fn this_machine_is_fine() {
    let root = directory().join("diagnosed");
    let checks = diagnose(&root, &StoreOptions::default());
    assert!(
        checks
            .iter()
            .all(|check| check.state != CheckState::Missing),
        "{checks:#?}"
    );
    assert!(
        checks
            .iter()
            .any(|check| check.name == "sandbox" && check.state == CheckState::Fine)
    );
    let ids = checks.iter().find(|check| check.name == "id map").unwrap();
    assert_eq!(
        ids.state == CheckState::Degraded,
        store().id_map().is_single(),
        "{ids:?}"
    );
    assert_eq!(ids.remedy.is_some(), store().id_map().is_single());
    assert!(!root.exists(), "nothing is left behind");
}
