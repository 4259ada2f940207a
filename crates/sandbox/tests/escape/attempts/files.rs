//! Attempts on files, mounts and devices.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{HostTargets, call_refused, holds, refused};

/// Kernel settings that are opened for writing but never written.
const SETTINGS: &[&str] = &[
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/user/max_mnt_namespaces",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/fs/file-max",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/proc/bus/pci/devices",
    "/proc/fs/jbd2",
    "/proc/mtrr",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/ksm/run",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory/release_agent",
    "/sys/power/state",
    "/sys/class/net",
    "/sys/devices/system/cpu/online",
    "/sys/kernel/mm/transparent_hugepage/enabled",
];
/// The parts of the machine that /sys describes to a sandbox.
const DESCRIBED: &[&str] = &[
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
];
const SECRETS: &[&str] = &[
    "/proc/kcore",
    "/proc/kmsg",
    "/proc/keys",
    "/proc/kallsyms",
    "/proc/timer_list",
    "/proc/slabinfo",
    "/proc/kpagecount",
];
const DEVICES: &[&str] = &[
    "/dev/mem",
    "/dev/kmem",
    "/dev/kmsg",
    "/dev/port",
    "/dev/kvm",
    "/dev/fuse",
    "/dev/net/tun",
    "/dev/loop-control",
    "/dev/sda",
    "/dev/vda",
    "/dev/console",
    "/dev/vsock",
];

pub(crate) fn all(outside: &HostTargets) {
    paths(outside);
    chroot(outside);
    mounts();
    devices();
    let own = fs::read_dir("/proc/self/fd")
        .map(Iterator::count)
        .unwrap_or(99);
    // Three standard streams and the directory itself.
    holds("no descriptor is inherited", own == 4);
}

fn paths(outside: &HostTargets) {
    for path in [&outside.secret, &outside.socket, &outside.shared_memory] {
        refused(&format!("read {path}"), fs::metadata(path));
        refused(
            &format!("read {path} by way of /.."),
            fs::metadata(format!("/../../..{path}")),
        );
        refused(
            &format!("read {path} by way of pid 1"),
            fs::metadata(format!("/proc/1/root{path}")),
        );
        refused(
            &format!("read {path} by way of the own root"),
            fs::metadata(format!("/proc/self/root/../..{path}")),
        );
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let directory = outside
        .secret
        .rsplit_once('/')
        .map_or("", |(directory, _)| directory);
    holds(
        "the mounts do not tell where the engine keeps its files",
        !mounts.contains(directory),
    );
    for path in SETTINGS {
        refused(
            &format!("open {path} for writing"),
            OpenOptions::new()
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(path),
        );
    }
    for path in ["/proc/self/uid_map", "/proc/self/gid_map"] {
        refused(&format!("map ids by {path}"), fs::write(path, "0 0 1\n"));
    }
    for path in SECRETS {
        let empty = fs::read(path).is_ok_and(|bytes| bytes.is_empty());
        holds(
            &format!("{path} has nothing"),
            empty || File::open(path).is_err(),
        );
    }
    let others = undescribed(Path::new("/sys"));
    holds(
        &format!("/sys describes processors and memory alone {others:?}"),
        others.is_empty(),
    );
    refused("write into /sys", fs::create_dir("/sys/x"));
    let environment = fs::read("/proc/self/environ").unwrap_or_default();
    holds(
        "the environment is our own",
        environment.starts_with(b"PATH=")
            && environment.iter().filter(|&&byte| byte == 0).count() == 1,
    );
}

/// The paths below a directory of /sys that a sandbox must not have.
fn undescribed(directory: &Path) -> Vec<PathBuf> {
    let mut others = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_described = DESCRIBED.iter().any(|part| path.starts_with(part));
        let leads_there = DESCRIBED
            .iter()
            .any(|part| Path::new(part).starts_with(&path));
        if path.ends_with("vulnerabilities") || !(is_described || leads_there) {
            others.push(path);
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            others.extend(undescribed(&path));
        }
    }
    others
}

/// Tries the known way out of a plain chroot.
fn chroot(outside: &HostTargets) {
    // SAFETY: the process has one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let escaped = || -> io::Result<bool> {
            fs::create_dir_all("/tmp/x/y")?;
            let here = File::open("/")?;
            std::os::unix::fs::chroot("/tmp/x")?;
            // SAFETY: the descriptor is open.
            unsafe { libc::fchdir(std::os::fd::AsRawFd::as_raw_fd(&here)) };
            for _ in 0..64 {
                std::env::set_current_dir("..")?;
            }
            std::os::unix::fs::chroot(".")?;
            Ok(fs::metadata(&outside.secret).is_ok())
        };
        // SAFETY: the child has nothing of the parent to clean up.
        unsafe { libc::_exit(i32::from(escaped().unwrap_or(false))) };
    }
    let mut status = 0;
    // SAFETY: the status is alive.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    holds("out of a chroot one is still inside", status == 0);
}

