//! /dev: harmless devices, and the sandbox's own terminals and shared memory.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags as Attr;

use super::mounts;
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};

const NODES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];
const RESTRICTED: Attr = Attr::MOUNT_ATTR_NOSUID.union(Attr::MOUNT_ATTR_NOEXEC);

/// Mounts /dev. `groups` is true if the terminal group exists.
pub(crate) fn mount(root: BorrowedFd<'_>, groups: bool) -> Result<(), StepFailure> {
    mounts::ensure_directory(root, "dev", 0o755).at_step(Step::Dev)?;
    let no_devices = RESTRICTED | Attr::MOUNT_ATTR_NODEV;
    let dev = mounts::filesystem("tmpfs", &[("mode", "755"), ("size", "64k")], no_devices)
        .at_step(Step::Dev)?;
    mounts::attach(&dev, root, "dev").at_step(Step::Dev)?;
    for name in NODES {
        node(&dev, name).at_step_on(Step::Dev, format!("with {name}"))?;
    }
    for (name, target) in LINKS {
        symlinkat(*target, &dev, *name).at_step_on(Step::Dev, format!("with {name}"))?;
    }
    let shared = || mounts::filesystem("tmpfs", &[("mode", "1777"), ("size", "64m")], no_devices);
    directory(&dev, "shm", shared).at_step_on(Step::Dev, "with shm")?;
    let mut options = vec![
        ("newinstance", ""),
        ("ptmxmode", "0666"),
        ("mode", "0620"),
        ("max", "256"),
    ];
    if groups {
        options.push(("gid", "5"));
    }
    directory(&dev, "pts", || {
        mounts::filesystem("devpts", &options, RESTRICTED)
    })
    .at_step_on(Step::Dev, "with pts")?;
    // Not every kernel has POSIX message queues.
    match directory(&dev, "mqueue", || {
        mounts::filesystem("mqueue", &[], no_devices)
    }) {
        Err(Errno::NODEV) => Ok(()),
        other => other.at_step_on(Step::Dev, "with mqueue"),
    }
}

/// Mounts this machine's device node over an empty file, because a user namespace does not allow
/// making nodes.
fn node(dev: &OwnedFd, name: &str) -> Result<(), Errno> {
    openat(
        dev,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let node = mounts::copy(CWD, &format!("/dev/{name}"), RESTRICTED)?;
    mounts::attach(&node, dev, name)
}

fn directory(
    dev: &OwnedFd,
    name: &str,
    mount: impl FnOnce() -> Result<OwnedFd, Errno>,
) -> Result<(), Errno> {
    rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755))?;
    mounts::attach(&mount()?, dev, name)
}
