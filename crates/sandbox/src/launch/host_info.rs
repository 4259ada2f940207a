//! Facts about the machine that explain a failed step.

use std::fs;
use std::path::{Path, PathBuf};

/// Facts about the machine that explain a failed step.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostInfo {
    pub root: bool,
    /// Whether this process has the capability CAP_SYS_ADMIN.
    pub can_administrate: bool,
    /// The sysctl kernel.apparmor_restrict_unprivileged_userns.
    pub apparmor: bool,
    /// The sysctl user.max_user_namespaces.
    pub max_user_namespaces: Option<u64>,
    /// The sysctl kernel.unprivileged_userns_clone of Debian's kernels.
    pub unprivileged_clone: Option<u64>,
    /// True if this looks like a container.
    pub container: bool,
    pub data_directory: PathBuf,
    /// The file system of the data directory.
    pub filesystem: String,
    /// The exhausted resource of the data directory's file system, if there is one.
    pub exhausted: Option<&'static str>,
}

impl HostInfo {
    pub(crate) fn read(data_directory: &Path) -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        Self {
            root: rustix::process::geteuid().is_root(),
            can_administrate: fs::read_to_string("/proc/self/status")
                .is_ok_and(|status| has_sys_admin(&status)),
            apparmor: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
                == Some(1_u64),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            unprivileged_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            container: in_container(),
            data_directory: data_directory.to_owned(),
            filesystem: filesystem(data_directory),
            exhausted: exhausted(data_directory),
        }
    }
}

/// The exhausted resource of a file system, if there is one. Blocks and inodes that are reserved
/// for the root user of the machine do not count, since sandboxes cannot use them.
fn exhausted(path: &Path) -> Option<&'static str> {
    let stat = rustix::fs::statvfs(path).ok()?;
    // A file system that makes inodes as needed reports 0 of 0.
    if stat.f_files > 0 && stat.f_favail < MIN_FREE_INODES {
        return Some("inode");
    }
    (stat.f_blocks > 0 && stat.f_bavail < MIN_FREE_BLOCKS).then_some("block")
}

/// The fewest free inodes with which a sandbox can be set up.
const MIN_FREE_INODES: u64 = 4;

/// The fewest free blocks with which a sandbox can be set up.
const MIN_FREE_BLOCKS: u64 = 4;

/// Whether the effective capabilities of a status file include CAP_SYS_ADMIN.
fn has_sys_admin(status: &str) -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & CAP_SYS_ADMIN != 0)
}

fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|mark| Path::new(mark).exists())
        || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// The name of a directory's file system. For a missing directory, the nearest existing parent
/// counts.
pub(crate) fn filesystem(path: &Path) -> String {
    let Some(stat) = path
        .ancestors()
        .find_map(|path| rustix::fs::statfs(path).ok())
    else {
        return "an unknown file system".into();
    };
    let name = match u64::try_from(stat.f_type).unwrap_or_default() & 0xffff_ffff {
        0x794c_7630 => "overlayfs",
        0x6969 => "NFS",
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x6573_5546 => "FUSE",
        0x2fc1_2fc1 => "ZFS",
        0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x0102_1997 => "9p",
        0x6a65_6a63 => "virtiofs",
        0x4d44 => "FAT",
        0x2011_bab0 => "exFAT",
        0xf15f => "eCryptfs",
        other => return format!("a file system of type {other:#x}"),
    };
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_status() {
        assert!(has_sys_admin("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        // The usual capabilities of a container's root.
        assert!(!has_sys_admin("CapEff:\t00000000a80425fb\n"));
        assert!(!has_sys_admin(""));
    }
}