fn mounts() {
    let text = |text: &str| CString::new(text).unwrap();
    let (none, tmpfs, tmp, proc, root) = (
        text("none"),
        text("tmpfs"),
        text("/tmp"),
        text("proc"),
        text("/"),
    );
    let null = std::ptr::null::<u8>();
    call_refused!(
        "mount a tmpfs",
        libc::SYS_mount,
        none.as_ptr(),
        tmp.as_ptr(),
        tmpfs.as_ptr(),
        0,
        null
    );
    call_refused!(
        "mount procfs",
        libc::SYS_mount,
        none.as_ptr(),
        tmp.as_ptr(),
        proc.as_ptr(),
        0,
        null
    );
    for kind in [
        "sysfs", "cgroup", "cgroup2", "overlay", "fuse", "devpts", "mqueue", "debugfs", "bpf",
    ] {
        let name = text(kind);
        call_refused!(
            &format!("mount {kind}"),
            libc::SYS_mount,
            none.as_ptr(),
            tmp.as_ptr(),
            name.as_ptr(),
            0,
            null
        );
    }
    call_refused!(
        "bind the root",
        libc::SYS_mount,
        root.as_ptr(),
        tmp.as_ptr(),
        null,
        libc::MS_BIND,
        null
    );
    for path in ["/proc/sys", "/proc", "/sys", "/", "/dev/null"] {
        let path_text = text(path);
        let flags = libc::MS_REMOUNT | libc::MS_BIND;
        call_refused!(
            &format!("remount {path}"),
            libc::SYS_mount,
            none.as_ptr(),
            path_text.as_ptr(),
            null,
            flags,
            null
        );
        call_refused!(
            &format!("unmount {path}"),
            libc::SYS_umount2,
            path_text.as_ptr(),
            libc::MNT_DETACH
        );
    }
    call_refused!(
        "pivot_root",
        libc::SYS_pivot_root,
        root.as_ptr(),
        root.as_ptr()
    );
    call_refused!("fsopen", libc::SYS_fsopen, tmpfs.as_ptr(), 0);
    call_refused!("fspick", libc::SYS_fspick, libc::AT_FDCWD, root.as_ptr(), 0);
    call_refused!(
        "open_tree",
        libc::SYS_open_tree,
        libc::AT_FDCWD,
        root.as_ptr(),
        1
    );
    call_refused!(
        "open_tree_attr",
        467,
        libc::AT_FDCWD,
        root.as_ptr(),
        1,
        null,
        0
    );
    call_refused!(
        "move_mount",
        libc::SYS_move_mount,
        libc::AT_FDCWD,
        root.as_ptr(),
        libc::AT_FDCWD,
        tmp.as_ptr(),
        0
    );
    let attr = [0_u64; 4];
    call_refused!(
        "mount_setattr",
        libc::SYS_mount_setattr,
        libc::AT_FDCWD,
        root.as_ptr(),
        0,
        attr.as_ptr(),
        32
    );
    call_refused!("swapon", libc::SYS_swapon, tmp.as_ptr(), 0);
    call_refused!("acct", libc::SYS_acct, null);
    call_refused!("quotactl", libc::SYS_quotactl, 0x80_0001_u32, null, 0, null);
}

fn devices() {
    for path in DEVICES {
        refused(&format!("open {path}"), File::open(path));
    }
    for (name, kind, device) in [
        ("memory", libc::S_IFCHR, libc::makedev(1, 1)),
        ("null", libc::S_IFCHR, libc::makedev(1, 3)),
        ("a whiteout", libc::S_IFCHR, 0),
        ("a disk", libc::S_IFBLK, libc::makedev(8, 0)),
        ("the virtual disk", libc::S_IFBLK, libc::makedev(254, 0)),
    ] {
        let path = CString::new("/tmp/node").unwrap();
        call_refused!(
            &format!("make a node of {name}"),
            libc::SYS_mknodat,
            libc::AT_FDCWD,
            path.as_ptr(),
            kind | 0o666,
            device
        );
        // On a tmpfs any user may make a whiteout, which is not a device.
        if device == 0 {
            continue;
        }
        let path = CString::new("/dev/node").unwrap();
        call_refused!(
            &format!("make a node of {name} in /dev"),
            libc::SYS_mknodat,
            libc::AT_FDCWD,
            path.as_ptr(),
            kind | 0o666,
            device
        );
    }
}
