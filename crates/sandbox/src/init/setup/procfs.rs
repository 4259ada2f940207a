//! /proc: hides parts of the kernel from commands, and sets limits through sysctls.

use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, openat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags as Attr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::mounts;
use crate::protocol::boot::SandboxBoot;
use crate::protocol::step::Step;
use crate::protocol::step_failure::{StepContext, StepFailure};

/// Files of /proc that are hidden. Container runtimes hide them too.
const HIDDEN_FILES: &[&str] = &[
    "config.gz",
    "interrupts",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "mtrr",
    "pagetypeinfo",
    "sched_debug",
    "slabinfo",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
];
const HIDDEN_DIRECTORIES: &[&str] = &["acpi", "asound", "dynamic_debug", "scsi"];
const READ_ONLY: &[&str] = &["bus", "driver", "fs", "irq", "sys", "tty"];
const NAMESPACES: &[&str] = &["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];
/// The limits of inotify and fanotify: the namespace's sysctl, and the machine's for each user.
const NOTIFICATION_LIMITS: &[(&str, &str)] = &[
    ("inotify_instances", "inotify/max_user_instances"),
    ("inotify_watches", "inotify/max_user_watches"),
    ("fanotify_groups", "fanotify/max_user_groups"),
    ("fanotify_marks", "fanotify/max_user_marks"),
];
/// The number of sandboxes among which a user's limit is divided.
const NOTIFICATION_SHARES: u64 = 8;
/// The lowest pid_max that the kernel accepts, because of its reserved ids.
const MIN_PID_MAX: u32 = 310;

const PLAIN: Attr = Attr::MOUNT_ATTR_NOSUID
    .union(Attr::MOUNT_ATTR_NODEV)
    .union(Attr::MOUNT_ATTR_NOEXEC);
const PLAIN_READ_ONLY: Attr = PLAIN.union(Attr::MOUNT_ATTR_RDONLY);

/// Mounts a complete /proc.
pub(crate) fn mount(root: BorrowedFd<'_>) -> Result<OwnedFd, StepFailure> {
    mounts::ensure_directory(root, "proc", 0o555).at_step(Step::Proc)?;
    let proc = mounts::filesystem("proc", &[], PLAIN).at_step(Step::Proc)?;
    mounts::attach(&proc, root, "proc").at_step(Step::Proc)?;
    Ok(proc)
}

/// Sets the limits, makes the kernel's settings read-only and hides private files behind the
/// sandbox's own /dev/null. No mount can be made afterwards.
pub(crate) fn restrict(
    root: BorrowedFd<'_>,
    proc: &OwnedFd,
    boot: &SandboxBoot,
) -> Result<(), StepFailure> {
    let own = rustix::fs::readlinkat(proc, "self/ns/user", Vec::new()).at_step(Step::Proc)?;
    // In the engine's namespace the limits would apply to the whole machine.
    if own.as_bytes() == boot.user_namespace.as_os_str().as_encoded_bytes() {
        return Err(Errno::PERM).at_step(Step::Sysctl);
    }
    let mut covers = Vec::new();
    for name in READ_ONLY {
        cover(&mut covers, proc, name, || {
            mounts::copy(proc, name, PLAIN_READ_ONLY)
        })?;
    }
    for name in HIDDEN_FILES {
        cover(&mut covers, proc, name, || {
            mounts::copy(root, "dev/null", PLAIN_READ_ONLY)
        })?;
    }
    for name in HIDDEN_DIRECTORIES {
        cover(&mut covers, proc, name, || {
            mounts::filesystem("tmpfs", &[("mode", "555")], PLAIN_READ_ONLY)
        })?;
    }
    // A detached mount counts as a mount namespace, so all covers are made before the limits.
    set_limits(proc, boot)?;
    for (name, mount) in covers {
        mounts::attach(&mount, proc, name).at_step_on(Step::ProcMask, name)?;
    }
    Ok(())
}

/// Makes the mount that covers a name of /proc, if this kernel has the name.
fn cover(
    covers: &mut Vec<(&'static str, OwnedFd)>,
    proc: &OwnedFd,
    name: &'static str,
    mount: impl FnOnce() -> Result<OwnedFd, Errno>,
) -> Result<(), StepFailure> {
    match accessat(proc, name, Access::EXISTS, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.at_step_on(Step::ProcMask, name)?,
    }
    covers.push((name, mount().at_step_on(Step::ProcMask, name)?));
    Ok(())
}

fn set_limits(proc: &OwnedFd, boot: &SandboxBoot) -> Result<(), StepFailure> {
    for kind in NAMESPACES {
        match set(proc, &format!("sys/user/max_{kind}_namespaces"), "0") {
            Err(Errno::NOENT) => {}
            other => other.at_step_on(Step::Sysctl, format!("user.max_{kind}_namespaces"))?,
        }
    }
    if !boot.charged_user.is_exclusive() {
        limit_notifications(proc)?;
    }
    // Kernels before 6.14 have one limit for the whole machine and refuse this. There RLIMIT_NPROC
    // must suffice.
    let _ = set(
        proc,
        "sys/kernel/pid_max",
        &boot.max_processes.max(MIN_PID_MAX).to_string(),
    );
    Ok(())
}

/// Gives each user of this process's namespace a share of the machine's limits for one user. `proc`
/// is a procfs. Kernels without such a limit are left alone.
pub(crate) fn limit_notifications(proc: &OwnedFd) -> Result<(), StepFailure> {
    for (name, source) in NOTIFICATION_LIMITS {
        limit_notification(proc, name, source)
            .at_step_on(Step::Sysctl, format!("user.max_{name}"))?;
    }
    Ok(())
}

fn limit_notification(proc: &OwnedFd, name: &str, source: &str) -> Result<(), Errno> {
    let limit = match read_number(proc, &format!("sys/fs/{source}")) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let share = (limit / NOTIFICATION_SHARES).max(1).to_string();
    match set(proc, &format!("sys/user/max_{name}"), &share) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn read_number(proc: &OwnedFd, path: &str) -> Result<u64, Errno> {
    let file = openat(
        proc.as_fd(),
        path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut text = [0; 32];
    let length = rustix::io::read(&file, &mut text)?;
    std::str::from_utf8(&text[..length])
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or(Errno::INVAL)
}

fn set(proc: &OwnedFd, path: &str, value: &str) -> Result<(), Errno> {
    let file = openat(
        proc.as_fd(),
        path,
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::io::write(&file, value.as_bytes()).map(drop)
}
