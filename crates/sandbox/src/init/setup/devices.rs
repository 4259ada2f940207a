//! /dev: harmless devices, and the sandbox's own terminals and shared memory.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags as Attr;

use super::mounts;
use crate::protocol::boot::SandboxBoot;
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};

/// The names of the device nodes, with major and minor number.
const NODES: &[(&str, u32, u32)] = &[
    ("full", 1, 7),
    ("null", 1, 3),
    ("random", 1, 8),
    ("tty", 5, 0),
    ("urandom", 1, 9),
    ("zero", 1, 5),
];
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];
const RESTRICTED: Attr = Attr::MOUNT_ATTR_NOSUID.union(Attr::MOUNT_ATTR_NOEXEC);

/// Makes the device nodes of one sandbox on a file system of their own, attached nowhere. So locks
/// on them concern this sandbox alone.
///
/// Only this machine's root may make device nodes, and not in every container. A user namespace may
/// not, so this is done before the sandbox's is made. Returns `None` where it cannot be done.
pub(crate) fn make_nodes() -> Option<OwnedFd> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let options = [("mode", "755"), ("size", "4k")];
    let nodes = mounts::filesystem("tmpfs", &options, RESTRICTED).ok()?;
    for &(name, major, minor) in NODES {
        let mode = Mode::from_raw_mode(0o666);
        mknodat(
            &nodes,
            name,
            FileType::CharacterDevice,
            mode,
            makedev(major, minor),
        )
        .ok()?;
    }
    Some(nodes)
}

/// Mounts /dev, with the nodes of [`make_nodes`] or else with this machine's.
pub(crate) fn mount(
    root: BorrowedFd<'_>,
    boot: &SandboxBoot,
    own_nodes: Option<&OwnedFd>,
) -> Result<(), StepFailure> {
    mounts::ensure_directory(root, "dev", 0o755).at_step(Step::Dev)?;
    // A file of a mount can be mounted elsewhere only while the mount is attached. The new /dev
    // then covers the nodes' own file system.
    let own_nodes = own_nodes.filter(|nodes| mounts::attach(nodes, root, "dev").is_ok());
    let no_devices = RESTRICTED | Attr::MOUNT_ATTR_NODEV;
    let dev = mounts::filesystem("tmpfs", &[("mode", "755"), ("size", "64k")], no_devices)
        .at_step(Step::Dev)?;
    mounts::attach(&dev, root, "dev").at_step(Step::Dev)?;
    for (name, ..) in NODES {
        node(&dev, name, own_nodes).at_step_on(Step::Dev, format!("with {name}"))?;
    }
    for (name, target) in LINKS {
        symlinkat(*target, &dev, *name).at_step_on(Step::Dev, format!("with {name}"))?;
    }
    let size = boot.shared_memory_bytes.to_string();
    let shared = || mounts::filesystem("tmpfs", &[("mode", "1777"), ("size", &size)], no_devices);
    directory(&dev, "shm", shared).at_step_on(Step::Dev, "with shm")?;
    let mut options = vec![
        ("newinstance", ""),
        ("ptmxmode", "0666"),
        ("mode", "0620"),
        ("max", "256"),
    ];
    // The terminal group.
    if boot.has_other_groups {
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

/// Mounts a device node over an empty file, because a user namespace does not allow making nodes.
fn node(dev: &OwnedFd, name: &str, own_nodes: Option<&OwnedFd>) -> Result<(), Errno> {
    openat(
        dev,
        name,
        OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let node = match own_nodes {
        Some(nodes) => mounts::copy(nodes, name, RESTRICTED)?,
        None => mounts::copy(CWD, &format!("/dev/{name}"), RESTRICTED)?,
    };
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
