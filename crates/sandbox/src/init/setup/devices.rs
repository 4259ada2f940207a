//! /dev: harmless devices, and the sandbox's own terminals and shared memory.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags as Attr;

use super::mounts;
use crate::protocol::failure::{During, Failure};
use crate::protocol::step::Step;

const NODES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];
const QUIET: Attr = Attr::MOUNT_ATTR_NOSUID.union(Attr::MOUNT_ATTR_NOEXEC);

/// Mounts /dev. `groups` is true if the terminal group exists.
pub(crate) fn mount(root: BorrowedFd<'_>, groups: bool) -> Result<(), Failure> {
    mounts::ensure_directory(root, "dev", 0o755).during(Step::Dev)?;
    let no_devices = QUIET | Attr::MOUNT_ATTR_NODEV;
    let dev = mounts::filesystem("tmpfs", &[("mode", "755"), ("size", "64k")], no_devices)
        .during(Step::Dev)?;
    mounts::attach(&dev, root, "dev").during(Step::Dev)?;
    for name in NODES {
        node(&dev, name).during_with(Step::Dev, format!("with {name}"))?;
    }
    for (name, target) in LINKS {
        symlinkat(*target, &dev, *name).during_with(Step::Dev, format!("with {name}"))?;
    }
    let shared = || mounts::filesystem("tmpfs", &[("mode", "1777"), ("size", "64m")], no_devices);
    directory(&dev, "shm", shared).during_with(Step::Dev, "with shm")?;
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
        mounts::filesystem("devpts", &options, QUIET)
    })
    .during_with(Step::Dev, "with pts")?;
    // Not every kernel has POSIX message queues.
    match directory(&dev, "mqueue", || {
        mounts::filesystem("mqueue", &[], no_devices)
    }) {
        Err(Errno::NODEV) => Ok(()),
        other => other.during_with(Step::Dev, "with mqueue"),
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
    let node = mounts::copy(CWD, &format!("/dev/{name}"), QUIET)?;
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
